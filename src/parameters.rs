//! What is read from the service's Parameters key at start. `PASSIVE_LEVEL`.

use wdk_sys::PDRIVER_OBJECT;

use crate::device::wide;
use crate::registry::{Key, Which};

/// What an administrator may choose. A value that is absent or out of range is the default.
#[derive(Clone, Copy)]
pub struct Parameters {
    /// Endpoints that the table lists, at most.
    pub endpoints: u32,
    /// Audit records that each processor keeps; a power of two.
    pub records: u32,
    /// Whether to register at the system's NPI as well. Experimental.
    pub transparent: bool,
    /// `Mode=off`: requests are forwarded and nothing else.
    pub off: bool,
    /// Seconds after which a start counts as healthy.
    pub healthy_after: u32,
}

impl Parameters {
    const DEFAULT: Self = Self {
        endpoints: 1 << 20,
        records: 4096,
        transparent: false,
        off: false,
        healthy_after: 60,
    };

    /// Reads them; without a key they are the defaults.
    pub fn read(driver: PDRIVER_OBJECT) -> Self {
        static ENDPOINTS: [u16; 16] = wide("MaximumEndpoints");
        static RECORDS: [u16; 18] = wide("AuditRecordsPerCpu");
        static MODE: [u16; 4] = wide("Mode");
        static HEALTHY_AFTER: [u16; 12] = wide("HealthyAfter");
        static TRANSPARENT: [u16; 11] = wide("Transparent");
        let Ok(key) = Key::open(driver, Which::Parameters, false) else {
            return Self::DEFAULT;
        };
        let endpoints = 1..=wskguard_core::table::MAX_ENDPOINTS;
        Self {
            endpoints: key
                .number(&ENDPOINTS)
                .filter(|number| endpoints.contains(number))
                .unwrap_or(Self::DEFAULT.endpoints),
            records: key
                .number(&RECORDS)
                .filter(|number| number.is_power_of_two() && (64..=1 << 20).contains(number))
                .unwrap_or(Self::DEFAULT.records),
            transparent: key.number(&TRANSPARENT) == Some(1),
            off: key.is_word(&MODE, "off"),
            healthy_after: key
                .number(&HEALTHY_AFTER)
                .filter(|seconds| (1..=86_400).contains(seconds))
                .unwrap_or(Self::DEFAULT.healthy_after),
        }
    }
}
