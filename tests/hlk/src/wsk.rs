//! Numbers of wsk.h and ws2def.h that tests state.
#![allow(dead_code, reason = "a list of names")]

pub(crate) const SOL_SOCKET: u32 = 0xFFFF;

pub(crate) const SO_DEBUG: u32 = 0x1;
pub(crate) const SO_REUSEADDR: u32 = 0x4;
pub(crate) const SO_KEEPALIVE: u32 = 0x8;
pub(crate) const SO_DONTROUTE: u32 = 0x10;
pub(crate) const SO_BROADCAST: u32 = 0x20;
pub(crate) const SO_LINGER: u32 = 0x80;
pub(crate) const SO_OOBINLINE: u32 = 0x100;
pub(crate) const SO_DONTLINGER: u32 = 0xFFFF_FF7F;
pub(crate) const SO_EXCLUSIVEADDRUSE: u32 = 0xFFFF_FFFB;
pub(crate) const SO_SNDBUF: u32 = 0x1001;
pub(crate) const SO_RCVBUF: u32 = 0x1002;
pub(crate) const SO_SNDTIMEO: u32 = 0x1005;
pub(crate) const SO_RCVTIMEO: u32 = 0x1006;
pub(crate) const SO_CONDITIONAL_ACCEPT: u32 = 0x3002;
pub(crate) const SO_WSK_SECURITY: u32 = 0x4001;
pub(crate) const SO_WSK_EVENT_CALLBACK: u32 = 0x4002;
/// No option of any provider.
pub(crate) const NO_SUCH_OPTION: u32 = 0x7ABC;

pub(crate) const SIO_WSK_SET_REMOTE_ADDRESS: u32 = 0x8F00_0001;
pub(crate) const SIO_WSK_REGISTER_EXTENSION: u32 = 0xCF00_0002;
pub(crate) const SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: u32 = 0x4F00_0003;
pub(crate) const SIO_WSK_QUERY_RECEIVE_BACKLOG: u32 = 0x4F00_0004;
pub(crate) const SIO_WSK_QUERY_INSPECT_ID: u32 = 0x4F00_0005;
pub(crate) const SIO_WSK_SET_SENDTO_ADDRESS: u32 = 0x8F00_0006;
pub(crate) const SIO_WSK_SET_RECEIVE_EX_CALLBACK: u32 = 0x8F00_0008;

pub(crate) const WSK_EVENT_SEND_BACKLOG: u32 = 0x10;
pub(crate) const WSK_EVENT_RECEIVE: u32 = 0x40;
pub(crate) const WSK_EVENT_DISCONNECT: u32 = 0x80;
pub(crate) const WSK_EVENT_RECEIVE_FROM: u32 = 0x100;
pub(crate) const WSK_EVENT_ACCEPT: u32 = 0x200;
pub(crate) const WSK_EVENT_DISABLE: u32 = 0x8000_0000;

pub(crate) const WSK_FLAG_ABORTIVE: u32 = 1;
pub(crate) const WSK_FLAG_RELEASE_ASAP: u32 = 2;
pub(crate) const WSK_FLAG_WAITALL: u32 = 2;

pub(crate) const INSPECT_REJECT: i32 = 0;
pub(crate) const INSPECT_ACCEPT: i32 = 1;
pub(crate) const INSPECT_PEND: i32 = 2;
