//! Hands the WDK's link settings to the driver's linker, and driver.inx to the WDK's packaging tools.

use std::{fs, path::Path};

fn main() -> Result<(), wdk_build::ConfigError> {
    println!("cargo::rerun-if-changed=driver.inx");
    // cargo-make and cargo-wdk look for an INX named after the crate. The copy is not committed.
    if cfg!(windows) {
        let copied = fs::copy(Path::new("driver.inx"), Path::new("wskguard.inx"));
        if let Err(error) = copied {
            println!("cargo::warning=wskguard.inx cannot be made from driver.inx: {error}");
        }
    }
    wdk_build::configure_wdk_binary_build()
}
