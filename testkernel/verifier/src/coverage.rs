//! Which instructions of a driver have run: a breakpoint lies on each that has not, and goes when it is met. The image is the one that
//! is packaged; the list of its instructions comes from user mode. Any IRQL.

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ffi::c_void;

use probe_protocol::verifier::{CoverageMap, NAME, PageReply};
use wdk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER};

use crate::image::Image;
use crate::modules;
use crate::sync::Lock;
use crate::system;
use crate::user;

/// `int3`.
const BREAKPOINT: u8 = 0xcc;
pub(crate) const EXCEPTION_BREAKPOINT: u32 = 0x8000_0003;

/// An instruction, by its offset in the image.
#[derive(Clone, Copy)]
struct Instruction {
    /// The byte that the breakpoint replaces.
    first: u8,
    ran: bool,
}

struct Plan {
    module: [u8; NAME],
    /// Where the image is, 0 while it is not loaded.
    base: usize,
    instructions: BTreeMap<u32, Instruction>,
}

static PLAN: Lock<Option<Plan>> = Lock::new(None);

fn place(base: usize, offset: u32) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(base.wrapping_add(offset as usize))
}

/// Adds instructions to the plan, or begins a new one, and puts breakpoints on them if the image is loaded.
pub(crate) fn add(map: &CoverageMap) -> Result<(), NTSTATUS> {
    let offsets = map.offsets.get(..map.count as usize).ok_or(STATUS_INVALID_PARAMETER)?;
    let mut held = PLAN.lock();
    let plan = match held.take() {
        Some(plan) if map.append == 1 && plan.module == map.module => plan,
        _ => Plan {
            module: map.module,
            base: modules::named(&map.module).map_or(0, |module| module.base),
            instructions: BTreeMap::new(),
        },
    };
    let plan = held.insert(plan);
    let base = plan.base;
    if base != 0 && !open(base) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    for &offset in offsets {
        let mut instruction = Instruction { first: 0, ran: false };
        if base != 0 {
            // SAFETY: an instruction of a loaded image, as its list says.
            unsafe { plant(base, offset, &mut instruction) };
        }
        plan.instructions.insert(offset, instruction);
    }
    Ok(())
}

/// Makes the image's code writable; threads may be running in it.
fn open(base: usize) -> bool {
    let Some(module) = modules::find(base) else {
        return false;
    };
    // SAFETY: what could be executed still can be.
    unsafe { user::protect(place(base, 0).cast(), module.size, user::PAGE_EXECUTE_READWRITE) }.is_some()
}

/// # Safety
/// An instruction begins there, in code that is writable.
unsafe fn plant(base: usize, offset: u32, instruction: &mut Instruction) {
    let at = place(base, offset);
    // SAFETY: as the caller promises; a single byte changes, so whoever executes it meets the old instruction or the breakpoint.
    unsafe {
        instruction.first = at.read_volatile();
        at.write_volatile(BREAKPOINT);
    }
}

/// An image was mapped, and nothing of it runs yet.
pub(crate) fn loaded(image: Image, name: &[u8; NAME]) {
    let mut held = PLAN.lock();
    let Some(plan) = held.as_mut().filter(|plan| plan.module == *name) else {
        return;
    };
    plan.base = image.base();
    if !open(plan.base) {
        plan.base = 0;
        return;
    }
    let base = plan.base;
    for (&offset, instruction) in plan.instructions.iter_mut().filter(|(_, instruction)| !instruction.ran) {
        // SAFETY: the image is that which the list was made of.
        unsafe { plant(base, offset, instruction) };
    }
}

/// An image is being unmapped.
pub(crate) fn unloaded(base: usize) {
    if let Some(plan) = PLAN.lock().as_mut().filter(|plan| plan.base == base) {
        plan.base = 0;
    }
}

/// A breakpoint was met; whether it was one of these, with the context set to go on at the instruction.
pub(crate) fn met(address: usize, context: *mut c_void) -> bool {
    let mut held = PLAN.lock();
    let Some(plan) = held.as_mut().filter(|plan| plan.base != 0) else {
        return false;
    };
    let base = plan.base;
    let Ok(offset) = u32::try_from(address.wrapping_sub(base)) else {
        return false;
    };
    let Some(instruction) = plan.instructions.get_mut(&offset) else {
        return false;
    };
    if !instruction.ran {
        instruction.ran = true;
        // SAFETY: planted there, in code that stays writable; a single byte.
        unsafe { place(base, offset).write_volatile(instruction.first) };
    }
    system::set_instruction(context, address);
    true
}

/// Copies the offsets of instructions that have run, from the `first` on.
pub(crate) fn page(first: usize, room: &mut [u32]) -> PageReply {
    let held = PLAN.lock();
    let ran: Vec<u32> = held.as_ref().map_or_else(Vec::new, |plan| {
        let ran = plan.instructions.iter().filter(|(_, instruction)| instruction.ran);
        ran.map(|(&offset, _)| offset).collect()
    });
    let count = room
        .iter_mut()
        .zip(ran.iter().skip(first))
        .map(|(to, from)| *to = *from)
        .count();
    #[allow(clippy::cast_possible_truncation, reason = "as many as an image has instructions")]
    PageReply {
        total: ran.len() as u32,
        count: count as u32,
        dropped: 0,
        reserved: 0,
    }
}
