//! The two maps. Any IRQL.

use super::names::nt;
use crate::{NtStatus, WsaError};

/// Winsock error codes. Source: winerror.h.
#[allow(missing_docs, reason = "the names are those of winerror.h")]
pub mod wsa {
    use crate::WsaError;

    pub const OPERATION_ABORTED: WsaError = WsaError(995);
    pub const IO_INCOMPLETE: WsaError = WsaError(996);
    pub const EINTR: WsaError = WsaError(10004);
    pub const EACCES: WsaError = WsaError(10013);
    pub const EFAULT: WsaError = WsaError(10014);
    pub const EINVAL: WsaError = WsaError(10022);
    pub const EWOULDBLOCK: WsaError = WsaError(10035);
    pub const EINPROGRESS: WsaError = WsaError(10036);
    pub const ENOTSOCK: WsaError = WsaError(10038);
    pub const EMSGSIZE: WsaError = WsaError(10040);
    pub const ENOPROTOOPT: WsaError = WsaError(10042);
    pub const EOPNOTSUPP: WsaError = WsaError(10045);
    pub const EADDRINUSE: WsaError = WsaError(10048);
    pub const EADDRNOTAVAIL: WsaError = WsaError(10049);
    pub const ENETDOWN: WsaError = WsaError(10050);
    pub const ENETUNREACH: WsaError = WsaError(10051);
    pub const ENETRESET: WsaError = WsaError(10052);
    pub const ECONNABORTED: WsaError = WsaError(10053);
    pub const ECONNRESET: WsaError = WsaError(10054);
    pub const ENOBUFS: WsaError = WsaError(10055);
    pub const EISCONN: WsaError = WsaError(10056);
    pub const ENOTCONN: WsaError = WsaError(10057);
    pub const ESHUTDOWN: WsaError = WsaError(10058);
    pub const ETIMEDOUT: WsaError = WsaError(10060);
    pub const ECONNREFUSED: WsaError = WsaError(10061);
    pub const EHOSTDOWN: WsaError = WsaError(10064);
    pub const EHOSTUNREACH: WsaError = WsaError(10065);
    pub const EDISCON: WsaError = WsaError(10101);
}

/// What Winsock makes of a status. Tested on Windows: 56 failures are named, every other one is `WSAEINVAL`; a pending
/// operation is `ERROR_IO_INCOMPLETE`. Success of any kind is 0.
#[must_use]
pub const fn to_wsa(status: NtStatus) -> WsaError {
    match status {
        nt::PENDING => wsa::IO_INCOMPLETE,
        nt::BUFFER_OVERFLOW | nt::INVALID_BUFFER_SIZE => wsa::EMSGSIZE,
        nt::NOT_IMPLEMENTED | nt::NOT_SUPPORTED => wsa::EOPNOTSUPP,
        nt::ACCESS_VIOLATION | nt::BUFFER_TOO_SMALL | nt::DATATYPE_MISALIGNMENT_ERROR => wsa::EFAULT,
        nt::PAGEFILE_QUOTA
        | nt::NO_MEMORY
        | nt::CONFLICTING_ADDRESSES
        | nt::QUOTA_EXCEEDED
        | nt::TOO_MANY_PAGING_FILES
        | nt::INSUFFICIENT_RESOURCES
        | nt::WORKING_SET_QUOTA
        | nt::COMMITMENT_LIMIT
        | nt::REMOTE_RESOURCES
        | nt::TOO_MANY_ADDRESSES => wsa::ENOBUFS,
        nt::INVALID_HANDLE | nt::OBJECT_TYPE_MISMATCH => wsa::ENOTSOCK,
        nt::NO_SUCH_DEVICE
        | nt::NO_SUCH_FILE
        | nt::OBJECT_NAME_NOT_FOUND
        | nt::OBJECT_PATH_NOT_FOUND
        | nt::NETWORK_BUSY
        | nt::INVALID_NETWORK_RESPONSE
        | nt::UNEXPECTED_NETWORK_ERROR => wsa::ENETDOWN,
        nt::ACCESS_DENIED => wsa::EACCES,
        nt::SHARING_VIOLATION | nt::ADDRESS_ALREADY_EXISTS => wsa::EADDRINUSE,
        nt::DEVICE_NOT_READY | nt::REQUEST_NOT_ACCEPTED => wsa::EWOULDBLOCK,
        nt::PIPE_DISCONNECTED => wsa::ESHUTDOWN,
        nt::IO_TIMEOUT | nt::LINK_TIMEOUT => wsa::ETIMEDOUT,
        nt::REMOTE_NOT_LISTENING | nt::CONNECTION_REFUSED => wsa::ECONNREFUSED,
        nt::BAD_NETWORK_PATH | nt::NETWORK_UNREACHABLE | nt::PROTOCOL_UNREACHABLE => wsa::ENETUNREACH,
        nt::CANCELLED => wsa::OPERATION_ABORTED,
        nt::LOCAL_DISCONNECT | nt::TRANSACTION_ABORTED | nt::CONNECTION_ABORTED => wsa::ECONNABORTED,
        nt::REMOTE_DISCONNECT
        | nt::LINK_FAILED
        | nt::CONNECTION_DISCONNECTED
        | nt::CONNECTION_RESET
        | nt::PORT_UNREACHABLE => wsa::ECONNRESET,
        nt::INVALID_CONNECTION => wsa::ENOTCONN,
        nt::INVALID_ADDRESS | nt::INVALID_ADDRESS_COMPONENT => wsa::EADDRNOTAVAIL,
        nt::GRACEFUL_DISCONNECT => wsa::EDISCON,
        nt::CONNECTION_ACTIVE => wsa::EISCONN,
        nt::HOST_UNREACHABLE => wsa::EHOSTUNREACH,
        nt::REQUEST_ABORTED => wsa::EINTR,
        nt::HOST_DOWN => wsa::EHOSTDOWN,
        status if status.is_success() => WsaError::OK,
        _ => wsa::EINVAL,
    }
}

/// The status a filter returns for a Winsock error of the SPI page. Where the tested map has a way back, it is taken; three
/// errors have none: `WSAENOPROTOOPT`, `WSAEINPROGRESS` and `WSAENETRESET`, which the audit record carries beside the status.
#[must_use]
pub const fn canonical(error: WsaError) -> NtStatus {
    match error {
        WsaError::OK => nt::SUCCESS,
        wsa::EACCES => nt::ACCESS_DENIED,
        wsa::EFAULT => nt::BUFFER_TOO_SMALL,
        wsa::ENOTSOCK => nt::INVALID_HANDLE,
        wsa::ENOPROTOOPT | wsa::EOPNOTSUPP => nt::NOT_SUPPORTED,
        wsa::EADDRINUSE => nt::ADDRESS_ALREADY_EXISTS,
        wsa::ENETDOWN => nt::UNEXPECTED_NETWORK_ERROR,
        wsa::ENETRESET | wsa::ECONNABORTED => nt::CONNECTION_ABORTED,
        wsa::ENOTCONN => nt::INVALID_CONNECTION,
        wsa::ENOBUFS => nt::INSUFFICIENT_RESOURCES,
        wsa::EWOULDBLOCK => nt::DEVICE_NOT_READY,
        wsa::EINPROGRESS => nt::INVALID_DEVICE_STATE,
        wsa::ETIMEDOUT => nt::IO_TIMEOUT,
        wsa::ECONNRESET => nt::CONNECTION_RESET,
        wsa::ECONNREFUSED => nt::CONNECTION_REFUSED,
        _ => nt::INVALID_PARAMETER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_returns_where_a_status_exists() {
        let none = [wsa::ENOPROTOOPT, wsa::EINPROGRESS, wsa::ENETRESET];
        for error in [
            wsa::EACCES,
            wsa::EFAULT,
            wsa::EINVAL,
            wsa::ENOTSOCK,
            wsa::EOPNOTSUPP,
            wsa::EADDRINUSE,
            wsa::ENETDOWN,
            wsa::ENOTCONN,
            wsa::ENOBUFS,
            wsa::EWOULDBLOCK,
            wsa::ETIMEDOUT,
            wsa::ECONNRESET,
            wsa::ECONNREFUSED,
        ] {
            assert_eq!(to_wsa(canonical(error)), error, "{error:?}");
        }
        for error in none {
            let statuses = (0xC000_0000..=0xC000_0FFF)
                .chain(0x8000_0000..=0x8000_0FFF)
                .chain(0..=0xFFFF);
            assert!(
                statuses.map(NtStatus).all(|s| to_wsa(s) != error),
                "{error:?} has a status after all"
            );
            assert!(!canonical(error).is_success());
        }
    }

    #[test]
    fn success_and_what_has_no_way_back() {
        assert_eq!([nt::SUCCESS, NtStatus(0x4000_0000)].map(to_wsa), [WsaError::OK; 2]);
        assert_eq!(canonical(WsaError::OK), nt::SUCCESS);
        assert_eq!(canonical(wsa::ENETRESET), nt::CONNECTION_ABORTED);
        assert_eq!(canonical(wsa::ECONNABORTED), nt::CONNECTION_ABORTED);
        assert_eq!(canonical(wsa::EINPROGRESS), nt::INVALID_DEVICE_STATE);
        assert_eq!(canonical(WsaError(12345)), nt::INVALID_PARAMETER);
    }

    #[test]
    fn fifty_six_failures_have_a_name_of_their_own() {
        let failures = (0xC000_0000..=0xC000_0FFF)
            .chain(0x8000_0000..=0x8000_0FFF)
            .map(NtStatus);
        assert_eq!(failures.filter(|&s| to_wsa(s) != wsa::EINVAL).count(), 56);
    }
}
