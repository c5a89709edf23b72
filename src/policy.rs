//! The policy in force: validated images, swapped whole. Decisions read it at <= `DISPATCH_LEVEL`; loading is at `PASSIVE_LEVEL`.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use wdk_rtl::nonpaged::{self, NonpagedBox};
use wdk_sys::{
    LARGE_INTEGER, NTSTATUS, STATUS_DEVICE_BUSY, STATUS_DEVICE_NOT_READY, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_IMAGE_FORMAT, STATUS_MEDIA_WRITE_PROTECTED, STATUS_REQUEST_NOT_ACCEPTED, STATUS_SUCCESS,
    ntddk::KeDelayExecutionThread,
};
use wskguard_core::{
    RequestKind,
    audit::Happened,
    counters::{Counter, RuleHits},
    decide::{InForce, Tables},
    generation::{Generations, Reading, Reclaim, Tally},
    policy::Image,
};

use crate::audit::event;
use crate::guard::{Pool, TAG_POLICY, guard, processor};

/// One loaded policy. Immutable but for its hit counters.
pub struct Generation {
    /// From 1; 0 is the built-in policy, which is no generation.
    pub number: u64,
    pub image: Image<'static>,
    pub hits: RuleHits<Pool>,
    tables: Tables<Pool>,
    bytes: ImageBytes,
    /// One for being in force, one for each request that still has to be finished by it.
    refs: AtomicU32,
}

/// Keeps a generation that is no longer in force for a request that was decided on it.
pub struct GenerationRef(NonNull<Generation>);

// SAFETY: a generation may be used on any thread.
unsafe impl Send for GenerationRef {}

impl core::ops::Deref for GenerationRef {
    type Target = Generation;
    fn deref(&self) -> &Generation {
        // SAFETY: the reference keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for GenerationRef {
    fn drop(&mut self) {
        if self.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: made by `put`, and the last reference is gone.
            drop(unsafe { NonpagedBox::<Generation, TAG_POLICY>::from_raw(self.0) });
        }
    }
}

/// A copy of an image in pool of its own.
struct ImageBytes {
    block: NonNull<u8>,
    length: usize,
}

// SAFETY: an owned block, never written after it was filled.
unsafe impl Send for ImageBytes {}
// SAFETY: as above.
unsafe impl Sync for ImageBytes {}

impl ImageBytes {
    fn copy(from: &[u8]) -> Option<Self> {
        let block = nonpaged::allocate(from.len().max(1), TAG_POLICY, false)?;
        // SAFETY: the block has room for all of `from`, and is fresh.
        unsafe { block.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
        Some(Self {
            block,
            length: from.len(),
        })
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: filled by `copy`.
        unsafe { core::slice::from_raw_parts(self.block.as_ptr(), self.length) }
    }
}

impl Drop for ImageBytes {
    fn drop(&mut self) {
        // SAFETY: allocated by `copy`, and nobody reads it any more.
        unsafe { nonpaged::free(self.block, TAG_POLICY) };
    }
}

impl Generation {
    fn parse(number: u64, image: &[u8]) -> Result<Self, NTSTATUS> {
        let bytes = ImageBytes::copy(image).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        // SAFETY: the block lives as long as the generation, which owns both and hands the image out by reference only.
        let kept: &'static [u8] = unsafe { core::slice::from_raw_parts(bytes.block.as_ptr(), bytes.length) };
        let image = Image::parse(kept).map_err(|_| STATUS_INVALID_IMAGE_FORMAT)?;
        let hits = RuleHits::new(Pool, guard().processors, image.rule_count()).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let tables = Tables::new(Pool, &image).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(Self {
            number,
            image,
            hits,
            tables,
            bytes,
            refs: AtomicU32::new(1),
        })
    }

    /// What requests are decided on.
    #[inline]
    pub fn in_force(&self) -> InForce<'_, 'static> {
        InForce {
            image: Some(&self.image),
            tables: self.tables.as_ref(),
        }
    }

    /// Keeps it beyond the decision. While it is being read.
    pub fn keep(&self) -> GenerationRef {
        self.refs.fetch_add(1, Ordering::Relaxed);
        GenerationRef(NonNull::from(self))
    }

    /// The image, to be read back.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

// SAFETY: the hits are not replaced while the generation lives, and only readers that end add to them.
unsafe impl Tally for Generation {
    fn counted(&self) -> u64 {
        self.hits.counted()
    }
}

/// Kinds of requests that are counted as they come.
const KINDS: usize = RequestKind::Bind as usize + 1;

/// The generation in force, and the one that is on its way out.
pub struct PolicyInForce {
    generations: Generations<Generation, Pool, KINDS>,
    /// Held by the one load that runs.
    loading: AtomicBool,
    last: AtomicU64,
    locked: AtomicBool,
}

impl PolicyInForce {
    pub fn new(processors: usize) -> Option<Self> {
        Some(Self {
            generations: Generations::new(Pool, processors)?,
            loading: AtomicBool::new(false),
            last: AtomicU64::new(0),
            locked: AtomicBool::new(false),
        })
    }

    /// Counts a request, and gives the generation to decide on, held until the guard goes: for the decision, no longer.
    /// `None`: the built-in policy.
    #[inline]
    pub fn begin(&self, cpu: usize, kind: RequestKind) -> Option<Reading<'_, Generation>> {
        self.generations.begin(cpu, kind as usize)
    }

    /// The generation in force, for a look that is not a request's.
    pub fn look(&self) -> Option<Reading<'_, Generation>> {
        self.generations.look(processor())
    }

    /// How many requests of this kind came to be decided on.
    pub fn begun(&self, kind: RequestKind) -> u64 {
        self.generations.begun(kind as usize)
    }

    /// Refuses every change from now on, until the machine restarts.
    pub fn lock(&self) {
        self.locked.store(true, Ordering::Release);
    }

    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Acquire)
    }

    /// Validates `image` and puts it in force; on any error the old policy stays. `PASSIVE_LEVEL`.
    ///
    /// `STATUS_MEDIA_WRITE_PROTECTED` when locked, `STATUS_DEVICE_BUSY` while another load runs, `STATUS_REQUEST_NOT_ACCEPTED` when
    /// another generation than `expected` is in force (`u64::MAX`: any), `STATUS_INVALID_IMAGE_FORMAT` for an image that does not validate,
    /// `STATUS_DEVICE_NOT_READY` while `Parameters\Mode` keeps the driver off.
    pub fn load(&self, image: &[u8], expected: u64) -> Result<(u64, u64), NTSTATUS> {
        if self.is_locked() {
            return Err(STATUS_MEDIA_WRITE_PROTECTED);
        }
        if self.loading.swap(true, Ordering::Acquire) {
            return Err(STATUS_DEVICE_BUSY);
        }
        let loaded = self.load_next(image, expected);
        self.loading.store(false, Ordering::Release);
        match loaded {
            Ok((number, _)) => {
                guard().count(Counter::PolicyLoads);
                event(Happened::PolicyLoaded, STATUS_SUCCESS, number);
                guard().state.policy_changed();
            }
            Err(status) => {
                guard().count(Counter::PolicyLoadsRefused);
                event(Happened::PolicyRefused, status, self.last.load(Ordering::Relaxed));
            }
        }
        loaded
    }

    /// The policy that the driver begins with, before anybody can ask for one. Generation 0 stands for the built-in policy.
    pub fn begin_with(&self, number: u64, image: &[u8]) -> Result<(u64, u64), NTSTATUS> {
        self.put(number, image)
    }

    fn load_next(&self, image: &[u8], expected: u64) -> Result<(u64, u64), NTSTATUS> {
        if guard().state.is_killed() {
            return Err(STATUS_DEVICE_NOT_READY);
        }
        let last = self.last.load(Ordering::Relaxed);
        if expected != u64::MAX && expected != last {
            return Err(STATUS_REQUEST_NOT_ACCEPTED);
        }
        let number = last.checked_add(1).ok_or(STATUS_REQUEST_NOT_ACCEPTED)?;
        self.put(number, image)
    }

    fn put(&self, number: u64, image: &[u8]) -> Result<(u64, u64), NTSTATUS> {
        let generation = Generation::parse(number, image)?;
        let hash = generation.image.hash();
        let generation =
            NonpagedBox::<_, TAG_POLICY>::try_new(generation).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        self.reclaim();
        let raw = generation.into_raw();
        // SAFETY: the generation lives until it is reclaimed, and `loading` keeps other callers out.
        if unsafe { self.generations.publish(raw) }.is_err() {
            // SAFETY: given back: ours again.
            drop(unsafe { NonpagedBox::<Generation, TAG_POLICY>::from_raw(raw) });
            return Err(STATUS_DEVICE_BUSY);
        }
        self.last.store(number, Ordering::Relaxed);
        self.reclaim();
        Ok((number, hash))
    }

    /// Frees the retired generation once the decisions that began on it have ended: they are short, so this waits a little.
    fn reclaim(&self) {
        for _ in 0..100 {
            // SAFETY: `loading` keeps other callers out.
            match unsafe { self.generations.try_reclaim() } {
                Reclaim::Nothing => return,
                // The reference of being in force.
                Reclaim::Free(old) => return drop(GenerationRef(old)),
                Reclaim::InUse => pause(),
            }
        }
    }
}

impl Drop for PolicyInForce {
    fn drop(&mut self) {
        self.reclaim();
        if let Some(current) = self.generations.take() {
            // The reference of being in force; requests have ended.
            drop(GenerationRef(current));
        }
    }
}

/// Waits a millisecond. `PASSIVE_LEVEL`.
pub fn pause() {
    const KERNEL_MODE: i8 = 0;
    let mut interval = LARGE_INTEGER { QuadPart: -10_000 };
    // SAFETY: at PASSIVE_LEVEL, with an interval of our own.
    let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
}
