//! Measurements: one kind of call again and again, on sockets in turn, on several threads.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use probe_protocol::probe::{Bench, BenchReport, Category, KernelCall, Workload};
use wdk_rtl::lock::SpinLock;
use wdk_sys::{
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_TIMEOUT,
};
use wsk_sys::{
    PSOCKADDR, PWSK_SOCKET, SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_INET, WSK_BUF, WSK_PROVIDER_BASIC_DISPATCH,
    WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_DATAGRAM_DISPATCH, WSK_PROVIDER_LISTEN_DISPATCH,
};

use super::lean::{Lean, Spare};
use super::{MAX_THREADS, on_threads};
use crate::buffer::Buffer;
use crate::client::Client;
use crate::ke;
use crate::session::Session;
use crate::shared::{Shared, Zeroable};

const MAX_SOCKETS: usize = 64;
const SAMPLES: usize = 4096;

/// The processor's time stamp counter.
fn time_stamp() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has it.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        ke::ticks()
    }
}

struct Samples {
    times: SpinLock<[u64; SAMPLES]>,
}

// SAFETY: a lock of zero and numbers.
unsafe impl Zeroable for Samples {}

struct Sums {
    status: AtomicI32,
    iterations: AtomicU64,
    cycles: AtomicU64,
    least: AtomicU64,
}

struct Worker {
    client: Shared<Client>,
    wish: Bench,
    workload: Workload,
    sums: Shared<Sums>,
    /// Only the first thread's.
    samples: Option<Shared<Samples>>,
}

pub(super) fn run(session: &Shared<Session>, wish: &Bench) -> Result<BenchReport, NTSTATUS> {
    let client = session.client(wish.client)?;
    let workload = Workload::from_u32(wish.workload).ok_or(STATUS_INVALID_PARAMETER)?;
    let sums = Sums {
        status: AtomicI32::new(0),
        iterations: AtomicU64::new(0),
        cycles: AtomicU64::new(0),
        least: AtomicU64::new(u64::MAX),
    };
    let sums = Shared::try_new(sums).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let samples = Shared::<Samples>::try_zeroed().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let threads = (wish.threads as usize).clamp(1, MAX_THREADS);
    let (started, first_stamp) = (ke::ticks(), time_stamp());
    on_threads(threads, work, |index| {
        let samples = (index == 0).then(|| samples.clone());
        Shared::try_new(Worker {
            client: client.clone(),
            wish: *wish,
            workload,
            sums: sums.clone(),
            samples,
        })
    })
    .ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let (elapsed, stamps) = (
        ke::ticks().wrapping_sub(started),
        time_stamp().wrapping_sub(first_stamp),
    );
    let (median, percentile99) = quantiles(&samples, stretches(wish));
    Ok(BenchReport {
        status: sums.status.load(Ordering::Acquire),
        threads: u32::try_from(threads).unwrap_or(0),
        iterations: sums.iterations.load(Ordering::Acquire),
        elapsed,
        cycles: sums.cycles.load(Ordering::Acquire),
        least: sums.least.load(Ordering::Acquire),
        median,
        percentile99,
        cycles_per_second: per_second(stamps, elapsed),
    })
}

/// Repetitions timed together.
fn stretch(wish: &Bench) -> usize {
    (wish.stretch as usize).max(1)
}

fn stretches(wish: &Bench) -> usize {
    (wish.iterations as usize).checked_div(stretch(wish)).unwrap_or(0)
}

fn per_second(stamps: u64, elapsed: u64) -> u64 {
    let product = u128::from(stamps).saturating_mul(u128::from(ke::ticks_per_second()));
    u64::try_from(product.checked_div(u128::from(elapsed)).unwrap_or(0)).unwrap_or(0)
}

/// Median and 99th percentile of the samples taken.
fn quantiles(samples: &Samples, stretches: usize) -> (u64, u64) {
    let mut times = samples.times.lock();
    let count = stretches.min(SAMPLES);
    let Some(taken) = times.get_mut(..count) else {
        return (0, 0);
    };
    taken.sort_unstable();
    let at = |part: usize| taken.get(count.saturating_mul(part) / 100).copied().unwrap_or(0);
    (at(50), at(99))
}

fn work(worker: &Worker) {
    if let Err(status) = worker.measure() {
        let _ = worker
            .sums
            .status
            .compare_exchange(0, status, Ordering::AcqRel, Ordering::Acquire);
    }
}

fn check(result: (NTSTATUS, usize)) -> Result<usize, NTSTATUS> {
    match result {
        (STATUS_TIMEOUT, _) => Err(STATUS_TIMEOUT),
        (status, _) if status < 0 => Err(status),
        (_, information) => Ok(information),
    }
}

/// Sockets of one thread; closed when it is done.
struct Sockets<'a> {
    worker: &'a Worker,
    lean: Shared<Lean>,
    list: [PWSK_SOCKET; MAX_SOCKETS],
    count: usize,
}

impl Worker {
    fn measure(&self) -> Result<(), NTSTATUS> {
        let lean = Lean::new().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        match self.workload {
            Workload::Get | Workload::Set => self.control(lean),
            Workload::LocalAddress => self.local_address(lean),
            Workload::CreateClose => self.create_close(&lean),
            Workload::Crowd => self.crowd(&lean),
            Workload::Datagram => self.datagrams(lean),
            Workload::Echo => self.echo(lean),
            Workload::Send | Workload::Receive => self.one_way(lean),
            Workload::Kernel => self.kernel(),
        }
    }

    /// Repeats `one` with the number of the repetition, and keeps the times.
    fn repeat(&self, mut one: impl FnMut(usize) -> Result<(), NTSTATUS>) -> Result<(), NTSTATUS> {
        let (mut sum, mut least) = (0_u64, u64::MAX);
        let together = stretch(&self.wish);
        if self.wish.pause_ms > 0 {
            ke::sleep(self.wish.pause_ms);
        }
        for index in 0..stretches(&self.wish) {
            let first = index.wrapping_mul(together);
            let start = time_stamp();
            for number in 0..together {
                one(first.wrapping_add(number))?;
            }
            let time = time_stamp().wrapping_sub(start);
            sum = sum.saturating_add(time);
            least = least.min(time);
            if let Some(samples) = &self.samples
                && let Some(place) = samples.times.lock().get_mut(index)
            {
                *place = time;
            }
        }
        let done = stretches(&self.wish).wrapping_mul(together);
        self.sums.iterations.fetch_add(done as u64, Ordering::AcqRel);
        self.sums.cycles.fetch_add(sum, Ordering::AcqRel);
        self.sums.least.fetch_min(least, Ordering::AcqRel);
        Ok(())
    }

    fn create(&self, lean: &Lean, category: Category) -> Result<PWSK_SOCKET, NTSTATUS> {
        let (client, dispatch) = self.client.provider().ok_or(STATUS_INVALID_PARAMETER)?;
        // SAFETY: the provider's dispatch is resident while the client is attached.
        let socket = unsafe { (*dispatch).WskSocket }.ok_or(STATUS_INVALID_PARAMETER)?;
        let (kind, protocol) = super::kind_and_protocol(category, self.wish.protocol);
        let [low, high, ..] = self.wish.family.to_le_bytes();
        let family = u16::from_le_bytes([low, high]);
        let (none, flags) = (null_mut(), category as u32);
        check(lean.call(|irp| {
            // SAFETY: a socket without callbacks, owner or descriptor.
            unsafe { socket(client, family, kind, protocol, flags, none, none, none, none, none, irp) }
        }))
        .map(|information| information as PWSK_SOCKET)
    }

    fn address(&self) -> SOCKADDR_INET {
        let mut address = SOCKADDR_INET {
            Ipv6: SOCKADDR_IN6::default(),
        };
        if self.wish.family == u32::from(wsk_sys::AF_INET6) {
            let mut loopback = SOCKADDR_IN6 {
                sin6_family: wsk_sys::AF_INET6,
                ..SOCKADDR_IN6::default()
            };
            let [.., last] = &mut loopback.sin6_addr;
            *last = 1;
            address.Ipv6 = loopback;
        } else {
            address.Ipv4 = SOCKADDR_IN {
                sin_family: wsk_sys::AF_INET,
                sin_addr: [127, 0, 0, 1],
                ..SOCKADDR_IN::default()
            };
        }
        address
    }

    fn sockets(&self, lean: Shared<Lean>, category: Category, count: usize) -> Result<Sockets<'_>, NTSTATUS> {
        let mut sockets = Sockets {
            worker: self,
            lean,
            list: [null_mut(); MAX_SOCKETS],
            count: 0,
        };
        for _ in 0..count.clamp(1, MAX_SOCKETS) {
            sockets.add(category)?;
        }
        Ok(sockets)
    }

    fn control(&self, lean: Shared<Lean>) -> Result<(), NTSTATUS> {
        let sockets = self.sockets(lean, Category::Datagram, self.wish.sockets as usize)?;
        let value = Buffer::copy_of(&1_u32.to_le_bytes()).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let data = value.data().cast();
        let (code, level) = (self.wish.code, self.wish.level);
        let get = self.workload == Workload::Get;
        let none = null_mut();
        self.repeat(|index| {
            let socket = sockets.at(index);
            // SAFETY: every table begins with the basic one.
            let control = unsafe { (*dispatch::<WSK_PROVIDER_BASIC_DISPATCH>(socket)).WskControlSocket };
            let control = control.ok_or(STATUS_INVALID_PARAMETER)?;
            check(sockets.lean.call(|irp| {
                if get {
                    // SAFETY: the value outlives the call.
                    unsafe { control(socket, 1, code, level, 0, none, 4, data, null_mut(), irp) }
                } else {
                    // SAFETY: as above.
                    unsafe { control(socket, 0, code, level, 4, data, 0, none, null_mut(), irp) }
                }
            }))
            .map(drop)
        })
    }

    /// What a function of the kernel costs by itself.
    fn kernel(&self) -> Result<(), NTSTATUS> {
        let call = KernelCall::from_u32(self.wish.code).ok_or(STATUS_INVALID_PARAMETER)?;
        let mut spare = Spare::new();
        self.repeat(|_| {
            match call {
                KernelCall::Processor => {
                    ke::processor();
                }
                KernelCall::SystemTime => {
                    ke::system_time();
                }
                KernelCall::Irql => {
                    ke::irql();
                }
                KernelCall::RaiseLower => ke::at_irql(true, || {}),
                KernelCall::InitializeIrp => spare.initialise(),
                KernelCall::InitializeAndComplete => {
                    spare.initialise();
                    spare.complete();
                }
            }
            Ok(())
        })
    }

    fn local_address(&self, lean: Shared<Lean>) -> Result<(), NTSTATUS> {
        let sockets = self.sockets(lean, Category::Datagram, self.wish.sockets as usize)?;
        sockets.bind_all()?;
        let address = Buffer::filled(28, 0).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        self.repeat(|index| sockets.local_address(sockets.at(index), &address))
    }

    fn create_close(&self, lean: &Lean) -> Result<(), NTSTATUS> {
        self.repeat(|_| {
            let socket = self.create(lean, Category::Datagram)?;
            close(lean, socket)
        })
    }

    fn crowd(&self, lean: &Lean) -> Result<(), NTSTATUS> {
        let count = self.wish.iterations as usize;
        let bytes = count
            .checked_mul(size_of::<PWSK_SOCKET>())
            .ok_or(STATUS_INVALID_PARAMETER)?;
        let memory = Buffer::filled(bytes, 0).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let list = memory.data().cast::<PWSK_SOCKET>();
        let mut opened = Ok(());
        let mut number = 0_usize;
        while number < count && opened.is_ok() {
            opened = self.create(lean, Category::Datagram).map(|socket| {
                // SAFETY: the memory has room for `count` of them; where it begins nobody promised to align.
                unsafe { list.wrapping_add(number).write_unaligned(socket) };
                number = number.wrapping_add(1);
            });
        }
        if opened.is_ok() {
            ke::sleep(self.wish.pause_ms);
        }
        for index in 0..number {
            // SAFETY: written above.
            close(lean, unsafe { list.wrapping_add(index).read_unaligned() })?;
        }
        self.sums.iterations.fetch_add(number as u64, Ordering::AcqRel);
        opened
    }

    /// A datagram to the next socket and its receive, which was posted first.
    fn datagrams(&self, lean: Shared<Lean>) -> Result<(), NTSTATUS> {
        let sockets = self.sockets(lean, Category::Datagram, (self.wish.sockets as usize).max(2))?;
        sockets.bind_all()?;
        let receiving = Lean::new().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let mut addresses: [Option<Buffer>; MAX_SOCKETS] = [const { None }; MAX_SOCKETS];
        for (index, place) in addresses.iter_mut().enumerate().take(sockets.count) {
            let address = Buffer::filled(28, 0).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
            sockets.local_address(sockets.at(index), &address)?;
            *place = Some(address);
        }
        let (mut out, out_memory) = buffer(64)?;
        let (mut into, into_memory) = buffer(64)?;
        let result = self.repeat(|index| {
            let next = index.wrapping_add(1).checked_rem(sockets.count).unwrap_or(0);
            let (from, to) = (sockets.at(index), sockets.at(next));
            let address = addresses
                .get(next)
                .and_then(Option::as_ref)
                .ok_or(STATUS_INVALID_PARAMETER)?
                .data()
                .cast();
            // SAFETY: datagram sockets have the datagram table.
            let send = unsafe { (*dispatch::<WSK_PROVIDER_DATAGRAM_DISPATCH>(from)).WskSendTo };
            // SAFETY: as above.
            let receive = unsafe { (*dispatch::<WSK_PROVIDER_DATAGRAM_DISPATCH>(to)).WskReceiveFrom };
            let (Some(send), Some(receive)) = (send, receive) else {
                return Err(STATUS_INVALID_PARAMETER);
            };
            let posted = receiving.start(|irp| {
                // SAFETY: the buffer outlives the request; no address or control messages are asked for.
                unsafe {
                    receive(
                        to,
                        &raw mut into,
                        0,
                        null_mut(),
                        null_mut(),
                        null_mut(),
                        null_mut(),
                        irp,
                    )
                }
            });
            check(sockets.lean.call(|irp| {
                // SAFETY: buffer and address outlive the call.
                unsafe { send(from, &raw mut out, 0, address, 0, null_mut(), irp) }
            }))?;
            check(receiving.wait(posted)).map(drop)
        });
        drop((out_memory, into_memory));
        result
    }

    /// Sends, or receives, on connections to nobody.
    fn one_way(&self, lean: Shared<Lean>) -> Result<(), NTSTATUS> {
        let sockets = self.sockets(lean, Category::Connection, self.wish.sockets as usize)?;
        let mut address = self.address();
        sockets.bind_all()?;
        for index in 0..sockets.count {
            sockets.connect_to(sockets.at(index), (&raw mut address).cast())?;
        }
        let (mut data, memory) = buffer(64)?;
        let send = self.workload == Workload::Send;
        let result = self.repeat(|index| {
            let socket = sockets.at(index);
            // SAFETY: connection sockets have the connection table.
            let table = unsafe { &*dispatch::<WSK_PROVIDER_CONNECTION_DISPATCH>(socket) };
            let function = if send { table.WskSend } else { table.WskReceive };
            let function = function.ok_or(STATUS_INVALID_PARAMETER)?;
            // SAFETY: the buffer outlives the call.
            let result = sockets
                .lean
                .call(|irp| unsafe { function(socket, &raw mut data, 0, irp) });
            match result {
                (STATUS_NOT_SUPPORTED, _) if !send => Ok(()),
                result => check(result).map(drop),
            }
        });
        drop(memory);
        result
    }

    /// A small send at one end and its receive at the other.
    fn echo(&self, lean: Shared<Lean>) -> Result<(), NTSTATUS> {
        let mut sockets = self.sockets(lean, Category::Listen, 1)?;
        sockets.bind_all()?;
        let address = Buffer::filled(28, 0).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let listener = sockets.at(0);
        sockets.local_address(listener, &address)?;
        let (near, far) = sockets.connect(listener, &address)?;
        let receiving = Lean::new().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let (mut out, out_memory) = buffer(64)?;
        let (mut into, into_memory) = buffer(64)?;
        // SAFETY: connection sockets have the connection table.
        let send = unsafe { (*dispatch::<WSK_PROVIDER_CONNECTION_DISPATCH>(near)).WskSend };
        // SAFETY: as above.
        let receive = unsafe { (*dispatch::<WSK_PROVIDER_CONNECTION_DISPATCH>(far)).WskReceive };
        let (Some(send), Some(receive)) = (send, receive) else {
            return Err(STATUS_INVALID_PARAMETER);
        };
        let result = self.repeat(|_| {
            // SAFETY: the buffer outlives the request.
            let posted = receiving.start(|irp| unsafe { receive(far, &raw mut into, 0, irp) });
            // SAFETY: the buffer outlives the call.
            check(sockets.lean.call(|irp| unsafe { send(near, &raw mut out, 0, irp) }))?;
            check(receiving.wait(posted)).map(drop)
        });
        drop((out_memory, into_memory));
        result
    }
}

fn dispatch<T>(socket: PWSK_SOCKET) -> *const T {
    // SAFETY: the socket is open, and its first field is public.
    unsafe { (*socket).Dispatch }.cast()
}

fn close(lean: &Lean, socket: PWSK_SOCKET) -> Result<(), NTSTATUS> {
    // SAFETY: every table begins with the basic one.
    let close = unsafe { (*dispatch::<WSK_PROVIDER_BASIC_DISPATCH>(socket)).WskCloseSocket };
    let close = close.ok_or(STATUS_INVALID_PARAMETER)?;
    // SAFETY: nothing is in progress on the socket.
    check(lean.call(|irp| unsafe { close(socket, irp) })).map(drop)
}

/// A `WSK_BUF` over fresh memory.
fn buffer(bytes: usize) -> Result<(WSK_BUF, Buffer), NTSTATUS> {
    let mut memory = Buffer::filled(bytes, b'x').ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    memory.describe(1).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    Ok((
        WSK_BUF {
            Mdl: memory.mdl(),
            Offset: 0,
            Length: bytes,
        },
        memory,
    ))
}

impl Sockets<'_> {
    fn keep(&mut self, socket: PWSK_SOCKET) -> Result<PWSK_SOCKET, NTSTATUS> {
        let place = self.list.get_mut(self.count).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        *place = socket;
        self.count = self.count.wrapping_add(1);
        Ok(socket)
    }

    fn add(&mut self, category: Category) -> Result<PWSK_SOCKET, NTSTATUS> {
        let socket = self.worker.create(&self.lean, category)?;
        self.keep(socket)
    }

    /// The sockets in turn.
    fn at(&self, index: usize) -> PWSK_SOCKET {
        let index = index.checked_rem(self.count).unwrap_or(0);
        self.list.get(index).copied().unwrap_or(null_mut())
    }

    fn bind(&self, socket: PWSK_SOCKET) -> Result<(), NTSTATUS> {
        let mut address = self.worker.address();
        // SAFETY: listen, datagram and connection tables all have WskBind behind the basic functions.
        let bind = unsafe { (*dispatch::<WSK_PROVIDER_LISTEN_DISPATCH>(socket)).WskBind };
        let bind = bind.ok_or(STATUS_INVALID_PARAMETER)?;
        // SAFETY: the address outlives the call, which is waited for.
        check(
            self.lean
                .call(|irp| unsafe { bind(socket, (&raw mut address).cast(), 0, irp) }),
        )
        .map(drop)
    }

    fn bind_all(&self) -> Result<(), NTSTATUS> {
        (0..self.count).try_for_each(|index| self.bind(self.at(index)))
    }

    /// Asks for a datagram or listen socket's address.
    fn local_address(&self, socket: PWSK_SOCKET, address: &Buffer) -> Result<(), NTSTATUS> {
        let datagram = self.worker.workload != Workload::Echo;
        let function = if datagram {
            // SAFETY: these sockets have the datagram table.
            unsafe { (*dispatch::<WSK_PROVIDER_DATAGRAM_DISPATCH>(socket)).WskGetLocalAddress }
        } else {
            // SAFETY: this socket has the listen table.
            unsafe { (*dispatch::<WSK_PROVIDER_LISTEN_DISPATCH>(socket)).WskGetLocalAddress }
        };
        let function = function.ok_or(STATUS_INVALID_PARAMETER)?;
        let place = address.data().cast();
        // SAFETY: the address outlives the call, which is waited for.
        check(self.lean.call(|irp| unsafe { function(socket, place, irp) })).map(drop)
    }

    /// Connects to an address, which outlives the call.
    fn connect_to(&self, socket: PWSK_SOCKET, address: PSOCKADDR) -> Result<(), NTSTATUS> {
        // SAFETY: the socket has the connection table.
        let connect = unsafe { (*dispatch::<WSK_PROVIDER_CONNECTION_DISPATCH>(socket)).WskConnect };
        let connect = connect.ok_or(STATUS_INVALID_PARAMETER)?;
        // SAFETY: the address outlives the call, which is waited for.
        check(self.lean.call(|irp| unsafe { connect(socket, address, 0, irp) })).map(drop)
    }

    /// A connection to the listener: both ends.
    fn connect(&mut self, listener: PWSK_SOCKET, address: &Buffer) -> Result<(PWSK_SOCKET, PWSK_SOCKET), NTSTATUS> {
        let near = self.add(Category::Connection)?;
        self.bind(near)?;
        let accepting = Lean::new().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        // SAFETY: the listener has the listen table.
        let accept = unsafe { (*dispatch::<WSK_PROVIDER_LISTEN_DISPATCH>(listener)).WskAccept };
        let accept = accept.ok_or(STATUS_INVALID_PARAMETER)?;
        let accepted = accepting.start(|irp| {
            // SAFETY: a socket without callbacks; no addresses are asked for.
            unsafe { accept(listener, 0, null_mut(), core::ptr::null(), null_mut(), null_mut(), irp) }
        });
        self.connect_to(near, address.data().cast())?;
        let far = check(accepting.wait(accepted))? as PWSK_SOCKET;
        self.keep(far)?;
        Ok((near, far))
    }
}

impl Drop for Sockets<'_> {
    fn drop(&mut self) {
        while let Some(last) = self.count.checked_sub(1) {
            self.count = last;
            if let Some(socket) = self.list.get(last).copied() {
                let _ = close(&self.lean, socket);
            }
        }
    }
}
