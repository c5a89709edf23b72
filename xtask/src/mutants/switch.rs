// Goes into the copy of the core: which mutant is on in this process, and which places it came by.

extern crate std;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

static ON: AtomicUsize = AtomicUsize::new(usize::MAX);
static MET: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

#[inline]
pub fn on(mutant: usize) -> bool {
    if !MET[mutant].load(Relaxed) {
        MET[mutant].store(true, Relaxed);
    }
    ON.load(Relaxed) == mutant
}

// Before main, so that no test allocates for it.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    if let Some(number) = std::env::var("WSKGUARD_MUTANT").ok().and_then(|text| text.parse().ok()) {
        ON.store(number, Relaxed);
    }
    unsafe extern "C" {
        fn atexit(function: extern "C" fn()) -> i32;
    }
    if std::env::var_os("WSKGUARD_MET").is_some() {
        unsafe { atexit(end) };
    }
}

extern "C" fn end() {
    let met = MET.iter().enumerate().filter(|(_, met)| met.load(Relaxed));
    let text: std::string::String = met.map(|(number, _)| std::format!("{number}\n")).collect();
    if let Some(file) = std::env::var_os("WSKGUARD_MET") {
        let _ = std::fs::write(file, text);
    }
}
