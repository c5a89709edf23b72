//! HLK-style suite, run on the test kernel and on Windows.
fn main() {}
