//! How a command ends: the exit codes, which scripts rely on, and the failure that carries one with its message and hints.

use std::{fmt, io};

use crate::driver::Error;

/// Exit codes. The numbers are part of the interface; docs/OPERATING.md lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The operation failed for a reason that has no code of its own.
    Failed = 1,
    /// The command line was not understood.
    Usage = 2,
    /// The driver is not loaded.
    DriverAbsent = 3,
    /// The caller may not talk to the driver.
    AccessDenied = 4,
    /// The driver speaks another version of the contract.
    VersionMismatch = 5,
    /// The policy is faulty, was refused, or is not the one in force after loading.
    PolicyRefused = 6,
    /// Clients or sockets still hold the driver.
    StillHeld = 7,
    /// The driver is locked until the machine restarts.
    Locked = 8,
    /// What was compared is not the same.
    Differs = 9,
}

impl Exit {
    /// Word for this code in JSON errors.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::DriverAbsent => "driver-absent",
            Self::AccessDenied => "access-denied",
            Self::VersionMismatch => "version-mismatch",
            Self::PolicyRefused => "policy-refused",
            Self::StillHeld => "still-held",
            Self::Locked => "locked",
            Self::Differs => "differs",
        }
    }
}

/// Why a command failed: one line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What went wrong, without a full stop. May have further lines (diagnostics of a policy).
    pub message: String,
    /// What may help, one line each.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure without hints.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// With one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// A file could not be read or written.
    #[must_use]
    pub fn file(verb: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::new(Exit::Failed, format!("cannot {verb} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::Absent | Error::Unsupported => Exit::DriverAbsent,
            Error::AccessDenied => Exit::AccessDenied,
            Error::Version { .. } => Exit::VersionMismatch,
            Error::Status { .. } | Error::Win32(_) | Error::Malformed { .. } => Exit::Failed,
        };
        let failure = Self::new(exit, error.to_string());
        match error {
            Error::Absent => {
                failure.hint("start it with `sc start wskguard`; `sc query wskguard` says whether it is installed")
            }
            Error::AccessDenied => failure.hint("run this from an elevated prompt: only SYSTEM and Administrators may"),
            Error::Version { .. } => failure.hint("use the wskguardctl that came with the driver"),
            Error::Unsupported => failure.hint("`policy check` and `policy explain FILE` need no driver and work here"),
            Error::Status { .. } | Error::Win32(_) | Error::Malformed { .. } => failure,
        }
    }
}

impl From<io::Error> for Failure {
    /// Writing the output failed. A reader that has seen enough and went away (`| more`, `| head`) is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::new(Exit::Failed, format!("cannot write: {error}")),
        }
    }
}
