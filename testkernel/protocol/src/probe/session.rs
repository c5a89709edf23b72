//! Clients: attaching to a provider, detaching from it, and the end of a session.

use super::{wire_enum, wire_struct};

wire_enum! {
    /// How a client reaches its provider.
    Route {
        /// `NmrRegisterClient`, choosing among the providers of an NPI by module id.
        Nmr = 1,
        /// `WskRegister` and `WskCaptureProviderNPI`: the provider is the system's choice.
        Register = 2,
    }
}

wire_enum! {
    /// Which of several providers of one NPI a client attaches to.
    Choice {
        /// The first that accepts.
        Any = 0,
        /// Only the one whose module id is given.
        Only = 1,
        /// Any but that one.
        Except = 2,
        /// None: the client registers, counts the offers and declines them.
        None = 3,
    }
}

wire_enum! {
    /// What a client does when NMR tells it to detach.
    OnDetach {
        /// `STATUS_PENDING` while it has sockets, and completes when the last is closed.
        WhenIdle = 0,
        /// `STATUS_SUCCESS` at once, sockets or not.
        AtOnce = 1,
        /// `STATUS_PENDING` until the script detaches the client.
        WhenTold = 2,
    }
}

wire_struct! {
    /// Makes a WSK client and attaches it.
    Attach {
        /// [`Route`].
        route: u32,
        /// [`Choice`].
        choice: u32,
        /// [`OnDetach`].
        on_detach: u32,
        /// `MAKE_WSK_VERSION` of the client's dispatch.
        version: u32,
        /// Longest wait for a provider, ms.
        timeout_ms: u32,
        /// 1: no `WskClientEvent`.
        without_client_event: u32,
        /// The NPI, a GUID in memory order.
        npi: [u8; 16],
        /// The client's own module id.
        module: [u8; 16],
        /// What [`Choice`] compares with.
        provider_module: [u8; 16],
    }
    /// Answer to an attach.
    Attached {
        /// Status of the registration, attach or capture; the client exists when it is a success.
        status: i32,
        /// Its id.
        client: u32,
        /// `Version` of the provider's dispatch.
        version: u32,
        /// Providers offered so far.
        offered: u32,
        /// Module id of the provider attached to (NMR only).
        provider_module: [u8; 16],
    }
    /// Names a client.
    ClientRequest {
        /// The client.
        client: u32,
        /// Longest wait for a detach, ms.
        timeout_ms: u32,
    }
    /// How a client stands.
    ClientState {
        /// Status of the operation; `STATUS_TIMEOUT` while a deregistration is still waiting.
        status: i32,
        /// 1 while attached.
        attached: u32,
        /// 1 once NMR asked it to detach.
        detach_asked: u32,
        /// 1 once the cleanup callback ran.
        cleaned_up: u32,
        /// Providers offered so far.
        offered: u32,
        /// Sockets it holds.
        sockets: u32,
    }
    /// What [`super::Op::Finish`] could not get rid of within its time.
    Leftovers {
        /// Requests that never completed.
        requests: u32,
        /// Sockets that could not be closed.
        sockets: u32,
        /// Clients that could not be detached.
        clients: u32,
        /// Completions beyond the first of a request.
        double_completions: u32,
        /// Callbacks after the close of their socket.
        late_callbacks: u32,
        /// Events that the log had no room for.
        lost_events: u32,
    }
}
