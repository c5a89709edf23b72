//! Runner of the conformance vectors.
