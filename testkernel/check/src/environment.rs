//! Tests of the test kernel's own I/O manager and service manager, with faulty.sys as a healthy driver.

use std::{io, sync::Arc, thread, time::Duration};

use probe_protocol::verifier::{
    QUERY_CREATE,
    faulty::{self, Case, Switch},
    flags,
};

use crate::{
    cases,
    device::Device,
    faults,
    service::Service,
    verifier::{FaultMode, StopCode, Verifier, text},
};

const TOO_MANY_SESSIONS: i32 = 69;
const ACCESS_DENIED: i32 = 5;
const OPERATION_ABORTED: i32 = 995;
const INVALID_SERVICE_CONTROL: i32 = 1052;
const STOPPED: u32 = 1;
const RUNNING: u32 = 4;

type Test = fn(&Verifier, &Service) -> io::Result<()>;

/// Name and body of every test.
pub const TESTS: [(&str, Test); 13] = [
    ("create_status", create_status),
    ("device_dacl", device_dacl),
    ("cleanup_before_close", cleanup_before_close),
    ("cancel", cancel),
    ("stop_refused", stop_refused),
    ("stop_deferred", stop_deferred),
    ("close_returns_late", close_returns_late),
    ("concurrent_requests", concurrent_requests),
    ("faults_systematic", faults_systematic),
    ("faults_find_leak", faults_find_leak),
    ("faults_random", faults_random),
    ("imports_counted", imports_counted),
    ("off", off),
];

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

fn expect(condition: bool, what: &str) -> io::Result<()> {
    if condition { Ok(()) } else { Err(wrong(what)) }
}

fn throw(device: &Device, switch: Switch) -> io::Result<u32> {
    let mut output = [0; 4];
    device.control(faulty::SWITCH, &(switch as u32).to_le_bytes(), &mut output)?;
    Ok(u32::from_le_bytes(output))
}

fn refused(result: io::Result<impl Sized>, error: i32) -> io::Result<()> {
    match result {
        Ok(_) => Err(wrong(format!("succeeded; error {error} was expected"))),
        Err(other) if other.raw_os_error() == Some(error) => Ok(()),
        Err(other) => Err(wrong(format!("{other}; error {error} was expected"))),
    }
}

/// Opens the device; where handles come before the driver's answer, waits for that.
fn open() -> io::Result<Device> {
    let device = Device::open(faulty::DEVICE)?;
    device.control(QUERY_CREATE, &[], &mut [])?;
    Ok(device)
}

fn create_status(_: &Verifier, _: &Service) -> io::Result<()> {
    let device = open()?;
    throw(&device, Switch::RefuseOpen)?;
    let refusal = refused(open(), TOO_MANY_SESSIONS);
    // The first request on a refused handle fails like the open, whatever it is.
    let late = Device::open(faulty::DEVICE).and_then(|other| throw(&other, Switch::Creates));
    let late = refused(late, TOO_MANY_SESSIONS);
    throw(&device, Switch::AllowOpen)?;
    refusal?;
    late?;
    open().map(drop)
}

fn device_dacl(_: &Verifier, _: &Service) -> io::Result<()> {
    let device = open()?;
    let seen = throw(&device, Switch::Creates)?;
    expect(throw(&device, Switch::DenyAll)? == 0, "the DACL cannot be set")?;
    let denied = refused(open(), ACCESS_DENIED);
    expect(
        throw(&device, Switch::Creates)? == seen,
        "the driver saw a create request that the DACL forbids",
    )?;
    expect(throw(&device, Switch::GrantAll)? == 0, "the DACL cannot be set back")?;
    denied?;
    open().map(drop)
}

fn cleanup_before_close(_: &Verifier, _: &Service) -> io::Result<()> {
    let device = open()?;
    let (cleanups, closes) = (throw(&device, Switch::Cleanups)?, throw(&device, Switch::Closes)?);
    drop(open()?);
    for _ in 0..100 {
        if throw(&device, Switch::Closes)? > closes {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    expect(throw(&device, Switch::Closes)? == closes + 1, "no close request")?;
    let now = throw(&device, Switch::Cleanups)?;
    expect(
        now == cleanups + 1,
        &format!("cleanup requests: {cleanups:#x} before, {now:#x} after"),
    )
}

fn cancel(_: &Verifier, _: &Service) -> io::Result<()> {
    let device = open()?;
    let before = throw(&device, Switch::Cancels)?;
    refused(device.control_within(faulty::PEND, &[], &mut [], 200), 258)?;
    expect(
        throw(&device, Switch::Cancels)? == before + 1,
        "the cancel routine was not called",
    )?;
    // A second handle's request is cancelled by its cleanup.
    let other = Arc::new(open()?);
    let pended = {
        let other = Arc::clone(&other);
        thread::spawn(move || other.control_within(faulty::PEND, &[], &mut [], 5000))
    };
    thread::sleep(Duration::from_millis(200));
    // SAFETY: the handle is open; all of its requests are cancelled.
    unsafe { windows_sys::Win32::System::IO::CancelIoEx(other.raw(), std::ptr::null()) };
    let result = pended.join().map_err(|_| wrong("the waiting thread died"))?;
    refused(result, OPERATION_ABORTED)
}

fn stop_refused(_: &Verifier, service: &Service) -> io::Result<()> {
    let device = open()?;
    throw(&device, Switch::NoUnload)?;
    thread::sleep(Duration::from_millis(100));
    let twice = [service.stop(), service.stop()].map(|result| refused(result, INVALID_SERVICE_CONTROL));
    let running = service.state()? == RUNNING;
    let usable = throw(&device, Switch::Creates).is_ok();
    throw(&device, Switch::Unload)?;
    thread::sleep(Duration::from_millis(100));
    twice.into_iter().collect::<io::Result<Vec<()>>>()?;
    expect(running, "the service no longer runs")?;
    expect(usable, "the device can no longer be used")
}

fn stop_deferred(_: &Verifier, service: &Service) -> io::Result<()> {
    let device = open()?;
    service.stop()?;
    thread::sleep(Duration::from_millis(100));
    let state = service.state()?;
    expect(state != STOPPED, "the driver was unloaded with a file open")?;
    expect(
        throw(&device, Switch::Creates).is_ok(),
        "the open file can no longer be used",
    )?;
    expect(
        open().is_err(),
        "a new file was opened on a driver that is being unloaded",
    )?;
    drop(device);
    service.wait_for(STOPPED)?;
    service.start()
}

/// The driver has completed its last request, and is still in the routine that did.
fn close_returns_late(_: &Verifier, service: &Service) -> io::Result<()> {
    let device = open()?;
    throw(&device, Switch::SlowClose)?;
    drop(device);
    service.stop()?;
    service.wait_for(STOPPED)?;
    service.start()
}

fn concurrent_requests(verifier: &Verifier, _: &Service) -> io::Result<()> {
    let present = verifier.info()?.flags;
    verifier.set_flags(present | flags::CONCURRENT)?;
    let device = Arc::new(open()?);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let device = Arc::clone(&device);
            thread::spawn(move || throw(&device, Switch::Crowd))
        })
        .collect();
    let most = threads.into_iter().filter_map(|thread| thread.join().ok()?.ok()).max();
    verifier.set_flags(present)?;
    expect(most.unwrap_or(0) > 1, &format!("at most {most:?} requests at a time"))
}

fn faults_systematic(verifier: &Verifier, _: &Service) -> io::Result<()> {
    let device = open()?;
    let sweep = faults::sweep(verifier, |_| cases::call(&device, Case::HealthyAllocations).map(drop))?;
    let seven = sweep.sites.len() == 7 && sweep.missed() == 0 && sweep.sites.iter().all(|site| site.failed == 1);
    // Two blocks, an MDL, an IRP, a work item, a look-aside list; and the MDL's block fails before the MDL is asked for.
    expect(
        seven || sweep.sites.len() == 6 && sweep.missed() == 0,
        &format!("sweep: {sweep}"),
    )
}

fn faults_find_leak(verifier: &Verifier, service: &Service) -> io::Result<()> {
    let device = open()?;
    faults::sweep(verifier, |_| throw(&device, Switch::LeakOnFailure).map(drop))?;
    drop(device);
    service.stop()?;
    service.wait_for(STOPPED)?;
    let leaks = verifier
        .stops()?
        .iter()
        .filter(|stop| stop.code == StopCode::PoolLeak as u32)
        .count();
    verifier.clear_stops()?;
    service.start()?;
    expect(
        leaks == 1,
        &format!("{leaks} leaks; the one block that is lost when the second fails was expected"),
    )
}

fn faults_random(verifier: &Verifier, _: &Service) -> io::Result<()> {
    let device = open()?;
    let failures = |seed| -> io::Result<u64> {
        let before = verifier.info()?.faults;
        verifier.arm(FaultMode::Random, |round| {
            (round.probability, round.seed) = (0x8000, seed);
        })?;
        for _ in 0..50 {
            cases::call(&device, Case::HealthyAllocations)?;
        }
        verifier.arm(FaultMode::Off, |_| {})?;
        Ok(verifier.info()?.faults - before)
    };
    let (first, again) = (failures(7)?, failures(7)?);
    expect(
        first > 50 && first < 250,
        &format!("{first} of about 270 allocations failed; half was asked for"),
    )?;
    expect(
        first == again,
        &format!("the same seed gave {first} and then {again} failures"),
    )
}

fn imports_counted(verifier: &Verifier, _: &Service) -> io::Result<()> {
    let device = open()?;
    let calls = || -> io::Result<u64> {
        let imports = verifier.imports()?;
        let spin = imports
            .iter()
            .find(|import| text(&import.name) == "ExAcquireSpinLockShared");
        let spin = spin.ok_or_else(|| wrong("ExAcquireSpinLockShared is not among the imports"))?;
        expect(spin.highest == 2, "its highest IRQL is not DISPATCH_LEVEL")?;
        Ok(spin.calls)
    };
    let before = calls()?;
    cases::call(&device, Case::HealthyLocks)?;
    let after = calls()?;
    expect(
        after == before + 1,
        &format!("{before} calls before, {after} after one more"),
    )
}

/// With the verifier off, a bug goes unnoticed: the checks, and nothing else, are what finds them.
fn off(verifier: &Verifier, _: &Service) -> io::Result<()> {
    let present = verifier.info()?.flags;
    verifier.set_flags(0)?;
    let device = open()?;
    let result = [Case::IrqlTooHigh, Case::PoolOverrunWrite, Case::LockOrder].map(|case| cases::call(&device, case));
    verifier.set_flags(present)?;
    result.into_iter().collect::<io::Result<Vec<u32>>>().map(drop)
}
