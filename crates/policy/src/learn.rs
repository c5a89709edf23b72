//! From what was observed to a draft of a policy. A draft is text for a person to read and change: it is never applied by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use wskguard_core::policy::{AddressClass, BindInput, Fallback, PolicyMode, Settings, Verbosity, layout};
use wskguard_core::{Category, Mode, RequestKind};

use crate::model::{Action, Members, Policy, Principal, Rule, Scope};
use crate::names;
use crate::ranges::Ranges;
use crate::show::{policy_head, rule_text, scope_text};

/// Distinct values that are listed; more become one range.
const MOST_VALUES: usize = 8;

/// One request as the audit trail has it.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Set, get, ioctl or bind.
    pub request: RequestKind,
    /// Level of a set or get.
    pub level: u32,
    /// Option or ioctl.
    pub code: u32,
    /// Category of the endpoint.
    pub category: Category,
    /// File name of the client's image; empty when unknown.
    pub client: &'a str,
    /// Value of a set, where it is a number.
    pub value: Option<u64>,
    /// Of a bind.
    pub bind: Option<BindInput>,
    /// How the request ended, an NTSTATUS.
    pub status: u32,
    /// When, for people; in the order of time.
    pub when: &'a str,
}

/// What belongs in one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    client: &'a str,
    request: RequestKind,
    scope: Scope,
    category: Category,
    bind: Option<(AddressClass, u8)>,
}

/// What was seen of it.
#[derive(Debug, Default)]
struct Seen<'a> {
    times: u64,
    first: &'a str,
    last: &'a str,
    values: BTreeSet<u64>,
    /// Some value was not a number, so none restricts the rule.
    opaque: bool,
    statuses: BTreeMap<u32, u64>,
}

/// The draft: one rule for each client, request, option and category that was seen, which allows the values that were seen, and a
/// default that refuses all else. Its mode is `audit`, so that applying it shows what it would refuse.
#[must_use]
pub fn learn<'a>(name: &str, observed: impl IntoIterator<Item = Observed<'a>>) -> String {
    let mut groups: BTreeMap<Key<'a>, Seen<'a>> = BTreeMap::new();
    for request in observed {
        groups.entry(key(&request)).or_default().add(&request);
    }
    let policy = Policy {
        name: name.to_owned(),
        description: "Draft, learned from what was recorded: read it before it is enforced.".to_owned(),
        settings: Settings {
            mode: PolicyMode::Audit,
            semantics: Mode::Audit,
            fallback: Fallback::Deny,
            verbosity: Verbosity::Changes,
            ..Policy::default().settings
        },
        ..Policy::default()
    };
    let mut out = policy_head(&policy);
    let mut names = BTreeSet::new();
    for (key, seen) in &groups {
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "\n{}[[rule]]\n{}",
            seen.provenance(),
            rule_text(&rule(key, seen, &mut names))
        );
    }
    out
}

fn key<'a>(request: &Observed<'a>) -> Key<'a> {
    let scope = match request.request {
        RequestKind::Bind => Scope::Any,
        RequestKind::Ioctl => Scope::Ioctl(request.code),
        _ => Scope::Option {
            level: request.level,
            code: request.code,
        },
    };
    let bind = request.bind.filter(|_| request.request == RequestKind::Bind);
    let bind = bind.map(|bind| (bind.address, bind.sharing.bits()));
    Key {
        client: request.client,
        request: request.request,
        scope,
        category: request.category,
        bind,
    }
}

impl<'a> Seen<'a> {
    fn add(&mut self, request: &Observed<'a>) {
        if self.times == 0 {
            self.first = request.when;
        }
        self.times += 1;
        self.last = request.when;
        *self.statuses.entry(request.status).or_default() += 1;
        let value = match request.request {
            RequestKind::Set => request.value,
            RequestKind::Bind => request.bind.map(|bind| bind.port.into()),
            _ => None,
        };
        match value {
            Some(value) => drop(self.values.insert(value)),
            None => self.opaque = true,
        }
    }

    /// As comment lines.
    fn provenance(&self) -> String {
        let statuses: Vec<_> = self
            .statuses
            .iter()
            .map(|(&status, times)| format!("{} {times}", names::of_status(status)))
            .collect();
        let line = |text: &str| format!("# {}\n", text.replace(|c: char| c.is_control(), " "));
        let times = if self.times == 1 {
            format!("once, {}", self.first)
        } else {
            format!("{} times, {} to {}", self.times, self.first, self.last)
        };
        line(&format!("Seen {times}; {}.", statuses.join(", ")))
    }

    /// The values, if they can restrict the rule.
    fn ranges(&self) -> Option<Ranges> {
        let (low, high) = (*self.values.first()?, *self.values.last()?);
        let listed = || self.values.iter().map(|&value| (value, value)).collect();
        (!self.opaque).then(|| {
            Ranges::new(if self.values.len() <= MOST_VALUES {
                listed()
            } else {
                vec![(low, high)]
            })
        })
    }
}

fn rule(key: &Key<'_>, seen: &Seen<'_>, names: &mut BTreeSet<String>) -> Rule {
    let field = if key.request == RequestKind::Bind {
        layout::FIELD_PORT
    } else {
        layout::FIELD_NEW
    };
    let mut conditions: Vec<_> = seen
        .ranges()
        .map(|ranges| (field, Members::Ranges(ranges)))
        .into_iter()
        .collect();
    if !key.client.is_empty() {
        let client = Principal::Image(key.client.to_ascii_lowercase());
        conditions.push((layout::FIELD_CLIENT, Members::Principals(vec![client])));
    }
    let (addresses, sharing) = key
        .bind
        .map_or((layout::ALL_ADDRESSES, layout::ALL_SHARING), |(address, sharing)| {
            (1 << address as u8, sharing)
        });
    Rule {
        name: rule_name(key, names),
        requests: 1 << key.request as u8,
        scope: key.scope,
        categories: 1 << key.category as u8,
        addresses,
        sharing,
        conditions,
        action: Action::Allow,
        ..Rule::default()
    }
}

/// A name nobody has yet.
fn rule_name(key: &Key<'_>, names: &mut BTreeSet<String>) -> String {
    let request = names::of_value(names::REQUESTS, 1 << key.request as u8);
    let category = names::of_value(names::CATEGORIES, 1 << key.category as u8);
    let client = if key.client.is_empty() { "unknown" } else { key.client };
    let mut name = format!("{client} {request} {category}");
    if key.scope != Scope::Any {
        let _ = write!(name, " {}", scope_text(key.scope));
    }
    while name.len() > layout::MAX_NAME - 8 {
        name.pop();
    }
    let mut unique = name.clone();
    for number in 2.. {
        if names.insert(unique.clone()) {
            break;
        }
        unique = format!("{name} {number}");
    }
    unique
}
