//! The engine by itself: sockets that have a record and nothing under it. What Windows' own transport would answer is not known here,
//! and is reported as unsupported.

mod events;
mod net;
mod options;
mod socket;
mod tables;
mod wsk;

use std::collections::BTreeMap;

use wskguard_core::catalogue::OptionSet;
use wskguard_core::semantics::winsock::Thread;
use wskguard_core::sharing::{Binding, Sharing};

use self::events::Request;
use self::socket::Sock;
use crate::backend::{Backend, Observed, Run, Stop};
use crate::format::{Combination, FamilyName, Layer, NoEffect, Op, Step};

/// The record backend.
pub struct Record;

impl Backend for Record {
    fn refuses(&self, layer: Layer) -> Option<String> {
        matches!(layer, Layer::Wsk | Layer::Transport).then(|| "needs the driver in the test kernel".to_owned())
    }

    fn start<'a>(&'a mut self, combination: Combination) -> Result<Box<dyn Run + 'a>, Stop> {
        Ok(Box::new(World::new(combination)))
    }
}

/// Everything there is in one run.
#[derive(Clone, PartialEq)]
struct World {
    combination: Combination,
    sockets: BTreeMap<String, Sock>,
    /// In the order of the binds.
    bound: Vec<(String, Binding)>,
    /// By name; the common thread has none.
    threads: BTreeMap<Option<String>, Thread>,
    requests: BTreeMap<String, Request>,
    /// What gets returned, by step number.
    reads: BTreeMap<u32, Vec<u8>>,
    /// Number of the step in progress.
    n: u32,
    ports: BTreeMap<String, u16>,
    ephemeral: u16,
    /// Seconds.
    now: u32,
    lacks: OptionSet,
}

/// Bindings, and the options of the sockets that are not bound.
type SharingInputs<'a> = (&'a [(String, Binding)], Vec<(&'a str, Sharing)>);

impl World {
    fn new(combination: Combination) -> Self {
        Self {
            combination,
            sockets: BTreeMap::new(),
            bound: Vec::new(),
            threads: BTreeMap::new(),
            requests: BTreeMap::new(),
            reads: BTreeMap::new(),
            n: 0,
            ports: BTreeMap::new(),
            ephemeral: 49152,
            now: 1000,
            lacks: OptionSet::NONE,
        }
    }

    /// The live socket of this name; `None` for what is no socket. A first mention makes it.
    fn socket(&mut self, name: &str) -> Result<Option<&mut Sock>, Stop> {
        if matches!(name, "INVALID" | "FILE") {
            return Ok(None);
        }
        if !self.sockets.contains_key(name) {
            let family = self.combination.family;
            self.create(name, family)?;
        }
        Ok(self.sockets.get_mut(name).filter(|socket| socket.alive))
    }

    fn create(&mut self, name: &str, family: Option<FamilyName>) -> Result<(), Stop> {
        let handle = 0x100 + 4 * self.sockets.len() as u64;
        let socket = Sock::new(
            Combination {
                family,
                ..self.combination
            },
            handle,
            self.lacks,
        )?;
        self.sockets.insert(name.to_owned(), socket);
        Ok(())
    }

    /// The number of a port symbol; `any` is a free one.
    fn port(&mut self, symbol: &str) -> u16 {
        if symbol == "any" {
            return self.free_port();
        }
        let next = 1000 + u16::try_from(self.ports.len()).unwrap_or(u16::MAX);
        *self.ports.entry(symbol.to_owned()).or_insert(next)
    }

    fn free_port(&mut self) -> u16 {
        self.ephemeral += 1;
        self.ephemeral
    }

    /// What decides later binds: the bindings, and what the sockets that are not bound yet would bind with.
    fn sharing_inputs(&self) -> SharingInputs<'_> {
        let unbound = |(name, _): &(&String, &Sock)| !self.bound.iter().any(|(bound, _)| bound == *name);
        let options = self
            .sockets
            .iter()
            .filter(unbound)
            .map(|(name, sock)| (name.as_str(), Sharing::of(&sock.state)));
        (&self.bound, options.collect())
    }

    /// What decides where a send goes: bindings and addresses. No option is an input of it.
    fn routing_inputs(&self) -> Vec<(&str, &Sock)> {
        self.sockets.iter().map(|(name, sock)| (name.as_str(), sock)).collect()
    }

    fn unaffected(&self, before: &Self) -> Vec<NoEffect> {
        let mut areas = Vec::new();
        if self.sharing_inputs() == before.sharing_inputs() {
            areas.push(NoEffect::Sharing);
        }
        let same_way = |((a, new), (b, old)): (&(&str, &Sock), &(&str, &Sock))| a == b && new.same_route(old);
        let (now, then) = (self.routing_inputs(), before.routing_inputs());
        if self.bound == before.bound && now.len() == then.len() && now.iter().zip(&then).all(same_way) {
            areas.push(NoEffect::Routing);
        }
        if self == before {
            areas.push(NoEffect::All);
        }
        areas
    }

    fn carry_out(&mut self, op: &Op) -> Result<Observed, Stop> {
        match op {
            Op::Constant { name } => tables::constant(name),
            Op::Map { name, status } => tables::map(name, *status),
            Op::MapReverse { wsa, ranges } => Ok(tables::map_reverse(*wsa, ranges)),
            Op::Assume { opt, .. } => self.assume(opt),
            Op::Set(step) => self.set(step),
            Op::Get(step) => self.get(step),
            Op::Ioctl {
                sock,
                code,
                ptr,
                len,
                bytes,
            } => self.ioctl(sock, code, *ptr, len, bytes.as_ref()),
            Op::Wskctl(step) => self.wskctl(step),
            Op::Wskcall(step) => self.wskcall(step),
            Op::CacheSd { .. } => Ok(Observed::default()),
            Op::Socket { .. } | Op::Fresh { .. } | Op::Nonblocking { .. } | Op::Close { .. } => self.life(op),
            Op::Bind { sock, addr, port, user } => self.bind(sock, *addr, port, *user),
            Op::Listen { sock } => self.listen(sock),
            Op::Accept { sock, name } => self.accept(sock, name),
            Op::Acceptex { sock, name } => self.acceptex(sock, name),
            Op::Connect { sock, to, addr } => self.connect(sock, to, *addr),
            Op::Pair { sock, peer } => self.pair(sock, peer),
            Op::Getsockname { sock } => self.getsockname(sock),
            _ => self.event(op),
        }
    }
}

impl Run for World {
    fn step(&mut self, step: &Step) -> Result<Observed, Stop> {
        self.n = step.n;
        let asked = step.expect.as_ref().is_some_and(|expect| expect.no_effect.is_some());
        if !asked {
            return self.carry_out(&step.op);
        }
        if let Op::Set(set) = &step.op {
            // The socket's coming into being is no effect of the set.
            self.socket(&set.sock)?;
        }
        let before = self.clone();
        let observed = self.carry_out(&step.op)?;
        Ok(Observed {
            unaffected: Some(self.unaffected(&before)),
            ..observed
        })
    }
}

/// What the record cannot know.
fn unsupported<T>(why: &str) -> Result<T, Stop> {
    Err(Stop::Unsupported(why.to_owned()))
}
