//! The audit record: what one decision, state change or life event leaves behind. Plain data, any IRQL.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Version of the layout of [`AuditRecord`]. It changes with any change of the layout or of a field's meaning.
pub const VERSION: u8 = 1;

/// [`AuditRecord::rule`] of a decision that no rule made: the policy's default, or no policy.
pub const NO_RULE: u32 = u32::MAX;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A request and what was decided.
    Decision = 1,
    /// A change of an endpoint's state that no request asked for, or a request's late result.
    State = 2,
    /// An endpoint, client or policy came or went.
    Lifecycle = 3,
}

macro_rules! happenings {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $kind:ident, $text:literal;)*) => {
        /// What a record of another kind than decision tells of: its [`AuditRecord::code`]. Numbers and names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Happened { $($(#[$doc])* $name = $number,)* }

        impl Happened {
            /// Everything that happens.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Kind of its records.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// What has this number.
            #[must_use]
            pub const fn from_u32(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

happenings! {
    /// A socket was created or accepted. Recorded where everything is.
    EndpointOpened = 1, Lifecycle, "endpoint opened";
    /// Its close has completed. Recorded where everything is.
    EndpointClosed = 2, Lifecycle, "endpoint closed";
    /// A client driver attached.
    ClientAttached = 3, Lifecycle, "client attached";
    /// It has gone.
    ClientDetached = 4, Lifecycle, "client detached";
    /// A policy was put in force: `generation`.
    PolicyLoaded = 5, Lifecycle, "policy loaded";
    /// The provider below a client leaves: its sockets are dead from now on.
    ProviderLost = 6, Lifecycle, "provider lost";
    /// A connection was lost, cause unknown. `status`: what a call of it completed with; 0 where the provider only said so.
    ConnectionReset = 16, State, "connection reset";
    /// A connection was lost with a status that stands for keep-alive failure.
    KeepAliveFailed = 17, State, "keep-alive failed";
    /// Close waits for a graceful disconnect, as `SO_LINGER` asks.
    Lingering = 18, State, "lingering";
    /// The driver has started.
    Started = 32, Lifecycle, "started";
    /// A policy was refused; the status says why.
    PolicyRefused = 33, Lifecycle, "policy refused";
    /// The policy in force is kept for the next start.
    PolicyStored = 34, Lifecycle, "policy stored";
    /// The policy in force could not be kept for the next start; the status says why.
    PolicyNotStored = 35, Lifecycle, "policy not stored";
    /// What was kept last is damaged: the policy of before is in force.
    LastKnownGood = 36, Lifecycle, "last known good policy";
    /// What was kept is damaged, all of it: nothing is enforced, contract breaches are recorded.
    StoredPolicyBad = 37, Lifecycle, "stored policy bad";
    /// `Parameters\Mode=off`: nothing is decided, all is forwarded.
    TurnedOff = 38, Lifecycle, "turned off";
    /// Too many starts without a healthy mark: the same, until a policy is loaded.
    TurnedOffUnhealthy = 39, Lifecycle, "turned off as unhealthy";
    /// The driver ran long enough to count as healthy.
    Healthy = 40, Lifecycle, "healthy";
    /// Policy changes are refused from now on.
    Locked = 41, Lifecycle, "locked";
    /// The driver is about to be unloaded. Only a tracing session hears of it: the rings go too.
    Stopping = 42, Lifecycle, "stopping";
}

impl Happened {
    /// Whether an administrator has to be told: nothing, or not what was meant, is enforced now or after the next start.
    #[must_use]
    pub const fn is_loud(self) -> bool {
        matches!(
            self,
            Self::PolicyNotStored
                | Self::LastKnownGood
                | Self::StoredPolicyBad
                | Self::TurnedOff
                | Self::TurnedOffUnhealthy
        )
    }
}

/// A value was longer than 8 bytes, so a value field holds only its first 8.
pub const FLAG_TRUNCATED: u16 = 1 << 0;
/// Written because the endpoint has `SO_DEBUG` on.
pub const FLAG_VERBOSE: u16 = 1 << 1;
/// Decided in audit mode: recorded, not carried out.
pub const FLAG_NOT_ENFORCED: u16 = 1 << 2;
/// The request came at `DISPATCH_LEVEL`.
pub const FLAG_AT_DISPATCH: u16 = 1 << 3;
/// `old_value` is known.
pub const FLAG_HAS_OLD: u16 = 1 << 4;
/// `asked_value` is known.
pub const FLAG_HAS_ASKED: u16 = 1 << 5;
/// `new_value` is known.
pub const FLAG_HAS_NEW: u16 = 1 << 6;
/// The driver acted on its own: initial options, inheritance, linger.
pub const FLAG_OWN_REQUEST: u16 = 1 << 7;

/// One record. Fields that do not apply are 0.
///
/// Values are the option's bytes, little-endian, zero-extended to 8 (a LINGER is `l_onoff | l_linger << 16`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AuditRecord {
    /// Number of the record on its processor, from 0, without gaps. Filled in when it is read.
    pub sequence: u64,
    /// System time at which it was written, in 100 ns since 1601 (UTC).
    pub time: u64,
    /// [`crate::EndpointId`], or 0.
    pub endpoint: u64,
    /// Id of the client, or 0.
    pub client: u64,
    /// Value before the request.
    pub old_value: u64,
    /// Value that the client asked for.
    pub asked_value: u64,
    /// Value that the provider was given, or that is now in force.
    pub new_value: u64,
    /// Process id of the owning process, or 0.
    pub process: u64,
    /// Level of an option.
    pub level: u32,
    /// Option, IOCTL code, or what happened (kinds other than decision).
    pub code: u32,
    /// Index of the rule that decided, or [`NO_RULE`].
    pub rule: u32,
    /// Generation of the policy that decided; 0 without one.
    pub generation: u32,
    /// NTSTATUS that the client got.
    pub status: u32,
    /// The same as a Winsock error.
    pub wsa: u32,
    /// Length of the client's input in bytes; `u32::MAX` stands for that and more.
    pub input_length: u32,
    /// Scope id of `address`.
    pub scope: u32,
    /// Address family.
    pub family: u16,
    /// Port of a bind, host byte order.
    pub port: u16,
    /// `FLAG_*`.
    pub flags: u16,
    /// Processor whose ring it was in. Filled in when it is read.
    pub cpu: u16,
    /// [`VERSION`].
    pub version: u8,
    /// [`Kind`].
    pub kind: u8,
    /// [`crate::RequestKind`].
    pub request: u8,
    /// What was done with the request.
    pub action: u8,
    /// Why.
    pub reason: u8,
    /// [`crate::Mode`] in force.
    pub mode: u8,
    /// [`crate::Category`].
    pub category: u8,
    /// [`crate::Phase`] at the request.
    pub phase: u8,
    /// Address of a bind: IPv6, or IPv4 in the first 4 bytes; network byte order.
    pub address: [u8; 16],
}

/// An [`AuditRecord`] in words of 8 bytes. The first is its sequence.
pub(super) const WORDS: usize = 16;

const _: () = assert!(size_of::<AuditRecord>() == WORDS * 8 && align_of::<AuditRecord>() == 8);
const _: () =
    assert!(core::mem::offset_of!(AuditRecord, level) == 64 && core::mem::offset_of!(AuditRecord, family) == 96);
const _: () =
    assert!(core::mem::offset_of!(AuditRecord, version) == 104 && core::mem::offset_of!(AuditRecord, address) == 112);

impl AuditRecord {
    /// A record of that kind and time (100 ns since 1601) that says nothing else yet.
    #[must_use]
    pub fn new(kind: Kind, time: u64) -> Self {
        Self {
            time,
            rule: NO_RULE,
            version: VERSION,
            kind: kind as u8,
            ..Self::new_zeroed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_has_a_number_a_name_and_a_kind() {
        for (index, &happened) in Happened::ALL.iter().enumerate() {
            assert_eq!(Happened::from_u32(happened as u32), Some(happened));
            let before = &Happened::ALL[..index];
            assert!(before.iter().all(|other| other.name() != happened.name()));
            // Told by a word of its own, not as a decision.
            assert!(matches!(happened.kind(), Kind::Lifecycle | Kind::State));
        }
        assert_eq!((Happened::from_u32(0), Happened::from_u32(15)), (None, None));
        assert_eq!(Happened::KeepAliveFailed.kind(), Kind::State);
        assert_eq!(Happened::PolicyLoaded.kind(), Kind::Lifecycle);
    }

    #[test]
    fn flags_are_bits_of_their_own() {
        // Numbers that readers on disk and in other languages know.
        let flags = [
            FLAG_TRUNCATED,
            FLAG_VERBOSE,
            FLAG_NOT_ENFORCED,
            FLAG_AT_DISPATCH,
            FLAG_HAS_OLD,
            FLAG_HAS_ASKED,
            FLAG_HAS_NEW,
            FLAG_OWN_REQUEST,
        ];
        assert_eq!(flags, [1, 2, 4, 8, 16, 32, 64, 128]);
    }

    #[test]
    fn an_administrator_is_told_of_what_weakens_enforcement() {
        let loud: Vec<_> = Happened::ALL.iter().filter(|happened| happened.is_loud()).collect();
        assert_eq!(
            loud,
            [
                &Happened::PolicyNotStored,
                &Happened::LastKnownGood,
                &Happened::StoredPolicyBad,
                &Happened::TurnedOff,
                &Happened::TurnedOffUnhealthy,
            ]
        );
    }
}
