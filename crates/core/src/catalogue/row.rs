//! The columns of the catalogue. Plain data, any IRQL.

use crate::{Category, SocketType};

/// One row: an option of level `SOL_SOCKET`, or an IOCTL.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The row's own identity, which is its position in [`super::OPTIONS`].
    pub id: Opt,
    /// Name in the headers.
    pub name: &'static str,
    /// Full 32-bit value; never compared by its low half alone.
    pub code: u32,
    /// Option or IOCTL.
    pub space: Space,
    /// Type of the value.
    pub kind: Kind,
    /// How lengths and values are treated.
    pub class: Class,
    /// Documented length of a set (for an IOCTL, of its input).
    pub set_len: Size,
    /// Documented length of a get (for an IOCTL, of its output).
    pub get_len: Size,
    /// A set exists.
    pub settable: bool,
    /// A get exists.
    pub gettable: bool,
    /// Socket types it applies to.
    pub types: TypeSet,
    /// What becomes of it on the address families.
    pub families: Families,
    /// When a set must come to have an effect.
    pub timing: Timing,
    /// Whether an accepted socket starts with the listener's value.
    pub inherits: Inherits,
    /// Value before any set.
    pub default: Default,
    /// Called reserved by the documentation.
    pub reserved: bool,
    /// What WSK documents.
    pub wsk: Wsk,
}

/// Identity of a catalogue row. The order is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named like its option and described by its row")]
pub enum Opt {
    Broadcast,
    Debug,
    DontLinger,
    DontRoute,
    GroupPriority,
    KeepAlive,
    Linger,
    OobInline,
    RcvBuf,
    ReuseAddr,
    SndBuf,
    PvdConfig,
    AcceptConn,
    UseLoopback,
    ExclusiveAddrUse,
    SndLowAt,
    RcvLowAt,
    SndTimeo,
    RcvTimeo,
    Error,
    Type,
    BspState,
    GroupId,
    MaxMsgSize,
    ProtocolInfoA,
    ProtocolInfoW,
    ConditionalAccept,
    PauseAccept,
    CompartmentId,
    RandomizePort,
    PortScalability,
    ReuseUnicastPort,
    ReuseMulticastPort,
    Timestamp,
    TimestampId,
    OriginalDst,
    ConnData,
    ConnOpt,
    DiscData,
    DiscOpt,
    ConnDataLen,
    ConnOptLen,
    DiscDataLen,
    DiscOptLen,
    OpenType,
    MaxDg,
    MaxPathDg,
    UpdateAcceptContext,
    ConnectTime,
    UpdateConnectContext,
    WskSecurity,
    WskEventCallback,
    SetRemoteAddress,
    RegisterExtension,
    QueryIdealSendBacklog,
    QueryReceiveBacklog,
    QueryInspectId,
    SetSendToAddress,
    SetTcpSilentMode,
    SetReceiveExCallback,
}

impl Opt {
    /// The row of this entry.
    #[must_use]
    pub fn row(self) -> &'static Row {
        let index = self as usize;
        // The table is in the order of `Opt`, asserted when it is compiled, so the fallback is never taken.
        super::OPTIONS.get(index).unwrap_or(&super::OPTIONS[0])
    }
}

/// The two number spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Level `SOL_SOCKET`.
    Socket,
    /// An IOCTL, whose level is ignored.
    Ioctl,
}

/// Type of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the column's words")]
pub enum Kind {
    Bool,
    Int,
    Linger,
    Struct,
    Opaque,
    Reserved,
}

/// How Windows treats lengths and values, as tested (A to D), or as documented where nothing was tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Socket-layer boolean: every set length is accepted; any nonzero value is TRUE.
    A,
    /// Transport boolean: one byte; the lowest byte counts.
    B,
    /// Four bytes; a short get is refused and zeroes the buffer.
    C,
    /// Four bytes; a short get is refused and leaves the buffer alone.
    D,
    /// As D, per thread; a get of length -1 succeeds.
    Thread,
    /// Four bytes or more, by documentation; otherwise as D.
    Dword,
    /// A structure of the documented size.
    Sized,
    /// Bytes without a known structure, or no length rule.
    Opaque,
}

/// The lengths whose outcome was tested: 0, 1, 2, 4, 8 and -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthSet(pub(super) u8);

impl LengthSet {
    /// No length.
    pub const NONE: Self = Self(0);

    /// The set of the given lengths; other numbers are not counted.
    #[must_use]
    pub const fn of(lengths: &[i32]) -> Self {
        let mut bits = 0;
        let mut rest = lengths;
        while let [first, tail @ ..] = rest {
            bits |= match *first {
                0 => 1,
                1 => 2,
                2 => 4,
                4 => 8,
                8 => 16,
                -1 => 32,
                _ => 0,
            };
            rest = tail;
        }
        Self(bits)
    }
}

impl Class {
    /// Tested set lengths: accepted and refused. Source: \[T\] `test_optsize`.
    #[must_use]
    pub const fn set_lengths(self) -> (LengthSet, LengthSet) {
        match self {
            Self::A => (LengthSet::of(&[0, 1, 2, 4, 8, -1]), LengthSet::NONE),
            Self::B => (LengthSet::of(&[1, 2, 4, 8]), LengthSet::of(&[0, -1])),
            Self::C | Self::D | Self::Thread => (LengthSet::of(&[4, 8, -1]), LengthSet::of(&[0, 1, 2])),
            Self::Dword | Self::Sized | Self::Opaque => (LengthSet::NONE, LengthSet::NONE),
        }
    }

    /// Tested get lengths: accepted and refused. Source: \[T\] `test_optsize`.
    #[must_use]
    pub const fn get_lengths(self) -> (LengthSet, LengthSet) {
        match self {
            Self::A | Self::B => (LengthSet::of(&[1, 2, 4, 8]), LengthSet::of(&[0, -1])),
            Self::C | Self::D => (LengthSet::of(&[4, 8]), LengthSet::of(&[0, 1, 2, -1])),
            Self::Thread => (LengthSet::of(&[4, 8, -1]), LengthSet::of(&[0, 1, 2])),
            Self::Dword | Self::Sized | Self::Opaque => (LengthSet::NONE, LengthSet::NONE),
        }
    }
}

/// A documented length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// There is none.
    Absent,
    /// So many bytes.
    Bytes(u16),
    /// Nothing, or so many bytes.
    ZeroOr(u16),
    /// So many pointers; a smaller member is padded to one.
    Words(u8),
    /// A `CSADDR_INFO` and the two addresses it points to.
    BspState,
    /// A `SOCKADDR` of the socket's family, or nothing.
    SockaddrOrNothing,
    /// Variable.
    Variable,
    /// The provider's own.
    Provider,
}

impl Size {
    /// Bytes that a buffer must have, where the documentation gives a fixed number.
    #[must_use]
    pub const fn minimum(self) -> Option<usize> {
        match self {
            Self::Bytes(bytes) => Some(bytes as usize),
            Self::Words(words) => Some((words as usize).saturating_mul(size_of::<usize>())),
            _ => None,
        }
    }
}

bitflags::bitflags! {
    /// Socket types.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TypeSet: u8 {
        /// `SOCK_STREAM`.
        const STREAM = 1;
        /// `SOCK_DGRAM`.
        const DGRAM = 2;
        /// `SOCK_RAW`.
        const RAW = 4;
    }

    /// WSK socket categories.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CategorySet: u8 {
        /// Basic.
        const BASIC = 1;
        /// Listening.
        const LISTEN = 2;
        /// Connection-oriented.
        const CONNECTION = 4;
        /// Datagram.
        const DATAGRAM = 8;
    }
}

impl TypeSet {
    /// Whether the set applies to a socket of type `ty`. No page speaks of raw sockets: they are taken like datagram sockets.
    #[must_use]
    pub const fn applies(self, ty: SocketType) -> bool {
        self.intersects(match ty {
            SocketType::Stream => Self::STREAM,
            SocketType::Dgram => Self::DGRAM,
            SocketType::Raw => Self::RAW.union(Self::DGRAM),
        })
    }
}

impl CategorySet {
    /// Whether `category` is a member. A stream socket is a listening and a connection-oriented one: the option pages leave
    /// it out, the page on socket categories describes it so.
    #[must_use]
    pub const fn applies(self, category: Category) -> bool {
        self.intersects(match category {
            Category::Basic => Self::BASIC,
            Category::Listen => Self::LISTEN,
            Category::Connection => Self::CONNECTION,
            Category::Datagram => Self::DATAGRAM,
            Category::Stream => Self::LISTEN.union(Self::CONNECTION),
        })
    }
}

/// What becomes of an option on the address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Nothing special is documented.
    All,
    /// The same on IPv4 and IPv6; ATM refuses it.
    NotAtm,
    /// IPv4 only; IPv6 and ATM refuse it.
    InetOnly,
    /// ATM accepts it and ignores it.
    AtmIgnores,
    /// TCP/IP does not support it on any family.
    NotTcpIp,
}

/// When a set must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// At any time.
    Any,
    /// Before bind; later it has no effect.
    BeforeBind,
    /// Before listen; a WSK client must set it before bind.
    BeforeListen,
    /// After bind.
    AfterBind,
    /// After connect.
    AfterConnect,
    /// After bind, on a connection socket after connect.
    AfterBindOrConnect,
    /// Nothing is known.
    Unknown,
}

/// Whether an accepted socket starts with the listener's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherits {
    /// Yes: tested or documented for this option.
    Yes,
    /// No: it is a state, or per thread, or of the listener alone.
    No,
    /// Untested; the general rule of the SPI page for accept ("the same properties") covers it.
    Untested,
}

/// Value before any set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This number.
    Value(u32),
    /// Depends on the transport, the socket or the moment.
    Varies,
    /// There is no value.
    None,
}

/// How far WSK documents a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It has a page.
    Documented,
    /// Only a comment in wsk.h.
    HeaderOnly,
    /// No word.
    Undocumented,
    /// Cannot exist there.
    NotApplicable,
}

/// Whether a WSK request must come with an IRP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irp {
    /// Required.
    Required,
    /// Must be NULL.
    Null,
    /// Needed in one form of the request, not in another.
    Optional,
    /// Not said.
    Unsaid,
}

/// What WSK documents.
#[derive(Clone, Copy, Debug)]
pub struct Wsk {
    /// How far.
    pub support: Support,
    /// IRP rule.
    pub irp: Irp,
    /// `OutputSizeReturned` is the way the length comes back.
    pub wants_size: bool,
    /// Categories; empty where none is documented.
    pub categories: CategorySet,
}
