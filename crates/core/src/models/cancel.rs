//! Every interleaving of a dispatch routine, a provider and a cancelling client, on IRPs that notice misuse.

use super::*;
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize},
    },
    thread,
};

const SUCCESS: u32 = 0;
const CANCELLED: u32 = 0xC000_0120;
const FAILED: u32 = 0xC000_0001;

/// What the provider does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Provider {
    /// Completes it inside the call, with this status.
    Inline(u32),
    /// Completes it on another thread.
    Late,
    /// Pends it with a cancel routine, and completes it on another thread unless it was cancelled before.
    LateOrCancelled,
    /// Pends it with a cancel routine, for ever.
    UntilCancelled,
    /// Returns an error and forgets the IRP.
    Forgets,
}

/// An IRP as far as the protocol sees it. `gone` is written when it is completed (the client's) or freed (ours), and looked at
/// whenever somebody touches the IRP: loom reports a touch that is not ordered before it.
struct Irp {
    cancel: AtomicBool,
    routine: AtomicUsize,
    status: UnsafeCell<u32>,
    gone: UnsafeCell<bool>,
}

impl Irp {
    fn new() -> Self {
        Self {
            cancel: AtomicBool::new(false),
            routine: AtomicUsize::new(0),
            status: UnsafeCell::new(0),
            gone: UnsafeCell::new(false),
        }
    }

    fn touch(&self) {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.gone
            .with(|gone| assert!(!unsafe { *gone }, "an IRP was touched after its end"));
    }

    fn end(&self) {
        self.touch();
        // SAFETY: loom checks that nobody else uses it meanwhile.
        self.gone.with_mut(|gone| unsafe { *gone = true });
    }

    /// `IoSetCancelRoutine`. True when there was a routine.
    fn set_routine(&self, routine: bool) -> bool {
        self.touch();
        self.routine.swap(usize::from(routine), Ordering::AcqRel) == 1
    }
}

struct World {
    cancel_lock: Mutex<()>,
    client: Irp,
    own: Irp,
    handshake: Handshake,
    freed: AtomicUsize,
    /// Whether the provider has our IRP in its queue.
    queue: Mutex<bool>,
    provider: Provider,
}

impl World {
    /// The block lives as long as our IRP.
    fn handshake(&self) -> &Handshake {
        self.own.touch();
        &self.handshake
    }

    /// `IoCancelIrp`: the routine is called with the cancel spin lock held, and releases it.
    fn cancel(&self, irp: &Irp, routine: fn(&Self, MutexGuard<'_, ()>)) {
        let lock = self.cancel_lock.lock().unwrap();
        irp.cancel.store(true, Ordering::Relaxed);
        if irp.routine.swap(0, Ordering::AcqRel) == 1 {
            routine(self, lock);
        }
    }

    // The driver.

    fn dispatch(&self) {
        if self.client.cancel.load(Ordering::Relaxed) {
            self.set_status(CANCELLED);
            return self.end();
        }
        let failed = self.call_provider();
        match self.handshake().returned(failed, self) {
            Duty::Abandoned => {
                self.set_status(FAILED);
                self.end();
            }
            duty => self.perform(duty),
        }
    }

    fn completion(&self) {
        self.perform(self.handshake().completed(self));
    }

    fn cancel_routine(&self, lock: MutexGuard<'_, ()>) {
        self.client.touch();
        drop(lock);
        self.cancel_ours();
        self.perform(self.handshake().cancelled());
    }

    fn perform(&self, duty: Duty) {
        match duty {
            Duty::Nothing => {}
            Duty::End => self.end(),
            Duty::Abandoned => panic!("only from the lower call"),
        }
    }

    fn end(&self) {
        self.complete_client();
        self.free();
    }

    fn complete_client(&self) {
        assert_eq!(
            self.client.routine.load(Ordering::Relaxed),
            0,
            "completed with a cancel routine set"
        );
        self.own.touch();
        // SAFETY: loom checks that the provider's write comes before.
        let status = self.own.status.with(|status| unsafe { *status });
        // SAFETY: loom checks that nobody else completes it.
        self.client.status.with_mut(|place| unsafe { *place = status });
        self.client.end();
    }

    fn free(&self) {
        self.own.end();
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    fn set_status(&self, status: u32) {
        self.own.touch();
        // SAFETY: loom checks that nobody reads meanwhile.
        self.own.status.with_mut(|place| unsafe { *place = status });
    }

    // The provider.

    fn call_provider(&self) -> bool {
        self.own.touch();
        match self.provider {
            Provider::Inline(status) => {
                self.provider_completes(status);
                status != SUCCESS
            }
            Provider::Forgets => true,
            Provider::Late => {
                *self.queue.lock().unwrap() = true;
                false
            }
            Provider::LateOrCancelled | Provider::UntilCancelled => {
                let mut queue = self.queue.lock().unwrap();
                self.own.set_routine(true);
                *queue = !(self.own.cancel.load(Ordering::Relaxed) && self.own.set_routine(false));
                let queued = *queue;
                drop(queue);
                if !queued {
                    self.provider_completes(CANCELLED);
                }
                false
            }
        }
    }

    /// The provider's other thread. When it comes too early, it comes again.
    fn provider_thread(&self) {
        let mut queue = self.queue.lock().unwrap();
        if *queue && (self.provider == Provider::Late || self.own.set_routine(false)) {
            *queue = false;
            drop(queue);
            self.provider_completes(SUCCESS);
        }
    }

    fn provider_cancel_routine(&self, lock: MutexGuard<'_, ()>) {
        drop(lock);
        *self.queue.lock().unwrap() = false;
        self.provider_completes(CANCELLED);
    }

    fn provider_completes(&self, status: u32) {
        self.set_status(status);
        self.completion();
    }
}

impl Irps for World {
    fn install(&self) {
        self.client.set_routine(true);
    }

    fn take_back(&self) -> bool {
        self.client.set_routine(false)
    }

    fn is_cancelled(&self) -> bool {
        self.client.touch();
        self.client.cancel.load(Ordering::Relaxed)
    }

    fn cancel_ours(&self) {
        self.own.touch();
        self.cancel(&self.own, Self::provider_cancel_routine);
    }
}

/// Runs the race, and checks that the client's IRP was completed (once: [`Irp::end`]) and that all was freed. Returns its status.
fn race(provider: Provider, statuses: &'static [u32]) {
    run(provider, true, statuses);
}

/// The same, where the client may not cancel at all.
fn run(provider: Provider, cancels: bool, statuses: &'static [u32]) {
    let mut model = loom::model::Builder::new();
    // Two threads are tried to the end; three would take hours.
    model.preemption_bound = (cancels && matches!(provider, Provider::Late | Provider::LateOrCancelled)).then_some(5);
    model.check(move || {
        let world = Arc::new(World {
            cancel_lock: Mutex::new(()),
            client: Irp::new(),
            own: Irp::new(),
            handshake: Handshake::new(true),
            freed: AtomicUsize::new(0),
            queue: Mutex::new(false),
            provider,
        });
        let canceller = cancels.then(|| {
            let world = world.clone();
            thread::spawn(move || world.cancel(&world.client, World::cancel_routine))
        });
        let late = matches!(provider, Provider::Late | Provider::LateOrCancelled).then(|| {
            let world = world.clone();
            thread::spawn(move || world.provider_thread())
        });
        world.dispatch();
        if let Some(late) = late {
            late.join().unwrap();
            world.provider_thread();
        }
        if let Some(canceller) = canceller {
            canceller.join().unwrap();
        }
        // SAFETY: all threads are done.
        assert!(
            world.client.gone.with(|gone| unsafe { *gone }),
            "the client's IRP hangs"
        );
        assert_eq!(world.freed.load(Ordering::Relaxed), 1);
        // SAFETY: as above.
        let status = world.client.status.with(|status| unsafe { *status });
        assert!(statuses.contains(&status), "completed with {status:#x}");
    });
}

#[test]
fn completed_inside_the_call() {
    race(Provider::Inline(SUCCESS), &[SUCCESS, CANCELLED]);
    race(Provider::Inline(FAILED), &[FAILED, CANCELLED]);
}

#[test]
fn completed_late() {
    race(Provider::Late, &[SUCCESS, CANCELLED]);
}

/// Whoever is first, caller or completion, leaves the rest to the other: were both to, the client's IRP would hang.
#[test]
fn completed_late_and_not_cancelled() {
    for provider in [Provider::Late, Provider::LateOrCancelled] {
        run(provider, false, &[SUCCESS]);
    }
}

#[test]
fn completed_late_unless_cancelled() {
    race(Provider::LateOrCancelled, &[SUCCESS, CANCELLED]);
}

/// Only the cancellation ends it: were it lost, in whichever order, the client's IRP would hang.
#[test]
fn no_cancellation_is_lost() {
    race(Provider::UntilCancelled, &[CANCELLED]);
}

#[test]
fn failed_without_completing() {
    race(Provider::Forgets, &[FAILED, CANCELLED]);
}
