//! Work that takes many calls, driven inside the probe. `PASSIVE_LEVEL`.

mod bench;
mod lean;
mod random;
mod stress;
mod transfer;

use probe_protocol::probe::{Category, Op, put, take};
use wdk_sys::{NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_PENDING};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ke;
use crate::request::Request;
use crate::session::Session;
use crate::shared::Shared;

/// Most threads of one operation.
const MAX_THREADS: usize = 16;

/// Carries out [`Op::Transfer`], [`Op::Stress`] or [`Op::Bench`].
pub(crate) fn run(session: &Shared<Session>, op: u32, body: &[u8], reply: &mut [u8]) -> Result<usize, NTSTATUS> {
    match Op::from_u32(op) {
        Some(Op::Transfer) => answer(reply, &transfer::run(session, &wish(body)?)?),
        Some(Op::Stress) => answer(reply, &stress::run(session, &wish(body)?)?),
        Some(Op::Bench) => answer(reply, &bench::run(session, &wish(body)?)?),
        _ => Err(STATUS_INVALID_PARAMETER),
    }
}

fn wish<T: FromBytes + Immutable + KnownLayout + Copy>(body: &[u8]) -> Result<T, NTSTATUS> {
    take(body).map(|(wish, _)| wish).ok_or(STATUS_INVALID_PARAMETER)
}

fn answer<T: IntoBytes + Immutable>(reply: &mut [u8], value: &T) -> Result<usize, NTSTATUS> {
    put(reply, value).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    Ok(size_of::<T>())
}

/// Socket type and protocol of a category's sockets, unless the script asks for a protocol.
fn kind_and_protocol(category: Category, asked: u32) -> (u16, u32) {
    let (kind, protocol) = if category == Category::Datagram {
        (2, 17)
    } else {
        (1, 6)
    };
    (kind, if asked == 0 { protocol } else { asked })
}

/// Launches and waits; `Err`: it did not end in time, not even cancelled in half the time again.
fn carry_out(request: &Shared<Request>, at_dispatch: bool, timeout_ms: u32) -> Result<(NTSTATUS, usize), ()> {
    let status = request.launch(request, at_dispatch);
    if !request.is_busy() && !request.has_completed() {
        // There was nothing to call.
        return Ok((status, 0));
    }
    wait(request, timeout_ms)
}

/// Waits for a request that was launched.
fn wait(request: &Shared<Request>, timeout_ms: u32) -> Result<(NTSTATUS, usize), ()> {
    if !request.wait_completed(timeout_ms) {
        request.cancel();
        if !request.wait_completed(timeout_ms / 2) {
            return Err(());
        }
    }
    let (_, status, information) = request.result();
    Ok((status, information))
}

/// Whether return and completion agree, as WSK has it.
fn keeps_the_rules(request: &Request) -> bool {
    use probe_protocol::probe::Progress;
    let (returned, status, _) = request.result();
    let progress = request.progress();
    if returned == STATUS_PENDING {
        progress.has(Progress::PENDING_RETURNED)
    } else {
        !progress.has(Progress::PENDING_RETURNED) && returned == status
    }
}

/// Runs `body` on `count` threads and waits for all of them.
fn on_threads<C: Send + Sync>(
    count: usize,
    body: fn(&C),
    mut context: impl FnMut(usize) -> Option<Shared<C>>,
) -> Option<()> {
    let mut threads: [Option<ke::Thread>; MAX_THREADS] = [const { None }; MAX_THREADS];
    let mut complete = true;
    for (index, thread) in threads.iter_mut().enumerate().take(count) {
        *thread = context(index).and_then(|context| ke::Thread::spawn(body, context));
        complete &= thread.is_some();
    }
    for mut thread in threads.into_iter().flatten() {
        while let Err(running) = thread.join(60_000) {
            thread = running;
        }
    }
    complete.then_some(())
}
