//! Who does what to a client's IRP and to our own one below it, when the call, the completion and a cancellation race.
//!
//! Callable at IRQL <= `DISPATCH_LEVEL` (the cancel routine: after it has dropped the cancel spin lock); nothing waits. The kernel's
//! calls are the caller's ([`Irps`]), so that every interleaving of them can be tried.
//!
//! Three parties may hold the block that ties the two IRPs together:
//!
//! | bit | held from | until |
//! |---|---|---|
//! | `CALL` | start | the lower call returned, and the cancel routine is installed if our IRP is still out |
//! | `LOWER` | start | our IRP's completion routine ran |
//! | `CANCEL` | start, of a request that can be cancelled | the cancel routine was taken back, or has run to its end |
//!
//! Whoever ends the last of them is alone: it completes the client's IRP and frees the block, our IRP in it. So whoever holds one may
//! touch both IRPs. Most providers complete inside the call. Such a request never gets a cancel routine, and its one exchange is the
//! completion's; the client's IRP is completed by the caller.
//!
//! Until the call has returned, a cancellation only leaves its mark on the client's IRP. The caller looks for it, after it has installed
//! the cancel routine, and cancels our IRP itself. Nothing is lost by that: a provider's functions do not wait.
//!
//! Our completion routine returns `STATUS_MORE_PROCESSING_REQUIRED` in every case. The result to give the client is in our IRP
//! (`IoStatus`), which is still there for whoever is told to complete.
//!
//! Source of the rules: "Using IRPs with Winsock Kernel Functions", "Implementing a Cancel Routine" (docs of the WDK).

use crate::sync::{AtomicU32, Ordering};

const CALL: u32 = 1;
const LOWER: u32 = 2;
const CANCEL: u32 = 4;

/// What a party has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an IRP hangs or leaks when its duty is not done"]
pub enum Duty {
    /// Another party goes on. Do not touch the block again.
    Nothing,
    /// Complete the client's IRP with our IRP's result, then free our IRP and the block: nobody else holds them.
    End,
    /// The provider failed the call and kept our IRP uncompleted, so nobody else holds the block, and no cancel routine was installed.
    Abandoned,
}

/// The kernel's calls on the two IRPs, made while the caller's party holds the block.
pub trait Irps {
    /// `IoSetCancelRoutine(client, routine)`. The routine ends in [`Handshake::cancelled`].
    fn install(&self);
    /// `IoSetCancelRoutine(client, NULL)`: whether it gave the routine back, which then never runs.
    fn take_back(&self) -> bool;
    /// `client->Cancel`.
    fn is_cancelled(&self) -> bool;
    /// `IoCancelIrp(ours)`.
    fn cancel_ours(&self);
}

/// The races of one request, settled: see the module.
pub struct Handshake(AtomicU32);

impl Handshake {
    /// The start: the lower call is to be made.
    #[must_use]
    pub fn new(cancellable: bool) -> Self {
        let cancel = if cancellable { CANCEL } else { 0 };
        Self(AtomicU32::new(CALL | LOWER | cancel))
    }

    /// The lower call returned. `failed`: with an error status, which a provider returns only after completing the IRP.
    #[inline]
    pub fn returned(&self, failed: bool, irps: &impl Irps) -> Duty {
        let held = self.0.load(Ordering::Acquire);
        if held & LOWER == 0 {
            // Completed inside the call: nobody has got the routine, so there is nobody to tell.
            Duty::End
        } else if failed {
            Duty::Abandoned
        } else {
            self.leave(held, irps)
        }
    }

    /// Our IRP is out: leaves it to the completion, and to the cancel routine.
    #[cold]
    fn leave(&self, mut held: u32, irps: &impl Irps) -> Duty {
        let mut ends = CALL;
        if held & CANCEL != 0 {
            irps.install();
            if irps.is_cancelled() && irps.take_back() {
                // It came before there was a routine to run.
                irps.cancel_ours();
                ends |= CANCEL;
            }
        }
        while held & LOWER != 0 {
            match self.exchange(held, held & !ends) {
                Ok(()) => return Duty::Nothing,
                Err(now) => held = now,
            }
        }
        // Completed meanwhile, and the completion left the routine to us.
        if held & !ends & CANCEL != 0 && irps.take_back() {
            ends |= CANCEL;
        }
        self.end(ends)
    }

    /// Our IRP completed.
    #[inline]
    pub fn completed(&self, irps: &impl Irps) -> Duty {
        let mut held = self.0.load(Ordering::Acquire);
        while held & CALL != 0 {
            // The caller goes on, and alone knows whether there is a routine to take back.
            match self.exchange(held, held & !LOWER) {
                Ok(()) => return Duty::Nothing,
                Err(now) => held = now,
            }
        }
        let cleared = held & CANCEL != 0 && irps.take_back();
        self.end(if cleared { LOWER | CANCEL } else { LOWER })
    }

    /// The cancel routine has cancelled our IRP and is about to return.
    pub fn cancelled(&self) -> Duty {
        self.end(CANCEL)
    }

    /// Ends `bits`. Releases what this party wrote, and acquires what those before it wrote.
    fn end(&self, bits: u32) -> Duty {
        match self.0.fetch_and(!bits, Ordering::AcqRel) & !bits {
            0 => Duty::End,
            _ => Duty::Nothing,
        }
    }

    #[inline]
    fn exchange(&self, held: u32, left: u32) -> Result<(), u32> {
        self.0
            .compare_exchange(held, left, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// The client's IRP.
    #[derive(Default)]
    struct Client<'h> {
        /// Of the request that is completed while the routine is being installed, if one is.
        completes: Option<&'h Handshake>,
        cancelled: Cell<bool>,
        routine: Cell<bool>,
        ours_cancelled: Cell<bool>,
    }

    impl Irps for Client<'_> {
        fn install(&self) {
            self.routine.set(true);
            if let Some(handshake) = self.completes {
                assert_eq!(handshake.completed(self), Duty::Nothing);
            }
        }

        fn take_back(&self) -> bool {
            self.routine.replace(false)
        }

        fn is_cancelled(&self) -> bool {
            self.cancelled.get()
        }

        fn cancel_ours(&self) {
            self.ours_cancelled.set(true);
        }
    }

    #[test]
    fn pended_and_completed() {
        for cancellable in [true, false] {
            let (handshake, client) = (Handshake::new(cancellable), Client::default());
            assert_eq!(handshake.returned(false, &client), Duty::Nothing);
            assert_eq!(client.routine.get(), cancellable);
            assert_eq!(handshake.completed(&client), Duty::End);
            assert!(!client.routine.get());
        }
    }

    #[test]
    fn completed_inside_the_call() {
        for failed in [false, true] {
            let (handshake, client) = (Handshake::new(true), Client::default());
            assert_eq!(handshake.completed(&client), Duty::Nothing);
            assert_eq!(handshake.returned(failed, &client), Duty::End);
            assert!(!client.routine.get(), "never installed");
        }
    }

    #[test]
    fn the_last_of_canceller_and_completion_ends() {
        for completed_first in [true, false] {
            let (handshake, client) = (Handshake::new(true), Client::default());
            assert_eq!(handshake.returned(false, &client), Duty::Nothing);
            // The kernel takes the routine out to run it.
            assert!(client.take_back());
            let completed = || handshake.completed(&client);
            let cancelled = || handshake.cancelled();
            let both = if completed_first {
                [completed(), cancelled()]
            } else {
                [cancelled(), completed()]
            };
            assert_eq!(both, [Duty::Nothing, Duty::End]);
        }
    }

    #[test]
    fn cancelled_during_the_call() {
        let (handshake, client) = (Handshake::new(true), Client::default());
        client.cancelled.set(true);
        assert_eq!(handshake.returned(false, &client), Duty::Nothing);
        assert!(client.ours_cancelled.get() && !client.routine.get());
        assert_eq!(handshake.completed(&client), Duty::End);
    }

    #[test]
    fn completed_while_the_routine_is_installed() {
        for cancelled in [false, true] {
            let handshake = Handshake::new(true);
            let client = Client {
                completes: Some(&handshake),
                cancelled: Cell::new(cancelled),
                ..Client::default()
            };
            assert_eq!(handshake.returned(false, &client), Duty::End);
            assert!(!client.routine.get());
        }
    }

    /// The kernel has taken the routine out: who completes has nothing to take back, and the routine is to end it.
    #[test]
    fn completed_while_the_routine_is_about_to_run() {
        let (handshake, client) = (Handshake::new(true), Client::default());
        assert_eq!(handshake.returned(false, &client), Duty::Nothing);
        assert!(client.take_back());
        assert_eq!(handshake.completed(&client), Duty::Nothing);
        assert_eq!(handshake.cancelled(), Duty::End);
    }

    #[test]
    fn a_provider_that_fails_without_completing() {
        let (handshake, client) = (Handshake::new(true), Client::default());
        assert_eq!(handshake.returned(true, &client), Duty::Abandoned);
        assert!(!client.routine.get());
    }
}

#[cfg(all(test, loom))]
#[path = "models/cancel.rs"]
mod interleavings;
