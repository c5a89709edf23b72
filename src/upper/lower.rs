//! The provider's tables, as our wrappers call them.
//!
//! They carry no size: nothing is read past what Windows 10 2004, the lowest supported, exports.

use wsk_sys::{
    PFN_WSK_ACCEPT, PFN_WSK_BIND, PFN_WSK_CLOSE_SOCKET, PFN_WSK_CONNECT, PFN_WSK_CONNECT_EX, PFN_WSK_CONTROL_SOCKET,
    PFN_WSK_DISCONNECT, PFN_WSK_GET_LOCAL_ADDRESS, PWSK_SOCKET, WSK_PROVIDER_BASIC_DISPATCH,
    WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_DATAGRAM_DISPATCH, WSK_PROVIDER_LISTEN_DISPATCH,
    WSK_PROVIDER_STREAM_DISPATCH,
};
use wskguard_core::Category;

use crate::endpoint::Endpoint;

/// The provider's table of a socket.
///
/// # Safety
/// `lower` is a live socket of the provider, of the category that has table `T`.
#[inline]
pub unsafe fn table<'a, T>(lower: PWSK_SOCKET) -> &'a T {
    // SAFETY: every socket begins with the pointer to its table.
    let table = unsafe { (*lower).Dispatch };
    // SAFETY: the table is resident while the socket lives, and of the caller's kind.
    unsafe { &*table.cast::<T>() }
}

/// `WskControlSocket` of any socket.
///
/// # Safety
/// `lower` is a live socket of the provider.
pub unsafe fn control(lower: PWSK_SOCKET) -> Option<PFN_WSK_CONTROL_SOCKET> {
    // SAFETY: every category's table begins with the basic one.
    unsafe { table::<WSK_PROVIDER_BASIC_DISPATCH>(lower) }.WskControlSocket
}

/// `WskCloseSocket` of any socket.
///
/// # Safety
/// `lower` is a live socket of the provider.
pub unsafe fn close(lower: PWSK_SOCKET) -> Option<PFN_WSK_CLOSE_SOCKET> {
    // SAFETY: every category's table begins with the basic one.
    unsafe { table::<WSK_PROVIDER_BASIC_DISPATCH>(lower) }.WskCloseSocket
}

/// `WskDisconnect` of a socket that may have a connection.
pub fn disconnect(endpoint: &Endpoint) -> Option<PFN_WSK_DISCONNECT> {
    let lower = endpoint.lower_to_end();
    if lower.is_null() {
        return None;
    }
    match endpoint.facts.category {
        // SAFETY: the provider's socket lives while ours does, and is of its category.
        Category::Connection => unsafe { table::<WSK_PROVIDER_CONNECTION_DISPATCH>(lower) }.WskDisconnect,
        // SAFETY: as above.
        Category::Stream => unsafe { table::<WSK_PROVIDER_STREAM_DISPATCH>(lower) }.WskDisconnect,
        Category::Basic | Category::Listen | Category::Datagram => None,
    }
}

/// A table with `WskBind` and `WskGetLocalAddress`.
pub trait Binds: 'static {
    fn bind(&self) -> Option<PFN_WSK_BIND>;
    fn local_address(&self) -> Option<PFN_WSK_GET_LOCAL_ADDRESS>;
}

/// A table with `WskAccept`.
pub trait Accepts: 'static {
    fn accept(&self) -> Option<PFN_WSK_ACCEPT>;
}

/// A table with `WskConnect`, `WskConnectEx` and `WskDisconnect`.
pub trait Connects: 'static {
    fn connect(&self) -> Option<PFN_WSK_CONNECT>;
    fn connect_ex(&self) -> Option<PFN_WSK_CONNECT_EX>;
    fn disconnect(&self) -> Option<PFN_WSK_DISCONNECT>;
}

macro_rules! each_table {
    ($trait:ident $methods:tt: $($table:ident)*) => { $(each_table!(@one $trait $table $methods);)* };
    (@one $trait:ident $table:ident { $($method:ident -> $member:ident: $type:ty;)* }) => {
        impl $trait for $table {
            $(fn $method(&self) -> Option<$type> { self.$member })*
        }
    };
}
each_table!(Binds { bind -> WskBind: PFN_WSK_BIND; local_address -> WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS; }:
    WSK_PROVIDER_LISTEN_DISPATCH WSK_PROVIDER_DATAGRAM_DISPATCH WSK_PROVIDER_CONNECTION_DISPATCH WSK_PROVIDER_STREAM_DISPATCH);
each_table!(Accepts { accept -> WskAccept: PFN_WSK_ACCEPT; }: WSK_PROVIDER_LISTEN_DISPATCH WSK_PROVIDER_STREAM_DISPATCH);
each_table!(Connects {
    connect -> WskConnect: PFN_WSK_CONNECT;
    connect_ex -> WskConnectEx: PFN_WSK_CONNECT_EX;
    disconnect -> WskDisconnect: PFN_WSK_DISCONNECT;
}: WSK_PROVIDER_CONNECTION_DISPATCH WSK_PROVIDER_STREAM_DISPATCH);
