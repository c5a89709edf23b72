//! IOCTL codes: device type, function, `METHOD_BUFFERED`, access.

/// Device type, in the range left to vendors.
pub const DEVICE_TYPE: u32 = 0x9A1C;

const FILE_READ_ACCESS: u32 = 1;
const FILE_WRITE_ACCESS: u32 = 2;
const METHOD_BUFFERED: u32 = 0;

const fn ctl_code(function: u32, access: u32) -> u32 {
    (DEVICE_TYPE << 16) | (access << 14) | (function << 2) | METHOD_BUFFERED
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $function:literal, $access:ident;)*) => {
        /// What can be asked of the control device. Reads ask for `FILE_READ_ACCESS`, changes for `FILE_WRITE_ACCESS`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Code {
            $($(#[$doc])* $name = ctl_code($function, $access),)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code of this number, if it is one.
            #[must_use]
            pub const fn from_u32(code: u32) -> Option<Self> {
                $(if code == Self::$name as u32 { return Some(Self::$name); })*
                None
            }
        }
    };
}
codes! {
    /// In: nothing, or anything. Out: [`crate::VersionReply`]. Answers every version.
    QueryVersion = 0x800, FILE_READ_ACCESS;
    /// In: [`crate::Request`]. Out: [`crate::StatusReply`].
    QueryStatus = 0x801, FILE_READ_ACCESS;
    /// In: [`crate::SetPolicyRequest`] and the image. Out: [`crate::PolicyReply`]. A refused image leaves the old policy in force.
    SetPolicy = 0x802, FILE_WRITE_ACCESS;
    /// In: [`crate::GetPolicyRequest`]. Out: [`crate::PolicyReply`] and a piece of the image in force.
    GetPolicy = 0x803, FILE_READ_ACCESS;
    /// In: [`crate::Request`]. Out: [`crate::CountersReply`] and one u64 per counter.
    QueryCounters = 0x804, FILE_READ_ACCESS;
    /// In: [`crate::RangeRequest`]. Out: [`crate::CountersReply`] and one u64 per rule, the default action last.
    QueryRuleCounters = 0x805, FILE_READ_ACCESS;
    /// In: [`crate::ListEndpointsRequest`]. Out: [`crate::ListReply`] and [`crate::EndpointInfo`]s.
    ListEndpoints = 0x806, FILE_READ_ACCESS;
    /// In: [`crate::QueryEndpointRequest`]. Out: [`crate::ListReply`] and one [`crate::EndpointInfo`].
    QueryEndpoint = 0x807, FILE_READ_ACCESS;
    /// In: [`crate::RangeRequest`]. Out: [`crate::ListReply`] and [`crate::ClientInfo`]s.
    ListClients = 0x808, FILE_READ_ACCESS;
    /// In: [`crate::ReadAuditRequest`]. Out: [`crate::AuditReply`] and [`crate::AuditEntry`]s, at once.
    ReadAudit = 0x809, FILE_READ_ACCESS;
    /// As `ReadAudit`, but pended until there is a record; one at a time per file object, cancellable.
    WaitAudit = 0x80A, FILE_READ_ACCESS;
    /// In: [`crate::DrainRequest`]. Out: [`crate::DrainReply`]. Begins or ends draining: while it lasts no client can attach.
    Drain = 0x80B, FILE_WRITE_ACCESS;
    /// In: [`crate::Request`]. Refuses `SetPolicy` and `Drain` until the next start of the machine.
    Lock = 0x80C, FILE_WRITE_ACCESS;
}

const _: () = assert!(Code::QueryVersion as u32 == 0x9A1C_6000);
