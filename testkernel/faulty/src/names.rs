//! Names of the device and its link.

use wdk_sys::UNICODE_STRING;

const fn wide<const N: usize>(text: &[u8]) -> [u16; N] {
    assert!(text.len() == N);
    let mut wide = [0; N];
    let mut at = 0;
    while at < N {
        wide[at] = text[at] as u16;
        at += 1;
    }
    wide
}

static DEVICE: [u16; 14] = wide(b"\\Device\\Faulty");
static SECOND_LINK: [u16; 19] = wide(b"\\DosDevices\\Faulty2");
static LINK: [u16; 18] = wide(b"\\DosDevices\\Faulty");

#[allow(clippy::cast_possible_truncation, reason = "short constant names")]
const fn string(text: &'static [u16]) -> UNICODE_STRING {
    let bytes = (text.len() * 2) as u16;
    UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: text.as_ptr().cast_mut(),
    }
}

/// `\Device\Faulty`.
pub(crate) const fn device() -> UNICODE_STRING {
    string(&DEVICE)
}

/// `\DosDevices\Faulty`.
pub(crate) const fn link() -> UNICODE_STRING {
    string(&LINK)
}

/// `\DosDevices\Faulty2`.
pub(crate) const fn second_link() -> UNICODE_STRING {
    string(&SECOND_LINK)
}
