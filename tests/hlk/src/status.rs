//! NTSTATUS values by name, for tests to state and for reports to read.

macro_rules! statuses {
    ($($name:ident = $value:literal;)*) => {
        $(#[allow(dead_code, reason = "a name for reports")] pub(crate) const $name: i32 = ($value as u32).cast_signed();)*

        /// The name, or the number.
        pub(crate) fn name(status: i32) -> String {
            match status.cast_unsigned() {
                $($value => concat!("STATUS_", stringify!($name)).to_owned(),)*
                other => format!("0x{other:08X}"),
            }
        }
    };
}

statuses! {
    SUCCESS = 0x0000_0000;
    PENDING = 0x0000_0103;
    TIMEOUT = 0x0000_0102;
    EVENT_PENDING = 0x4000_0013;
    BUFFER_OVERFLOW = 0x8000_0005;
    NOT_IMPLEMENTED = 0xC000_0002;
    ACCESS_VIOLATION = 0xC000_0005;
    INVALID_HANDLE = 0xC000_0008;
    INVALID_PARAMETER = 0xC000_000D;
    INVALID_DEVICE_REQUEST = 0xC000_0010;
    ACCESS_DENIED = 0xC000_0022;
    BUFFER_TOO_SMALL = 0xC000_0023;
    SHARING_VIOLATION = 0xC000_0043;
    REVISION_MISMATCH = 0xC000_0059;
    INSUFFICIENT_RESOURCES = 0xC000_009A;
    DEVICE_NOT_READY = 0xC000_00A3;
    IO_TIMEOUT = 0xC000_00B5;
    FILE_FORCED_CLOSED = 0xC000_00B6;
    NOT_SUPPORTED = 0xC000_00BB;
    REQUEST_NOT_ACCEPTED = 0xC000_00D0;
    CANCELLED = 0xC000_0120;
    NOT_SAME_OBJECT = 0xC000_01AC;
    INVALID_CONNECTION = 0xC000_0140;
    DEVICE_BUSY = 0x8000_0011;
    INVALID_DEVICE_STATE = 0xC000_0184;
    CONNECTION_DISCONNECTED = 0xC000_020C;
    CONNECTION_RESET = 0xC000_020D;
    INVALID_ADDRESS_COMPONENT = 0xC000_0207;
    ADDRESS_ALREADY_EXISTS = 0xC000_020A;
    NOT_FOUND = 0xC000_0225;
    CONNECTION_REFUSED = 0xC000_0236;
    ADDRESS_ALREADY_ASSOCIATED = 0xC000_0238;
    ADDRESS_NOT_ASSOCIATED = 0xC000_0239;
    CONNECTION_INVALID = 0xC000_023A;
    NETWORK_UNREACHABLE = 0xC000_023C;
    HOST_UNREACHABLE = 0xC000_023D;
    CONNECTION_ABORTED = 0xC000_0241;
    DATA_NOT_ACCEPTED = 0xC000_021B;
    NOINTERFACE = 0xC000_02B9;
    DATATYPE_MISALIGNMENT_ERROR = 0xC000_02C5;
    NO_MATCH = 0xC000_0272;
}
