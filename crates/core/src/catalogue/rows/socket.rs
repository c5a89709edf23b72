//! The other options of ws2def.h that sockets have.

use super::{ABSENT, BOOL, BOTH, DGRAM, LISTEN_DATAGRAM_CONNECTION, OPTION, READ_ONLY, SOCKET_BOOL, STREAM, with_irp};
use crate::catalogue::row::{CategorySet as C, Class, Default, Inherits, Kind, Opt, Row, Size, Timing};

pub(super) const ROWS: [Row; 21] = [
    // [SOL] get only; [T] 0, after listen 1; set WSAENOPROTOOPT.
    Row {
        id: Opt::AcceptConn,
        name: "SO_ACCEPTCONN",
        code: 0x2,
        kind: Kind::Bool,
        types: STREAM,
        ..READ_ONLY
    },
    // [SOL] get and set WSAEINVAL.
    Row {
        id: Opt::UseLoopback,
        name: "SO_USELOOPBACK",
        code: 0x40,
        kind: Kind::Bool,
        ..ABSENT
    },
    // [H] (int)(~SO_REUSEADDR); [T] WSAEINVAL while SO_REUSEADDR is set; [WSK] before WskBind.
    Row {
        id: Opt::ExclusiveAddrUse,
        name: "SO_EXCLUSIVEADDRUSE",
        code: 0xFFFF_FFFB,
        types: BOTH,
        timing: Timing::BeforeBind,
        wsk: with_irp(LISTEN_DATAGRAM_CONNECTION),
        ..SOCKET_BOOL
    },
    // [SOL] get and set WSAEINVAL.
    Row {
        id: Opt::SndLowAt,
        name: "SO_SNDLOWAT",
        code: 0x1003,
        ..ABSENT
    },
    // [SOL] get and set WSAEINVAL.
    Row {
        id: Opt::RcvLowAt,
        name: "SO_RCVLOWAT",
        code: 0x1004,
        ..ABSENT
    },
    // [SOL] milliseconds, 0 is for ever; [T] inherited.
    Row {
        id: Opt::SndTimeo,
        name: "SO_SNDTIMEO",
        code: 0x1005,
        class: Class::D,
        types: BOTH,
        inherits: Inherits::Yes,
        ..OPTION
    },
    // [SOL] milliseconds, 0 is for ever; [T] inherited, not for overlapped receives.
    Row {
        id: Opt::RcvTimeo,
        name: "SO_RCVTIMEO",
        code: 0x1006,
        class: Class::D,
        types: BOTH,
        inherits: Inherits::Yes,
        ..OPTION
    },
    // [SOL] get only, read clears; [T] settable, not cleared by reading, not inherited.
    Row {
        id: Opt::Error,
        name: "SO_ERROR",
        code: 0x1007,
        types: BOTH,
        inherits: Inherits::No,
        ..OPTION
    },
    // [SOL] get only; [T] set: UDP WSAEINVAL, TCP WSAENOPROTOOPT.
    Row {
        id: Opt::Type,
        name: "SO_TYPE",
        code: 0x1008,
        inherits: Inherits::Yes,
        default: Default::Varies,
        ..READ_ONLY
    },
    // so-bsp-state page; [T] room for both addresses is needed too.
    Row {
        id: Opt::BspState,
        name: "SO_BSP_STATE",
        code: 0x1009,
        kind: Kind::Struct,
        class: Class::Sized,
        types: BOTH,
        get_len: Size::BspState,
        default: Default::None,
        ..READ_ONLY
    },
    // [SOL] reserved.
    Row {
        id: Opt::GroupId,
        name: "SO_GROUP_ID",
        code: 0x2001,
        kind: Kind::Reserved,
        inherits: Inherits::Untested,
        reserved: true,
        ..READ_ONLY
    },
    // [SOL] no meaning for streams; [T] UDP 65507 or 65527.
    Row {
        id: Opt::MaxMsgSize,
        name: "SO_MAX_MSG_SIZE",
        code: 0x2003,
        types: DGRAM,
        default: Default::Value(65507),
        ..READ_ONLY
    },
    // [SOL]; [T] short: WSAEFAULT and the needed size, long: the length is left alone. Sizes: winsock2.h.
    Row {
        id: Opt::ProtocolInfoA,
        name: "SO_PROTOCOL_INFOA",
        code: 0x2004,
        kind: Kind::Struct,
        class: Class::Sized,
        get_len: Size::Bytes(372),
        default: Default::None,
        ..READ_ONLY
    },
    Row {
        id: Opt::ProtocolInfoW,
        name: "SO_PROTOCOL_INFOW",
        code: 0x2005,
        kind: Kind::Struct,
        class: Class::Sized,
        get_len: Size::Bytes(628),
        default: Default::None,
        ..READ_ONLY
    },
    // so-conditional-accept page: at least a DWORD, before listen, default FALSE; [WSK] listen, before WskBind.
    Row {
        id: Opt::ConditionalAccept,
        name: "SO_CONDITIONAL_ACCEPT",
        code: 0x3002,
        types: STREAM,
        timing: Timing::BeforeListen,
        inherits: Inherits::No,
        wsk: with_irp(C::LISTEN),
        ..BOOL
    },
    // [SOL] a listener that answers every connection with RST while it is set.
    Row {
        id: Opt::PauseAccept,
        name: "SO_PAUSE_ACCEPT",
        code: 0x3003,
        types: STREAM,
        ..BOOL
    },
    // [H] a value only.
    Row {
        id: Opt::CompartmentId,
        name: "SO_COMPARTMENT_ID",
        code: 0x3004,
        timing: Timing::Unknown,
        default: Default::Varies,
        ..OPTION
    },
    // [SOL] unbound sockets; fails after SO_REUSE_UNICASTPORT.
    Row {
        id: Opt::RandomizePort,
        name: "SO_RANDOMIZE_PORT",
        code: 0x3005,
        types: BOTH,
        timing: Timing::BeforeBind,
        ..BOOL
    },
    // so-port-scalability page: before bind.
    Row {
        id: Opt::PortScalability,
        name: "SO_PORT_SCALABILITY",
        code: 0x3006,
        types: BOTH,
        timing: Timing::BeforeBind,
        ..BOOL
    },
    // [SOL] Windows 10; sockets that are bound explicitly.
    Row {
        id: Opt::ReuseUnicastPort,
        name: "SO_REUSE_UNICASTPORT",
        code: 0x3007,
        types: STREAM,
        timing: Timing::BeforeBind,
        ..BOOL
    },
    // [SOL] Windows 10; the table says get only, the text describes setting it.
    Row {
        id: Opt::ReuseMulticastPort,
        name: "SO_REUSE_MULTICASTPORT",
        code: 0x3008,
        types: DGRAM,
        timing: Timing::BeforeBind,
        ..OPTION
    },
];
