//! Our dispatch tables: what a client's socket points to, one for each category.

use core::ffi::c_void;

use wsk_sys::{
    WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_DATAGRAM_DISPATCH,
    WSK_PROVIDER_DISPATCH, WSK_PROVIDER_LISTEN_DISPATCH, WSK_PROVIDER_STREAM_DISPATCH,
};
use wskguard_core::Category;

use super::{
    accept, bind, close, connect, create,
    forward::{connection, datagram, listen, stream},
    socket_connect, whole,
};
use crate::control::control_socket;

const BASIC: WSK_PROVIDER_BASIC_DISPATCH = WSK_PROVIDER_BASIC_DISPATCH {
    WskControlSocket: Some(control_socket),
    WskCloseSocket: Some(close::close_socket),
};

static BASIC_TABLE: WSK_PROVIDER_BASIC_DISPATCH = BASIC;

static LISTEN_TABLE: WSK_PROVIDER_LISTEN_DISPATCH = WSK_PROVIDER_LISTEN_DISPATCH {
    Basic: BASIC,
    WskBind: Some(bind::bind::<WSK_PROVIDER_LISTEN_DISPATCH>),
    WskAccept: Some(accept::accept::<WSK_PROVIDER_LISTEN_DISPATCH>),
    WskInspectComplete: Some(listen::inspect_complete),
    WskGetLocalAddress: Some(listen::local_address),
};

static DATAGRAM_TABLE: WSK_PROVIDER_DATAGRAM_DISPATCH = WSK_PROVIDER_DATAGRAM_DISPATCH {
    Basic: BASIC,
    WskBind: Some(bind::bind::<WSK_PROVIDER_DATAGRAM_DISPATCH>),
    WskSendTo: Some(datagram::send_to),
    WskReceiveFrom: Some(datagram::receive_from),
    WskRelease: Some(datagram::release),
    WskGetLocalAddress: Some(datagram::local_address),
    WskSendMessages: Some(datagram::send_messages),
};

static CONNECTION_TABLE: WSK_PROVIDER_CONNECTION_DISPATCH = WSK_PROVIDER_CONNECTION_DISPATCH {
    Basic: BASIC,
    WskBind: Some(bind::bind::<WSK_PROVIDER_CONNECTION_DISPATCH>),
    WskConnect: Some(connect::connect::<WSK_PROVIDER_CONNECTION_DISPATCH>),
    WskGetLocalAddress: Some(connection::local_address),
    WskGetRemoteAddress: Some(connection::remote_address),
    WskSend: Some(connection::send),
    WskReceive: Some(connection::receive),
    WskDisconnect: Some(connect::disconnect::<WSK_PROVIDER_CONNECTION_DISPATCH>),
    WskRelease: Some(connection::release),
    WskConnectEx: Some(connect::connect_ex::<WSK_PROVIDER_CONNECTION_DISPATCH>),
    WskSendEx: Some(connection::send_ex),
    WskReceiveEx: Some(connection::receive_ex),
};

static STREAM_TABLE: WSK_PROVIDER_STREAM_DISPATCH = WSK_PROVIDER_STREAM_DISPATCH {
    Basic: BASIC,
    WskBind: Some(bind::bind::<WSK_PROVIDER_STREAM_DISPATCH>),
    WskAccept: Some(accept::accept::<WSK_PROVIDER_STREAM_DISPATCH>),
    WskConnect: Some(connect::connect::<WSK_PROVIDER_STREAM_DISPATCH>),
    WskListen: Some(connect::listen),
    WskSend: Some(stream::send),
    WskReceive: Some(stream::receive),
    WskDisconnect: Some(connect::disconnect::<WSK_PROVIDER_STREAM_DISPATCH>),
    WskRelease: Some(stream::release),
    WskGetLocalAddress: Some(stream::local_address),
    WskGetRemoteAddress: Some(stream::remote_address),
    WskConnectEx: Some(connect::connect_ex::<WSK_PROVIDER_STREAM_DISPATCH>),
    WskSendEx: Some(stream::send_ex),
    WskReceiveEx: Some(stream::receive_ex),
};

/// Our table of a category.
pub fn table_of(category: Category) -> *const c_void {
    match category {
        Category::Basic => (&raw const BASIC_TABLE).cast(),
        Category::Listen => (&raw const LISTEN_TABLE).cast(),
        Category::Datagram => (&raw const DATAGRAM_TABLE).cast(),
        Category::Connection => (&raw const CONNECTION_TABLE).cast(),
        Category::Stream => (&raw const STREAM_TABLE).cast(),
    }
}

/// The table that a client which asked for `version` is given.
pub fn provider_dispatch(version: u16) -> WSK_PROVIDER_DISPATCH {
    WSK_PROVIDER_DISPATCH {
        Version: version,
        Reserved: 0,
        WskSocket: Some(create::socket),
        WskSocketConnect: Some(socket_connect::socket_connect),
        WskControlClient: Some(whole::control_client),
        WskGetAddressInfo: Some(whole::get_address_info),
        WskFreeAddressInfo: Some(whole::free_address_info),
        WskGetNameInfo: Some(whole::get_name_info),
    }
}
