//! Who does what to a client's IRP and to our own one below it, when the call, the completion and a cancellation race.
//!
//! Decides only: the driver makes the kernel call, reports it here and does what the answer says. Callable at
//! IRQL <= `DISPATCH_LEVEL` (the cancel routine: after it has dropped the cancel spin lock); nothing waits.
//!
//! Three parties may hold the block that ties the two IRPs together, and the client's IRP is a fourth thing to be settled:
//!
//! | bit | held from | until |
//! |---|---|---|
//! | `CALL` | start | the lower call returned |
//! | `LOWER` | start | our IRP's completion routine ran |
//! | `CANCEL` | [`Handshake::armed`] | the cancel routine was taken back, or has run to its end |
//! | `CLIENT` | start | the client's IRP has been completed |
//!
//! The client's IRP is completed by whoever ends the last of `LOWER` and `CANCEL`; the block and our IRP are freed by whoever
//! ends the last of all four. So the cancel routine may always call `IoCancelIrp` on our IRP, the completion routine may always
//! touch the client's, and the caller may always look whether the provider kept its word.
//!
//! | the driver did | and reports | answers |
//! |---|---|---|
//! | made our IRP ready to be sent, `IoSetNextIrpStackLocation` and `IoMarkIrpPending` on the client's; next, `IoSetCancelRoutine(client, routine)` | [`Handshake::armed`] | |
//! | the same for a request that cannot be cancelled: no routine | [`Handshake::unarmed`] | |
//! | saw `client->Cancel` after installing the routine, and `IoSetCancelRoutine(client, NULL)` gave it back | [`Handshake::taken_back`] | `CompleteClientAndFree`: `STATUS_CANCELLED`, the lower call is never made |
//! | the same, but it gave NULL: the routine runs or will run | nothing | makes the lower call; our IRP is, or will be, cancelled |
//! | returned from the lower call | [`Handshake::returned`] | `Nothing`, `Free` or `Abandoned` |
//! | in our IRP's completion routine: `IoSetCancelRoutine(client, NULL)` | [`Handshake::completed`] | `Nothing`, `CompleteClient` or `CompleteClientAndFree` |
//! | in the cancel routine: released the cancel spin lock, `IoCancelIrp(ours)` | [`Handshake::cancelled`] | `Nothing`, `CompleteClient` or `CompleteClientAndFree` |
//! | completed the client's IRP on `CompleteClient` | [`Handshake::client_completed`] | `Nothing` or `Free` |
//!
//! After any answer but `CompleteClient` and `Abandoned` the party touches neither IRP nor the block again, except to do what it
//! was told. Our completion routine returns `STATUS_MORE_PROCESSING_REQUIRED` in every case. The result to give the client is in
//! our IRP (`IoStatus`), which is still there for whoever is told to complete.
//!
//! Source of the rules: "Using IRPs with Winsock Kernel Functions", "Implementing a Cancel Routine" (docs of the WDK).

use crate::sync::{AtomicU32, Ordering};

const CALL: u32 = 1;
const LOWER: u32 = 2;
const CANCEL: u32 = 4;
const CLIENT: u32 = 8;

/// What the caller of a [`Handshake`] method has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an IRP hangs or leaks when its duty is not done"]
pub enum Duty {
    /// Another party goes on. Do not touch the block again.
    Nothing,
    /// Complete the client's IRP with our IRP's result, then report [`Handshake::client_completed`].
    CompleteClient,
    /// Complete the client's IRP with our IRP's result, then free our IRP and the block: nobody else holds them.
    CompleteClientAndFree,
    /// Free our IRP and the block. The client's IRP has been completed.
    Free,
    /// The provider failed the call and kept our IRP uncompleted. Do what the completion routine does, with the call's status
    /// ([`Handshake::completed`]), then report [`Handshake::returned`] again.
    Abandoned,
}

/// What `IoSetCancelRoutine(client, NULL)` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelRoutine {
    /// It gave the routine back: the routine will never run.
    Cleared,
    /// It gave NULL: the routine was taken and runs, will run or has run; or none was installed.
    Taken,
}

/// The races of one request, settled: see the module's tables.
pub struct Handshake(AtomicU32);

impl Handshake {
    /// The start, for a request whose client's IRP gets a cancel routine. Before `IoSetCancelRoutine`.
    #[must_use]
    pub fn armed() -> Self {
        Self(AtomicU32::new(CALL | LOWER | CANCEL | CLIENT))
    }

    /// The start, for a request without a cancel routine.
    #[must_use]
    pub fn unarmed() -> Self {
        Self(AtomicU32::new(CALL | LOWER | CLIENT))
    }

    /// The routine was taken back before the lower call, since `Cancel` was already set: the caller is alone.
    pub fn taken_back(&self) -> Duty {
        self.0.store(CLIENT, Ordering::Relaxed);
        Duty::CompleteClientAndFree
    }

    /// The lower call returned. `failed`: with an error status, which a provider returns only after completing the IRP.
    pub fn returned(&self, failed: bool) -> Duty {
        let held = self.0.load(Ordering::Acquire);
        if failed && held & LOWER != 0 {
            return Duty::Abandoned;
        }
        // Whoever holds the last bit has nobody to tell.
        if held == CALL { Duty::Free } else { self.leave(CALL) }
    }

    /// Our IRP completed, and `routine` is what became of the client's cancel routine.
    pub fn completed(&self, routine: CancelRoutine) -> Duty {
        let ends = match routine {
            CancelRoutine::Cleared => LOWER | CANCEL,
            CancelRoutine::Taken => LOWER,
        };
        self.settle(ends, CANCEL)
    }

    /// The cancel routine has cancelled our IRP and is about to return.
    pub fn cancelled(&self) -> Duty {
        self.settle(CANCEL, LOWER)
    }

    /// The client's IRP has been completed.
    pub fn client_completed(&self) -> Duty {
        self.leave(CLIENT)
    }

    /// Ends `bits`; the client's IRP is the caller's to complete unless `other` still runs.
    fn settle(&self, bits: u32, other: u32) -> Duty {
        match self.end(bits) {
            left if left & other != 0 => Duty::Nothing,
            CLIENT => Duty::CompleteClientAndFree,
            _ => Duty::CompleteClient,
        }
    }

    fn leave(&self, bit: u32) -> Duty {
        if self.end(bit) == 0 { Duty::Free } else { Duty::Nothing }
    }

    /// Ends `bits` and says what is left. Releases what this party wrote, and acquires what those before it wrote.
    fn end(&self, bits: u32) -> u32 {
        self.0.fetch_and(!bits, Ordering::AcqRel) & !bits
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use CancelRoutine::{Cleared, Taken};

    #[test]
    fn pended_and_completed() {
        for handshake in [Handshake::armed(), Handshake::unarmed()] {
            assert_eq!(handshake.returned(false), Duty::Nothing);
            assert_eq!(handshake.completed(Cleared), Duty::CompleteClientAndFree);
        }
    }

    #[test]
    fn completed_inside_the_call() {
        for failed in [false, true] {
            let handshake = Handshake::armed();
            assert_eq!(handshake.completed(Cleared), Duty::CompleteClient);
            assert_eq!(handshake.client_completed(), Duty::Nothing);
            assert_eq!(handshake.returned(failed), Duty::Free);
        }
    }

    #[test]
    fn the_call_returns_while_the_client_is_being_completed() {
        let handshake = Handshake::unarmed();
        assert_eq!(handshake.completed(Taken), Duty::CompleteClient);
        assert_eq!(handshake.returned(false), Duty::Nothing);
        assert_eq!(handshake.client_completed(), Duty::Free);
    }

    #[test]
    fn the_last_of_canceller_and_completion_completes() {
        let handshake = Handshake::armed();
        assert_eq!(handshake.returned(false), Duty::Nothing);
        assert_eq!(handshake.completed(Taken), Duty::Nothing);
        assert_eq!(handshake.cancelled(), Duty::CompleteClientAndFree);

        let handshake = Handshake::armed();
        assert_eq!(handshake.returned(false), Duty::Nothing);
        assert_eq!(handshake.cancelled(), Duty::Nothing);
        assert_eq!(handshake.completed(Taken), Duty::CompleteClientAndFree);
    }

    #[test]
    fn cancelled_before_the_lower_call() {
        let handshake = Handshake::armed();
        assert_eq!(handshake.taken_back(), Duty::CompleteClientAndFree);

        let handshake = Handshake::armed();
        assert_eq!(handshake.cancelled(), Duty::Nothing);
        assert_eq!(handshake.completed(Taken), Duty::CompleteClient);
        assert_eq!(handshake.client_completed(), Duty::Nothing);
        assert_eq!(handshake.returned(false), Duty::Free);
    }

    #[test]
    fn a_provider_that_fails_without_completing() {
        let handshake = Handshake::armed();
        assert_eq!(handshake.returned(true), Duty::Abandoned);
        assert_eq!(handshake.completed(Cleared), Duty::CompleteClient);
        assert_eq!(handshake.client_completed(), Duty::Nothing);
        assert_eq!(handshake.returned(true), Duty::Free);

        let handshake = Handshake::armed();
        assert_eq!(handshake.returned(true), Duty::Abandoned);
        assert_eq!(handshake.completed(Taken), Duty::Nothing);
        assert_eq!(handshake.returned(true), Duty::Nothing);
        assert_eq!(handshake.cancelled(), Duty::CompleteClientAndFree);
    }
}

#[cfg(all(test, loom))]
#[path = "models/cancel.rs"]
mod interleavings;
