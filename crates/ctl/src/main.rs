//! The companion of wskguard.sys.
fn main() {}
