//! Threads that do to their sockets whatever a client may do, in random order.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use probe_protocol::probe::{Call, Category, Function, Input, Output, Slots, Stress, StressReport};
use wdk_sys::{NTSTATUS, STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INTERNAL_ERROR, STATUS_TIMEOUT};

use super::random::Random;
use super::{MAX_THREADS, keeps_the_rules, on_threads};
use crate::ke;
use crate::request::Request;
use crate::session::Session;
use crate::shared::Shared;
use crate::socket::{Socket, Stage};

const MAX_SOCKETS: usize = 64;
const SOL_SOCKET: u32 = 0xFFFF;
/// Options that clients set and get, and some that no provider has.
const OPTIONS: [u32; 12] = [
    0x4,
    0x8,
    0x20,
    0x80,
    0x100,
    0x1,
    0x10,
    0x1001,
    0x1002,
    0xFFFF_FF7F,
    0xFFFF_FFFB,
    0x7ABC,
];

/// Sums over all threads.
#[derive(Default)]
struct Sums {
    stuck: AtomicU32,
    mismatched: AtomicU32,
    line: AtomicU32,
    launched: AtomicU64,
    succeeded: AtomicU64,
    cancelled: AtomicU64,
    failed: AtomicU64,
}

struct Worker {
    session: Shared<Session>,
    sums: Shared<Sums>,
    wish: Stress,
    number: usize,
}

/// A socket of one thread and what is pending on it.
#[derive(Default)]
struct Place {
    socket: Option<Shared<Socket>>,
    pending: Option<Shared<Request>>,
}

pub(super) fn run(session: &Shared<Session>, wish: &Stress) -> Result<StressReport, NTSTATUS> {
    session.client(wish.client)?;
    let sums = Shared::try_new(Sums::default()).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let before = session.double_completions.load(Ordering::Acquire);
    let started = ke::ticks();
    let threads = (wish.threads as usize).clamp(1, MAX_THREADS);
    on_threads(threads, work, |number| {
        Shared::try_new(Worker {
            session: session.clone(),
            sums: sums.clone(),
            wish: *wish,
            number,
        })
    })
    .ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let line = sums.line.load(Ordering::Acquire);
    let stuck = sums.stuck.load(Ordering::Acquire);
    Ok(StressReport {
        status: match (stuck, line) {
            (0, 0) => 0,
            (0, _) => STATUS_INTERNAL_ERROR,
            _ => STATUS_TIMEOUT,
        },
        stuck,
        double_completions: session.double_completions.load(Ordering::Acquire).wrapping_sub(before),
        mismatched: sums.mismatched.load(Ordering::Acquire),
        launched: sums.launched.load(Ordering::Acquire),
        succeeded: sums.succeeded.load(Ordering::Acquire),
        cancelled: sums.cancelled.load(Ordering::Acquire),
        failed: sums.failed.load(Ordering::Acquire),
        ticks: ke::ticks().wrapping_sub(started),
        line,
        reserved: 0,
    })
}

fn work(worker: &Worker) {
    let mut places: [Place; MAX_SOCKETS] = core::array::from_fn(|_| Place::default());
    let count = (worker.wish.sockets as usize).clamp(1, MAX_SOCKETS);
    let mut random = Random::new(u64::from(worker.wish.seed).wrapping_add((worker.number as u64) << 32));
    for _ in 0..worker.wish.steps {
        let index = random.below(u32::try_from(count).unwrap_or(1)) as usize;
        let Some(place) = places.get_mut(index) else { break };
        if worker.sums.stuck.load(Ordering::Relaxed) > 0 {
            break;
        }
        worker.step(place, &mut random);
    }
    for place in places.iter_mut().take(count) {
        worker.close(place, false);
    }
}

impl Worker {
    fn fault(&self, line: u32) {
        let _ = self
            .sums
            .line
            .compare_exchange(0, line, Ordering::AcqRel, Ordering::Acquire);
    }

    fn step(&self, place: &mut Place, random: &mut Random) {
        let raise = self.wish.at_dispatch != 0 && random.below(2) == 0;
        let Some(socket) = place.socket.clone() else {
            self.open(place, random, raise);
            return;
        };
        match random.below(100) {
            0..15 => self.close(place, raise),
            15..40 => self.set(&socket, random, raise),
            40..60 => self.get(&socket, random, raise),
            60..70 => self.bind(&socket, raise),
            70..85 => self.start(place, &socket, random, raise),
            85..95 => self.cancel(place, raise),
            _ => {
                let call = Call {
                    function: Function::GetLocalAddress as u32,
                    ..Call::default()
                };
                self.now(&socket, call, &[], raise);
            }
        }
    }

    fn prepare(&self, call: &Call, data: &[u8]) -> Option<Shared<Request>> {
        self.sums.launched.fetch_add(1, Ordering::Relaxed);
        self.session.prepare(call, data).ok()
    }

    /// Launches; a request without a function to call counts as failed.
    fn launch(&self, request: &Shared<Request>, raise: bool) -> bool {
        request.launch(request, raise);
        let called = request.is_busy() || request.has_completed();
        if !called {
            self.sums.failed.fetch_add(1, Ordering::Relaxed);
            self.session.forget(request);
        }
        called
    }

    /// Waits for a request that was launched, and checks and counts how it ended.
    fn end(&self, request: &Shared<Request>) -> Option<NTSTATUS> {
        if !request.wait_completed(self.wish.timeout_ms) {
            self.sums.stuck.fetch_add(1, Ordering::AcqRel);
            self.fault(line!());
            return None;
        }
        // The completing thread may still be on its way back to the one that called.
        while request.is_busy() {
            ke::sleep(1);
        }
        if !keeps_the_rules(request) {
            self.sums.mismatched.fetch_add(1, Ordering::AcqRel);
        }
        let (_, status, _) = request.result();
        let counter = match status {
            STATUS_CANCELLED => &self.sums.cancelled,
            0.. => &self.sums.succeeded,
            _ => &self.sums.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.session.forget(request);
        Some(status)
    }

    fn now(&self, socket: &Shared<Socket>, call: Call, data: &[u8], raise: bool) -> Option<NTSTATUS> {
        let call = Call {
            socket: socket.id.load(Ordering::Relaxed),
            ..call
        };
        let request = self.prepare(&call, data)?;
        if self.launch(&request, raise) {
            self.end(&request)
        } else {
            None
        }
    }

    fn open(&self, place: &mut Place, random: &mut Random, raise: bool) {
        let categories = [
            Category::Listen,
            Category::Connection,
            Category::Datagram,
            Category::Stream,
        ];
        let Some(category) = random.pick(&categories) else {
            return;
        };
        let (kind, protocol) = super::kind_and_protocol(category, self.wish.protocol);
        let mut call = Call {
            function: Function::Socket as u32,
            client: self.wish.client,
            numbers: [self.wish.family, u32::from(kind), protocol, category as u32],
            ..Call::default()
        };
        call.reactions.slots = if random.below(2) == 0 { Slots::ALL.0 } else { 0 };
        let Some(request) = self.prepare(&call, &[]) else {
            return;
        };
        let created = request.created.clone();
        if !self.launch(&request, raise) {
            return;
        }
        if self.end(&request).is_some_and(|status| status >= 0) {
            place.socket = created.filter(|socket| socket.stage() == Stage::Open);
            if place.socket.is_none() {
                self.fault(line!());
            }
        }
    }

    fn close(&self, place: &mut Place, raise: bool) {
        let Some(socket) = place.socket.take() else { return };
        let call = Call {
            function: Function::CloseSocket as u32,
            ..Call::default()
        };
        if self.now(&socket, call, &[], raise).is_none_or(|status| status < 0) {
            self.fault(line!());
        }
        if let Some(pending) = place.pending.take() {
            // Closing ends what is pending.
            self.end(&pending);
        }
        self.session.sockets.remove(socket.id.load(Ordering::Relaxed));
    }

    fn set(&self, socket: &Shared<Socket>, random: &mut Random, raise: bool) {
        let value = random.next().to_le_bytes();
        let length = random.pick(&[0_u32, 1, 4, 4, 4, 4]).unwrap_or(4);
        let call = Call {
            function: Function::ControlSocket as u32,
            numbers: [0, random.pick(&OPTIONS).unwrap_or(4), SOL_SOCKET, 0],
            input: Input::Bytes as u32,
            input_length: 4,
            input_size: length.into(),
            ..Call::default()
        };
        self.now(socket, call, &value, raise);
    }

    fn get(&self, socket: &Shared<Socket>, random: &mut Random, raise: bool) {
        let call = Call {
            function: Function::ControlSocket as u32,
            numbers: [1, random.pick(&OPTIONS).unwrap_or(4), SOL_SOCKET, 0],
            output: Output::Bytes as u32,
            output_length: 8,
            output_size: u64::from(random.pick(&[0_u32, 1, 4, 4, 8]).unwrap_or(4)),
            ..Call::default()
        };
        self.now(socket, call, &[], raise);
    }

    fn loopback(&self) -> ([u8; 28], u32) {
        let mut address = [0; 28];
        if self.wish.family == u32::from(wsk_sys::AF_INET6) {
            let [family, .., _, _, _, _] = &mut address;
            *family = 23;
            let [.., last, _, _, _, _] = &mut address;
            *last = 1;
            return (address, 28);
        }
        let [family, _, _, _, first, _, _, last, ..] = &mut address;
        (*family, *first, *last) = (2, 127, 1);
        (address, 16)
    }

    fn bind(&self, socket: &Shared<Socket>, raise: bool) {
        let (address, address_length) = self.loopback();
        let call = Call {
            function: Function::Bind as u32,
            address,
            address_length,
            ..Call::default()
        };
        self.now(socket, call, &[], raise);
    }

    /// Starts something that stays pending until it is cancelled or the socket closed.
    fn start(&self, place: &mut Place, socket: &Shared<Socket>, random: &mut Random, raise: bool) {
        if place.pending.is_some() {
            return;
        }
        let function = match socket.category {
            Category::Datagram => Function::ReceiveFrom,
            Category::Listen | Category::Stream => Function::Accept,
            _ => Function::Receive,
        };
        let call = Call {
            function: function as u32,
            socket: socket.id.load(Ordering::Relaxed),
            output: Output::Bytes as u32,
            output_length: 64,
            output_size: 64,
            ..Call::default()
        };
        let Some(request) = self.prepare(&call, &[]) else {
            return;
        };
        if self.launch(&request, raise) {
            place.pending = Some(request);
        }
        if random.below(4) == 0 {
            self.cancel(place, raise);
        }
    }

    fn cancel(&self, place: &mut Place, raise: bool) {
        if let Some(pending) = place.pending.take() {
            ke::at_irql(raise, || pending.cancel());
            self.end(&pending);
        }
    }
}
