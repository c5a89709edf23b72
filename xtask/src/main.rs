//! Build, test, demo, package.
fn main() {}
