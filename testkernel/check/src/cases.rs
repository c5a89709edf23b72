//! The cases of faulty.sys, each with what the verifier must say of it.

use std::io;

use probe_protocol::verifier::{
    StopCode,
    faulty::{self, Case},
    flags::POOL_BEFORE,
};

use crate::{
    device::Device,
    service::Service,
    verifier::{Shown, Stop, Verifier, text},
};

/// What a case came to.
#[derive(Debug)]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// What the verifier said.
    pub stops: Vec<Stop>,
    /// Why it failed; nothing if it is as it should be.
    pub failure: Option<String>,
}

/// Has faulty.sys carry out a case; its result.
///
/// # Errors
/// The device's.
pub fn call(device: &Device, case: Case) -> io::Result<u32> {
    let mut output = [0; 4];
    device.control(faulty::RUN, &(case as u32).to_le_bytes(), &mut output)?;
    Ok(u32::from_le_bytes(output))
}

/// Runs `body` with faulty.sys freshly loaded, and unloads it; no stop may come of it.
///
/// # Errors
/// The body's, the service manager's, the verifier's, or the stops that there were.
pub fn alone(verifier: &Verifier, service: &Service, body: impl FnOnce(&Service) -> io::Result<()>) -> io::Result<()> {
    verifier.clear_stops()?;
    service.start()?;
    let result = body(service);
    service.stop()?;
    service.wait_for(1)?;
    result?;
    let stops = verifier.stops()?;
    if stops.is_empty() {
        Ok(())
    } else {
        Err(io::Error::other(said(&stops)))
    }
}

fn said(stops: &[Stop]) -> String {
    stops
        .iter()
        .map(|stop| Shown(stop).to_string())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Runs one case in a driver that was just loaded, and unloads it again. `expected` is the stop that it must cause.
///
/// # Errors
/// The service manager's or the verifier's: the session is not as it should be.
pub fn run(verifier: &Verifier, service: &Service, case: Case, expected: Option<StopCode>) -> io::Result<Outcome> {
    let flags = verifier.info()?.flags;
    if case == Case::PoolUnderrun {
        verifier.set_flags(flags | POOL_BEFORE)?;
    }
    if case == Case::HealthyEtw {
        verifier.session(5, 0)?;
    }
    verifier.clear_stops()?;
    service.start()?;
    let result = Device::open(faulty::DEVICE).and_then(|device| call(&device, case));
    service.stop()?;
    service.wait_for(1)?;
    verifier.set_flags(flags)?;
    let taken = verifier.events()?.len();
    verifier.session(0, 0)?;
    let stops = verifier.stops()?;
    let failure = match (expected, result) {
        (None, Ok(0)) if case == Case::HealthyEtw && taken != 1 => Some(format!("{taken} events taken")),
        (None, Ok(0)) if stops.is_empty() => None,
        (None, result) => Some(format!("result {result:?}\n{}", said(&stops))),
        (Some(code), _) if stops.iter().any(|stop| stop.code == code as u32 && names_driver(stop)) => None,
        (Some(code), _) => Some(format!("no {code:?}\n{}", said(&stops))),
    };
    Ok(Outcome { case, stops, failure })
}

/// Whether a stop names the verified driver, or the memory that it overran, by module and offset.
fn names_driver(stop: &Stop) -> bool {
    stop.frames
        .iter()
        .take(usize::from(stop.depth))
        .any(|frame| text(&frame.module) == "faulty.sys")
}
