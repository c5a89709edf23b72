//! The imports of verified drivers. Each slot is made to point to a piece of code of its own, which asks here before it goes on to the
//! function: the IRQL is checked, the call counted, an allocation may be made to fail, and the pool functions are exchanged for their
//! checked forms. IRQL: any that a function may be called at.

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use probe_protocol::verifier::{ImportUse, NAME, PageReply, flags};
use zerocopy::FromZeros;

use crate::delay;
use crate::exports;
use crate::image::Image;
use crate::lowres;
use crate::modules;
use crate::pool;
use crate::rules::{self, Kind, Rule};
use crate::settings;
use crate::stop::{self, Code};
use crate::sync::Lock;
use crate::thread::{self, APC};

/// A wrapped import.
struct Import {
    name: &'static CStr,
    module: [u8; NAME],
    rule: Option<&'static Rule>,
    /// What the slot held.
    function: usize,
    /// The form of it that a verified driver gets, or the same.
    checked: usize,
    calls: AtomicU64,
    irqls: AtomicU32,
}

/// Bytes of the code in front of an import.
const THUNK: usize = 32;
/// Functions that are called too often, and can do nothing wrong that could be seen here.
const LEFT_ALONE: [&CStr; 4] = [c"memcpy", c"memset", c"memmove", c"memcmp"];

static IMPORTS: Lock<Vec<&'static Import>> = Lock::new(Vec::new());
/// The code in front of functions that verified drivers look up at run time.
static LOOKED_UP: Lock<BTreeMap<&'static CStr, usize>> = Lock::new(BTreeMap::new());

/// Saves what arguments come in registers, asks [`before`] where to go, and goes there with everything as it was.
#[unsafe(naked)]
unsafe extern "C" fn gate() {
    core::arch::naked_asm!(
        ".seh_proc {this}",
        "sub rsp, 0x48",
        ".seh_stackalloc 0x48",
        ".seh_endprologue",
        "mov [rsp + 0x20], rcx",
        "mov [rsp + 0x28], rdx",
        "mov [rsp + 0x30], r8",
        "mov [rsp + 0x38], r9",
        "mov rcx, r11",
        "lea rdx, [rsp + 0x20]",
        "call {before}",
        "mov rcx, [rsp + 0x20]",
        "mov rdx, [rsp + 0x28]",
        "mov r8, [rsp + 0x30]",
        "mov r9, [rsp + 0x38]",
        "add rsp, 0x48",
        "jmp rax",
        ".seh_endproc",
        this = sym gate,
        before = sym before,
    );
}

/// The arguments of the call that stands at the gate.
struct Arguments(*const usize);

impl Arguments {
    /// The return address.
    fn caller(&self) -> usize {
        // SAFETY: `gate`'s frame: four registers, a gap, and the return address.
        unsafe { self.0.add(5).read() }
    }

    fn get(&self, index: usize) -> usize {
        let at = if index < 4 { index } else { index.wrapping_add(6) };
        // SAFETY: as above; behind the return address lie four words of the caller's, then the arguments from the fifth on.
        unsafe { self.0.add(at).read() }
    }
}

unsafe extern "C" fn refuse_null() -> usize {
    0
}

unsafe extern "C" fn refuse_status() -> i32 {
    wdk_sys::STATUS_INSUFFICIENT_RESOURCES
}

unsafe extern "C" fn before(import: &'static Import, arguments: *const usize) -> usize {
    let irql = thread::current().irql.get();
    import.calls.fetch_add(1, Ordering::Relaxed);
    import.irqls.fetch_or(1 << irql, Ordering::Relaxed);
    if settings::has(flags::DELAYS) {
        delay::perhaps(irql);
    }
    let Some(rule) = import.rule else {
        return import.function;
    };
    let arguments = Arguments(arguments);
    if settings::has(flags::IRQL) {
        check_irql(rule, irql, &arguments);
    }
    match rule.kind {
        Kind::Null if lowres::fails(rule.name, 0) => refuse_null as *const () as usize,
        Kind::Status if lowres::fails(rule.name, 0) => refuse_status as *const () as usize,
        _ => import.checked,
    }
}

fn check_irql(rule: &Rule, irql: u8, arguments: &Arguments) {
    let report = |code, limit: u8| {
        stop::report_about(
            code,
            [usize::from(irql), usize::from(limit), arguments.caller(), 0],
            rule.name.as_bytes(),
        );
    };
    if irql > rule.highest {
        report(Code::IrqlTooHigh, rule.highest);
    } else if irql < rule.lowest {
        report(Code::IrqlTooLow, rule.lowest);
    } else if irql > APC {
        match rule.kind {
            Kind::Wait(index) => {
                let timeout: *const i64 = core::ptr::with_exposed_provenance(arguments.get(index));
                // SAFETY: NULL, or the driver's time-out.
                if unsafe { timeout.as_ref() } != Some(&0) {
                    report(Code::WaitAtDispatch, APC);
                }
            }
            Kind::NoWait(index) if arguments.get(index) & 0xffff_ffff != 0 => report(Code::WaitAtDispatch, APC),
            _ => {}
        }
    }
}

/// Writes `mov r11, import; jmp [rip]; gate`.
unsafe fn write_thunk(at: *mut u8, import: &'static Import) {
    // SAFETY: the caller's memory of THUNK bytes.
    unsafe {
        at.cast::<[u8; 2]>().write_unaligned([0x49, 0xbb]);
        at.add(2)
            .cast::<usize>()
            .write_unaligned((&raw const *import).expose_provenance());
        at.add(10).cast::<[u8; 6]>().write_unaligned([0xff, 0x25, 0, 0, 0, 0]);
        at.add(16).cast::<usize>().write_unaligned(gate as *const () as usize);
    }
}

fn make(name: &'static CStr, module: [u8; NAME], function: usize) -> &'static Import {
    let import = Box::leak(Box::new(Import {
        name,
        module,
        rule: rules::find(name.to_bytes()),
        function,
        checked: pool::checked(name).unwrap_or(function),
        calls: AtomicU64::new(0),
        irqls: AtomicU32::new(0),
    }));
    IMPORTS.lock().push(import);
    import
}

/// A name that outlives the image it was read from.
fn keep(name: &CStr) -> &'static CStr {
    Box::leak(Box::<CStr>::from(name))
}

/// Puts checks in front of the imports of a driver that was just mapped.
pub(crate) fn wrap(image: Image, module: [u8; NAME]) {
    IMPORTS.lock().retain(|import| import.module != module);
    let mut slots: Vec<(*mut usize, &'static CStr)> = Vec::new();
    image.for_each_import(|import| {
        let data = matches!(
            import.name.to_bytes(),
            [b'I', b'o' | b'x', .., b'T', b'y', b'p', b'e'] | [b'P', b's', .., b'T', b'y', b'p', b'e']
        );
        if !data && !LEFT_ALONE.contains(&import.name) {
            slots.push((import.slot, keep(import.name)));
        }
    });
    let Some(code) = image.allocate_near(slots.len().max(1).saturating_mul(THUNK)) else {
        return;
    };
    for (index, (slot, name)) in slots.into_iter().enumerate() {
        // SAFETY: an import slot that was filled by the loader; the code block has THUNK bytes for each.
        unsafe {
            let import = make(name, module, slot.read());
            let thunk = code.as_ptr().add(index.wrapping_mul(THUNK));
            write_thunk(thunk, import);
            crate::user::overwrite(slot, thunk.expose_provenance());
        }
    }
}

/// The checked form of a function, for a caller that is verified.
pub(crate) fn wrapped(name: &CStr, caller: usize) -> Option<usize> {
    let module = modules::find(caller).filter(|module| module.target)?;
    if LEFT_ALONE.contains(&name) {
        return None;
    }
    if let Some(&known) = LOOKED_UP.lock().get(name) {
        return Some(known);
    }
    let function = exports::present(name)?;
    let code = Image::at(NonNull::new(core::ptr::with_exposed_provenance_mut(module.base))?).allocate_near(THUNK)?;
    let name = keep(name);
    // SAFETY: fresh memory of a page.
    unsafe { write_thunk(code.as_ptr(), make(name, module.name, function)) };
    let thunk = code.as_ptr().expose_provenance();
    LOOKED_UP.lock().insert(name, thunk);
    Some(thunk)
}

/// Calls into wrapped imports.
pub(crate) fn calls() -> u64 {
    IMPORTS
        .lock()
        .iter()
        .map(|import| import.calls.load(Ordering::Relaxed))
        .sum()
}

/// Copies the imports from the `first` on.
pub(crate) fn page(first: usize, room: &mut [ImportUse]) -> PageReply {
    let imports = IMPORTS.lock();
    let from = imports.get(first..).unwrap_or_default();
    let count = room
        .iter_mut()
        .zip(from)
        .map(|(to, import)| *to = usage(import))
        .count();
    #[allow(clippy::cast_possible_truncation, reason = "a few hundred")]
    PageReply {
        total: imports.len() as u32,
        count: count as u32,
        dropped: 0,
        reserved: 0,
    }
}

fn usage(import: &Import) -> ImportUse {
    let mut reply = ImportUse::new_zeroed();
    reply.calls = import.calls.load(Ordering::Relaxed);
    reply.irqls = import.irqls.load(Ordering::Relaxed);
    reply.highest = import.rule.map_or(255, |rule| u32::from(rule.highest));
    reply.fallible = u32::from(import.rule.is_some_and(Rule::is_fallible));
    reply.module = import.module;
    reply
        .name
        .iter_mut()
        .zip(import.name.to_bytes())
        .for_each(|(to, from)| *to = *from);
    reply
}
