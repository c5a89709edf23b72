//! The endpoint table: finds an endpoint's record by its id, and lists all of them, without ever holding an endpoint up.
//!
//! Any IRQL, and safe against being preempted anywhere: no operation takes a lock or waits for another thread. A look-up pins
//! the slot, not the record; an endpoint removed meanwhile is given up by whoever unpins it last.
//!
//! A slot is 16 bytes. Slots come in segments that are allocated when first needed, never move and stay until the table goes;
//! free slots are chained through themselves, one chain per processor. An id is the slot's number and how often it was used:
//! a slot whose uses no longer fit is retired, so that no id comes twice.

use core::{ops::Deref, ptr::NonNull};

use crate::{
    memory::{Array, Memory, PerCpu},
    sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    types::EndpointId,
};

mod chain;

use chain::Chain;

/// What a table lists: a record that is reference-counted by its owner.
///
/// # Safety
/// A record stays valid from [`Table::insert`] until its [`Record::release`], which the table calls exactly once.
pub unsafe trait Record: Sync {
    /// Gives up the table's reference. Called on the thread and at the IRQL of whoever let go last.
    ///
    /// # Safety
    /// `record` was listed, is not any more, and this is the only call for it.
    unsafe fn release(record: NonNull<Self>);
}

/// Most endpoints that a table can be made for.
pub const MAX_ENDPOINTS: u32 = (1 << 24) - 1;

/// Slots per segment (64 KiB; few under loom, so that a model can fill one).
const SEGMENT: u32 = if cfg!(loom) { 4 } else { 4096 };
/// How many never-used slots a processor takes at once.
const BATCH: u32 = if cfg!(loom) { 2 } else { 64 };

const _: () = assert!(SEGMENT.is_multiple_of(BATCH));

// A slot's word: | uses 40 | LIVE | DYING | pins 22 |. An id: | uses 40 | index 24 |.
const INDEX: u64 = MAX_ENDPOINTS as u64;
const ONE_USE: u64 = 1 << 24;
const LIVE: u64 = 1 << 23;
const DYING: u64 = 1 << 22;
const PINS: u64 = DYING - 1;

/// One place in the table.
///
/// # Invariants
/// - Neither `LIVE` nor `DYING`: free, or being filled by the one who took it off its chain. `record` is the chain's link.
/// - `LIVE` or `DYING`: `record` is the listed record, and the table has its reference. `DYING` only while pinned.
struct Slot<T> {
    word: AtomicU64,
    record: AtomicPtr<T>,
}

const _: () = assert!(cfg!(loom) || size_of::<Slot<u64>>() == 16);

/// The table. `T` is the endpoint's record, owned by the caller.
pub struct Table<T: Record, M: Memory + Copy> {
    segments: Array<AtomicPtr<Slot<T>>, M>,
    chains: PerCpu<Chain, M>,
    /// Slots handed out for the first time: all below have their segment.
    opened: AtomicU32,
    limit: u32,
    unlisted: AtomicU64,
    memory: M,
}

// SAFETY: records are `Sync`, may be released on any thread (the contract of `Record::release`), and slots are atomics.
unsafe impl<T: Record, M: Memory + Copy + Send> Send for Table<T, M> {}
// SAFETY: as above.
unsafe impl<T: Record, M: Memory + Copy + Sync> Sync for Table<T, M> {}

impl<T: Record, M: Memory + Copy> Table<T, M> {
    /// A table for at most `limit` endpoints (1 to [`MAX_ENDPOINTS`]), used by `cpus` processors. `None` when there is no memory
    /// for its directory (8 bytes for 4096 endpoints) and chains, or when a number is out of range.
    pub fn new(memory: M, cpus: usize, limit: u32) -> Option<Self> {
        if limit == 0 || limit > MAX_ENDPOINTS {
            return None;
        }
        let segments = usize::try_from(limit.div_ceil(SEGMENT)).ok()?;
        Some(Self {
            segments: Array::new(memory, segments, |_| Some(AtomicPtr::new(core::ptr::null_mut())))?,
            chains: PerCpu::new(memory, cpus, |_| Some(Chain::new()))?,
            opened: AtomicU32::new(0),
            limit,
            unlisted: AtomicU64::new(0),
            memory,
        })
    }

    /// Lists `record`, and takes over one reference to it.
    ///
    /// `None` when the table is full or had no memory for a segment: counted in [`Table::unlisted`]; the caller keeps the
    /// reference, and the endpoint works without being listed. Constant time, but for one allocation in 4096 new slots.
    ///
    /// # Safety
    /// `record` is valid until [`Record::release`] is called for it, and the caller owns the reference that it gives away.
    pub unsafe fn insert(&self, cpu: usize, record: NonNull<T>) -> Option<EndpointId> {
        let Some((index, slot)) = self.take_slot(cpu) else {
            self.unlisted.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        slot.record.store(record.as_ptr(), Ordering::Relaxed);
        let uses = slot.word.load(Ordering::Relaxed);
        slot.word.store(uses | LIVE, Ordering::Release);
        Some(EndpointId(uses | u64::from(index)))
    }

    /// Takes an endpoint off the table. Its reference is given up now, or, when a reader has it pinned, as soon as the reader
    /// lets go. False when the id is not listed, or not any more.
    pub fn remove(&self, cpu: usize, id: EndpointId) -> bool {
        let Some((index, slot)) = self.slot_of(id) else {
            return false;
        };
        let mut word = slot.word.load(Ordering::Relaxed);
        loop {
            if !is_live(word, id) {
                return false;
            }
            let pinned = word & PINS != 0;
            let new = if pinned { word ^ (LIVE | DYING) } else { word & !LIVE };
            // Acquire, when it was not pinned: what the last reader did comes before the release.
            match slot
                .word
                .compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) if pinned => return true,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        self.give_up(cpu, index, slot, word);
        true
    }

    /// Finds an endpoint and keeps its record from being released while the guard lives: long enough to take a reference or to
    /// copy something. A longer hold delays nobody but the release.
    #[inline]
    pub fn get(&self, id: EndpointId) -> Option<Pinned<'_, T, M>> {
        let (index, slot) = self.slot_of(id)?;
        // Most likely listed, and not pinned by others: one trip to memory, not two.
        let mut word = id.0 & !INDEX | LIVE;
        while is_live(word, id) && word & PINS != PINS {
            match slot
                .word
                .compare_exchange_weak(word, word.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Some(self.pinned(index, slot, id)),
                Err(now) => word = now,
            }
        }
        None
    }

    /// The next endpoint of a walk, pinned as by [`Table::get`].
    ///
    /// A walk sees every endpoint at most once, and each one that was listed before it began and is still listed when it ends.
    /// Those that came or went meanwhile may or may not be seen. It may be left and taken up again at any time.
    pub fn next(&self, walk: &mut Walk) -> Option<Pinned<'_, T, M>> {
        while walk.next < walk.end {
            let index = walk.next;
            walk.next = index.wrapping_add(1);
            let Some(slot) = self.slot(index) else { continue };
            let word = slot.word.load(Ordering::Relaxed);
            if word & LIVE != 0
                && let Some(pinned) = self.get(EndpointId(word & !INDEX | u64::from(index)))
            {
                return Some(pinned);
            }
        }
        None
    }

    /// Begins a walk over all endpoints that are listed now.
    pub fn walk(&self) -> Walk {
        Walk {
            next: 0,
            end: self.opened.load(Ordering::Acquire),
        }
    }

    /// How many endpoints could not be listed so far.
    pub fn unlisted(&self) -> u64 {
        self.unlisted.load(Ordering::Relaxed)
    }

    /// Releases the record of an unlisted, unpinned slot and makes the slot free. `word`: with its use count.
    fn give_up(&self, cpu: usize, index: u32, slot: &Slot<T>, word: u64) {
        let record = slot.record.load(Ordering::Relaxed);
        // The count of a slot that was used too often wraps to 0, with which no id is made: such a slot is not used again.
        let uses = (word & !INDEX).wrapping_add(ONE_USE);
        slot.word.store(uses, Ordering::Relaxed);
        if uses != 0 {
            self.put_slot(cpu, index, slot);
        }
        if let Some(record) = NonNull::new(record) {
            // SAFETY: the slot was listed and the caller ended that, alone; nobody has it pinned, and nobody can pin it.
            unsafe { T::release(record) };
        }
    }

    #[inline]
    fn pinned<'a>(&'a self, index: u32, slot: &'a Slot<T>, id: EndpointId) -> Pinned<'a, T, M> {
        // SAFETY: of a listed slot, `record` is the address that `insert` got from a `NonNull`.
        let record = unsafe { NonNull::new_unchecked(slot.record.load(Ordering::Relaxed)) };
        Pinned {
            table: self,
            slot,
            index,
            id,
            record,
        }
    }

    #[inline]
    fn slot_of(&self, id: EndpointId) -> Option<(u32, &Slot<T>)> {
        let index = (id.0 & INDEX) as u32;
        Some((index, self.slot(index)?))
    }

    /// The slot of that number, if its segment exists.
    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let segment = self.segments.get((index / SEGMENT) as usize)?.load(Ordering::Acquire);
        let first = NonNull::new(segment)?;
        // SAFETY: a segment has `SEGMENT` initialized slots, and lives as long as the table.
        let slot = unsafe { first.add((index % SEGMENT) as usize) };
        // SAFETY: as above; slots are only ever shared.
        Some(unsafe { slot.as_ref() })
    }

    /// A free slot, off this processor's chain, or new, or off another's chain.
    fn take_slot(&self, cpu: usize) -> Option<(u32, &Slot<T>)> {
        let own = self.chains.get(cpu);
        let index = own
            .pop(|index| self.link(index))
            .or_else(|| self.open(cpu))
            .or_else(|| self.chains.iter().find_map(|chain| chain.pop(|index| self.link(index))))?;
        Some((index, self.slot(index)?))
    }

    /// What follows a slot on its chain; garbage when the slot is not on one any more, which the chain then notices.
    fn link(&self, index: u32) -> u32 {
        self.slot(index).map_or(0, |slot| {
            u32::try_from(slot.record.load(Ordering::Relaxed).addr()).unwrap_or(0)
        })
    }

    fn put_slot(&self, cpu: usize, index: u32, slot: &Slot<T>) {
        self.chains.get(cpu).push(index, |next| {
            slot.record
                .store(core::ptr::without_provenance_mut(next as usize), Ordering::Relaxed);
        });
    }

    /// Opens a batch of slots that were never used; the first is the answer, the others go on this processor's chain.
    fn open(&self, cpu: usize) -> Option<u32> {
        let mut first = self.opened.load(Ordering::Relaxed);
        let end = loop {
            // A batch never spans two segments.
            let end = first.checked_add(BATCH.wrapping_sub(first % BATCH))?.min(self.limit);
            if first >= end || !self.has_segment(first) {
                return None;
            }
            match self
                .opened
                .compare_exchange_weak(first, end, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break end,
                Err(now) => first = now,
            }
        };
        for index in (first.wrapping_add(1)..end).rev() {
            if let Some(slot) = self.slot(index) {
                self.put_slot(cpu, index, slot);
            }
        }
        Some(first)
    }

    /// Whether the segment of slot `index` exists, or could be allocated now.
    fn has_segment(&self, index: u32) -> bool {
        let Some(place) = self.segments.get((index / SEGMENT) as usize) else {
            return false;
        };
        if !place.load(Ordering::Acquire).is_null() {
            return true;
        }
        let Some(segment) = self.memory.allocate(Self::SEGMENT_BYTES, align_of::<Slot<T>>()) else {
            return false;
        };
        let first = segment.cast::<Slot<T>>();
        for offset in 0..SEGMENT as usize {
            // SAFETY: inside the block.
            let slot = unsafe { first.add(offset) };
            let empty = Slot {
                word: AtomicU64::new(ONE_USE),
                record: AtomicPtr::new(core::ptr::null_mut()),
            };
            // SAFETY: aligned, and ours alone so far.
            unsafe { slot.write(empty) };
        }
        let placed = place
            .compare_exchange(
                core::ptr::null_mut(),
                first.as_ptr(),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok();
        if !placed {
            // Another processor was faster.
            // SAFETY: allocated above, never shared.
            unsafe { self.free_segment(first) };
        }
        true
    }

    const SEGMENT_BYTES: usize = size_of::<Slot<T>>() * SEGMENT as usize;

    /// # Safety
    /// `first` is a segment of this table, and not used any more.
    unsafe fn free_segment(&self, first: NonNull<Slot<T>>) {
        // SAFETY: allocated by `has_segment` with this size and alignment; slots need no drop.
        unsafe {
            self.memory
                .free(first.cast(), Self::SEGMENT_BYTES, align_of::<Slot<T>>());
        };
    }
}

impl<T: Record, M: Memory + Copy> Drop for Table<T, M> {
    /// Releases what is still listed.
    fn drop(&mut self) {
        let mut walk = self.walk();
        while let Some(id) = self.next(&mut walk).map(|pinned| pinned.id()) {
            self.remove(0, id);
        }
        for segment in self.segments.iter() {
            if let Some(first) = NonNull::new(segment.load(Ordering::Relaxed)) {
                // SAFETY: a segment of this table, which nobody else uses by now.
                unsafe { self.free_segment(first) };
            }
        }
    }
}

#[inline]
fn is_live(word: u64, id: EndpointId) -> bool {
    word & !(PINS | DYING) == id.0 & !INDEX | LIVE && word & DYING == 0
}

/// How far a walk over the table has come. Plain data: it belongs to whoever walks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    next: u32,
    end: u32,
}

/// An endpoint that is kept from being released.
pub struct Pinned<'a, T: Record, M: Memory + Copy> {
    table: &'a Table<T, M>,
    slot: &'a Slot<T>,
    index: u32,
    id: EndpointId,
    record: NonNull<T>,
}

impl<T: Record, M: Memory + Copy> Pinned<'_, T, M> {
    /// The endpoint's id.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// The record as it was given to [`Table::insert`].
    #[must_use]
    pub fn record(&self) -> NonNull<T> {
        self.record
    }
}

impl<T: Record, M: Memory + Copy> Deref for Pinned<'_, T, M> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: pinned, so listed, so not released.
        unsafe { self.record.as_ref() }
    }
}

impl<T: Record, M: Memory + Copy> Drop for Pinned<'_, T, M> {
    #[inline]
    fn drop(&mut self) {
        let before = self.slot.word.fetch_sub(1, Ordering::AcqRel);
        if before & (DYING | PINS) == DYING | 1 {
            self.table.give_up(0, self.index, self.slot, before);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
#[path = "../models/table.rs"]
mod interleavings;
