//! Callbacks: what they do, and what was seen of them.

use super::{bits, wire_enum, wire_struct};

wire_enum! {
    /// Something that happened to a client.
    Happening {
        /// `WskAcceptEvent`: `socket` listener, `other` accepted, `value` 0 for NULL; `address`, `address2`.
        Accept = 1,
        /// `WskInspectEvent`: `value` the serial number, `data` the id, or `length` 0 for NULL; `address`, `address2`.
        Inspect = 2,
        /// `WskAbortEvent`: `data` the id.
        Abort = 3,
        /// `WskReceiveFromEvent`: one event for each datagram, `address` its sender; `count` 0 for NULL.
        ReceiveFrom = 4,
        /// `WskReceiveEvent`: `length` bytes indicated, `count` indications, 0 for NULL.
        Receive = 5,
        /// `WskDisconnectEvent`.
        Disconnect = 6,
        /// `WskSendBacklogEvent`: `value` the ideal size.
        SendBacklog = 7,
        /// The receive-ex callback; as `Receive`.
        ReceiveEx = 8,
        /// `WskClientEvent`: `value` the type.
        Client = 9,
        /// NMR offered a provider: `value` 1 when the client attached, `status` of the attach, `data` its module id.
        Offered = 10,
        /// NMR asked the client to detach.
        DetachAsked = 11,
        /// The binding is gone.
        CleanedUp = 12,
        /// A callback returned; `value` the happening, `status` what it returned.
        Returned = 13,
    }
}

wire_enum! {
    /// What a data callback does with what it is given.
    Take {
        /// Takes all: `STATUS_SUCCESS`.
        All = 0,
        /// Takes the first `take_bytes`: `STATUS_SUCCESS`.
        Part = 1,
        /// `STATUS_DATA_NOT_ACCEPTED`.
        Nothing = 2,
        /// Retains the indications: `STATUS_PENDING`.
        Retain = 3,
    }
}

bits! {
    /// Callbacks that a socket's dispatch table has; the others are NULL.
    Slots {
        /// `WskAcceptEvent`.
        ACCEPT = 1,
        /// `WskInspectEvent`.
        INSPECT = 2,
        /// `WskAbortEvent`.
        ABORT = 4,
        /// `WskReceiveFromEvent`.
        RECEIVE_FROM = 8,
        /// `WskReceiveEvent`.
        RECEIVE = 16,
        /// `WskDisconnectEvent`.
        DISCONNECT = 32,
        /// `WskSendBacklogEvent`.
        SEND_BACKLOG = 64,
        /// All of them.
        ALL = 127,
        /// A stream socket's listen table is NULL.
        NO_LISTEN_TABLE = 256,
        /// A stream socket's connection table is NULL.
        NO_CONNECT_TABLE = 512,
        /// `WskAcceptEvent` hands out a NULL context and a NULL dispatch.
        ACCEPT_WITH_NULLS = 1024,
    }
}

wire_struct! {
    /// What the callbacks of a socket do.
    Reactions {
        /// [`Slots`]; fixed when the socket is made.
        slots: u32,
        /// [`Slots`] of sockets that `WskAcceptEvent` accepts.
        accepted_slots: u32,
        /// What `WskAcceptEvent` returns.
        accept_status: i32,
        /// What `WskInspectEvent` returns.
        inspect_action: i32,
        /// [`Take`].
        take: u32,
        /// For [`Take::Part`].
        take_bytes: u32,
        /// Microseconds that each callback takes.
        stall_us: u32,
        /// Number of the gate, 1 to 8, that a callback waits at before it returns; 0: none.
        gate: u32,
        /// Prepared request that a callback launches, once; 0: none.
        launch: u32,
        /// [`Happening`] that launches it.
        launch_on: u32,
    }
    /// Changes what the callbacks do, except `slots`.
    SetReactions {
        /// The socket.
        socket: u32,
        /// From now on.
        reactions: Reactions,
    }
    /// Closes or opens a gate. All are open at first; a callback waits at a closed one for 10 s at most.
    Gate {
        /// 1 to 8.
        gate: u32,
        /// 1: open.
        open: u32,
    }
    /// Reads the session's event log.
    ReadEvents {
        /// Number of the first event wanted; 0 is the first ever.
        from: u64,
        /// Wait until there is an event of that number, ms.
        timeout_ms: u32,
        /// Most wanted.
        max: u32,
    }
    /// Answer to that.
    Events {
        /// Number of the first event that follows; above `from` when the log had dropped some.
        first: u64,
        /// Events that follow.
        count: u32,
        /// Zero.
        reserved: u32,
    }
    /// One event.
    Event {
        /// Place in the order of all that the driver noted; comparable with those of [`super::Outcome`].
        at: u64,
        /// [`Happening`].
        happening: u32,
        /// The client.
        client: u32,
        /// The socket.
        socket: u32,
        /// Another socket.
        other: u32,
        /// Flags argument.
        flags: u32,
        /// Status argument or result.
        status: i32,
        /// IRQL of the callback.
        irql: u32,
        /// Indications.
        count: u32,
        /// As the happening says.
        value: u64,
        /// Bytes indicated.
        length: u64,
        /// Sum over all bytes indicated, see [`checksum`].
        sum: u64,
        /// 1: it came after the socket's close was called.
        late: u32,
        /// Bytes of `data` in use.
        data_length: u32,
        /// A `SOCKADDR`.
        address: [u8; 28],
        /// A `SOCKADDR`.
        address2: [u8; 28],
        /// The first bytes indicated.
        data: [u8; 96],
    }
    /// Gives retained indications back with `WskRelease`.
    ReleaseRetained {
        /// The socket.
        socket: u32,
        /// Most to release, oldest first.
        max: u32,
        /// 1: `WskRelease` at `DISPATCH_LEVEL`.
        at_dispatch: u32,
    }
    /// Answer to that.
    Released {
        /// Lists released.
        count: u32,
        /// Status of the last `WskRelease`.
        status: i32,
    }
}

/// Continues a checksum of bytes (FNV-1a, 64 bits); begin with 0.
#[must_use]
pub fn checksum(sum: u64, bytes: &[u8]) -> u64 {
    let start = sum ^ 0xCBF2_9CE4_8422_2325;
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    }) ^ 0xCBF2_9CE4_8422_2325
}
