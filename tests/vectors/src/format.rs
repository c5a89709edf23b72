//! The vectors as read from the file. Unknown keys, duplicate keys and blank lines are errors; the format is described in `FORMAT.md`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::strict;

/// What is needed to decide a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// A table of header constants.
    Constant,
    /// The NTSTATUS to Winsock map.
    Status,
    /// One endpoint's record.
    Core,
    /// The records of all sockets bound to a port.
    Sharing,
    /// The driver.
    Wsk,
    /// A real transport.
    Transport,
    /// Nobody.
    Note,
}

impl std::str::FromStr for Layer {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::deserialize(Value::from(name)).with_context(|| format!("no layer is called {name}"))
    }
}

/// One line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Name; for reports only.
    pub id: String,
    /// Layer.
    pub layer: Layer,
    /// Strength of the evidence; for reports only.
    pub grade: Grade,
    /// Where it comes from; for reports only.
    pub source: String,
    /// The sockets to run it with.
    #[serde(rename = "where")]
    pub sockets: Where,
    /// What to do.
    #[serde(deserialize_with = "steps")]
    pub steps: Vec<Step>,
    /// For people.
    pub remark: Option<String>,
    /// The row as prose; layer `note` only.
    pub text: Option<String>,
}

/// Strength of the evidence.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum Grade {
    Tested,
    Documented,
    Inferred,
}

/// The sockets to run a vector with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
pub struct Where {
    pub family: Vec<FamilyName>,
    #[serde(rename = "type")]
    pub types: Vec<TypeName>,
    pub category: Option<Vec<CategoryName>>,
}

/// Address family; `mixed` leaves it to `socket` steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum FamilyName {
    Inet,
    Inet6,
    Atm,
    Mixed,
}

/// Socket type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum TypeName {
    Stream,
    Dgram,
    Raw,
}

/// WSK category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum CategoryName {
    Basic,
    Listen,
    Datagram,
    Connection,
}

/// One member of the product that [`Where`] spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the keys of the format")]
pub struct Combination {
    pub family: Option<FamilyName>,
    pub socket_type: Option<TypeName>,
    pub category: Option<CategoryName>,
}

impl Where {
    /// Every combination to run. Of categories and types only the pairs that exist, unless one pair alone is given.
    #[must_use]
    pub fn combinations(&self) -> Vec<Combination> {
        let families = options(&self.family);
        let types = options(&self.types);
        let categories = self.category.as_deref().map_or_else(|| vec![None], options);
        let only_one = types.len() == 1 && categories.len() == 1;
        let mut all = Vec::new();
        for &family in &families {
            for &socket_type in &types {
                for &category in &categories {
                    if only_one || pairs(socket_type, category) {
                        all.push(Combination {
                            family,
                            socket_type,
                            category,
                        });
                    }
                }
            }
        }
        all
    }
}

/// The members, or one `None` where there is none.
fn options<T: Copy>(list: &[T]) -> Vec<Option<T>> {
    if list.is_empty() {
        vec![None]
    } else {
        list.iter().copied().map(Some).collect()
    }
}

fn pairs(socket_type: Option<TypeName>, category: Option<CategoryName>) -> bool {
    match (category, socket_type) {
        (Some(CategoryName::Listen | CategoryName::Connection), Some(ty)) => ty == TypeName::Stream,
        (Some(CategoryName::Datagram), Some(ty)) => ty == TypeName::Dgram,
        _ => true,
    }
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Number in the source row.
    pub n: u32,
    /// What to do.
    pub op: Op,
    /// What must come of it; `None` for preparation, which must succeed.
    pub expect: Option<Expect>,
}

fn steps<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Step>, D::Error> {
    let steps: Vec<Map<String, Value>> = Deserialize::deserialize(deserializer)?;
    steps
        .into_iter()
        .map(|step| parse_step(step).map_err(|e| serde::de::Error::custom(format!("{e:#}"))))
        .collect()
}

fn parse_step(mut step: Map<String, Value>) -> Result<Step> {
    let n = step.remove("n").context("a step without n")?;
    let n = u32::deserialize(n).context("n")?;
    let expect = step
        .remove("expect")
        .map(|e| Expect::deserialize(e).with_context(|| format!("expect of step {n}")));
    let op = Op::deserialize(Value::Object(step)).with_context(|| format!("step {n}"))?;
    Ok(Step {
        n,
        op,
        expect: expect.transpose()?,
    })
}

/// A length: a number, -1 being the 32-bit all-ones length, or the size of a type.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the keys of the format")]
pub enum Size {
    Number(i64),
    Of(SizeOf),
}

/// `{"sizeof":"T"}`, with or without `plus`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
pub struct SizeOf {
    #[serde(rename = "sizeof")]
    pub name: String,
    #[serde(default)]
    pub plus: i64,
}

/// The table of sizes, for the pointer size the runner is built for.
pub const SIZES: &[(&str, usize)] = {
    const WORD: usize = size_of::<usize>();
    &[
        ("CSADDR_INFO", 4 * WORD + 8),
        ("SOCKET", WORD),
        ("PVOID", WORD),
        ("SIZE_T", WORD),
        ("WSK_INSPECT_ID", 2 * WORD),
        ("WSK_EVENT_CALLBACK_CONTROL", 2 * WORD),
        ("WSK_EXTENSION_CONTROL_IN", 3 * WORD),
        ("WSK_EXTENSION_CONTROL_OUT", 2 * WORD),
    ]
};

impl Size {
    /// The length; -1 stays -1.
    ///
    /// # Errors
    /// The type is not in the table, or the number is no length.
    pub fn bytes(&self) -> Result<i64> {
        let size = match self {
            Self::Number(number) => *number,
            Self::Of(of) => {
                let (_, size) = SIZES
                    .iter()
                    .find(|(name, _)| *name == of.name)
                    .with_context(|| of.name.clone())?;
                i64::try_from(*size)? + of.plus
            }
        };
        ensure!((-1..=i64::from(u32::MAX)).contains(&size), "{size} is no length");
        Ok(size)
    }
}

/// Level, option or code: a name or a number.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the two forms")]
pub enum Code {
    Number(i64),
    Name(String),
}

impl Code {
    /// As a level.
    ///
    /// # Errors
    /// An unknown name.
    pub fn level(&self) -> Result<u32> {
        match self {
            Self::Number(number) => Ok(u32::try_from(*number)?),
            Self::Name(name) => match name.as_str() {
                "SOL_SOCKET" => Ok(0xFFFF),
                "IPPROTO_IP" => Ok(0),
                "IPPROTO_UDP" => Ok(17),
                "IPPROTO_IPV6" => Ok(41),
                other => bail!("level {other}"),
            },
        }
    }

    /// As an option or an IOCTL code: a number counts modulo 2^32.
    ///
    /// # Errors
    /// An unknown name.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "modulo 2^32 is the format's rule"
    )]
    pub fn option(&self) -> Result<u32> {
        match self {
            Self::Number(number) => Ok(*number as u32),
            Self::Name(name) => wskguard_core::catalogue::by_name(name)
                .map(|row| row.code)
                .with_context(|| format!("no option is called {name}")),
        }
    }
}

/// Upper-case hex pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let upper = text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        if text.len() % 2 != 0 || !upper {
            return Err(serde::de::Error::custom(format!("{text} is not upper-case hex")));
        }
        let pair = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).map_err(serde::de::Error::custom);
        (0..text.len())
            .step_by(2)
            .map(pair)
            .collect::<std::result::Result<_, _>>()
            .map(Self)
    }
}

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

/// A key that must be there and may be null.
fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A key that may be absent, and may be null.
#[allow(clippy::option_option, reason = "absent, null, value")]
fn optional_nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
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

/// What is assumed of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum Assumption {
    OptionUnsupported,
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

/// Whether a receive is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum RecvMode {
    Blocking,
    Overlapped,
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

macro_rules! inputs {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $key:ident: $type:ty),* $(,)? })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs, reason = "the keys of the format")]
        pub struct $name { $($(#[$attribute])* pub $key: $type),* })*
    };
}

inputs! {
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

/// What must come of a step. Only what is given is compared. Section 3.2 of `FORMAT.md`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
pub struct Expect {
    pub wsa: Option<u32>,
    pub wsa_older: Option<Vec<u32>>,
    pub fail: Option<bool>,
    pub wsa_documented: Option<u32>,
    pub size: Option<Size>,
    pub bytes: Option<Hex>,
    pub value: Option<NumberOr>,
    pub value_in: Option<Vec<u32>>,
    pub onoff: Option<NumberOr>,
    pub linger: Option<NumberOr>,
    pub value_not_onoff_of: Option<u32>,
    pub same_prefix: Option<SamePrefix>,
    pub describes_socket: Option<bool>,
    pub csaddr: Option<Csaddr>,
    pub returned: Option<Size>,
    pub no_effect: Option<NoEffect>,
    pub delivered_to: Option<String>,
    pub pending: Option<bool>,
    pub count: Option<u64>,
    pub statuses: Option<Vec<u32>>,
    pub status: Option<u32>,
    pub status_in: Option<Vec<u32>>,
    pub irp_status: Option<u32>,
    pub irp_status_older: Option<Vec<u32>>,
    #[serde(rename = "final")]
    pub final_status: Option<u32>,
    pub information: Option<Information>,
    pub violation: Option<String>,
    pub status_recommended: Option<u32>,
    pub ok: Option<bool>,
    pub written: Option<u64>,
    pub access_check: Option<AccessCheck>,
    pub irp_completes_after: Option<String>,
    #[serde(deserialize_with = "optional_nullable", default)]
    pub fixed_remote: Option<Option<FixedRemote>>,
    #[serde(deserialize_with = "optional_nullable", default)]
    pub receive_ex_callback: Option<Option<String>>,
    pub events_enabled: Option<u32>,
    pub received: Option<bool>,
    pub addresses: Option<String>,
    pub irp_untouched: Option<bool>,
    pub version_min: Option<u32>,
    pub client: Option<String>,
    pub sd_cached_until: Option<String>,
    pub sd_replaces: Option<String>,
    pub sd_equals: Option<String>,
    pub sd_released_by: Option<String>,
    pub accepted: Option<String>,
    pub then: Option<String>,
}

/// A number or a word.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the two forms")]
pub enum NumberOr {
    Number(u32),
    Word(String),
}

inputs! {
    /// The first bytes equal those of another get.
    SamePrefix { step: u32, count: usize }
    /// Members of a `CSADDR_INFO`.
    Csaddr {
        local: Option<Presence>,
        remote: Option<Presence>,
        mirrors: Option<String>,
        socket_type: Option<u32>,
        protocol: Option<u32>,
    }
    /// Outcomes of an access check.
    AccessCheck { granted: u32, denied: u32, default: AccessDefault }
    /// The fixed remote address.
    FixedRemote { sends_to: String, receives_from: String }
}

/// Whether an address is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum Presence {
    None,
    Present,
}

/// What the default descriptor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum AccessDefault {
    Granted,
    Denied,
}

/// Where a step changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum NoEffect {
    Sharing,
    Routing,
    All,
}

/// `IoStatus.Information`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the forms of the format")]
pub enum Information {
    Size(Size),
    Word(String),
}

/// Reads a file of vectors.
///
/// # Errors
/// Anything that is not as the format says, with its line.
pub fn read(path: &Path) -> Result<Vec<Vector>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut seen = BTreeMap::new();
    let mut vectors = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let vector = parse(line).with_context(|| format!("{}:{number}", path.display()))?;
        if let Some(other) = seen.insert(vector.id.clone(), number) {
            bail!(
                "{}:{number}: the id {} is that of line {other}",
                path.display(),
                vector.id
            );
        }
        vectors.push(vector);
    }
    Ok(vectors)
}

/// Reads one line.
///
/// # Errors
/// Anything that is not as the format says.
pub fn parse(line: &str) -> Result<Vector> {
    let vector = Vector::deserialize(strict::parse(line)?)?;
    let note = vector.layer == Layer::Note;
    ensure!(
        note == vector.steps.is_empty(),
        "{} steps in layer {:?}",
        vector.steps.len(),
        vector.layer
    );
    ensure!(note == vector.text.is_some(), "text is for layer note");
    Ok(vector)
}
