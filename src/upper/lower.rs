//! The provider's tables, as our wrappers call them.
//!
//! They carry no size: nothing is read past what Windows 10 2004, the lowest supported, exports.

use wdk_sys::{NTSTATUS, STATUS_FILE_FORCED_CLOSED, STATUS_NOT_SUPPORTED};
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

/// A dispatch table of sockets, with the category whose table it is.
pub trait Table: 'static {
    const CATEGORY: Category;
}

impl Table for WSK_PROVIDER_LISTEN_DISPATCH {
    const CATEGORY: Category = Category::Listen;
}
impl Table for WSK_PROVIDER_DATAGRAM_DISPATCH {
    const CATEGORY: Category = Category::Datagram;
}
impl Table for WSK_PROVIDER_CONNECTION_DISPATCH {
    const CATEGORY: Category = Category::Connection;
}
impl Table for WSK_PROVIDER_STREAM_DISPATCH {
    const CATEGORY: Category = Category::Stream;
}

/// The provider's socket and its table, for a call of our table of the same kind.
///
/// # Errors
/// `STATUS_NOT_SUPPORTED` for a socket of another category, whose table is another; `STATUS_FILE_FORCED_CLOSED` once the provider
/// leaves.
#[inline]
pub fn reach<'a, T: Table>(endpoint: &Endpoint) -> Result<(PWSK_SOCKET, &'a T), NTSTATUS> {
    let lower = reach_to_end::<T>(endpoint)?;
    if endpoint.has_provider() {
        Ok(lower)
    } else {
        Err(STATUS_FILE_FORCED_CLOSED)
    }
}

/// The same for a call that gives something back, which a provider takes until its socket is closed.
///
/// # Errors
/// `STATUS_NOT_SUPPORTED` as above.
#[inline]
pub fn reach_to_end<'a, T: Table>(endpoint: &Endpoint) -> Result<(PWSK_SOCKET, &'a T), NTSTATUS> {
    if endpoint.facts.category != T::CATEGORY {
        return Err(STATUS_NOT_SUPPORTED);
    }
    let lower = endpoint.lower_to_end();
    // SAFETY: the provider's socket lives while ours is open, and is of the same category.
    Ok((lower, unsafe { table::<T>(lower) }))
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
pub trait Binds: Table {
    fn bind(&self) -> Option<PFN_WSK_BIND>;
    fn local_address(&self) -> Option<PFN_WSK_GET_LOCAL_ADDRESS>;
}

/// A table with `WskAccept`.
pub trait Accepts: Table {
    fn accept(&self) -> Option<PFN_WSK_ACCEPT>;
}

/// A table with `WskConnect`, `WskConnectEx` and `WskDisconnect`.
pub trait Connects: Table {
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
