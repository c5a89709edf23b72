//! Keys that belong to the driver, and their values. `PASSIVE_LEVEL`.

use core::mem::offset_of;
use core::ptr::NonNull;

use wdk_rtl::nonpaged;
use wdk_sys::{
    _DRIVER_REGKEY_TYPE, _KEY_VALUE_INFORMATION_CLASS, HANDLE, KEY_VALUE_PARTIAL_INFORMATION, NTSTATUS, PDRIVER_OBJECT,
    REG_BINARY, REG_DWORD, REG_SZ, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND,
    ntddk::{IoOpenDriverRegistryKey, ZwClose, ZwFlushKey, ZwQueryValueKey, ZwSetValueKey},
};

use crate::device::counted;
use crate::guard::TAG_STATE;

/// Which of the driver's keys.
#[derive(Clone, Copy)]
pub enum Which {
    /// What an administrator sets.
    Parameters,
    /// What the driver keeps; it outlives an upgrade.
    PersistentState,
}

/// An open key. Dropping it closes it.
pub struct Key(HANDLE);

const DATA: usize = offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data);
const CLASS: _KEY_VALUE_INFORMATION_CLASS::Type = _KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation;

/// The type and the data's length at the beginning of a KEY_VALUE_PARTIAL_INFORMATION.
fn described(bytes: &[u8]) -> Option<(u32, usize)> {
    let word = |offset: usize| {
        let (bytes, _) = bytes.get(offset..)?.split_first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let length = word(offset_of!(KEY_VALUE_PARTIAL_INFORMATION, DataLength))?;
    Some((
        word(offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Type))?,
        usize::try_from(length).ok()?,
    ))
}

impl Key {
    /// Opens one of the driver's keys; the system makes the persistent state's when it is not there.
    pub fn open(driver: PDRIVER_OBJECT, which: Which, write: bool) -> Result<Self, NTSTATUS> {
        const KEY_READ: u32 = 0x0002_0019;
        const KEY_WRITE: u32 = 0x0002_0006;
        let kind = match which {
            Which::Parameters => _DRIVER_REGKEY_TYPE::DriverRegKeyParameters,
            Which::PersistentState => _DRIVER_REGKEY_TYPE::DriverRegKeyPersistentState,
        };
        let access = if write { KEY_READ | KEY_WRITE } else { KEY_READ };
        let mut key: HANDLE = core::ptr::null_mut();
        // SAFETY: the driver object is ours, and the out parameter.
        let status = unsafe { IoOpenDriverRegistryKey(driver, kind, access, 0, &raw mut key) };
        if status < 0 { Err(status) } else { Ok(Self(key)) }
    }

    /// Reads a value into `room`; bytes of a KEY_VALUE_PARTIAL_INFORMATION that there are.
    fn query(&self, name: &'static [u16], room: &mut [u8]) -> Result<usize, (NTSTATUS, usize)> {
        let mut name = counted(name);
        let mut length = 0;
        let size = u32::try_from(room.len()).unwrap_or(u32::MAX);
        // SAFETY: the key is open, and the buffer is ours and that long.
        let status = unsafe {
            ZwQueryValueKey(
                self.0,
                &raw mut name,
                CLASS,
                room.as_mut_ptr().cast(),
                size,
                &raw mut length,
            )
        };
        let length = usize::try_from(length).unwrap_or(0);
        if status < 0 { Err((status, length)) } else { Ok(length) }
    }

    /// A short value: its type and data.
    fn short<'a>(&self, name: &'static [u16], room: &'a mut Room) -> Option<(u32, &'a [u8])> {
        self.query(name, &mut room.0).ok()?;
        let (kind, length) = described(&room.0)?;
        Some((kind, room.0.get(DATA..)?.get(..length)?))
    }

    /// A REG_DWORD.
    pub fn number(&self, name: &'static [u16]) -> Option<u32> {
        let mut room = Room::new();
        let (kind, data) = self.short(name, &mut room)?;
        let bytes = data.first_chunk::<4>().filter(|_| data.len() == 4)?;
        (kind == REG_DWORD).then_some(u32::from_le_bytes(*bytes))
    }

    /// Whether a REG_SZ is this ASCII word, in either case.
    pub fn is_word(&self, name: &'static [u16], word: &str) -> bool {
        let mut room = Room::new();
        let Some((REG_SZ, data)) = self.short(name, &mut room) else {
            return false;
        };
        let units = data.chunks_exact(2).filter_map(|unit| unit.first_chunk::<2>());
        let text = units
            .map(|unit| u16::from_le_bytes(*unit))
            .take_while(|unit| *unit != 0);
        let lower = |unit: u16| u8::try_from(unit).map_or(u16::MAX, |byte| byte.to_ascii_lowercase().into());
        text.map(lower).eq(word.bytes().map(u16::from))
    }

    /// A REG_BINARY of any length up to `most`. `Ok(None)`: it is not there.
    pub fn binary(&self, name: &'static [u16], most: usize) -> Result<Option<Value>, NTSTATUS> {
        let mut room = Room::new();
        let length = match self.query(name, &mut room.0) {
            Ok(length) => length,
            Err((STATUS_OBJECT_NAME_NOT_FOUND, _)) => return Ok(None),
            Err((STATUS_BUFFER_OVERFLOW | STATUS_BUFFER_TOO_SMALL, length)) => length,
            Err((status, _)) => return Err(status),
        };
        if length > DATA.saturating_add(most) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let mut value = Value::allocate(length.max(size_of::<Room>())).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        self.query(name, value.room()).map_err(|(status, _)| status)?;
        match described(value.room()) {
            Some((REG_BINARY, length)) => {
                value.data = length;
                Ok(Some(value))
            }
            _ => Err(STATUS_INVALID_PARAMETER),
        }
    }

    /// Writes a REG_DWORD.
    pub fn set_number(&self, name: &'static [u16], number: u32) -> Result<(), NTSTATUS> {
        self.set(name, REG_DWORD, &number.to_le_bytes())
    }

    /// Writes a REG_BINARY.
    pub fn set_binary(&self, name: &'static [u16], data: &[u8]) -> Result<(), NTSTATUS> {
        self.set(name, REG_BINARY, data)
    }

    fn set(&self, name: &'static [u16], kind: u32, data: &[u8]) -> Result<(), NTSTATUS> {
        let mut name = counted(name);
        let length = u32::try_from(data.len()).map_err(|_| STATUS_INVALID_PARAMETER)?;
        // SAFETY: the key is open; the data is only read.
        let status = unsafe { ZwSetValueKey(self.0, &raw mut name, 0, kind, data.as_ptr().cast_mut().cast(), length) };
        if status < 0 { Err(status) } else { Ok(()) }
    }

    /// Has what was written put on disk. Early in the boot that is not possible yet, and Windows does it later.
    pub fn flush(&self) {
        // SAFETY: the key is open.
        let _ = unsafe { ZwFlushKey(self.0) };
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: opened by `open`.
        let _ = unsafe { ZwClose(self.0) };
    }
}

/// For short values.
#[repr(C, align(8))]
struct Room([u8; 48]);

impl Room {
    const fn new() -> Self {
        Self([0; 48])
    }
}

/// A value that was read, in pool of its own.
pub struct Value {
    block: NonNull<u8>,
    length: usize,
    data: usize,
}

impl Value {
    fn allocate(length: usize) -> Option<Self> {
        Some(Self {
            block: nonpaged::allocate(length, TAG_STATE, false)?,
            length,
            data: 0,
        })
    }

    fn room(&mut self) -> &mut [u8] {
        // SAFETY: allocated zeroed, that long, and ours.
        unsafe { core::slice::from_raw_parts_mut(self.block.as_ptr(), self.length) }
    }

    /// Its data.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: allocated zeroed, that long, and ours.
        let all = unsafe { core::slice::from_raw_parts(self.block.as_ptr(), self.length) };
        all.get(DATA..).and_then(|data| data.get(..self.data)).unwrap_or(&[])
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: allocated by `allocate`, and nobody reads it any more.
        unsafe { nonpaged::free(self.block, TAG_STATE) };
    }
}
