//! The vectors as read from the file. Unknown keys, duplicate keys and blank lines are errors; the format is described in `FORMAT.md`.

mod expect;
mod scalar;
mod step;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use expect::*;
pub use scalar::{Code, Hex, SIZES, Size, SizeOf};
pub use step::*;
pub use words::*;

use crate::strict;

/// What is needed to decide a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
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
