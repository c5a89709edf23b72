//! What is no ordinary option: control messages, mswsock.h, WSK.

use super::{
    ABSENT, DGRAM, LEGACY_DATA, LEGACY_LENGTH, LISTEN_DATAGRAM_CONNECTION, NOT_IN_WSK, OPTION, READ_ONLY, SET_ONLY,
    STREAM, with_irp,
};
use crate::catalogue::row::{
    CategorySet as C, Class, Default, Families, Inherits, Irp, Kind, Opt, Row, Size, Timing, Wsk,
};

pub(super) const ROWS: [Row; 19] = [
    // winsock-timestamping page: control-message types, not options.
    Row {
        id: Opt::Timestamp,
        name: "SO_TIMESTAMP",
        code: 0x300A,
        kind: Kind::Reserved,
        types: DGRAM,
        families: Families::All,
        wsk: NOT_IN_WSK,
        ..ABSENT
    },
    Row {
        id: Opt::TimestampId,
        name: "SO_TIMESTAMP_ID",
        code: 0x300B,
        kind: Kind::Reserved,
        types: DGRAM,
        families: Families::All,
        wsk: NOT_IN_WSK,
        ..ABSENT
    },
    // [H] a value only; redirected connections.
    Row {
        id: Opt::OriginalDst,
        name: "SO_ORIGINAL_DST",
        code: 0x300F,
        kind: Kind::Struct,
        class: Class::Sized,
        types: STREAM,
        get_len: Size::Bytes(128),
        inherits: Inherits::Untested,
        default: Default::None,
        ..READ_ONLY
    },
    // [SOL], [H] mswsock.h: the eight of DECNet and OSI TP4.
    Row {
        id: Opt::ConnData,
        name: "SO_CONNDATA",
        code: 0x7000,
        ..LEGACY_DATA
    },
    Row {
        id: Opt::ConnOpt,
        name: "SO_CONNOPT",
        code: 0x7001,
        ..LEGACY_DATA
    },
    Row {
        id: Opt::DiscData,
        name: "SO_DISCDATA",
        code: 0x7002,
        ..LEGACY_DATA
    },
    Row {
        id: Opt::DiscOpt,
        name: "SO_DISCOPT",
        code: 0x7003,
        ..LEGACY_DATA
    },
    Row {
        id: Opt::ConnDataLen,
        name: "SO_CONNDATALEN",
        code: 0x7004,
        ..LEGACY_LENGTH
    },
    Row {
        id: Opt::ConnOptLen,
        name: "SO_CONNOPTLEN",
        code: 0x7005,
        ..LEGACY_LENGTH
    },
    Row {
        id: Opt::DiscDataLen,
        name: "SO_DISCDATALEN",
        code: 0x7006,
        ..LEGACY_LENGTH
    },
    Row {
        id: Opt::DiscOptLen,
        name: "SO_DISCOPTLEN",
        code: 0x7007,
        ..LEGACY_LENGTH
    },
    // [H] mswsock.h; [T] per thread, the handle is ignored, any int is stored.
    Row {
        id: Opt::OpenType,
        name: "SO_OPENTYPE",
        code: 0x7008,
        class: Class::Thread,
        inherits: Inherits::No,
        wsk: NOT_IN_WSK,
        ..OPTION
    },
    // [SOL] no meaning for streams; the second may be taken as the first.
    Row {
        id: Opt::MaxDg,
        name: "SO_MAXDG",
        code: 0x7009,
        types: DGRAM,
        default: Default::None,
        ..READ_ONLY
    },
    Row {
        id: Opt::MaxPathDg,
        name: "SO_MAXPATHDG",
        code: 0x700A,
        types: DGRAM,
        default: Default::None,
        ..READ_ONLY
    },
    // [T] the value is the listening SOCKET (the page types it DWORD).
    Row {
        id: Opt::UpdateAcceptContext,
        name: "SO_UPDATE_ACCEPT_CONTEXT",
        code: 0x700B,
        kind: Kind::Struct,
        class: Class::Sized,
        set_len: Size::Words(1),
        types: STREAM,
        inherits: Inherits::No,
        default: Default::None,
        wsk: NOT_IN_WSK,
        ..SET_ONLY
    },
    // [SOL] seconds; [T] 0xFFFFFFFF unconnected, UDP too.
    Row {
        id: Opt::ConnectTime,
        name: "SO_CONNECT_TIME",
        code: 0x700C,
        types: STREAM,
        default: Default::Value(0xFFFF_FFFF),
        ..READ_ONLY
    },
    // [SOL] after ConnectEx.
    Row {
        id: Opt::UpdateConnectContext,
        name: "SO_UPDATE_CONNECT_CONTEXT",
        code: 0x7010,
        kind: Kind::Bool,
        class: Class::Opaque,
        set_len: Size::ZeroOr(4),
        types: STREAM,
        inherits: Inherits::No,
        default: Default::None,
        wsk: NOT_IN_WSK,
        ..SET_ONLY
    },
    // [WSK] PSECURITY_DESCRIPTOR cached by WSK_CACHE_SD, before WskBind; the default one denies sharing.
    Row {
        id: Opt::WskSecurity,
        name: "SO_WSK_SECURITY",
        code: 0x4001,
        kind: Kind::Struct,
        class: Class::Sized,
        set_len: Size::Words(1),
        get_len: Size::Words(1),
        timing: Timing::BeforeBind,
        default: Default::Varies,
        wsk: with_irp(LISTEN_DATAGRAM_CONNECTION),
        ..OPTION
    },
    // [WSK] WSK_EVENT_CALLBACK_CONTROL; no IRP to enable, optional to disable; basic with an extension.
    Row {
        id: Opt::WskEventCallback,
        name: "SO_WSK_EVENT_CALLBACK",
        code: 0x4002,
        kind: Kind::Struct,
        class: Class::Sized,
        set_len: Size::Words(2),
        timing: Timing::AfterBindOrConnect,
        inherits: Inherits::Yes,
        default: Default::Varies,
        wsk: Wsk {
            irp: Irp::Optional,
            ..with_irp(C::all())
        },
        ..SET_ONLY
    },
];
