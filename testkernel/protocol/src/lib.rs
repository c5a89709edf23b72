//! What a test says to probe.sys and hears back.
