//! The session's event log, read in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use probe_protocol::probe::{Event, Events, Happening, Op, ReadEvents, take};
use zerocopy::IntoBytes;

use super::{DEFAULT_MS, Probe};

/// Events of one read.
const BATCH: u32 = 32;

/// A cursor into the log. Events that a script is not waiting for stay available to later waits.
#[derive(Debug)]
pub(crate) struct EventLog<'p> {
    probe: &'p Probe,
    next: Cell<u64>,
    waiting: RefCell<VecDeque<Event>>,
}

#[allow(dead_code, reason = "every observation can be asked for")]
impl<'p> EventLog<'p> {
    pub(crate) fn new(probe: &'p Probe) -> Self {
        Self {
            probe,
            next: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    fn read(&self, timeout_ms: u32) -> Result<Vec<Event>> {
        let request = ReadEvents {
            from: self.next.get(),
            timeout_ms,
            max: BATCH,
        };
        let room = size_of::<Events>() + BATCH as usize * size_of::<Event>();
        let reply = self
            .probe
            .execute(Op::ReadEvents, &[request.as_bytes()], room, timeout_ms)?;
        let (events, mut rest) = take::<Events>(&reply).context("a short reply")?;
        ensure!(events.first == self.next.get(), "the event log overflowed");
        self.next.set(events.first + u64::from(events.count));
        let mut list = Vec::new();
        for _ in 0..events.count {
            let (event, tail) = take::<Event>(rest).context("a short reply")?;
            list.push(event);
            rest = tail;
        }
        Ok(list)
    }

    /// Waits for the first event that is one of these of this socket (0: of any).
    pub(crate) fn wait_for(&self, happening: Happening, socket: u32) -> Result<Event> {
        self.within(DEFAULT_MS, happening, socket)?
            .with_context(|| format!("no {happening:?} came for socket {socket:#x}; seen: {}", self.seen()))
    }

    /// The same, with a time of its own; `None` when nothing came.
    pub(crate) fn within(&self, ms: u32, happening: Happening, socket: u32) -> Result<Option<Event>> {
        let wanted = |event: &Event| event.happening == happening as u32 && (socket == 0 || event.socket == socket);
        let started = std::time::Instant::now();
        loop {
            let mut waiting = self.waiting.borrow_mut();
            if let Some(place) = waiting.iter().position(wanted) {
                return Ok(waiting.remove(place));
            }
            drop(waiting);
            let left = u128::from(ms).saturating_sub(started.elapsed().as_millis());
            let events = self.read(u32::try_from(left)?)?;
            if events.is_empty() && left == 0 {
                return Ok(None);
            }
            self.waiting.borrow_mut().extend(events);
        }
    }

    /// Fails when such an event comes within a moment.
    pub(crate) fn none(&self, happening: Happening, socket: u32) -> Result<()> {
        match self.within(150, happening, socket)? {
            None => Ok(()),
            Some(event) => bail!("an unexpected {happening:?}: {event:?}"),
        }
    }

    /// All events that came until now and were not waited for.
    pub(crate) fn drain(&self) -> Result<Vec<Event>> {
        loop {
            let events = self.read(0)?;
            if events.is_empty() {
                return Ok(self.waiting.borrow_mut().drain(..).collect());
            }
            self.waiting.borrow_mut().extend(events);
        }
    }

    fn seen(&self) -> String {
        let name = |event: &Event| format!("{:?}({:#x})", Happening::from_u32(event.happening), event.socket);
        self.waiting.borrow().iter().map(name).collect::<Vec<_>>().join(" ")
    }
}
