//! The device's names, made from the service's: the same file started under two names is two client drivers. `PASSIVE_LEVEL`.

use wdk_sys::UNICODE_STRING;

const LONGEST: usize = 64;

struct Name {
    text: [u16; LONGEST],
    length: usize,
    string: UNICODE_STRING,
}

impl Name {
    const fn new() -> Self {
        let string = UNICODE_STRING {
            Length: 0,
            MaximumLength: 0,
            Buffer: core::ptr::null_mut(),
        };
        Self {
            text: [0; LONGEST],
            length: 0,
            string,
        }
    }

    fn push(&mut self, unit: u16) {
        if let Some(place) = self.text.get_mut(self.length) {
            *place = unit;
            self.length = self.length.wrapping_add(1);
        }
    }

    fn string(&mut self) -> *mut UNICODE_STRING {
        let bytes = u16::try_from(self.length).unwrap_or(0).saturating_mul(2);
        self.string = UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            Buffer: self.text.as_mut_ptr(),
        };
        &raw mut self.string
    }
}

/// Both names.
pub(crate) struct Names {
    device: Name,
    link: Name,
}

// SAFETY: the string points into the name itself and is made anew for each use.
unsafe impl Send for Names {}

impl Names {
    pub(crate) const fn new() -> Self {
        Self {
            device: Name::new(),
            link: Name::new(),
        }
    }

    /// The names for the service whose registry key is `path`.
    pub(crate) fn of(path: &UNICODE_STRING) -> Self {
        let units = if path.Buffer.is_null() {
            0
        } else {
            usize::from(path.Length) / 2
        };
        let path = if units == 0 {
            &[]
        } else {
            // SAFETY: a counted string has as many units.
            unsafe { core::slice::from_raw_parts(path.Buffer, units) }
        };
        let service = path.rsplit(|unit| *unit == u16::from(b'\\')).next().unwrap_or_default();
        let mut names = Self::new();
        for (name, prefix) in [
            (&mut names.device, "\\Device\\WskProbe-"),
            (&mut names.link, "\\DosDevices\\WskProbe-"),
        ] {
            prefix
                .encode_utf16()
                .chain(service.iter().copied())
                .for_each(|unit| name.push(unit));
        }
        names
    }

    pub(crate) fn device(&mut self) -> *mut UNICODE_STRING {
        self.device.string()
    }

    pub(crate) fn link(&mut self) -> *mut UNICODE_STRING {
        self.link.string()
    }
}
