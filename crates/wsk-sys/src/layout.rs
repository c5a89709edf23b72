//! Sizes and offsets on 64-bit Windows, checked when the crate compiles.
#![cfg(target_pointer_width = "64")]

use core::mem::{align_of, offset_of, size_of};

#[allow(clippy::wildcard_imports, reason = "the list below names every type of this crate")]
use crate::*;

macro_rules! layout {
    ($($type:ty: $size:literal, $align:literal { $($field:ident @ $offset:literal),* })*) => {$(
        const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align, stringify!($type));
        $(const _: () = assert!(offset_of!($type, $field) == $offset, concat!(stringify!($type), ".", stringify!($field)));)*
    )*};
}
layout! {
    WSK_SOCKET: 8, 8 { Dispatch @ 0 }
    WSK_BUF: 24, 8 { Mdl @ 0, Offset @ 8, Length @ 16 }
    WSK_BUF_LIST: 32, 8 { Next @ 0, Buffer @ 8 }
    WSK_DATA_INDICATION: 32, 8 { Next @ 0, Buffer @ 8 }
    WSK_DATAGRAM_INDICATION: 56, 8 { Next @ 0, Buffer @ 8, ControlInfo @ 32, ControlInfoLength @ 40, RemoteAddress @ 48 }
    WSK_INSPECT_ID: 16, 8 { Key @ 0, SerialNumber @ 8 }
    WSK_EVENT_CALLBACK_CONTROL: 16, 8 { NpiId @ 0, EventMask @ 8 }
    WSK_EXTENSION_CONTROL_IN: 24, 8 { NpiId @ 0, ClientContext @ 8, ClientDispatch @ 16 }
    WSK_EXTENSION_CONTROL_OUT: 16, 8 { ProviderContext @ 0, ProviderDispatch @ 8 }
    WSK_PROVIDER_CHARACTERISTICS: 4, 2 { HighestVersion @ 0, LowestVersion @ 2 }
    WSK_TRANSPORT: 28, 4 { Version @ 0, SocketType @ 2, Protocol @ 4, AddressFamily @ 8, ProviderId @ 12 }
    WSK_CLIENT_DISPATCH: 16, 8 { Version @ 0, Reserved @ 2, WskClientEvent @ 8 }
    WSK_CLIENT_NPI: 16, 8 { ClientContext @ 0, Dispatch @ 8 }
    WSK_PROVIDER_NPI: 16, 8 { Client @ 0, Dispatch @ 8 }
    WSK_REGISTRATION: 24, 8 { ReservedRegistrationState @ 0, ReservedRegistrationContext @ 8, ReservedRegistrationLock @ 16 }
    WSK_CLIENT_LISTEN_DISPATCH: 24, 8 { WskAcceptEvent @ 0, WskInspectEvent @ 8, WskAbortEvent @ 16 }
    WSK_CLIENT_DATAGRAM_DISPATCH: 8, 8 { WskReceiveFromEvent @ 0 }
    WSK_CLIENT_CONNECTION_DISPATCH: 24, 8 { WskReceiveEvent @ 0, WskDisconnectEvent @ 8, WskSendBacklogEvent @ 16 }
    WSK_CLIENT_STREAM_DISPATCH: 16, 8 { Listen @ 0, Connect @ 8 }
    WSK_PROVIDER_DISPATCH: 56, 8 { Version @ 0, WskSocket @ 8, WskControlClient @ 24, WskGetNameInfo @ 48 }
    WSK_PROVIDER_BASIC_DISPATCH: 16, 8 { WskControlSocket @ 0, WskCloseSocket @ 8 }
    WSK_PROVIDER_LISTEN_DISPATCH: 48, 8 { Basic @ 0, WskBind @ 16, WskAccept @ 24, WskInspectComplete @ 32, WskGetLocalAddress @ 40 }
    WSK_PROVIDER_DATAGRAM_DISPATCH: 64, 8 { WskBind @ 16, WskSendTo @ 24, WskReceiveFrom @ 32, WskRelease @ 40, WskGetLocalAddress @ 48, WskSendMessages @ 56 }
    WSK_PROVIDER_CONNECTION_DISPATCH: 104, 8 { WskBind @ 16, WskConnect @ 24, WskGetLocalAddress @ 32, WskGetRemoteAddress @ 40, WskSend @ 48, WskReceive @ 56, WskDisconnect @ 64, WskRelease @ 72, WskConnectEx @ 80, WskSendEx @ 88, WskReceiveEx @ 96 }
    WSK_PROVIDER_STREAM_DISPATCH: 120, 8 { WskBind @ 16, WskAccept @ 24, WskConnect @ 32, WskListen @ 40, WskSend @ 48, WskReceive @ 56, WskDisconnect @ 64, WskRelease @ 72, WskGetLocalAddress @ 80, WskGetRemoteAddress @ 88, WskConnectEx @ 96, WskSendEx @ 104, WskReceiveEx @ 112 }
    SOCKADDR: 16, 2 { sa_family @ 0, sa_data @ 2 }
    SOCKADDR_IN: 16, 4 { sin_family @ 0, sin_port @ 2, sin_addr @ 4 }
    SOCKADDR_IN6: 28, 4 { sin6_family @ 0, sin6_port @ 2, sin6_flowinfo @ 4, sin6_addr @ 8, sin6_scope_id @ 24 }
    CMSGHDR: 16, 8 { cmsg_len @ 0, cmsg_level @ 8, cmsg_type @ 12 }
    NPI_MODULEID: 24, 4 { Length @ 0, Type @ 4, Value @ 8 }
    NPI_REGISTRATION_INSTANCE: 40, 8 { Version @ 0, Size @ 2, NpiId @ 8, ModuleId @ 16, Number @ 24, NpiSpecificCharacteristics @ 32 }
    NPI_CLIENT_CHARACTERISTICS: 72, 8 { Version @ 0, Length @ 2, ClientAttachProvider @ 8, ClientDetachProvider @ 16, ClientCleanupBindingContext @ 24, ClientRegistrationInstance @ 32 }
    NPI_PROVIDER_CHARACTERISTICS: 72, 8 { ProviderAttachClient @ 8, ProviderRegistrationInstance @ 32 }
    GUID: 16, 4 { Data1 @ 0, Data4 @ 8 }
}
