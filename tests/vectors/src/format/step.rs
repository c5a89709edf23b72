//! What steps do: section 3.1 of the format.

use serde::Deserialize;

use super::FamilyName;
use super::scalar::{Code, Hex, Size, nullable, objects};
use super::words::{
    AddressName, Assumption, ConnectMode, ConnectOutcome, IrqlName, PhaseName, PointerName, RecvMode, RequestName,
    User, WskFunction,
};

/// Bytes of a set.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the forms of the format")]
pub enum Bytes {
    Hex(Hex),
    FromStep(FromStep),
    HandleOf(HandleOf),
}

/// The bytes the get of a step returned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
pub struct FromStep {
    pub from_step: u32,
}

/// The `SOCKET` value of a socket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
pub struct HandleOf {
    pub handle_of: String,
}

/// What a step does. The keys are those of `FORMAT.md`, section 3.1.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
pub enum Op {
    Constant {
        name: String,
    },
    Map {
        name: String,
        status: u32,
    },
    MapReverse {
        wsa: u32,
        ranges: Vec<(u32, u32)>,
    },
    Socket {
        sock: String,
        family: FamilyName,
        v6only: Option<bool>,
    },
    Fresh {
        sock: String,
    },
    Assume {
        what: Assumption,
        opt: Code,
    },
    Set(SetStep),
    Get(GetStep),
    Ioctl {
        sock: String,
        code: Code,
        ptr: PointerName,
        len: Size,
        bytes: Option<Hex>,
    },
    Fionread {
        sock: String,
    },
    Bind {
        sock: String,
        addr: AddressName,
        port: String,
        #[serde(default)]
        user: User,
    },
    Listen {
        sock: String,
    },
    Accept {
        sock: String,
        #[serde(rename = "as")]
        name: String,
    },
    Acceptex {
        sock: String,
        #[serde(rename = "as")]
        name: String,
    },
    Connect {
        sock: String,
        to: String,
        addr: Option<AddressName>,
    },
    ConnectEvent {
        sock: String,
        mode: ConnectMode,
        outcome: ConnectOutcome,
    },
    ConnectPending {
        sock: String,
    },
    Nonblocking {
        sock: String,
    },
    Pair {
        sock: String,
        peer: String,
    },
    Close {
        sock: String,
    },
    Reset {
        sock: String,
    },
    KeepaliveDrop {
        sock: String,
    },
    Getsockname {
        sock: String,
    },
    Send {
        sock: String,
        bytes: Option<Hex>,
        fill_len: Option<u64>,
        flags: Vec<String>,
    },
    Sendto {
        sock: String,
        to: String,
        bytes: Hex,
    },
    Recv(RecvStep),
    Wait {
        ms: u64,
        request: String,
    },
    Complete {
        request: String,
    },
    Wskctl(WskctlStep),
    Wskclientctl {
        code: u32,
        #[serde(rename = "in", deserialize_with = "nullable")]
        input: Option<WskInput>,
        irp: bool,
    },
    Wskcall(WskcallStep),
    WskConnected {
        sock: String,
    },
    WskAccepted {
        sock: String,
    },
    WskConditionalAccepted {
        sock: String,
    },
    WskAcceptEvent {
        sock: String,
        #[serde(rename = "as")]
        name: String,
    },
    WskSendto {
        sock: String,
        remote: String,
    },
    DatagramArrives {
        sock: String,
        from: String,
    },
    DataArrives {
        sock: String,
    },
    EventsDisabled {
        sock: String,
        mask: u32,
    },
    CallbackRunning {
        sock: String,
        event: String,
    },
    EventReturn {
        sock: String,
        event: String,
        returns: u32,
        accepted: Option<String>,
    },
    CacheSd {
        #[serde(rename = "as")]
        name: String,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
/// `setsockopt`.
pub struct SetStep {
    pub sock: String,
    pub level: Code,
    pub opt: Code,
    pub ptr: PointerName,
    pub len: Size,
    pub bytes: Option<Bytes>,
    pub thread: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
/// `getsockopt`.
pub struct GetStep {
    pub sock: String,
    pub level: Code,
    pub opt: Code,
    pub ptr: PointerName,
    #[serde(deserialize_with = "nullable")]
    pub cap: Option<Size>,
    pub fill: Option<Hex>,
    pub thread: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
/// `recv`.
pub struct RecvStep {
    pub sock: String,
    pub mode: RecvMode,
    pub len: u64,
    pub flags: Vec<String>,
    #[serde(rename = "as")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
/// `WskControlSocket`.
pub struct WskctlStep {
    pub sock: String,
    pub request: RequestName,
    pub level: Code,
    pub code: Code,
    #[serde(rename = "in", deserialize_with = "nullable")]
    pub input: Option<WskInput>,
    pub out: WskOutput,
    pub outret: bool,
    pub irp: bool,
    pub phase: PhaseName,
    #[serde(default)]
    pub irql: IrqlName,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
/// A WSK function.
pub struct WskcallStep {
    pub sock: Option<String>,
    #[serde(rename = "fn")]
    pub function: WskFunction,
    pub irp: bool,
    pub client: Option<String>,
    pub addr: Option<AddressName>,
    pub port: Option<String>,
    #[serde(rename = "as")]
    pub name: Option<String>,
    pub request: Option<String>,
    pub to: Option<String>,
    #[serde(rename = "name")]
    pub node: Option<String>,
}

/// Input of a WSK control request.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the forms of the format")]
pub enum WskInput {
    Hex(Hex),
    Sd(SdInput),
    Event(EventInput),
    Sockaddr(SockaddrInput),
    Extension(ExtensionInput),
    Function(FunctionInput),
    Unspecified(UnspecifiedInput),
}

objects! {
    /// The address of a security descriptor.
    SdInput { sd: String }
    /// A `WSK_EVENT_CALLBACK_CONTROL`.
    EventInput { event: EventControl }
    /// Its members.
    EventControl { npi: String, mask: u32 }
    /// A named address.
    SockaddrInput { sockaddr: String, form: Option<String> }
    /// A `WSK_EXTENSION_CONTROL_IN`.
    ExtensionInput { extension: String }
    /// A callback pointer.
    FunctionInput { #[serde(deserialize_with = "nullable")] function: Option<String> }
    /// Immaterial.
    UnspecifiedInput { unspecified: bool }
}

/// Size of the output buffer of a WSK control request.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the forms of the format")]
pub enum WskOutput {
    Unspecified(UnspecifiedInput),
    Size(Size),
}
