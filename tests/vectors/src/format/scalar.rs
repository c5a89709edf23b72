//! Numbers, names, lengths and bytes as steps write them.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Structs whose keys are all known.
macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $key:ident: $type:ty),* $(,)? })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs, reason = "the keys of the format")]
        pub struct $name { $($(#[$attribute])* pub $key: $type),* })*
    };
}

pub(super) use objects;

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

/// A key that must be there and may be null.
pub(super) fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A key that may be absent, and may be null.
#[allow(clippy::option_option, reason = "absent, null, value")]
pub(super) fn optional_nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
