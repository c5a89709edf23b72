//! Why a call of the driver failed.

use std::fmt;

use wskguard_abi::{ABI_VERSION, Code};

use crate::{names, ntstatus, transport::TransportError};

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The driver is not loaded.
    Absent,
    /// The caller may not talk to it, or not change anything.
    AccessDenied,
    /// The driver speaks another version of the contract.
    Version {
        /// Its contract version.
        contract: u32,
        /// Its own version.
        driver: [u16; 4],
    },
    /// The driver refused the request.
    Status {
        /// The request.
        code: Code,
        /// Its NTSTATUS.
        status: u32,
    },
    /// The device could not be opened: a Win32 error code.
    Win32(u32),
    /// The reply is not what the contract says.
    Malformed {
        /// The request.
        code: Code,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no such driver for this operating system.
    Unsupported,
}

impl Error {
    pub(crate) fn new(code: Code, error: TransportError) -> Self {
        match error {
            // Stopped, but somebody still has the device open.
            TransportError::Absent | TransportError::Status(ntstatus::NO_SUCH_DEVICE) => Self::Absent,
            TransportError::AccessDenied | TransportError::Status(ntstatus::ACCESS_DENIED) => Self::AccessDenied,
            TransportError::Status(status) => Self::Status { code, status },
            TransportError::Win32(error) => Self::Win32(error),
            TransportError::Unsupported => Self::Unsupported,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("the driver is not loaded"),
            Self::AccessDenied => f.write_str("access to the driver is denied"),
            Self::Version {
                contract,
                driver: [major, minor, patch, _],
            } => {
                let ours = env!("CARGO_PKG_VERSION");
                write!(
                    f,
                    "wskguard.sys {major}.{minor}.{patch} speaks contract version {contract}, \
                     wskguardctl {ours} speaks {ABI_VERSION}"
                )
            }
            Self::Status { code, status } => write!(f, "the driver refused {code:?}: {}", names::nt_status(*status)),
            Self::Win32(error) => write!(f, "cannot open the driver's device: Win32 error {error}"),
            Self::Malformed { code, what } => write!(f, "the driver's reply to {code:?} is malformed: {what}"),
            Self::Unsupported => f.write_str("wskguard.sys runs on Windows only"),
        }
    }
}

impl std::error::Error for Error {}
