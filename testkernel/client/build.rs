//! Hands the WDK's link settings to the driver's linker.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_binary_build()
}
