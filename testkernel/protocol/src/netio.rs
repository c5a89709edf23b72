//! Requests and replies of the test kernel's netio.sys: how its provider answers, and what it counts.
//!
//! One IOCTL carries them all: a [`Header`], then the body that its operation asks for. The reply is the body that the operation
//! promises, or nothing.

use crate::probe::{bits, wire_enum, wire_struct};

/// Version of this protocol; both sides are built together, so that a mismatch is a stale file.
pub const VERSION: u32 = 1;

/// Win32 name of the device. It is there once netio.sys has been called by any driver.
pub const WIN32_NAME: &str = r"\\.\TestKernelNetio";

/// `FILE_DEVICE_UNKNOWN`, function 0x910, `METHOD_BUFFERED`, read and write access.
pub const IOCTL_EXECUTE: u32 = (0x22 << 16) | (3 << 14) | (0x910 << 2);

wire_enum! {
    /// What is asked.
    Operation {
        /// Body [`Rule`].
        AddRule = 1,
        /// Forgets every rule.
        ClearRules = 2,
        /// Body [`Number`]: a [`crate::probe::Function`], or 0 for all. Lets held requests go on; reply [`Number`]: how many.
        Release = 3,
        /// Body and reply [`Configuration`]: the reply is what was in force before.
        Configure = 4,
        /// Reply [`Statistics`].
        Query = 5,
        /// Body [`OptionQuery`]; reply [`OptionReply`]: what the host says of its socket.
        HostOption = 6,
        /// Body [`Death`]; reply [`Number`]: how many sockets were hit.
        Kill = 7,
        /// Body [`PortQuery`]; reply [`Number`]: how many sockets were hit. They are dead from now on: pending and later requests
        /// complete with `STATUS_FILE_FORCED_CLOSED`, and an enabled callback is called with NULL.
        ForceClose = 8,
        /// The system's provider leaves: NMR detaches every client of it. Sockets go on until they are closed.
        Leave = 9,
        /// It comes back: NMR offers it again. `STATUS_INVALID_DEVICE_STATE` before the last binding has ended.
        Return = 10,
    }
}

wire_enum! {
    /// What becomes of a request that a rule fits.
    Action {
        /// Performed and completed.
        Perform = 1,
        /// Not performed before it is released, cancelled, or its socket closed.
        HoldStart = 2,
        /// Performed; completed when released, or when its socket is closed.
        HoldCompletion = 3,
        /// Performed; completed `milliseconds` later.
        Delay = 4,
        /// Not performed: completed with `status`.
        Fail = 5,
        /// Not performed: `status` is returned and the IRP is left alone.
        Refuse = 6,
    }
}

bits! {
    /// How a rule's action is done.
    RuleFlags {
        /// Where the host answers at once: completed, and the status returned, before the call returns.
        INLINE = 1,
        /// Cancelling a held request does nothing.
        DEAF = 2,
    }
}

wire_enum! {
    /// Which provider a `WskRegister` client binds to when several offer the WSK NPI.
    Choice {
        /// The one that registered first.
        First = 0,
        /// The one that registered last before the client.
        Last = 1,
        /// netio.sys's own.
        System = 2,
    }
}

wire_enum! {
    /// In which order NMR tells the two sides of a binding to detach.
    DetachOrder {
        /// The client, and right after it the provider.
        ClientFirst = 0,
        /// The provider, and right after it the client.
        ProviderFirst = 1,
        /// The client, and the provider once the client has completed.
        ClientThenProvider = 2,
        /// The provider, and the client once the provider has completed.
        ProviderThenClient = 3,
    }
}

wire_enum! {
    /// Which sockets have no host socket behind them.
    NullSockets {
        /// Those of protocol [`NULL_PROTOCOL`].
        ByProtocol = 0,
        /// All.
        All = 1,
    }
}

/// A socket of this protocol has no host socket: everything that would wait completes at once.
pub const NULL_PROTOCOL: u32 = 0x4E55_4C4C;

wire_struct! {
    /// Begins every request.
    Header {
        /// [`VERSION`].
        version: u32,
        /// [`Operation`].
        operation: u32,
    }
    /// One number.
    Number {
        /// The number.
        value: u32,
    }
    /// The next calls of a function. The first rule for the function that has calls left counts; rules of one function follow
    /// each other.
    Rule {
        /// [`crate::probe::Function`].
        function: u32,
        /// Calls to let pass first.
        skip: u32,
        /// Calls that the rule is for.
        count: u32,
        /// [`Action`].
        action: u32,
        /// NTSTATUS for [`Action::Fail`] and [`Action::Refuse`].
        status: i32,
        /// For [`Action::Delay`].
        milliseconds: u32,
        /// [`RuleFlags`].
        flags: RuleFlags,
    }
    /// Settings.
    Configuration {
        /// [`Choice`].
        choice: u32,
        /// [`DetachOrder`].
        detach_order: u32,
        /// 1: completions and callbacks at `DISPATCH_LEVEL`.
        at_dispatch: u32,
        /// [`NullSockets`].
        null_sockets: u32,
    }
    /// What netio.sys counts.
    Statistics {
        /// Sockets that clients hold.
        sockets: u32,
        /// Sockets without a host socket that clients hold.
        null_sockets: u32,
        /// Sockets of the host that are open.
        host_sockets: u32,
        /// IRPs that the provider owns.
        irps: u32,
        /// Requests that the script holds.
        held: u32,
        /// Modules registered with NMR.
        modules: u32,
        /// Bindings of NMR.
        bindings: u32,
        /// Clients attached to the system's provider.
        clients: u32,
        /// Indications that clients retain.
        retained: u32,
        /// Security descriptors that clients cached and did not release.
        descriptors: u32,
        /// Broken contracts of callers since the start.
        misuses: u64,
        /// Sockets created since the start, accepted ones included.
        created: u64,
    }
    /// Names a bound socket and an option of the host's socket behind it.
    OptionQuery {
        /// `AF_*`.
        family: u32,
        /// Local port, host order.
        port: u32,
        /// `SOCK_*`.
        kind: u32,
        /// 1: connected sockets only; 0: the first that is bound to the port and not connected.
        connected: u32,
        /// Level.
        level: u32,
        /// Option.
        option: u32,
        /// Bytes asked for, at most those of [`OptionReply`].
        length: u32,
    }
    /// What the host says.
    OptionReply {
        /// NTSTATUS; `STATUS_NOT_FOUND` when no socket fits.
        status: i32,
        /// Bytes of `value`.
        length: u32,
        /// The value.
        value: [u8; 64],
    }
    /// Names bound sockets.
    PortQuery {
        /// `AF_*`.
        family: u32,
        /// Local port, host order.
        port: u32,
        /// `SOCK_*`.
        kind: u32,
    }
    /// The end of connections as by keep-alive failure: pending receives and sends complete with the status, then a disconnect event.
    Death {
        /// `AF_*`.
        family: u32,
        /// Local port, host order.
        port: u32,
        /// NTSTATUS of the pending requests.
        status: i32,
        /// 1: the disconnect event carries `WSK_FLAG_ABORTIVE`.
        abortive: u32,
    }
}
