//! The names of wsk.h for the linker. A client that declares the functions with `dllimport` calls through `__imp_` pointers, any
//! other by name, so both are here.
//!
//! The sentinel is what the client's link line asks for (`/INCLUDE:wskguard_shim_fail_open`, or `…_fail_closed`). It pulls this
//! object in, and all its names with it, wherever the library stands on the line, and fails the link where it is missing. Without it
//! a netio.lib that stands first is taken for the same names, and the shim is left out without a word.
//!
//! Assembly, since `no_mangle` would have a Rust client export the names.

use core::arch::global_asm;

use crate::{
    WskCaptureProviderNPI, WskDeregister, WskQueryProviderCharacteristics, WskRegister, WskReleaseProviderNPI,
};

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "b"
    };
}

macro_rules! link_name {
    ($($name:ident)*) => {$(
        global_asm!(
            ".section .text,\"xr\"",
            ".p2align 4",
            concat!(".globl ", stringify!($name)),
            concat!(stringify!($name), ":"),
            concat!(jump!(), " {function}"),
            ".section .rdata,\"dr\"",
            ".p2align 3",
            concat!(".globl __imp_", stringify!($name)),
            concat!("__imp_", stringify!($name), ":"),
            ".quad {function}",
            ".text",
            function = sym $name,
        );
    )*};
}
link_name!(WskRegister WskDeregister WskCaptureProviderNPI WskReleaseProviderNPI WskQueryProviderCharacteristics);

#[cfg(feature = "fail-open")]
macro_rules! sentinel {
    () => {
        "wskguard_shim_fail_open"
    };
}
#[cfg(not(feature = "fail-open"))]
macro_rules! sentinel {
    () => {
        "wskguard_shim_fail_closed"
    };
}

global_asm!(
    ".section .rdata,\"dr\"",
    concat!(".globl ", sentinel!()),
    concat!(sentinel!(), ":"),
    ".byte 1",
    ".text",
);
