//! The memory of a call's arguments: buffers between guard bytes, their MDLs, the `WSK_BUF`, addresses and out-parameters, all
//! nonpaged, all alive as long as the request.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::null_mut;

use probe_protocol::probe::{Call, CallFlags, Function, Input, Outcome, Output, Progress};
use wsk_sys::{
    PCMSGHDR, PSOCKADDR, SIZE_T, ULONG, UNICODE_STRING, WSK_BUF, WSK_BUF_LIST, WSK_EVENT_CALLBACK_CONTROL,
    WSK_EXTENSION_CONTROL_IN,
};

use crate::buffer::Buffer;
use crate::callbacks;
use crate::session::Session;

/// Room between the two addresses.
const ADDRESS_STRIDE: usize = 32;
const UNTOUCHED: SIZE_T = SIZE_T::MAX;

/// Values that the provider writes, or that are passed by address.
struct Cells {
    data: WSK_BUF,
    output_returned: SIZE_T,
    control_length: ULONG,
    control_flags: ULONG,
    name: UNICODE_STRING,
    results: *mut c_void,
}

/// The arguments of one call.
pub(crate) struct Arguments {
    input: Option<Buffer>,
    original: Option<Buffer>,
    /// What the input points to.
    pointed: Option<Buffer>,
    output: Option<Buffer>,
    control: Option<Buffer>,
    list: Option<Buffer>,
    addresses: Buffer,
    address_lengths: [u32; 2],
    flags: CallFlags,
    cells: UnsafeCell<Cells>,
}

// SAFETY: plain memory that the provider and the probe take turns with, as the request's state says.
unsafe impl Send for Arguments {}
// SAFETY: as above.
unsafe impl Sync for Arguments {}

fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: the value has that many bytes; those used here have no padding that anyone reads.
    unsafe { core::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}

impl Arguments {
    /// Builds what `call` asks for; `data` is the input, then the control messages.
    pub(crate) fn new(session: &Session, call: &Call, function: Function, data: &[u8]) -> Option<Self> {
        let (input, control) = data.split_at_checked(call.input_length as usize)?;
        let (input, pointed) = make_input(session, call, input)?;
        let original = match &input {
            // SAFETY: nobody else knows the buffer yet.
            Some(buffer) => Some(Buffer::copy_of(unsafe { buffer.bytes() })?),
            None => None,
        };
        let output = match Output::from_u32(call.output)? {
            Output::Null => None,
            Output::Bytes => Some(Buffer::filled(call.output_length as usize, call.fill.to_le_bytes()[0])?),
            Output::Handle => Some(Buffer::filled(size_of::<usize>(), 0)?),
        };
        let mut arguments = Self {
            input,
            original,
            pointed,
            output,
            control: match call.control_length as usize {
                0 => None,
                length => Some(make_control(length, control)?),
            },
            list: None,
            addresses: make_addresses(call)?,
            address_lengths: [call.address_length, call.address2_length],
            flags: CallFlags(call.flags),
            cells: UnsafeCell::new(Cells {
                data: WSK_BUF {
                    Mdl: null_mut(),
                    Offset: call.data_offset,
                    Length: 0,
                },
                output_returned: UNTOUCHED,
                control_length: call.control_length,
                control_flags: 0,
                name: UNICODE_STRING::default(),
                results: null_mut(),
            }),
        };
        arguments.describe_data(call, function)?;
        Some(arguments)
    }

    /// Makes the `WSK_BUF` of functions that have one.
    fn describe_data(&mut self, call: &Call, function: Function) -> Option<()> {
        let pieces = call.pieces.max(1) as usize;
        let cells = self.cells.get_mut();
        let (buffer, length) = match function {
            Function::Receive | Function::ReceiveFrom | Function::ReceiveEx => (&mut self.output, call.output_size),
            Function::ConnectEx
            | Function::Send
            | Function::Disconnect
            | Function::SendTo
            | Function::SendMessages
            | Function::SendEx => (&mut self.input, call.input_size),
            Function::GetAddressInfo => {
                cells.name = unicode(self.input.as_ref());
                return Some(());
            }
            Function::GetNameInfo => {
                cells.name = unicode(self.output.as_ref());
                return Some(());
            }
            _ => return Some(()),
        };
        cells.data.Length = usize::try_from(length).ok()?;
        if let Some(buffer) = buffer {
            buffer.describe(pieces)?;
            cells.data.Mdl = buffer.mdl();
            if function == Function::SendMessages {
                self.list = Some(make_list(buffer, pieces)?);
            }
        }
        Some(())
    }

    pub(crate) fn input(&self) -> *mut c_void {
        self.input.as_ref().map_or(null_mut(), |buffer| buffer.data().cast())
    }

    /// Address and length of the input, for a thread that changes it under the provider's eyes.
    pub(crate) fn input_range(&self) -> Option<(*mut u8, usize)> {
        self.input
            .as_ref()
            .filter(|buffer| buffer.len() > 0)
            .map(|buffer| (buffer.data(), buffer.len()))
    }

    pub(crate) fn output(&self) -> *mut c_void {
        self.output.as_ref().map_or(null_mut(), |buffer| buffer.data().cast())
    }

    pub(crate) fn output_pointer(&self) -> *mut c_void {
        let mut bytes = [0; size_of::<usize>()];
        self.output.as_ref().map(|buffer| buffer.read(0, &mut bytes));
        usize::from_le_bytes(bytes) as *mut c_void
    }

    pub(crate) fn output_returned(&self) -> *mut SIZE_T {
        let cell = self
            .cells
            .get()
            .cast::<u8>()
            .wrapping_add(offset_of!(Cells, output_returned));
        if self.flags.has(CallFlags::OUTPUT_RETURNED) {
            cell.cast()
        } else {
            null_mut()
        }
    }

    /// The `WSK_BUF`.
    pub(crate) fn data(&self) -> *mut WSK_BUF {
        let absent = self.flags.has(CallFlags::NULL_BUFFER);
        if absent {
            null_mut()
        } else {
            self.cells.get().wrapping_byte_add(offset_of!(Cells, data)).cast()
        }
    }

    pub(crate) fn list(&self) -> *mut WSK_BUF_LIST {
        self.list.as_ref().map_or(null_mut(), |list| list.data().cast())
    }

    pub(crate) fn control(&self) -> PCMSGHDR {
        self.control.as_ref().map_or(null_mut(), |buffer| buffer.data().cast())
    }

    pub(crate) fn control_length(&self) -> *mut ULONG {
        let cell = self.cells.get().wrapping_byte_add(offset_of!(Cells, control_length));
        if self.control.is_some() || self.flags.has(CallFlags::OUTPUT_RETURNED) {
            cell.cast()
        } else {
            null_mut()
        }
    }

    pub(crate) fn control_flags(&self) -> *mut ULONG {
        let cell = self.cells.get().wrapping_byte_add(offset_of!(Cells, control_flags));
        if self.flags.has(CallFlags::OUTPUT_RETURNED) {
            cell.cast()
        } else {
            null_mut()
        }
    }

    /// `PUNICODE_STRING` of a name; NULL without one.
    pub(crate) fn name(&self) -> *mut UNICODE_STRING {
        let absent = self.input.is_none() && self.output.is_none();
        if absent {
            null_mut()
        } else {
            self.cells.get().wrapping_byte_add(offset_of!(Cells, name)).cast()
        }
    }

    /// Where `WskGetAddressInfo` puts its list.
    pub(crate) fn results(&self) -> *mut *mut c_void {
        self.cells.get().wrapping_byte_add(offset_of!(Cells, results)).cast()
    }

    /// An address that the function reads: `which` is 0 or 1.
    pub(crate) fn address(&self, which: usize) -> PSOCKADDR {
        let length = self.address_lengths.get(which).copied().unwrap_or(0);
        if length == 0 {
            null_mut()
        } else {
            self.address_place(which)
        }
    }

    /// Room for an address that the function writes.
    pub(crate) fn address_out(&self, which: usize) -> PSOCKADDR {
        if self.flags.has(CallFlags::NULL_ADDRESS) {
            null_mut()
        } else {
            self.address_place(which)
        }
    }

    fn address_place(&self, which: usize) -> PSOCKADDR {
        self.addresses
            .data()
            .wrapping_add(which.wrapping_mul(ADDRESS_STRIDE))
            .cast()
    }

    /// Changes `WSK_BUF.Length` between two launches.
    pub(crate) fn set_data_length(&self, length: usize) {
        // SAFETY: the request is idle, so that only its owner uses the cells.
        unsafe { (*self.cells.get()).data.Length = length };
    }

    /// Writes the first `length` bytes of the input between two launches.
    pub(crate) fn fill_input(&self, length: usize, byte: impl Fn(usize) -> u8) {
        let Some((data, room)) = self.input_range() else { return };
        for index in 0..length.min(room) {
            // SAFETY: the index is inside the buffer, and the request is idle.
            unsafe { data.wrapping_add(index).write(byte(index)) };
        }
    }

    /// How many of the first `length` bytes of the output are as `wanted` says.
    pub(crate) fn count_output(&self, length: usize, wanted: impl Fn(usize, u8) -> bool) -> u32 {
        let Some(buffer) = &self.output else { return 0 };
        // SAFETY: the request is idle, so that nobody writes the buffer.
        let bytes = unsafe { buffer.bytes() };
        let hits = bytes
            .iter()
            .take(length)
            .enumerate()
            .filter(|(index, byte)| wanted(*index, **byte))
            .count();
        u32::try_from(hits).unwrap_or(u32::MAX)
    }

    /// Copies the output as it is now.
    pub(crate) fn read_output(&self, out: &mut [u8]) -> usize {
        self.output.as_ref().map_or(0, |buffer| buffer.read(0, out))
    }

    /// Copies the control messages as they are now.
    pub(crate) fn read_control(&self, out: &mut [u8]) -> usize {
        self.control.as_ref().map_or(0, |buffer| buffer.read(0, out))
    }

    /// Adds to `outcome` what the provider wrote, and whether it wrote where it may not.
    pub(crate) fn describe(&self, outcome: &mut Outcome) {
        let cells = self.cells.get();
        // SAFETY: the cells live as long as the request; a provider may be writing, so the reads are volatile.
        outcome.output_returned = unsafe { cell::<SIZE_T>(cells, offset_of!(Cells, output_returned)) } as u64;
        // SAFETY: as above.
        outcome.control_flags = unsafe { cell::<ULONG>(cells, offset_of!(Cells, control_flags)) };
        self.addresses.read(0, &mut outcome.address);
        self.addresses.read(ADDRESS_STRIDE, &mut outcome.address2);
        if let (Some(input), Some(original)) = (&self.input, &self.original)
            && !input.same_as(original)
        {
            outcome.progress |= Progress::INPUT_CHANGED.0;
        }
        let buffers = [&self.input, &self.pointed, &self.output, &self.control];
        let intact = buffers.into_iter().flatten().all(Buffer::is_intact) && self.addresses.is_intact();
        if !intact {
            outcome.progress |= Progress::OVERRUN.0;
        }
    }
}

/// A cell as it is now.
///
/// # Safety
/// There is a `T` at that offset.
unsafe fn cell<T>(cells: *mut Cells, offset: usize) -> T {
    let place = cells.wrapping_byte_add(offset).cast::<T>();
    // SAFETY: as the caller promises.
    unsafe { place.read_volatile() }
}

/// The input buffer, and the buffer it points to.
fn make_input(session: &Session, call: &Call, bytes: &[u8]) -> Option<(Option<Buffer>, Option<Buffer>)> {
    let pair = match Input::from_u32(call.input)? {
        Input::Null => (None, None),
        Input::Bytes => (Some(Buffer::copy_of(bytes)?), None),
        Input::AddressOf => {
            let pointed = Buffer::copy_of(bytes)?;
            (
                Some(Buffer::copy_of(&(pointed.data() as usize).to_le_bytes())?),
                Some(pointed),
            )
        }
        Input::EventControl => {
            let (mask, npi) = bytes.split_first_chunk::<4>()?;
            let pointed = Buffer::copy_of(npi)?;
            let npi = if npi.is_empty() {
                core::ptr::null()
            } else {
                pointed.data().cast_const().cast()
            };
            let control = WSK_EVENT_CALLBACK_CONTROL {
                NpiId: npi,
                EventMask: u32::from_le_bytes(*mask),
            };
            (Some(Buffer::copy_of(bytes_of(&control))?), Some(pointed))
        }
        Input::Extension => {
            let pointed = Buffer::copy_of(bytes)?;
            let control = WSK_EXTENSION_CONTROL_IN {
                NpiId: pointed.data().cast_const().cast(),
                ClientContext: null_mut(),
                ClientDispatch: core::ptr::null(),
            };
            (Some(Buffer::copy_of(bytes_of(&control))?), Some(pointed))
        }
        Input::ReceiveExCallback => {
            let callback = callbacks::receive_ex as *const () as usize;
            (Some(Buffer::copy_of(&callback.to_le_bytes())?), None)
        }
        Input::NullCallback => (Some(Buffer::copy_of(&0_usize.to_le_bytes())?), None),
        Input::Handle => {
            let handle = u32::from_le_bytes(*bytes.first_chunk::<4>()?);
            let pointer = session.handles.get(handle)? as usize;
            (Some(Buffer::copy_of(&pointer.to_le_bytes())?), None)
        }
    };
    Some(pair)
}

/// The control messages to send, or room for those to come.
fn make_control(length: usize, bytes: &[u8]) -> Option<Buffer> {
    if bytes.is_empty() {
        return Buffer::filled(length, 0);
    }
    Buffer::copy_of(bytes.get(..length)?)
}

fn make_addresses(call: &Call) -> Option<Buffer> {
    let mut bytes = [0_u8; 2 * ADDRESS_STRIDE];
    let (first, second) = bytes.split_at_mut(ADDRESS_STRIDE);
    first
        .iter_mut()
        .zip(call.address)
        .for_each(|(place, byte)| *place = byte);
    second
        .iter_mut()
        .zip(call.address2)
        .for_each(|(place, byte)| *place = byte);
    Buffer::copy_of(&bytes)
}

/// A `WSK_BUF_LIST` element for each MDL of `buffer`.
fn make_list(buffer: &Buffer, pieces: usize) -> Option<Buffer> {
    let list = Buffer::filled(pieces.checked_mul(size_of::<WSK_BUF_LIST>())?, 0)?;
    let mut mdl = buffer.mdl();
    // The pool aligns to 16, and the data stands behind a guard of 16 bytes.
    let mut element: *mut WSK_BUF_LIST = list.data().cast::<c_void>().cast();
    while !mdl.is_null() {
        // SAFETY: the chain is the buffer's own.
        let this = unsafe { &*mdl };
        let (bytes, next) = (this.ByteCount as usize, this.Next);
        let following = element.wrapping_add(1);
        let value = WSK_BUF_LIST {
            Next: if next.is_null() { null_mut() } else { following },
            Buffer: WSK_BUF {
                Mdl: mdl,
                Offset: 0,
                Length: bytes,
            },
        };
        // SAFETY: there is an element for each of at most `pieces` MDLs, and the pool aligns to 16.
        unsafe { element.write(value) };
        element = following;
        mdl = next;
    }
    Some(list)
}

fn unicode(buffer: Option<&Buffer>) -> UNICODE_STRING {
    let Some(buffer) = buffer else {
        return UNICODE_STRING::default();
    };
    let length = u16::try_from(buffer.len()).unwrap_or(u16::MAX) & !1;
    UNICODE_STRING {
        Length: length,
        MaximumLength: length,
        Buffer: buffer.data().cast(),
    }
}
