//! Objects by id. An id is a slot and the slot's generation, so that a stale one names nothing. IRQL <= `DISPATCH_LEVEL`.

use wdk_rtl::lock::SpinLock;

use crate::shared::Shared;

const SLOTS: usize = 4096;

struct Slot<T> {
    item: Option<Shared<T>>,
    generation: u16,
}

/// Up to 4096 objects. All bytes zero is an empty table.
pub(crate) struct Table<T> {
    slots: SpinLock<[Slot<T>; SLOTS]>,
}

fn split(id: u32) -> Option<(usize, u16)> {
    let [low, high, generation_low, generation_high] = id.to_le_bytes();
    let slot = usize::from(u16::from_le_bytes([low, high])).checked_sub(1)?;
    Some((slot, u16::from_le_bytes([generation_low, generation_high])))
}

fn join(slot: usize, generation: u16) -> Option<u32> {
    let slot = u32::try_from(slot.checked_add(1)?).ok()?;
    Some(slot | u32::from(generation) << 16)
}

impl<T> Table<T> {
    /// Adds `item`, whose id goes through `name` while nobody else can find it.
    pub(crate) fn insert(&self, item: Shared<T>, name: impl FnOnce(&T, u32)) -> Option<u32> {
        let mut slots = self.slots.lock();
        let (index, slot) = slots.iter_mut().enumerate().find(|(_, slot)| slot.item.is_none())?;
        slot.generation = slot.generation.wrapping_add(1);
        let id = join(index, slot.generation)?;
        name(&item, id);
        slot.item = Some(item);
        Some(id)
    }

    pub(crate) fn get(&self, id: u32) -> Option<Shared<T>> {
        let (index, generation) = split(id)?;
        let slots = self.slots.lock();
        let slot = slots.get(index).filter(|slot| slot.generation == generation)?;
        slot.item.clone()
    }

    pub(crate) fn remove(&self, id: u32) -> Option<Shared<T>> {
        let (index, generation) = split(id)?;
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(index).filter(|slot| slot.generation == generation)?;
        slot.item.take()
    }

    fn at(&self, index: usize) -> Option<Shared<T>> {
        self.slots.lock().get(index)?.item.clone()
    }

    fn take(&self, index: usize) -> Option<Shared<T>> {
        self.slots.lock().get_mut(index)?.item.take()
    }

    /// Calls `visit` for each object, without the table's lock.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Shared<T>)) {
        for index in 0..SLOTS {
            if let Some(item) = self.at(index) {
                visit(&item);
            }
        }
    }

    /// Empties the table, without its lock.
    pub(crate) fn drain(&self, mut visit: impl FnMut(Shared<T>)) {
        for index in 0..SLOTS {
            if let Some(item) = self.take(index) {
                visit(item);
            }
        }
    }
}
