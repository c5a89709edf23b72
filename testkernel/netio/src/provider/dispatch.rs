//! The dispatch tables that clients see. They are in read-only memory: a write to one is a crash.

use wsk_sys::{
    WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_DATAGRAM_DISPATCH,
    WSK_PROVIDER_DISPATCH, WSK_PROVIDER_LISTEN_DISPATCH, WSK_PROVIDER_STREAM_DISPATCH,
};

use super::socket::Category;
use super::{calls, functions, names};

pub(super) static PROVIDER: WSK_PROVIDER_DISPATCH = WSK_PROVIDER_DISPATCH {
    Version: wsk_sys::MAKE_WSK_VERSION(1, 0),
    Reserved: 0,
    WskSocket: Some(functions::socket),
    WskSocketConnect: Some(functions::socket_connect),
    WskControlClient: Some(functions::control_client),
    WskGetAddressInfo: Some(names::get_address_info),
    WskFreeAddressInfo: Some(names::free_address_info),
    WskGetNameInfo: Some(names::get_name_info),
};

static BASIC: WSK_PROVIDER_BASIC_DISPATCH = WSK_PROVIDER_BASIC_DISPATCH {
    WskControlSocket: Some(calls::control_socket),
    WskCloseSocket: Some(calls::close_socket),
};

static LISTEN: WSK_PROVIDER_LISTEN_DISPATCH = WSK_PROVIDER_LISTEN_DISPATCH {
    Basic: BASIC,
    WskBind: Some(calls::bind),
    WskAccept: Some(calls::accept),
    WskInspectComplete: Some(calls::inspect_complete),
    WskGetLocalAddress: Some(calls::get_local_address),
};

static DATAGRAM: WSK_PROVIDER_DATAGRAM_DISPATCH = WSK_PROVIDER_DATAGRAM_DISPATCH {
    Basic: BASIC,
    WskBind: Some(calls::bind),
    WskSendTo: Some(calls::send_to),
    WskReceiveFrom: Some(calls::receive_from),
    WskRelease: Some(calls::release_datagrams),
    WskGetLocalAddress: Some(calls::get_local_address),
    WskSendMessages: Some(calls::send_messages),
};

static CONNECTION: WSK_PROVIDER_CONNECTION_DISPATCH = WSK_PROVIDER_CONNECTION_DISPATCH {
    Basic: BASIC,
    WskBind: Some(calls::bind),
    WskConnect: Some(calls::connect),
    WskGetLocalAddress: Some(calls::get_local_address),
    WskGetRemoteAddress: Some(calls::get_remote_address),
    WskSend: Some(calls::send),
    WskReceive: Some(calls::receive),
    WskDisconnect: Some(calls::disconnect),
    WskRelease: Some(calls::release_data),
    WskConnectEx: Some(calls::connect_ex),
    WskSendEx: Some(calls::send_ex),
    WskReceiveEx: Some(calls::receive_ex),
};

static STREAM: WSK_PROVIDER_STREAM_DISPATCH = WSK_PROVIDER_STREAM_DISPATCH {
    Basic: BASIC,
    WskBind: Some(calls::bind),
    WskAccept: Some(calls::accept),
    WskConnect: Some(calls::connect),
    WskListen: Some(calls::listen),
    WskSend: Some(calls::send),
    WskReceive: Some(calls::receive),
    WskDisconnect: Some(calls::disconnect),
    WskRelease: Some(calls::release_data),
    WskGetLocalAddress: Some(calls::get_local_address),
    WskGetRemoteAddress: Some(calls::get_remote_address),
    WskConnectEx: Some(calls::connect_ex),
    WskSendEx: Some(calls::send_ex),
    WskReceiveEx: Some(calls::receive_ex),
};

/// The table of a category.
pub(super) fn table(category: Category) -> *const core::ffi::c_void {
    match category {
        Category::Basic => (&raw const BASIC).cast(),
        Category::Listen => (&raw const LISTEN).cast(),
        Category::Datagram => (&raw const DATAGRAM).cast(),
        Category::Connection => (&raw const CONNECTION).cast(),
        Category::Stream => (&raw const STREAM).cast(),
    }
}
