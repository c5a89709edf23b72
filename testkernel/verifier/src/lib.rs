//! verifier.sys of the test kernel: the kernel functions that Wine's ntoskrnl lacks, and checks in the manner of Driver Verifier.
//!
//! Loaded first in the group of drivers that share a process. Its entry point rebuilds ntoskrnl's export table in memory, so that
//! unmodified drivers loaded later bind to the functions below. It stays loaded until the process ends: the table points into it.
//!
//! This driver stands for the kernel, so it keeps tables on an ordinary heap; when that is exhausted the session is over.
#![no_std]
#![deny(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "calls of the host go in groups that share one proof"
)]

extern crate wdk_panic;

mod bugcheck;
mod callback;
mod cancel;
mod coverage;
mod cpu;
mod csq;
mod delay;
mod device;
mod dpc;
mod driver;
mod etw;
mod exports;
mod fault;
mod guard;
mod image;
mod imports;
mod inside;
mod inuse;
mod irp;
mod irptable;
mod irql;
mod lookaside;
mod lowres;
mod mdl;
mod modules;
mod objects;
mod order;
mod pcw;
mod pool;
mod process;
mod registry;
mod request;
mod retired;
mod rules;
mod rundown;
mod security;
mod server;
mod service;
mod settings;
mod special;
mod spin;
mod stop;
mod sync;
mod sysinfo;
mod system;
mod thread;
mod time;
mod timer;
mod unload;
mod user;
mod work;
mod worker;

use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL, ntddk::DbgPrint};

use crate::exports::Export;
use crate::image::Image;
use crate::sync::ProcessHeap;

#[global_allocator]
static GLOBAL: ProcessHeap = ProcessHeap;

/// Everything that drivers can import from us.
static TABLES: &[&[Export]] = &[
    bugcheck::EXPORTS,
    csq::EXPORTS,
    process::EXPORTS,
    registry::EXPORTS,
    sysinfo::EXPORTS,
    cancel::EXPORTS,
    cpu::EXPORTS,
    dpc::EXPORTS,
    etw::EXPORTS,
    irp::EXPORTS,
    irql::EXPORTS,
    lookaside::EXPORTS,
    mdl::EXPORTS,
    objects::EXPORTS,
    pcw::EXPORTS,
    pool::EXPORTS,
    rundown::EXPORTS,
    spin::EXPORTS,
    time::EXPORTS,
    timer::EXPORTS,
    work::EXPORTS,
];

fn install(own: *const u8) -> Option<()> {
    const NTOSKRNL: [u16; 16] = user::wide("ntoskrnl.exe");
    if !thread::initialize() {
        return None;
    }
    let kernel = Image::at(user::module(&NTOSKRNL)?);
    driver::note_present(own);
    let done = exports::install(kernel, TABLES)
        && request::possible()
        && special::watch()
        && driver::watch()
        && server::install(kernel)
        && service::install(kernel);
    done.then_some(())
}

/// Entry point. `PASSIVE_LEVEL`.
///
/// # Safety
///
/// Only the I/O manager calls it.
// SAFETY: the name is the one the I/O manager looks for, and no other symbol has it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager's string.
    settings::load(unsafe { &*registry_path });
    if install(driver.DriverStart.cast()).is_none() {
        // SAFETY: the format is NUL-terminated and names no argument.
        unsafe { DbgPrint(c"verifier: this ntoskrnl is not one that can be completed\n".as_ptr()) };
        return STATUS_UNSUCCESSFUL;
    }
    time::stamp::begin();
    device::create(driver);
    // SAFETY: the format is NUL-terminated and names no argument.
    unsafe { DbgPrint(c"verifier: loaded\n".as_ptr()) };
    STATUS_SUCCESS
}
