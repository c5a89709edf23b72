//! Vectors' steps and expectations that only events can show: what a callback was given, what its return value did, where data went.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use probe_protocol::probe::{Category, Function, Happening, Reactions, Slots, Take};
use wskguard_vectors::backend::{Observed, Stop, WskFacts};
use wskguard_vectors::format::{Expect, NoEffect, Op, Step};

use super::{LiveRun, unsupported};
use crate::probe::{Address, CallBuilder, Socket};
use crate::status;
use crate::wsk::{
    INSPECT_ACCEPT, INSPECT_REJECT, SO_CONDITIONAL_ACCEPT, WSK_EVENT_ACCEPT, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE,
    WSK_EVENT_RECEIVE_FROM,
};

/// How long something that should not come is waited for, in milliseconds.
const QUIET_MS: u32 = 200;
/// How long something that should come is, where it may not.
const COMES_MS: u32 = 1000;
/// The gate at which callbacks are held.
const GATE: u32 = 1;
const ALL: Reactions = Reactions {
    slots: Slots::ALL.0,
    accepted_slots: Slots::ALL.0,
    accept_status: 0,
    inspect_action: INSPECT_ACCEPT,
    take: Take::All as u32,
    take_bytes: 0,
    stall_us: 0,
    gate: 0,
    launch: 0,
    launch_on: 0,
};

impl<'a> LiveRun<'a> {
    /// The address of this name: that of a datagram socket of the vector's own.
    pub(super) fn remote(&mut self, name: &str) -> Result<Address> {
        if let Some((_, address)) = self.remotes.get(name) {
            return Ok(*address);
        }
        let (socket, address) = self.client.datagram(self.family())?;
        self.remotes.insert(name.to_owned(), (socket, address));
        Ok(address)
    }

    /// Carries out a step that is about events; `None` if it is not one.
    pub(super) fn event_step(&mut self, op: &Op) -> Option<Result<Observed, Stop>> {
        Some(match op {
            Op::DataArrives { sock } => self.data_arrives(sock),
            Op::DatagramArrives { sock, from } => self.datagram_arrives(sock, from),
            Op::WskSendto { sock, remote } => self.send_to_remote(sock, remote),
            Op::CallbackRunning { sock, event } if event == "WskReceiveEvent" => self.callback_running(sock),
            Op::EventReturn {
                sock,
                event,
                returns,
                accepted,
            } => match event.as_str() {
                "WskReceiveEvent" => self.receive_returns(sock, *returns, accepted.as_deref()),
                "WskReceiveFromEvent" => self.receive_from_returns(sock, *returns),
                "WskAcceptEvent" => self.accept_returns(sock, *returns),
                "WskInspectEvent" => self.inspect_returns(sock, *returns),
                other => unsupported(format!("what {other} returns")),
            },
            _ => return None,
        })
    }

    fn data_arrives(&mut self, name: &str) -> Result<Observed, Stop> {
        let named = self.connect(name)?;
        named.peer.context("no peer to send")?.send(b"data")?;
        let extended = self.events.within(QUIET_MS, Happening::ReceiveEx, named.socket.id)?;
        let plain = self.events.within(0, Happening::Receive, named.socket.id)?;
        Ok(Observed {
            delivered_to: extended
                .map(|_| "F".to_owned())
                .or_else(|| plain.map(|_| name.to_owned())),
            ..Observed::default()
        })
    }

    fn datagram_arrives(&mut self, name: &str, from: &str) -> Result<Observed, Stop> {
        let socket = self.bind(name)?.socket;
        self.remote(from)?;
        let received = self.arrives(from, &socket)?;
        Ok(with(WskFacts {
            received: Some(received),
            ..WskFacts::default()
        }))
    }

    /// Whether a datagram from the named address gets to a socket.
    fn arrives(&self, from: &str, socket: &Socket<'a>) -> Result<bool> {
        let (sender, _) = self.remotes.get(from).context("an unknown address")?;
        sender.send_to(from.as_bytes(), socket.local_address()?)?;
        Ok(got(socket)?.is_some_and(|bytes| bytes == from.as_bytes()))
    }

    fn send_to_remote(&mut self, name: &str, to: &str) -> Result<Observed, Stop> {
        let address = self.remote(to)?;
        let socket = self.bind(name)?.socket;
        socket.send_to(b"to", address)?;
        Ok(Observed {
            delivered_to: self.who_got(b"to")?,
            ..Observed::default()
        })
    }

    /// The address at which these bytes arrived.
    fn who_got(&self, bytes: &[u8]) -> Result<Option<String>> {
        for (name, (socket, _)) in &self.remotes {
            if got(socket)?.is_some_and(|seen| seen == bytes) {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// Where a datagram socket sends to when it is not told, and whom it hears.
    fn fixed_remote(&mut self, name: &str) -> Result<Option<(String, String)>> {
        for name in ["R", "X"] {
            self.remote(name)?;
        }
        let socket = self.bind(name)?.socket;
        let sent = socket.call(Function::SendTo).input(b"fixed").run()?;
        let to = if sent.result() < 0 {
            None
        } else {
            self.who_got(b"fixed")?
        };
        let mut heard = Vec::new();
        for name in ["R", "X"] {
            if self.arrives(name, &socket)? {
                heard.push(name);
            }
        }
        Ok(to.map(|to| (to, heard.join(" "))))
    }

    fn callback_running(&mut self, name: &str) -> Result<Observed, Stop> {
        let named = self.connect(name)?;
        named.socket.set_reactions(Reactions { gate: GATE, ..ALL })?;
        self.probe.close_gate(GATE)?;
        self.held = true;
        named.peer.context("no peer to send")?.send(b"enter")?;
        self.events.wait_for(Happening::Receive, named.socket.id)?;
        Ok(Observed::default())
    }

    /// Lets the callback that is held return.
    pub(super) fn let_go(&mut self) -> Result<()> {
        if std::mem::take(&mut self.held) {
            self.probe.open_gate(GATE)?;
        }
        Ok(())
    }

    /// Makes a call while a callback is held, and lets it go once the call has returned.
    pub(super) fn while_held(&mut self, call: &CallBuilder<'a>, has_irp: bool) -> Result<Observed> {
        if !has_irp {
            let seen = super::observed(&call.run()?);
            self.let_go()?;
            return Ok(seen);
        }
        let pending = call.start()?;
        sleep(Duration::from_millis(50));
        let early = !pending.is_pending()?;
        self.let_go()?;
        let done = pending.wait()?;
        done.check_rules()?;
        let returned = self.events.wait_for(Happening::Returned, 0)?;
        Ok(Observed {
            wsk: WskFacts {
                after_callback: Some(!early && done.outcome.completed_at > returned.at),
                ..WskFacts::default()
            },
            ..super::observed(&done)
        })
    }

    fn receive_returns(&mut self, name: &str, returns: u32, accepted: Option<&str>) -> Result<Observed, Stop> {
        let (take, take_bytes) = match (returns.cast_signed(), accepted) {
            (status::SUCCESS, Some("fewer")) => (Take::Part, 4),
            (status::SUCCESS, _) => (Take::All, 0),
            (status::DATA_NOT_ACCEPTED, _) => (Take::Nothing, 0),
            _ => return unsupported(format!("WskReceiveEvent that returns {returns:#x}")),
        };
        let named = self.connect(name)?;
        let peer = named.peer.context("no peer to send")?;
        named.socket.set_reactions(Reactions {
            take: take as u32,
            take_bytes,
            ..ALL
        })?;
        named.socket.enable(WSK_EVENT_RECEIVE)?;
        peer.send(b"0123456789")?;
        self.returned(Happening::Receive, &named.socket)?;
        let next = |run: &Self, bytes: &[u8]| -> Result<bool> {
            peer.send(bytes)?;
            Ok(run
                .events
                .within(QUIET_MS, Happening::Receive, named.socket.id)?
                .is_some())
        };
        let mut facts = WskFacts::default();
        if next(self, b"abc")? {
            facts.then = Some("indications_continue");
            facts.all_accepted = Some(got_bytes(&named.socket.receive_call(16))?.is_none());
        } else {
            facts.all_accepted = Some(false);
            named.socket.set_reactions(ALL)?;
            named.socket.receive(64)?;
            if next(self, b"again")? {
                facts.then = Some("no_indication_until_receive_completes");
            }
        }
        Ok(with(facts))
    }

    fn receive_from_returns(&mut self, name: &str, returns: u32) -> Result<Observed, Stop> {
        let take = match returns.cast_signed() {
            status::SUCCESS => Take::All,
            status::DATA_NOT_ACCEPTED => Take::Nothing,
            _ => return unsupported(format!("WskReceiveFromEvent that returns {returns:#x}")),
        };
        let socket = self.bind(name)?.socket;
        let (sender, _) = self.client.datagram(self.family())?;
        let address = socket.local_address()?;
        socket.set_reactions(Reactions {
            take: take as u32,
            ..ALL
        })?;
        socket.enable(WSK_EVENT_RECEIVE_FROM)?;
        sender.send_to(b"first", address)?;
        self.returned(Happening::ReceiveFrom, &socket)?;
        let next = |run: &Self, bytes: &[u8]| -> Result<bool> {
            sender.send_to(bytes, address)?;
            Ok(run
                .events
                .within(QUIET_MS, Happening::ReceiveFrom, socket.id)?
                .is_some())
        };
        let mut facts = WskFacts::default();
        if next(self, b"next")? {
            facts.then = Some("indications_continue");
        } else {
            socket.set_reactions(ALL)?;
            socket.enable(WSK_EVENT_RECEIVE_FROM)?;
            if next(self, b"enabled")? {
                facts.then = Some("no_indication_until_reenabled");
            }
        }
        facts.all_accepted = Some(take == Take::All);
        Ok(with(facts))
    }

    fn accept_returns(&mut self, name: &str, returns: u32) -> Result<Observed, Stop> {
        let listener = self.socket(name)?.socket;
        listener.set_reactions(Reactions {
            accept_status: returns.cast_signed(),
            ..ALL
        })?;
        let listener = self.bind(name)?.socket;
        listener.enable(WSK_EVENT_ACCEPT)?;
        let near = self.connect_to(&listener)?;
        let event = self.events.wait_for(Happening::Accept, listener.id)?;
        let ended = got_bytes(&near.receive_call(1))?.is_some_and(|bytes| bytes.is_empty());
        Ok(with(WskFacts {
            then: (ended && event.other == 0).then_some("wsk_closes_accepted_socket"),
            ..WskFacts::default()
        }))
    }

    fn inspect_returns(&mut self, name: &str, returns: u32) -> Result<Observed, Stop> {
        let listener = self.socket(name)?.socket;
        listener.set_reactions(Reactions {
            inspect_action: returns.cast_signed(),
            ..ALL
        })?;
        listener.set(SO_CONDITIONAL_ACCEPT, 1)?;
        let listener = self.bind(name)?.socket;
        listener.enable(WSK_EVENT_ACCEPT)?;
        let near = self.make(Category::Connection)?;
        near.bind(self.family().loopback(0))?;
        let connect = near.connect_call(listener.local_address()?).start()?;
        self.events.wait_for(Happening::Inspect, listener.id)?;
        let accepted = self.events.within(QUIET_MS, Happening::Accept, listener.id)?;
        let aborted = self.events.within(0, Happening::Abort, listener.id)?;
        if connect.is_pending()? {
            connect.cancel()?;
        }
        let silent = accepted.is_none() && aborted.is_none();
        Ok(with(WskFacts {
            then: (silent && returns.cast_signed() == INSPECT_REJECT).then_some("no_accept_or_abort_event"),
            ..WskFacts::default()
        }))
    }

    /// Waits until a callback of this kind has come and returned.
    fn returned(&self, happening: Happening, socket: &Socket<'a>) -> Result<()> {
        self.events.wait_for(happening, socket.id)?;
        self.events.wait_for(Happening::Returned, socket.id).map(drop)
    }

    fn connect_to(&self, listener: &Socket<'a>) -> Result<Socket<'a>> {
        let near = self.make(Category::Connection)?;
        near.bind(self.family().loopback(0))?
            .connect(listener.local_address()?)?;
        Ok(near)
    }

    /// Events that come to an accepted socket, found out by causing them.
    fn events_enabled(&mut self, name: &str) -> Result<u32> {
        let named = self.socket(name)?;
        let peer = named.peer.context("no peer to send")?;
        let mut enabled = 0;
        peer.send(b"x")?;
        if self
            .events
            .within(QUIET_MS, Happening::Receive, named.socket.id)?
            .is_some()
        {
            enabled |= WSK_EVENT_RECEIVE;
        }
        peer.disconnect()?;
        if self
            .events
            .within(QUIET_MS, Happening::Disconnect, named.socket.id)?
            .is_some()
        {
            enabled |= WSK_EVENT_DISCONNECT;
        }
        Ok(enabled)
    }

    /// Finds out what the step's expectations ask for and its call did not show.
    pub(super) fn look_closer(&mut self, step: &Step, observed: &mut Observed) -> Result<()> {
        let Some(expect) = &step.expect else {
            return Ok(());
        };
        let facts = &mut observed.wsk;
        match &step.op {
            Op::WskAcceptEvent { name, .. } if expect.events_enabled.is_some() => {
                facts.events_enabled = Some(self.events_enabled(name)?);
            }
            Op::Wskcall(wish) if expect.events_enabled.is_some() => {
                let name = wish.name.as_deref().context("an accepted socket without a name")?;
                facts.events_enabled = Some(self.events_enabled(name)?);
            }
            Op::Wskctl(wish) => {
                if expect.fixed_remote.is_some() {
                    facts.fixed_remote = Some(self.fixed_remote(&wish.sock)?);
                }
                if expect.receive_ex_callback.is_some() {
                    let named = self.connect(&wish.sock)?;
                    named.peer.context("no peer to send")?.send(b"x")?;
                    let event = self.events.within(QUIET_MS, Happening::ReceiveEx, named.socket.id)?;
                    facts.receive_ex_callback = Some(event.is_some());
                }
            }
            _ => {}
        }
        statuses(expect, observed);
        Ok(())
    }
}

/// What follows from statuses alone.
fn statuses(expect: &Expect, observed: &mut Observed) {
    // What was refused before it reached the provider has changed nothing there.
    if expect.no_effect.is_some() && observed.failed() {
        observed.unaffected = Some(vec![NoEffect::Sharing, NoEffect::Routing, NoEffect::All]);
    }
    // The runner keeps descriptors until the vector has been run.
    if expect.sd_cached_until.is_some() {
        observed.wsk.sd_cached = Some(observed.irp_status.is_some());
    }
    // Without an IRP there is none to touch; a completion would have been seen all the same.
    if expect.irp_untouched.is_some() {
        observed.wsk.irp_untouched = Some(observed.irp_status.is_none());
    }
}

fn with(wsk: WskFacts) -> Observed {
    Observed {
        wsk,
        ..Observed::default()
    }
}

/// A datagram that has arrived.
fn got(socket: &Socket<'_>) -> Result<Option<Vec<u8>>> {
    got_bytes(&socket.receive_from_call(64))
}

/// What a receive gets within a moment; nothing of a connection that has ended.
fn got_bytes(call: &CallBuilder<'_>) -> Result<Option<Vec<u8>>> {
    let started = Instant::now();
    let pending = call.start()?;
    while pending.is_pending()? {
        if started.elapsed() > Duration::from_millis(COMES_MS.into()) / 4 {
            pending.cancel()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(5));
    }
    let done = pending.wait()?;
    Ok(Some(if done.result() < 0 {
        Vec::new()
    } else {
        done.written().to_vec()
    }))
}
