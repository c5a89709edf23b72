//! The audit rings: where decisions leave their records, and how many readers, each at its own pace, take them out.
//!
//! One ring per processor, so writers seldom meet; a caller that is moved to another processor while it writes does no harm.
//! Any IRQL, and nothing waits: a full ring overwrites its oldest record. A writer that is preempted in the middle of a record
//! keeps readers from going past it, and, if the ring goes all the way round meanwhile, makes others drop theirs (counted): so
//! raise to `DISPATCH_LEVEL` around [`Rings::write`].
//!
//! The books balance. Writers: `decided = written + suppressed + dropped`, each of which is counted once. Each reader: its
//! cursor moves by `read + overwritten`. Records are in order per processor; across processors order by (time, cpu, sequence).

use crate::{
    memory::{Array, Memory, PerCpu},
    sync::{AtomicU64, Ordering},
};

mod budget;
mod record;
mod ring;

pub use budget::{Budget, Limit};
pub use record::*;
use ring::Ring;

const STORED: usize = WORDS - 1;

/// Why a record was not written although there was room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Suppressed {
    /// The endpoint has used up its [`Budget`].
    EndpointBudget = 0,
    /// The client has used up its [`Budget`].
    ClientBudget = 1,
    /// Neither the policy nor the mode asks for it.
    NotWanted = 2,
}

/// How many reasons [`Suppressed`] has.
pub const SUPPRESSED_REASONS: usize = 3;

/// The writers' books: sums over all processors since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Records written.
    pub written: u64,
    /// Records suppressed, by [`Suppressed`].
    pub suppressed: [u64; SUPPRESSED_REASONS],
    /// Records dropped because the slot's former writer had not finished.
    pub dropped_busy: u64,
}

impl Books {
    /// Everything that could have left a record, and so is in one of the columns.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.suppressed
            .iter()
            .fold(self.written.wrapping_add(self.dropped_busy), |sum, &one| {
                sum.wrapping_add(one)
            })
    }
}

/// What one [`Rings::read`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadResult {
    /// Records put into the output.
    pub read: usize,
    /// Records passed over because they had been overwritten.
    pub overwritten: u64,
}

/// A processor's ring and books.
struct Processor<M: Memory> {
    ring: Ring<STORED, M>,
    suppressed: [AtomicU64; SUPPRESSED_REASONS],
    dropped_busy: AtomicU64,
}

/// The rings of all processors.
pub struct Rings<M: Memory>(PerCpu<Processor<M>, M>);

impl<M: Memory + Copy> Rings<M> {
    /// Empty rings of `records` records (a power of two, 128 bytes each) for each of `cpus` processors. `None` when there is no
    /// memory, or a number is out of range.
    pub fn new(memory: M, cpus: usize, records: usize) -> Option<Self> {
        Some(Self(PerCpu::new(memory, cpus, |_| {
            Some(Processor {
                ring: Ring::new(memory, records)?,
                suppressed: core::array::from_fn(|_| AtomicU64::new(0)),
                dropped_busy: AtomicU64::new(0),
            })
        })?))
    }

    /// Writes a record to the ring of `cpu`, and returns its sequence number, which is filled in, as is `cpu`, when it is read.
    /// `None` when it was dropped.
    #[inline]
    pub fn write(&self, cpu: usize, record: &AuditRecord) -> Option<u64> {
        let processor = self.0.get(cpu);
        let [_, words @ ..]: &[u64; WORDS] = zerocopy::transmute_ref!(record);
        let written = processor.ring.write(words);
        if written.is_none() {
            processor.dropped_busy.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    /// Enters into the books that a decision leaves no record.
    #[inline]
    pub fn suppress(&self, cpu: usize, reason: Suppressed) {
        let processor = self.0.get(cpu);
        if let Some(cell) = processor.suppressed.get(reason as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The writers' books.
    pub fn books(&self) -> Books {
        let mut books = Books::default();
        for processor in self.0.iter() {
            add(&mut books.written, processor.ring.head());
            add(&mut books.dropped_busy, processor.dropped_busy.load(Ordering::Relaxed));
            for (sum, cell) in books.suppressed.iter_mut().zip(&processor.suppressed) {
                add(sum, cell.load(Ordering::Relaxed));
            }
        }
        books
    }

    /// A reader that begins with the oldest records there are. `None` when there is no memory.
    pub fn from_oldest(&self, memory: M) -> Option<Cursor<M>> {
        let oldest = |cpu| Some(self.ring(cpu).oldest(self.ring(cpu).head()));
        Some(Cursor {
            next: Array::new(memory, self.0.len(), oldest)?,
            cpu: 0,
        })
    }

    /// A reader that begins with the next record of each processor. `None` when there is no memory.
    pub fn from_now(&self, memory: M) -> Option<Cursor<M>> {
        Some(Cursor {
            next: Array::new(memory, self.0.len(), |cpu| Some(self.ring(cpu).head()))?,
            cpu: 0,
        })
    }

    /// Reads as many records as there are and as `out` takes, and moves the cursor by `read + overwritten`. The rest of `out` is
    /// left alone. Stops short of a record that is being written. `cursor` has to be one of these rings'.
    pub fn read(&self, cursor: &mut Cursor<M>, out: &mut [AuditRecord]) -> ReadResult {
        let mut result = ReadResult::default();
        // Each read begins with another processor, so that a busy one does not keep the others waiting.
        let first = cursor.cpu;
        cursor.cpu = if first.wrapping_add(1) < self.0.len() {
            first.wrapping_add(1)
        } else {
            0
        };
        for cpu in (first..self.0.len()).chain(0..first) {
            let Some(next) = cursor.next.get_mut(cpu) else { continue };
            let mut rest = out.iter_mut().skip(result.read);
            let room = rest.len();
            let overwritten = self.ring(cpu).read_from(next, room, |sequence, stored| {
                if let Some(place) = rest.next() {
                    *place = restore(cpu, sequence, stored);
                    result.read = result.read.wrapping_add(1);
                }
            });
            add(&mut result.overwritten, overwritten);
        }
        result
    }

    /// Puts the newest records of all processors into `out`, in no order, and returns how many there are. It needs no cursor
    /// and no memory: for a crash.
    pub fn newest(&self, out: &mut [AuditRecord]) -> usize {
        let mut found = 0_usize;
        for cpu in 0..self.0.len() {
            let ring = self.ring(cpu);
            let mut next = ring.head().saturating_sub(out.len() as u64);
            ring.read_from(&mut next, usize::MAX, |sequence, stored| {
                let record = restore(cpu, sequence, stored);
                if let Some(place) = out.get_mut(found) {
                    *place = record;
                    found = found.wrapping_add(1);
                } else if let Some(oldest) = out.iter_mut().min_by_key(|kept| kept.time)
                    && oldest.time < record.time
                {
                    *oldest = record;
                }
            });
        }
        found
    }

    /// How many records a cursor has before it, with those already overwritten: not 0 means that a read has something to do.
    pub fn waiting(&self, cursor: &Cursor<M>) -> u64 {
        let behind = cursor
            .next
            .iter()
            .enumerate()
            .map(|(cpu, next)| self.ring(cpu).head().saturating_sub(*next));
        behind.fold(0, u64::wrapping_add)
    }

    fn ring(&self, cpu: usize) -> &Ring<STORED, M> {
        &self.0.get(cpu).ring
    }
}

/// A reader's place in the rings: a sequence number per processor. It belongs to one reader; the rings do not know it.
pub struct Cursor<M: Memory> {
    next: Array<u64, M>,
    cpu: usize,
}

impl<M: Memory> Cursor<M> {
    /// How many records this cursor is past, over all processors.
    pub fn position(&self) -> u64 {
        self.next.iter().copied().fold(0, u64::wrapping_add)
    }
}

fn restore(cpu: usize, sequence: u64, stored: [u64; STORED]) -> AuditRecord {
    let mut words = [0_u64; WORDS];
    let [first, rest @ ..] = &mut words;
    *first = sequence;
    *rest = stored;
    let mut record: AuditRecord = zerocopy::transmute!(words);
    record.cpu = u16::try_from(cpu).unwrap_or(u16::MAX);
    record
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.wrapping_add(more);
}

#[cfg(all(test, not(loom)))]
mod tests;
