//! verifier.sys, as a test sees it.

use std::{fmt, io};

use probe_protocol::verifier as protocol;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::device::Device;

pub use probe_protocol::verifier::{
    ArmFaults, Event, FaultMode, FaultSite, Frame, ImportUse, Info, Left, PoolUse, Range, Retired, Stop, StopCode,
};

/// What STATUS_NOT_FOUND becomes.
const ERROR_NOT_FOUND: i32 = 1168;

/// The verifier's device.
#[derive(Debug)]
pub struct Verifier(Device);

/// A padded text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

/// A place in code, for people.
#[must_use]
pub fn place(frame: &Frame) -> String {
    format!("{}+{:#x}", text(&frame.module), frame.offset)
}

/// A stop, for people.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Stop);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stop = self.0;
        write!(
            out,
            "stop {}: {:#04x} {} {:x?} irql={}",
            stop.sequence,
            stop.code,
            text(&stop.subject),
            stop.parameters,
            stop.irql
        )?;
        stop.frames
            .iter()
            .take(usize::from(stop.depth))
            .try_for_each(|frame| write!(out, "\n    {}", place(frame)))
    }
}

impl Verifier {
    /// Opens the verifier's device.
    ///
    /// # Errors
    /// It is not there: no test kernel, or one without verifier.sys.
    pub fn open() -> io::Result<Self> {
        Device::open(protocol::DEVICE).map(Self)
    }

    fn ask<T: FromBytes + IntoBytes>(&self, code: u32, request: &(impl IntoBytes + Immutable)) -> io::Result<T> {
        let mut reply = T::new_zeroed();
        let bytes = self.0.control(code, request.as_bytes(), reply.as_mut_bytes())?;
        if bytes == size_of::<T>() {
            Ok(reply)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn tell(&self, code: u32, request: &(impl IntoBytes + Immutable)) -> io::Result<()> {
        self.0.control(code, request.as_bytes(), &mut []).map(drop)
    }

    fn list<T: FromBytes + KnownLayout + Immutable + Copy>(&self, code: u32) -> io::Result<Vec<T>> {
        let mut all = Vec::new();
        let mut room = vec![0u64; 8192];
        loop {
            let first = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let page = protocol::Page {
                version: protocol::VERSION,
                first,
            };
            let bytes = self.0.control(code, page.as_bytes(), room.as_mut_bytes())?;
            let reply = room.as_bytes().get(..bytes).unwrap_or_default();
            let (head, rest) = protocol::PageReply::read_from_prefix(reply)
                .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            let elements = <[T]>::ref_from_bytes(rest).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            all.extend_from_slice(elements);
            if head.count == 0 || all.len() >= head.total as usize {
                return Ok(all);
            }
        }
    }

    /// What the verifier is, and its counters.
    ///
    /// # Errors
    /// The device's.
    pub fn info(&self) -> io::Result<Info> {
        self.ask(
            protocol::QUERY_INFO,
            &protocol::Request {
                version: protocol::VERSION,
            },
        )
    }

    /// Sets flags.
    ///
    /// # Errors
    /// The device's.
    pub fn set_flags(&self, flags: u32) -> io::Result<()> {
        self.tell(
            protocol::SET_FLAGS,
            &protocol::SetFlags {
                version: protocol::VERSION,
                flags,
            },
        )
    }

    /// Every stop on the list.
    ///
    /// # Errors
    /// The device's.
    pub fn stops(&self) -> io::Result<Vec<Stop>> {
        self.list(protocol::QUERY_STOPS)
    }

    /// Empties the list of stops.
    ///
    /// # Errors
    /// The device's.
    pub fn clear_stops(&self) -> io::Result<()> {
        self.tell(
            protocol::CLEAR_STOPS,
            &protocol::Request {
                version: protocol::VERSION,
            },
        )
    }

    /// Images of drivers and blocks of pool, as they are while the list is read.
    ///
    /// # Errors
    /// The device's.
    pub fn ranges(&self) -> io::Result<Vec<Range>> {
        self.list(protocol::QUERY_RANGES)
    }

    /// Pool under a tag, or under all tags.
    ///
    /// # Errors
    /// The device's.
    pub fn pool(&self, tag: Option<[u8; 4]>) -> io::Result<PoolUse> {
        let tag = tag.map_or(0, u32::from_le_bytes);
        self.ask(
            protocol::QUERY_POOL,
            &protocol::PoolQuery {
                version: protocol::VERSION,
                tag,
            },
        )
    }

    /// Starts a round of fault injection, or ends it.
    ///
    /// # Errors
    /// The device's.
    pub fn arm(&self, mode: FaultMode, change: impl FnOnce(&mut ArmFaults)) -> io::Result<()> {
        let mut request = ArmFaults {
            version: protocol::VERSION,
            mode: mode as u32,
            probability: 0,
            seed: 1,
            nth: 0,
            depth: 0,
        };
        change(&mut request);
        self.tell(protocol::ARM_FAULTS, &request)
    }

    /// Call stacks that allocated in this round.
    ///
    /// # Errors
    /// The device's.
    pub fn fault_sites(&self) -> io::Result<Vec<FaultSite>> {
        self.list(protocol::QUERY_FAULTS)
    }

    /// Has the ETW session listen to events up to `level` with any of `keywords`, 0 for all, from now on; level 0 ends it.
    /// What it took so far is forgotten.
    ///
    /// # Errors
    /// The device's.
    pub fn session(&self, level: u32, keywords: u64) -> io::Result<()> {
        self.tell(
            protocol::SET_SESSION,
            &protocol::Session {
                version: protocol::VERSION,
                level,
                keywords,
            },
        )
    }

    /// Events that the ETW session took.
    ///
    /// # Errors
    /// The device's.
    pub fn events(&self) -> io::Result<Vec<Event>> {
        self.list(protocol::QUERY_EVENTS)
    }

    /// Watches for these instructions of a driver, by their offsets in its image.
    ///
    /// # Errors
    /// The device's.
    pub fn cover(&self, module: &str, offsets: &[u32]) -> io::Result<()> {
        for (index, part) in offsets.chunks(protocol::COVERAGE_MOST).enumerate() {
            let mut map = protocol::CoverageMap {
                version: protocol::VERSION,
                append: u32::from(index > 0),
                count: u32::try_from(part.len()).unwrap_or(0),
                reserved: 0,
                module: [0; protocol::NAME],
                offsets: [0; protocol::COVERAGE_MOST],
            };
            map.module
                .iter_mut()
                .zip(module.bytes())
                .for_each(|(to, from)| *to = from);
            map.offsets.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.tell(protocol::SET_COVERAGE, &map)?;
        }
        Ok(())
    }

    /// Those of them that have run.
    ///
    /// # Errors
    /// The device's.
    pub fn covered(&self) -> io::Result<Vec<u32>> {
        self.list(protocol::QUERY_COVERAGE)
    }

    /// What the drivers' bug check callbacks would add to a dump: names (GUIDs in memory order) and data.
    ///
    /// # Errors
    /// The device's, or a reply that is cut short.
    pub fn crash_data(&self) -> io::Result<Vec<([u8; 16], Vec<u8>)>> {
        let mut all = Vec::new();
        let mut room = vec![0; 128 * 1024];
        loop {
            let page = protocol::Page {
                version: protocol::VERSION,
                first: u32::try_from(all.len()).unwrap_or(u32::MAX),
            };
            let bytes = match self.0.control(protocol::QUERY_CRASH, page.as_bytes(), &mut room) {
                Err(error) if error.raw_os_error() == Some(ERROR_NOT_FOUND) => return Ok(all),
                other => other?,
            };
            let reply = room.get(..bytes).unwrap_or_default();
            let (head, data) = protocol::CrashData::read_from_prefix(reply)
                .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            if data.len() != head.length as usize {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            all.push((head.guid, data.to_vec()));
        }
    }

    /// Begins to count wskguard's instructions after so many ms, from zero, or ends it (0).
    ///
    /// # Errors
    /// The device's.
    pub fn count_instructions(&self, after_ms: u32) -> io::Result<()> {
        self.tell(
            protocol::SET_RETIRED,
            &protocol::SetFlags {
                version: protocol::VERSION,
                flags: after_ms,
            },
        )
    }

    /// wskguard's instructions, by the functions that others called.
    ///
    /// # Errors
    /// The device's.
    pub fn retired(&self) -> io::Result<Vec<Retired>> {
        self.list(protocol::QUERY_RETIRED)
    }

    /// Where wskguard went from these.
    ///
    /// # Errors
    /// The device's.
    pub fn left(&self) -> io::Result<Vec<Left>> {
        self.list(protocol::QUERY_LEFT)
    }

    /// What the verified drivers import.
    ///
    /// # Errors
    /// The device's.
    pub fn imports(&self) -> io::Result<Vec<ImportUse>> {
        self.list(protocol::QUERY_IMPORTS)
    }
}
