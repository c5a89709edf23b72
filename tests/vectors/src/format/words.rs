//! The words of the format.

use serde::Deserialize;

/// A pointer argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum PointerName {
    Valid,
    Null,
    One,
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum AddressName {
    Loopback,
    Wildcard,
    Specific,
    Specific2,
    MappedLoopback,
    MappedWildcard,
}

/// Account of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum User {
    #[default]
    Same,
    Other,
}

/// How a connect is made whose outcome is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum ConnectMode {
    Async,
    Blocking,
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum ConnectOutcome {
    Refused,
    Pending,
    Connected,
}

/// Request type of a WSK control request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum RequestName {
    Set,
    Get,
    Ioctl,
}

/// State of a WSK socket at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum PhaseName {
    Unbound,
    Bound,
    Connected,
    Any,
}

/// IRQL of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum IrqlName {
    #[default]
    Passive,
    Dispatch,
}

/// What is assumed of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum Assumption {
    OptionUnsupported,
}

/// Whether a receive is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum RecvMode {
    Blocking,
    Overlapped,
}

/// The WSK functions that steps call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the names of the functions")]
#[allow(clippy::enum_variant_names, reason = "the names of the functions")]
pub enum WskFunction {
    WskSocket,
    WskBind,
    WskAccept,
    WskConnect,
    WskSend,
    WskReceive,
    WskDisconnect,
    WskCloseSocket,
    WskGetAddressInfo,
    WskRegister,
    WskCaptureProviderNPI,
}
