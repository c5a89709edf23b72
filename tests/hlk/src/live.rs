//! The conformance vectors' backend that calls a provider through the scripted client driver.

mod events;
mod transport;

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, anyhow};
use probe_protocol::probe::{Category, Function, Input, Output, Progress, Reactions, Slots};
use wskguard_core::semantics::violation_word;
use wskguard_core::status::Reason;
use wskguard_vectors::backend::{Backend, Buffer, Observed, Run, Stop, WskFacts};
use wskguard_vectors::format::{
    AddressName, CategoryName, Combination, FamilyName, Information, IrqlName, Layer, Op, PhaseName, RequestName, Size,
    Step, TypeName, WskFunction, WskInput, WskOutput, WskcallStep, WskctlStep,
};

use crate::context::{self, Context};
use crate::guard::Guard;
use crate::probe::{Address, CallBuilder, Client, Done, EventLog, Family, Npi, Pending, Probe, Socket};
use crate::status;
use crate::wsk::{SO_CONDITIONAL_ACCEPT, SOL_SOCKET, WSK_EVENT_ACCEPT, WSK_EVENT_RECEIVE};

/// What is sent where a vector does not say.
const MESSAGE: &[u8] = b"vector";

/// Makes a session for every run.
pub(crate) struct Live<'c> {
    context: &'c Context,
    probe: Option<Probe>,
    guard: Option<Guard>,
    problem: Result<()>,
}

impl<'c> Live<'c> {
    pub(crate) fn new(context: &'c Context) -> Self {
        let guard = if context.npi() == Npi::Wskguard {
            context.guard().ok()
        } else {
            None
        };
        Self {
            context,
            probe: None,
            guard,
            problem: Ok(()),
        }
    }

    /// Ends the last session; the first thing that was wrong at the end of any.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if let Some(probe) = self.probe.take() {
            let end = context::finish(&probe);
            if self.problem.is_ok() {
                self.problem = end;
            }
        }
        std::mem::replace(&mut self.problem, Ok(()))
    }
}

impl Backend for Live<'_> {
    fn refuses(&self, layer: Layer) -> Option<String> {
        (!matches!(layer, Layer::Wsk | Layer::Transport)).then(|| "not about WSK".to_owned())
    }

    fn start<'a>(&'a mut self, combination: Combination) -> Result<Box<dyn Run + 'a>, Stop> {
        let end = self.finish();
        self.problem = end;
        let probe = &*self.probe.insert(self.context.another_session()?);
        let client = probe.attach(self.context.npi())?;
        Ok(Box::new(LiveRun {
            probe,
            client,
            guard: self.guard.as_mut(),
            combination,
            sockets: HashMap::new(),
            requests: HashMap::new(),
            descriptors: HashMap::new(),
            ports: HashMap::new(),
            remotes: BTreeMap::new(),
            events: probe.events(),
            held: false,
        }))
    }
}

/// A socket of a vector and what it was brought to.
#[derive(Clone, Copy)]
struct Named<'p> {
    socket: Socket<'p>,
    bound: bool,
    peer: Option<Socket<'p>>,
}

struct LiveRun<'a> {
    probe: &'a Probe,
    client: Client<'a>,
    guard: Option<&'a mut Guard>,
    combination: Combination,
    sockets: HashMap<String, Named<'a>>,
    requests: HashMap<String, Pending<'a>>,
    descriptors: HashMap<String, u32>,
    ports: HashMap<String, u16>,
    /// Sockets that others send to and hear from, by the names of their addresses.
    remotes: BTreeMap<String, (Socket<'a>, Address)>,
    events: EventLog<'a>,
    /// A callback is held.
    held: bool,
}

fn unsupported<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Unsupported(why.into()))
}

fn observed(done: &Done) -> Observed {
    let returned = done.outcome.returned.cast_unsigned();
    let completed = done
        .is(Progress::COMPLETED)
        .then(|| done.outcome.status.cast_unsigned());
    let is_socket = done.is(Progress::IS_SOCKET) && done.information() != 0;
    Observed {
        status: Some(returned),
        irp_status: completed,
        final_status: Some(if done.outcome.returned == status::PENDING {
            completed.unwrap_or(returned)
        } else {
            returned
        }),
        information: (completed.is_some() && !is_socket).then(|| done.information()),
        returned: u32::try_from(done.outcome.output_returned).ok(),
        buffer: Some(Buffer {
            bytes: done.output.clone(),
            base: 0,
        }),
        pending: Some(done.outcome.returned == status::PENDING && completed.is_none()),
        wsk: WskFacts {
            information: is_socket.then_some("socket"),
            ..WskFacts::default()
        },
        ..Observed::default()
    }
}

impl<'a> LiveRun<'a> {
    fn family(&self) -> Family {
        if self.combination.family == Some(FamilyName::Inet6) {
            Family::V6
        } else {
            Family::V4
        }
    }

    fn category(&self) -> Category {
        match self.combination.category {
            Some(CategoryName::Basic) => Category::Basic,
            Some(CategoryName::Listen) => Category::Listen,
            Some(CategoryName::Datagram) => Category::Datagram,
            Some(CategoryName::Connection) => Category::Connection,
            None => self.winsock_category(),
        }
    }

    fn create(&self, category: Category) -> CallBuilder<'a> {
        let (kind, protocol) = match (self.combination.socket_type, category) {
            (Some(TypeName::Dgram), _) => (2, 17),
            (Some(TypeName::Raw), _) => (3, 0),
            (None, Category::Datagram) => (2, 17),
            _ => (1, 6),
        };
        let reactions = Reactions {
            slots: Slots::ALL.0,
            accepted_slots: Slots::ALL.0,
            inspect_action: 1,
            ..Reactions::default()
        };
        let numbers = [self.family().number(), kind, protocol, category as u32];
        let call = self.client.call(Function::Socket).numbers(numbers).reactions(reactions);
        if category == Category::Basic {
            call.without_callbacks()
        } else {
            call
        }
    }

    fn make(&self, category: Category) -> Result<Socket<'a>> {
        let done = self.create(category).ok()?;
        Socket::made(self.probe, self.client, &done, category, self.family())
    }

    /// The socket of this name, made when it is first mentioned.
    fn socket(&mut self, name: &str) -> Result<Named<'a>> {
        if let Some(named) = self.sockets.get(name) {
            return Ok(*named);
        }
        let named = Named {
            socket: self.make(self.category())?,
            bound: false,
            peer: None,
        };
        self.sockets.insert(name.to_owned(), named);
        Ok(named)
    }

    fn keep(&mut self, name: &str, named: Named<'a>) {
        self.sockets.insert(name.to_owned(), named);
    }

    fn bind(&mut self, name: &str) -> Result<Named<'a>> {
        let mut named = self.socket(name)?;
        if !named.bound {
            named.socket.bind(self.family().loopback(0))?;
            named.bound = true;
            self.keep(name, named);
        }
        Ok(named)
    }

    /// Connects a connection socket to a listener of its own.
    fn connect(&mut self, name: &str) -> Result<Named<'a>> {
        let mut named = self.bind(name)?;
        if named.peer.is_none() {
            let (listener, address) = self.client.listener(self.family())?;
            let accept = listener.accept_call(Reactions::default()).start()?;
            named.socket.connect(address)?;
            named.peer = Some(listener.accepted(&accept.wait()?.checked_ok()?)?);
            self.keep(name, named);
        }
        Ok(named)
    }

    /// A socket got from `WskAccept`, under this name.
    fn accepted(&mut self, name: &str, listener: &Socket<'a>) -> Result<()> {
        let near = self.make(Category::Connection)?;
        near.bind(self.family().loopback(0))?;
        let reactions = Reactions {
            slots: Slots::ALL.0,
            ..Reactions::default()
        };
        let accept = listener.accept_call(reactions).start()?;
        near.connect(listener.local_address()?)?;
        let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
        self.keep(
            name,
            Named {
                socket: far,
                bound: true,
                peer: Some(near),
            },
        );
        Ok(())
    }

    fn bring_to(&mut self, name: &str, phase: PhaseName) -> Result<Named<'a>> {
        match phase {
            PhaseName::Unbound | PhaseName::Any => self.socket(name),
            PhaseName::Bound => self.bind(name),
            PhaseName::Connected if self.category() == Category::Connection => self.connect(name),
            PhaseName::Connected => self.bind(name),
        }
    }

    /// Every decision's reason is in the audit record; where the filter is in the path, it is read there.
    fn classify(&mut self, observed: &mut Observed, code: u32, call: impl FnOnce() -> Result<Done>) -> Result<Done> {
        let Some(guard) = self.guard.as_mut() else {
            return call();
        };
        guard.audit_from_now()?;
        let done = call()?;
        let records = guard.audited()?;
        let record = records.iter().rev().find(|record| record.code == code);
        let word = record
            .and_then(|record| Reason::from_u8(record.reason))
            .and_then(violation_word);
        observed.violation = Some(word.unwrap_or(""));
        if word.is_some() {
            observed.recommended = record.map(|record| record.status);
        }
        Ok(done)
    }

    fn input(&mut self, call: CallBuilder<'a>, input: Option<&WskInput>) -> Result<CallBuilder<'a>, Stop> {
        Ok(match input {
            None => call,
            Some(WskInput::Hex(hex)) => call.input(&hex.0),
            Some(WskInput::Unspecified(_)) => call.input(&[0; 4]),
            Some(WskInput::Sd(sd)) => {
                let handle = self
                    .descriptors
                    .get(&sd.sd)
                    .context("a descriptor that was not cached")?;
                call.input_kind(Input::Handle, &handle.to_le_bytes()).sized_input(8)
            }
            Some(WskInput::Event(event)) => call.event_control(event.event.mask, crate::probe::WSK_NPI),
            Some(WskInput::Sockaddr(wish)) => {
                let (bytes, length) = self.remote(&wish.sockaddr)?.bytes();
                let length = if wish.form.is_some() { 28 } else { length as usize };
                call.input(&bytes[..length])
            }
            Some(WskInput::Extension(_)) => call.input_kind(Input::Extension, &[0x5A; 16]).sized_input(24),
            Some(WskInput::Function(wish)) => {
                let kind = if wish.function.is_some() {
                    Input::ReceiveExCallback
                } else {
                    Input::NullCallback
                };
                call.input_kind(kind, &[]).sized_input(8)
            }
        })
    }

    fn wskctl(&mut self, step: &Step, wish: &WskctlStep) -> Result<Observed, Stop> {
        if self.guard.is_none() && step.expect.as_ref().is_some_and(|expect| expect.violation.is_some()) {
            return unsupported("what breaks the contract is for the filter to classify");
        }
        let named = self.bring_to(&wish.sock, wish.phase)?;
        let code = wish.code.option()?;
        let level = wish.level.level()?;
        let request = match wish.request {
            RequestName::Set => 0,
            RequestName::Get => 1,
            RequestName::Ioctl => 2,
        };
        let mut call = named.socket.control(request, code, level).timeout(3000);
        call = self.input(call, wish.input.as_ref())?;
        call = match &wish.out {
            WskOutput::Size(size) => sized_output(call, size, code)?,
            WskOutput::Unspecified(_) => call.output(64),
        };
        if wish.outret {
            call = call.output_returned();
        }
        if !wish.irp {
            call = call.no_irp();
        }
        if wish.irql == IrqlName::Dispatch {
            call = call.at_dispatch();
        }
        if self.held {
            return Ok(self.while_held(&call, wish.irp)?);
        }
        let mut seen = Observed::default();
        let done = self.classify(&mut seen, code, || call.run())?;
        let mut result = observed(&done);
        (result.violation, result.recommended) = (seen.violation, seen.recommended);
        if request == 1 && wants_written(step) {
            // The bytes that a second get changes in a buffer full of something else.
            let again = call.fill(0xEE).run()?;
            let untouched = again.output.iter().rev().take_while(|byte| **byte == 0xEE).count();
            result.written = Some((again.output.len() - untouched) as u64);
        }
        Ok(result)
    }

    fn wskcall(&mut self, wish: &WskcallStep) -> Result<Observed, Stop> {
        let name = wish.sock.as_deref().unwrap_or_default();
        let call = match wish.function {
            WskFunction::WskSocket => {
                let call = self.create(self.category());
                if wish.client.is_some() {
                    call.null_target()
                } else {
                    call
                }
            }
            WskFunction::WskBind => {
                let address = self.address(wish)?;
                self.socket(name)?.socket.bind_call(address)
            }
            WskFunction::WskAccept => return self.accept(name, wish),
            WskFunction::WskConnect => {
                let socket = self.socket(name)?.socket;
                let (_, address) = self.client.listener(self.family())?;
                socket.connect_call(address)
            }
            WskFunction::WskSend => self.socket(name)?.socket.send_call(MESSAGE),
            WskFunction::WskReceive => return self.receive(name),
            WskFunction::WskDisconnect => self.socket(name)?.socket.call(Function::Disconnect).null_buffer(),
            WskFunction::WskCloseSocket => self.socket(name)?.socket.close_call(),
            WskFunction::WskGetAddressInfo => {
                let node: Vec<u8> = "no.such.host.invalid"
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect();
                self.client.call(Function::GetAddressInfo).input(&node)
            }
            WskFunction::WskRegister | WskFunction::WskCaptureProviderNPI => {
                let registered = self.probe.attach(Npi::Register)?;
                let observed = Observed {
                    status: Some(0),
                    final_status: Some(0),
                    wsk: WskFacts {
                        version: Some(registered.version),
                        client: Some(true),
                        ..WskFacts::default()
                    },
                    ..Observed::default()
                };
                return if registered.version >= 0x0100 {
                    Ok(observed)
                } else {
                    Err(anyhow!("version 0").into())
                };
            }
        };
        let call = if wish.irp { call } else { call.no_irp() };
        let null_client = wish.client.is_some();
        let done = if null_client {
            call.unchecked().timeout(200).attempt()?
        } else {
            call.run()?
        };
        if null_client && done.outcome.request != 0 && done.is(Progress::TIMED_OUT) {
            self.probe.abandon(done.outcome.request)?;
        }
        let created = done.is(Progress::IS_SOCKET) && done.information() != 0;
        if wish.function == WskFunction::WskSocket && created {
            let socket = Socket::made(self.probe, self.client, &done, self.category(), self.family())?;
            self.keep(
                name,
                Named {
                    socket,
                    bound: false,
                    peer: None,
                },
            );
        }
        if wish.function == WskFunction::WskBind
            && let Some(named) = self.sockets.get_mut(name)
        {
            named.bound = done.result() >= 0;
        }
        let mut seen = observed(&done);
        if wish.function == WskFunction::WskSend && done.information() == MESSAGE.len() as u64 {
            seen.wsk.information = Some("sent");
        }
        Ok(seen)
    }

    fn address(&mut self, wish: &WskcallStep) -> Result<Address, Stop> {
        let symbol = wish.port.as_deref().unwrap_or("any");
        let port = if symbol == "any" { 0 } else { self.port(symbol)? };
        match wish.addr {
            None | Some(AddressName::Loopback | AddressName::Specific) => Ok(self.family().loopback(port)),
            Some(AddressName::Wildcard) => Ok(self.family().wildcard(port)),
            Some(other) => unsupported(format!("address {other:?}")),
        }
    }

    /// A port that is free now; the same for the same symbol.
    fn port(&mut self, symbol: &str) -> Result<u16> {
        if let Some(port) = self.ports.get(symbol) {
            return Ok(*port);
        }
        let (socket, address) = self.client.listener(self.family())?;
        socket.close()?;
        self.ports.insert(symbol.to_owned(), address.port());
        Ok(address.port())
    }

    fn accept(&mut self, name: &str, wish: &WskcallStep) -> Result<Observed, Stop> {
        let listener = self.bind(name)?.socket;
        let accept = listener
            .accept_call(Reactions {
                slots: Slots::ALL.0,
                ..Reactions::default()
            })
            .start()?;
        if let Some(request) = &wish.request {
            let result = observed(&accept.first);
            self.requests.insert(request.clone(), accept);
            return Ok(result);
        }
        let near = self.make(Category::Connection)?;
        near.bind(self.family().loopback(0))?
            .connect(listener.local_address()?)?;
        let done = accept.wait()?;
        done.check_rules()?;
        if let Some(name) = &wish.name {
            let socket = listener.accepted(&done)?;
            self.keep(
                name,
                Named {
                    socket,
                    bound: true,
                    peer: Some(near),
                },
            );
        }
        let mut seen = observed(&done);
        seen.wsk.addresses_filled = Some(done.address().is_ok() && done.address2().is_ok());
        Ok(seen)
    }

    fn receive(&mut self, name: &str) -> Result<Observed, Stop> {
        let named = self.socket(name)?;
        let peer = named.peer.context("no peer to send")?;
        let receive = named.socket.receive_call(16).start()?;
        peer.send(MESSAGE)?;
        let done = receive.wait()?;
        done.check_rules()?;
        let mut seen = observed(&done);
        seen.wsk.information = (done.written() == MESSAGE).then_some("received");
        Ok(seen)
    }

    fn cache(&mut self, name: &str) -> Result<Observed, Stop> {
        // Self-relative, without a DACL, and with one that is NULL.
        let control = if self.descriptors.is_empty() { 0x00 } else { 0x04 };
        let mut descriptor = [0; 20];
        (descriptor[0], descriptor[2], descriptor[3]) = (1, control, 0x80);
        let handle = self.client.cache_sd(&descriptor)?;
        self.descriptors.insert(name.to_owned(), handle);
        Ok(Observed {
            status: Some(0),
            ..Observed::default()
        })
    }

    fn accept_event(&mut self, name: &str, accepted: &str) -> Result<Observed, Stop> {
        let listener = self.bind(name)?.socket;
        let events = self.probe.events();
        listener.enable(WSK_EVENT_ACCEPT)?;
        let near = self.make(Category::Connection)?;
        near.bind(self.family().loopback(0))?
            .connect(listener.local_address()?)?;
        let event = events.wait_for(probe_protocol::probe::Happening::Accept, listener.id)?;
        let socket = listener.accepted_as(event.other);
        self.keep(
            accepted,
            Named {
                socket,
                bound: true,
                peer: Some(near),
            },
        );
        Ok(Observed::default())
    }

    fn conditional(&mut self, name: &str) -> Result<Observed, Stop> {
        let listener = self.make(Category::Listen)?;
        listener
            .set_call(SO_CONDITIONAL_ACCEPT, SOL_SOCKET, &[1, 0, 0, 0])
            .ok()?;
        listener.bind(self.family().loopback(0))?;
        self.accepted(name, &listener)?;
        Ok(Observed::default())
    }
}

/// The size of the output; a descriptor comes as a pointer, which the client keeps.
fn sized_output<'p>(call: CallBuilder<'p>, size: &Size, code: u32) -> Result<CallBuilder<'p>, Stop> {
    let size = u32::try_from(size.bytes()?).map_err(|error| Stop::Broken(error.into()))?;
    Ok(match (size, code) {
        (0, _) => call,
        (8, crate::wsk::SO_WSK_SECURITY) => call.output_kind(Output::Handle, 8),
        _ => call.output(size),
    })
}

fn wants_written(step: &Step) -> bool {
    step.expect.as_ref().is_some_and(|expect| {
        expect.written.is_some() || matches!(&expect.information, Some(Information::Word(word)) if word == "written")
    })
}

impl Run for LiveRun<'_> {
    fn step(&mut self, step: &Step) -> Result<Observed, Stop> {
        let mut observed = self.carry_out(step)?;
        self.look_closer(step, &mut observed)?;
        let expected = step.expect.as_ref().and_then(|expect| expect.status);
        // "Returned S and completed S" and "returned pending and completed S" are the same answer, and a filter may turn one into the other.
        if self.guard.is_some() && observed.irp_status.is_some() {
            const PENDING: u32 = status::PENDING.cast_unsigned();
            observed.status = match (expected, observed.status) {
                (Some(PENDING), status) if status == observed.irp_status => expected,
                (status, Some(PENDING)) if status.is_some() && status == observed.irp_status => status,
                (_, status) => status,
            };
        }
        Ok(observed)
    }
}

impl Drop for LiveRun<'_> {
    fn drop(&mut self) {
        let _ = self.let_go();
        for handle in self.descriptors.values() {
            let _ = self.client.release_sd(*handle);
        }
    }
}

impl LiveRun<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<Observed, Stop> {
        if let Some(observed) = self.winsock(&step.op) {
            return observed;
        }
        if let Some(observed) = self.event_step(&step.op) {
            return observed;
        }
        let nothing = Observed::default();
        match &step.op {
            Op::Wskctl(wish) => self.wskctl(step, wish),
            Op::Wskcall(wish) => self.wskcall(wish),
            Op::Wskclientctl { code, input, irp } => {
                let call = self.input(self.client.control(*code), input.as_ref())?;
                Ok(observed(&if *irp { call } else { call.no_irp() }.run()?))
            }
            Op::WskConnected { sock } => {
                self.connect(sock)?;
                Ok(nothing)
            }
            Op::WskAccepted { sock } => {
                let (listener, _) = self.client.listener(self.family())?;
                self.accepted(sock, &listener)?;
                Ok(nothing)
            }
            Op::WskConditionalAccepted { sock } => self.conditional(sock),
            Op::WskAcceptEvent { sock, name } => self.accept_event(sock, name),
            Op::CacheSd { name } => self.cache(name),
            Op::EventsDisabled { mask, .. } if *mask == WSK_EVENT_RECEIVE => Ok(nothing),
            Op::Complete { request } => {
                let pending = self.requests.get(request).context("an unknown request")?;
                let done = pending.wait()?;
                Ok(Observed {
                    status: observed(&done).final_status,
                    ..transport::winsock(&done)
                })
            }
            Op::Assume { .. } | Op::Fresh { .. } => Ok(nothing),
            other => unsupported(format!("a test of its own covers this: {}", word(other))),
        }
    }
}

fn word(op: &Op) -> &'static str {
    match op {
        Op::CallbackRunning { .. } => "callback_running",
        Op::EventReturn { .. } => "event_return",
        Op::DataArrives { .. } => "data_arrives",
        Op::DatagramArrives { .. } => "datagram_arrives",
        Op::WskSendto { .. } => "wsk_sendto",
        _ => "a Winsock step",
    }
}
