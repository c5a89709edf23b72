//! The IOCTLs of WSK.

use super::{DGRAM, IOCTL, IOCTL_IN, IOCTL_OUT, STREAM, with_irp};
use crate::catalogue::row::{CategorySet as C, Default, Irp, Kind, Opt, Row, Size, Support, Timing, Wsk};

pub(super) const ROWS: [Row; 8] = [
    // The IOCTLs: [WSK] the page of each.
    Row {
        id: Opt::SetRemoteAddress,
        name: "SIO_WSK_SET_REMOTE_ADDRESS",
        code: 0x8F00_0001,
        types: DGRAM,
        set_len: Size::SockaddrOrNothing,
        timing: Timing::AfterBind,
        default: Default::Varies,
        wsk: with_irp(C::DATAGRAM),
        ..IOCTL_IN
    },
    Row {
        id: Opt::RegisterExtension,
        name: "SIO_WSK_REGISTER_EXTENSION",
        code: 0xCF00_0002,
        set_len: Size::Words(3),
        get_len: Size::Words(2),
        wsk: Wsk {
            irp: Irp::Null,
            ..with_irp(C::all())
        },
        ..IOCTL
    },
    Row {
        id: Opt::QueryIdealSendBacklog,
        name: "SIO_WSK_QUERY_IDEAL_SEND_BACKLOG",
        code: 0x4F00_0003,
        kind: Kind::Int,
        get_len: Size::Words(1),
        timing: Timing::AfterConnect,
        wsk: with_irp(C::CONNECTION),
        ..IOCTL_OUT
    },
    Row {
        id: Opt::QueryReceiveBacklog,
        name: "SIO_WSK_QUERY_RECEIVE_BACKLOG",
        code: 0x4F00_0004,
        kind: Kind::Int,
        get_len: Size::Words(1),
        timing: Timing::AfterConnect,
        wsk: with_irp(C::CONNECTION),
        ..IOCTL_OUT
    },
    // Any other socket: STATUS_INVALID_DEVICE_REQUEST, from the provider.
    Row {
        id: Opt::QueryInspectId,
        name: "SIO_WSK_QUERY_INSPECT_ID",
        code: 0x4F00_0005,
        get_len: Size::Words(2),
        wsk: Wsk {
            irp: Irp::Null,
            wants_size: true,
            ..with_irp(C::CONNECTION)
        },
        ..IOCTL_OUT
    },
    Row {
        id: Opt::SetSendToAddress,
        name: "SIO_WSK_SET_SENDTO_ADDRESS",
        code: 0x8F00_0006,
        types: DGRAM,
        set_len: Size::SockaddrOrNothing,
        timing: Timing::AfterBind,
        default: Default::Varies,
        wsk: with_irp(C::DATAGRAM),
        ..IOCTL_IN
    },
    Row {
        id: Opt::SetTcpSilentMode,
        name: "SIO_WSK_SET_TCP_SILENT_MODE",
        code: 0x2F00_0007,
        kind: Kind::Opaque,
        types: STREAM,
        set_len: Size::Bytes(0),
        timing: Timing::AfterConnect,
        default: Default::Varies,
        wsk: with_irp(C::CONNECTION),
        ..IOCTL_IN
    },
    // [H] a comment in wsk.h: all receives go to the callback while it is set.
    Row {
        id: Opt::SetReceiveExCallback,
        name: "SIO_WSK_SET_RECEIVE_EX_CALLBACK",
        code: 0x8F00_0008,
        types: STREAM,
        set_len: Size::Words(1),
        default: Default::Varies,
        wsk: Wsk {
            support: Support::HeaderOnly,
            irp: Irp::Unsaid,
            ..with_irp(C::CONNECTION)
        },
        ..IOCTL_IN
    },
];
