//! Steps of the client driver in C (testkernel/client/c): one IOCTL, one step, one number, one [`Reply`].

use crate::probe::{wire_enum, wire_struct};

/// Begins the Win32 name of the device; the service's name follows.
pub const WIN32_PREFIX: &str = r"\\.\WskClient-";

/// `FILE_DEVICE_UNKNOWN`, function 0x920, `METHOD_BUFFERED`, read and write access.
pub const IOCTL_STEP: u32 = (0x22 << 16) | (3 << 14) | (0x920 << 2);

wire_enum! {
    /// What is to be done.
    Step {
        /// `WskRegister`.
        Register = 1,
        /// `WskCaptureProviderNPI`; the number is the time-out. First: the dispatch table's version.
        Capture = 2,
        /// `WskQueryProviderCharacteristics`. First and second: lowest and highest version.
        Query = 3,
        /// `WskReleaseProviderNPI`.
        Release = 4,
        /// `WskDeregister`. Only when nothing is captured and no socket open.
        Deregister = 5,
        /// A datagram socket, bound to the loopback address.
        Open = 6,
        /// `SO_RCVBUF` to the number. First: what is read back.
        SetReceiveBuffer = 7,
        /// Sends itself a datagram of as many bytes, at most 64. First: bytes received; second: bytes that are right.
        Exchange = 8,
        /// Closes the socket.
        Close = 9,
    }
}

wire_struct! {
    /// A step.
    Request {
        /// [`Step`].
        step: u32,
        /// Its number.
        number: u32,
    }
    /// What came of it.
    Reply {
        /// NTSTATUS; `STATUS_INVALID_DEVICE_STATE` when it is not the step's turn.
        status: i32,
        /// As the step says.
        first: u32,
        /// As the step says.
        second: u32,
    }
}
