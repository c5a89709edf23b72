//! What a call came to.

use super::{bits, wire_struct};

bits! {
    /// What is known about a request.
    Progress {
        /// The function was called.
        CALLED = 1,
        /// The function has returned.
        RETURNED = 2,
        /// The IRP's completion routine has run.
        COMPLETED = 4,
        /// ... and it ran before the function returned.
        COMPLETED_INLINE = 8,
        /// `Irp->PendingReturned` in the completion routine.
        PENDING_RETURNED = 16,
        /// The time of the wait ran out.
        TIMED_OUT = 32,
        /// The script cancelled it.
        CANCELLED = 64,
        /// The input bytes differ from what the script gave.
        INPUT_CHANGED = 128,
        /// `information` is a socket's id, or 0 for NULL.
        IS_SOCKET = 256,
        /// There is an IRP.
        HAS_IRP = 512,
        /// What the client style waits for has happened.
        DONE = 1024,
        /// Bytes outside the buffers given were written.
        OVERRUN = 2048,
        /// The client and the socket of the call, or a handle, do not exist; nothing was called.
        NO_SUCH_OBJECT = 4096,
        /// The dispatch table has no such function.
        NO_SUCH_FUNCTION = 8192,
    }
}

wire_struct! {
    /// Answer to a call, a launch, a wait and a cancel. `output_length` bytes of output follow, then `control_length` of control messages.
    Outcome {
        /// The request, while it exists.
        request: u32,
        /// [`Progress`].
        progress: u32,
        /// What the function returned.
        returned: i32,
        /// `IoStatus.Status` in the completion routine; `STATUS_PENDING` before.
        status: i32,
        /// `IoStatus.Information` in the completion routine, or a socket's id.
        information: u64,
        /// `*OutputSizeReturned`, or all ones when it was not written.
        output_returned: u64,
        /// Times that the completion routine ran.
        completions: u32,
        /// IRQL in the completion routine.
        irql: u32,
        /// IRQL after the function returned.
        irql_after: u32,
        /// Bytes of output that follow.
        output_length: u32,
        /// Place of the return in the order of all that the driver noted.
        returned_at: u64,
        /// Place of the completion in it.
        completed_at: u64,
        /// Ticks that the function took.
        ticks: u64,
        /// Bytes of control messages that follow.
        control_length: u32,
        /// Control flags, where the function has them.
        control_flags: u32,
        /// Socket that the call made ready for accept or create, also before completion.
        socket: u32,
        /// Zero.
        reserved: u32,
        /// Local address (accept), or the address asked for.
        address: [u8; 28],
        /// Remote address (accept).
        address2: [u8; 28],
    }
}

impl Outcome {
    /// The progress bits.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        Progress(self.progress)
    }

    /// Whether all bits of `progress` are set.
    #[must_use]
    pub const fn is(&self, progress: Progress) -> bool {
        self.progress().has(progress)
    }
}
