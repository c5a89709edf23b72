//! MDLs and what WSK builds of them: finding a caller's bytes, and describing our own for an indication.

use alloc::vec::Vec;

use wsk_sys::{MDL, WSK_BUF};

use crate::host::sys::WSABUF;
use crate::report::misuse;

/// `MDL_MAPPED_TO_SYSTEM_VA` and `MDL_SOURCE_IS_NONPAGED_POOL`.
const HAS_SYSTEM_ADDRESS: i16 = 1 | 4;

/// Bytes of an MDL without page frames.
const MDL_SIZE: i16 = 48;
const _: () = assert!(size_of::<MDL>() == 48);

/// Where an MDL's bytes are. Wine leaves the flags of MDLs over pool at 0; then they are where the MDL was built for.
fn address_of(mdl: &MDL) -> *mut u8 {
    if mdl.MdlFlags & HAS_SYSTEM_ADDRESS != 0 {
        mdl.MappedSystemVa.cast()
    } else {
        mdl.StartVa.cast::<u8>().wrapping_add(mdl.ByteOffset as usize)
    }
}

/// The pieces that a `WSK_BUF` describes. Windows stops the machine when it is longer than its MDLs; here the request fails.
///
/// # Safety
/// The MDL chain is valid.
pub(crate) unsafe fn pieces(buffer: &WSK_BUF) -> Option<Vec<WSABUF>> {
    let mut pieces = Vec::new();
    let mut mdl = buffer.Mdl;
    let mut skip = buffer.Offset as usize;
    let mut left = buffer.Length;
    // SAFETY: as the caller promises.
    while let Some(current) = unsafe { mdl.as_ref() } {
        if left == 0 {
            break;
        }
        let length = current.ByteCount as usize;
        if skip > length {
            misuse!("WSK_BUF.Offset {skip} lies behind the first MDL of {length} bytes");
            return None;
        }
        let take = left.min(length - skip);
        let buf = address_of(current).wrapping_add(skip);
        pieces.push(WSABUF {
            len: u32::try_from(take).unwrap_or(0),
            buf,
        });
        left -= take;
        skip = 0;
        mdl = current.Next;
    }
    if left != 0 {
        misuse!("WSK_BUF.Length {} is {left} bytes longer than its MDLs", buffer.Length);
        return None;
    }
    Some(pieces)
}

pub(crate) fn length(pieces: &[WSABUF]) -> usize {
    pieces.iter().map(|piece| piece.len as usize).sum()
}

/// Drops the first `count` bytes.
pub(crate) fn advance(pieces: &mut Vec<WSABUF>, mut count: usize) {
    while let Some(first) = pieces.first_mut() {
        let length = first.len as usize;
        if count < length {
            first.buf = first.buf.wrapping_add(count);
            first.len = u32::try_from(length - count).unwrap_or(0);
            return;
        }
        count -= length;
        pieces.remove(0);
    }
}

/// Copies `bytes` into the pieces, as far as they go; how many were copied.
///
/// # Safety
/// The pieces are writable.
pub(crate) unsafe fn scatter(bytes: &[u8], pieces: &[WSABUF]) -> usize {
    let mut rest = bytes;
    for piece in pieces {
        let (now, later) = rest.split_at(rest.len().min(piece.len as usize));
        // SAFETY: the piece is at least as long.
        unsafe { core::ptr::copy_nonoverlapping(now.as_ptr(), piece.buf, now.len()) };
        rest = later;
    }
    bytes.len() - rest.len()
}

/// An MDL over `bytes`, with its system address filled in. Without page frames: it is for looking at, not for devices.
pub(crate) fn describe(bytes: &mut [u8]) -> MDL {
    let start = bytes.as_mut_ptr();
    let offset = start.addr() % 4096;
    MDL {
        Next: core::ptr::null_mut(),
        Size: MDL_SIZE,
        MdlFlags: 4,
        Process: core::ptr::null_mut(),
        MappedSystemVa: start.cast(),
        StartVa: start.wrapping_sub(offset).cast(),
        ByteCount: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        ByteOffset: u32::try_from(offset).unwrap_or(0),
    }
}
