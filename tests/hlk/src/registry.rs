//! Values of the filter's keys, as an administrator, or an accident, would change them.

use std::ptr;

use anyhow::{Result, bail};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, KEY_ALL_ACCESS, REG_BINARY, REG_DWORD, REG_SZ, RegCloseKey, RegDeleteValueW,
    RegOpenKeyExW, RegQueryValueExW, RegSetValueExW,
};

const NOT_FOUND: u32 = 2;

/// An open key below the filter's service.
#[derive(Debug)]
pub(crate) struct Key(HKEY);

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

impl Key {
    /// `None` where there is no such key.
    pub(crate) fn open(name: &str) -> Result<Option<Self>> {
        let path = wide(&format!(
            "SYSTEM\\CurrentControlSet\\Services\\{}\\{name}",
            wskguard_abi::SERVICE_NAME
        ));
        let mut key = ptr::null_mut();
        // SAFETY: the path ends with a zero, the out parameter is ours.
        match unsafe { RegOpenKeyExW(HKEY_LOCAL_MACHINE, path.as_ptr(), 0, KEY_ALL_ACCESS, &raw mut key) } {
            0 => Ok(Some(Self(key))),
            NOT_FOUND => Ok(None),
            error => bail!("key {name}: error {error}"),
        }
    }

    /// A value's bytes, if it is there.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let wide = wide(name);
        let mut data = vec![0; 16 << 20];
        let mut length = u32::try_from(data.len())?;
        // SAFETY: the name ends with a zero, and the buffer is as long as it is said to be.
        let error = unsafe {
            RegQueryValueExW(
                self.0,
                wide.as_ptr(),
                ptr::null(),
                ptr::null_mut(),
                data.as_mut_ptr(),
                &raw mut length,
            )
        };
        match error {
            0 => {
                data.truncate(length as usize);
                Ok(Some(data))
            }
            NOT_FOUND => Ok(None),
            error => bail!("value {name}: error {error}"),
        }
    }

    fn set(&self, name: &str, kind: u32, data: &[u8]) -> Result<()> {
        let wide = wide(name);
        // SAFETY: the name ends with a zero, and the data is as long as it is said to be.
        match unsafe {
            RegSetValueExW(
                self.0,
                wide.as_ptr(),
                0,
                kind,
                data.as_ptr(),
                u32::try_from(data.len())?,
            )
        } {
            0 => Ok(()),
            error => bail!("value {name}: error {error}"),
        }
    }

    pub(crate) fn set_binary(&self, name: &str, data: &[u8]) -> Result<()> {
        self.set(name, REG_BINARY, data)
    }

    pub(crate) fn set_number(&self, name: &str, number: u32) -> Result<()> {
        self.set(name, REG_DWORD, &number.to_le_bytes())
    }

    pub(crate) fn set_text(&self, name: &str, text: &str) -> Result<()> {
        let bytes: Vec<u8> = wide(text).into_iter().flat_map(u16::to_le_bytes).collect();
        self.set(name, REG_SZ, &bytes)
    }

    /// Removes a value; it may be gone already.
    pub(crate) fn remove(&self, name: &str) {
        let wide = wide(name);
        // SAFETY: the name ends with a zero.
        unsafe { RegDeleteValueW(self.0, wide.as_ptr()) };
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: opened by `open`.
        unsafe { RegCloseKey(self.0) };
    }
}
