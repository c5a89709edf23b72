//! The endpoint table and its peers behind one face: an id for a record's address, and back.
//!
//! All maps get the same fast hasher and a counter for their ids, as a driver that used one of them would.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    hash::BuildHasher,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use hashbrown::DefaultHashBuilder as Hasher;
use parking_lot::RwLock;
use wskguard_core::{
    EndpointId,
    memory::Memory,
    table::{MAX_ENDPOINTS, Record, Table},
};

/// Finds a record's address by an id that it hands out.
pub(crate) trait Index: Sync {
    const NAME: &'static str;

    fn new(capacity: usize) -> Self;
    fn insert(&self, cpu: usize, record: usize) -> u64;
    fn remove(&self, cpu: usize, id: u64);
    /// Finds the record and holds it as long as it takes to look at its address: 0 when there is none.
    fn get(&self, id: u64) -> usize;
}

/// The host's heap as the core's memory.
#[derive(Clone, Copy)]
pub(crate) struct Heap;

// SAFETY: the host's allocator, asked for zeroed memory of the given layout.
unsafe impl Memory for Heap {
    fn allocate(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0 by contract.
        NonNull::new(unsafe { alloc_zeroed(Layout::from_size_align(bytes, align).ok()?) })
    }

    unsafe fn free(&self, block: NonNull<u8>, bytes: usize, align: usize) {
        let layout = Layout::from_size_align(bytes, align).expect("it was allocated with it");
        // SAFETY: the layout it was allocated with.
        unsafe { dealloc(block.as_ptr(), layout) }
    }
}

/// A record as large as an endpoint's hot part. Some benchmarks look at the address only.
#[repr(align(128))]
pub(crate) struct Endpoint(pub(crate) [u64; 16]);

// SAFETY: the records of a benchmark outlive its tables; their release means nothing.
unsafe impl Record for Endpoint {
    unsafe fn release(_: NonNull<Self>) {}
}

pub(crate) type Ours = Table<Endpoint, Heap>;

impl Index for Ours {
    const NAME: &'static str = "wskguard";

    fn new(_: usize) -> Self {
        Table::new(Heap, 2, MAX_ENDPOINTS).expect("memory")
    }

    fn insert(&self, cpu: usize, record: usize) -> u64 {
        let record = NonNull::new(std::ptr::without_provenance_mut(record)).expect("not 0");
        // SAFETY: the address is never followed, since the release does nothing.
        unsafe { self.insert(cpu, record) }.expect("room").0
    }

    fn remove(&self, cpu: usize, id: u64) {
        self.remove(cpu, EndpointId(id));
    }

    fn get(&self, id: u64) -> usize {
        self.get(EndpointId(id))
            .map_or(0, |pinned| pinned.record().addr().get())
    }
}

impl Index for sharded_slab::Slab<usize> {
    const NAME: &'static str = "sharded-slab";

    fn new(_: usize) -> Self {
        Self::new()
    }

    fn insert(&self, _: usize, record: usize) -> u64 {
        self.insert(record).expect("room") as u64
    }

    fn remove(&self, _: usize, id: u64) {
        self.remove(id as usize);
    }

    fn get(&self, id: u64) -> usize {
        self.get(id as usize).map_or(0, |entry| *entry)
    }
}

/// A map, and where its ids come from.
pub(crate) struct Counted<T> {
    map: T,
    next: AtomicU64,
}

impl<T> Counted<T> {
    fn of(map: T) -> Self {
        Self {
            map,
            next: AtomicU64::new(1),
        }
    }

    fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Index for Counted<papaya::HashMap<u64, usize, Hasher>> {
    const NAME: &'static str = "papaya";

    fn new(capacity: usize) -> Self {
        Self::of(papaya::HashMap::with_capacity_and_hasher(capacity, Hasher::default()))
    }

    fn insert(&self, _: usize, record: usize) -> u64 {
        let id = self.id();
        self.map.pin().insert(id, record);
        id
    }

    fn remove(&self, _: usize, id: u64) {
        self.map.pin().remove(&id);
    }

    fn get(&self, id: u64) -> usize {
        self.map.pin().get(&id).map_or(0, |record| *record)
    }
}

impl Index for Counted<scc::HashMap<u64, usize, Hasher>> {
    const NAME: &'static str = "scc";

    fn new(capacity: usize) -> Self {
        Self::of(scc::HashMap::with_capacity_and_hasher(capacity, Hasher::default()))
    }

    fn insert(&self, _: usize, record: usize) -> u64 {
        let id = self.id();
        self.map.insert_sync(id, record).expect("a new id");
        id
    }

    fn remove(&self, _: usize, id: u64) {
        self.map.remove_sync(&id);
    }

    fn get(&self, id: u64) -> usize {
        self.map.read_sync(&id, |_, record| *record).unwrap_or(0)
    }
}

impl Index for Counted<dashmap::DashMap<u64, usize, Hasher>> {
    const NAME: &'static str = "dashmap";

    fn new(capacity: usize) -> Self {
        Self::of(dashmap::DashMap::with_capacity_and_hasher(capacity, Hasher::default()))
    }

    fn insert(&self, _: usize, record: usize) -> u64 {
        let id = self.id();
        self.map.insert(id, record);
        id
    }

    fn remove(&self, _: usize, id: u64) {
        self.map.remove(&id);
    }

    fn get(&self, id: u64) -> usize {
        self.map.get(&id).map_or(0, |record| *record)
    }
}

const SHARDS: usize = 64;

type Shard = RwLock<hashbrown::HashMap<u64, usize, Hasher>>;

/// hashbrown behind 64 locks.
pub(crate) struct Sharded {
    shards: [Shard; SHARDS],
    hasher: Hasher,
}

impl Sharded {
    fn shard(&self, id: u64) -> &Shard {
        &self.shards[(self.hasher.hash_one(id) >> 32) as usize % SHARDS]
    }
}

impl Index for Counted<Sharded> {
    const NAME: &'static str = "sharded-hashbrown";

    fn new(capacity: usize) -> Self {
        let hasher = Hasher::default();
        let map = || hashbrown::HashMap::with_capacity_and_hasher(capacity / SHARDS, hasher.clone());
        let shards = std::array::from_fn(|_| RwLock::new(map()));
        Self::of(Sharded { shards, hasher })
    }

    fn insert(&self, _: usize, record: usize) -> u64 {
        let id = self.id();
        self.map.shard(id).write().insert(id, record);
        id
    }

    fn remove(&self, _: usize, id: u64) {
        self.map.shard(id).write().remove(&id);
    }

    fn get(&self, id: u64) -> usize {
        self.map.shard(id).read().get(&id).map_or(0, |record| *record)
    }
}
