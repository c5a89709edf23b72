//! The kernel types that WSK mentions: from wdk-sys where it is there, opaque elsewhere.

use core::ffi::c_void;

#[cfg(feature = "wdk")]
pub use wdk_sys::{GUID, IRP, LUID, MDL, UNICODE_STRING};

#[cfg(not(feature = "wdk"))]
mod opaque {
    macro_rules! opaque {
        ($($name:ident)*) => {$(
            /// Opaque here; see wdm.h.
            #[repr(C)]
            pub struct $name {
                _opaque: [u8; 0],
            }
        )*};
    }
    opaque!(IRP MDL);

    /// `GUID` of guiddef.h.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GUID {
        /// First 32 bits.
        pub Data1: u32,
        /// Next 16 bits.
        pub Data2: u16,
        /// Next 16 bits.
        pub Data3: u16,
        /// The last eight bytes.
        pub Data4: [u8; 8],
    }

    /// `LUID` of ntdef.h.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LUID {
        /// Low half.
        pub LowPart: u32,
        /// High half.
        pub HighPart: i32,
    }

    /// `UNICODE_STRING` of ntdef.h.
    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct UNICODE_STRING {
        /// Bytes in use.
        pub Length: u16,
        /// Bytes allocated.
        pub MaximumLength: u16,
        /// UTF-16 text, not terminated.
        pub Buffer: *mut u16,
    }
}
#[cfg(not(feature = "wdk"))]
pub use opaque::*;

/// `NTSTATUS`.
pub type NTSTATUS = i32;
/// `HANDLE`.
pub type HANDLE = *mut c_void;
/// `PIRP`.
pub type PIRP = *mut IRP;
/// `PMDL`.
pub type PMDL = *mut MDL;
/// `PEPROCESS`, opaque.
pub type PEPROCESS = *mut c_void;
/// `PETHREAD`, opaque.
pub type PETHREAD = *mut c_void;
/// `PSECURITY_DESCRIPTOR`.
pub type PSECURITY_DESCRIPTOR = *mut c_void;
/// `PUNICODE_STRING`.
pub type PUNICODE_STRING = *mut UNICODE_STRING;
/// `ADDRESS_FAMILY`.
pub type ADDRESS_FAMILY = u16;
/// `SIZE_T`.
pub type SIZE_T = usize;
/// `ULONG`.
pub type ULONG = u32;
/// `USHORT`.
pub type USHORT = u16;
