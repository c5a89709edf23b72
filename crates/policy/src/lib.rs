//! TOML policies: diagnostics, compiler, explain, learn.
