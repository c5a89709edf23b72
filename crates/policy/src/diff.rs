//! What changes from one policy to another: settings, rules by name, and their order.

use std::collections::HashMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use wskguard_core::policy::Image;

use crate::decode::decode;
use crate::model::Rule;
use crate::show::{initial_lines, rule_lines, setting_lines};

/// The changes from one policy to another; empty when they are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diff(pub Vec<Change>);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A line of the settings.
    Setting(Line),
    /// A rule that was not there, and the one it follows.
    Added {
        /// Name.
        rule: String,
        /// Name of the rule before it.
        after: Option<String>,
    },
    /// A rule that is no longer there.
    Removed {
        /// Name.
        rule: String,
    },
    /// A rule whose place among the others changed.
    Moved {
        /// Name.
        rule: String,
        /// Name of the rule before it.
        after: Option<String>,
    },
    /// A rule that says something else.
    Altered {
        /// Name.
        rule: String,
        /// How.
        lines: Vec<Line>,
    },
    /// The initial options.
    Initial {
        /// Before.
        old: Vec<String>,
        /// After.
        new: Vec<String>,
    },
}

/// A key and its values, as in the policy text; `None` where it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// Key.
    pub key: String,
    /// Before.
    pub old: Option<String>,
    /// After.
    pub new: Option<String>,
}

/// What changes from `old` to `new`.
#[must_use]
pub fn diff(old: &Image<'_>, new: &Image<'_>) -> Diff {
    let (old, new) = (decode(old), decode(new));
    let mut changes: Vec<_> = lines(&setting_lines(&old), &setting_lines(&new))
        .into_iter()
        .map(Change::Setting)
        .collect();
    let initial = |rules: &[Rule]| {
        let text = |rule| {
            initial_lines(rule)
                .into_iter()
                .map(|(key, value)| format!("{key} = {value}"))
        };
        rules
            .iter()
            .map(|rule| text(rule).collect::<Vec<_>>().join(", "))
            .collect::<Vec<_>>()
    };
    if old.initial != new.initial {
        changes.push(Change::Initial {
            old: initial(&old.initial),
            new: initial(&new.initial),
        });
    }
    rules(&old.rules, &new.rules, &mut changes);
    Diff(changes)
}

fn rules(old: &[Rule], new: &[Rule], changes: &mut Vec<Change>) {
    let place = |rules: &[Rule]| -> HashMap<String, usize> {
        rules
            .iter()
            .enumerate()
            .map(|(index, rule)| (rule.name.clone(), index))
            .collect()
    };
    let (old_places, new_places) = (place(old), place(new));
    for rule in old.iter().filter(|rule| !new_places.contains_key(&rule.name)) {
        changes.push(Change::Removed {
            rule: rule.name.clone(),
        });
    }
    let stayed: Vec<usize> = new
        .iter()
        .filter_map(|rule| old_places.get(&rule.name).copied())
        .collect();
    let in_order = longest_ascending(&stayed);
    for (index, rule) in new.iter().enumerate() {
        let name = rule.name.clone();
        let after = index.checked_sub(1).map(|before| new[before].name.clone());
        let Some(&old_index) = old_places.get(&name) else {
            changes.push(Change::Added { rule: name, after });
            continue;
        };
        if in_order.binary_search(&old_index).is_err() {
            changes.push(Change::Moved {
                rule: name.clone(),
                after,
            });
        }
        let lines = lines(&rule_lines(&old[old_index]), &rule_lines(rule));
        if !lines.is_empty() {
            changes.push(Change::Altered { rule: name, lines });
        }
    }
}

/// The longest ascending subsequence of distinct numbers: what kept its order.
fn longest_ascending(numbers: &[usize]) -> Vec<usize> {
    // For each length, the index of the smallest number that ends such a subsequence; and the predecessor of each number.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; numbers.len()];
    for (index, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|&end| numbers[end] < *number);
        before[index] = length.checked_sub(1).map(|shorter| ends[shorter]);
        ends.truncate(ends.len().max(length + 1));
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut kept: Vec<_> = std::iter::successors(ends.last().copied(), |&index| before[index])
        .map(|i| numbers[i])
        .collect();
    kept.reverse();
    kept
}

/// The lines that differ, in the order of `new`, then what only `old` has.
fn lines(old: &[(&'static str, String)], new: &[(&'static str, String)]) -> Vec<Line> {
    let value =
        |lines: &[(&'static str, String)], key| lines.iter().find(|(k, _)| *k == key).map(|(_, value)| value.clone());
    let only_old = old.iter().filter(|(key, _)| value(new, *key).is_none());
    new.iter()
        .chain(only_old)
        .map(|(key, _)| Line {
            key: (*key).to_owned(),
            old: value(old, *key),
            new: value(new, *key),
        })
        .filter(|line| line.old != line.new)
        .collect()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not given)".to_owned());
        write!(f, "{}: {} -> {}", self.key, text(&self.old), text(&self.new))
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |after: &Option<String>| {
            after
                .as_ref()
                .map_or("first".to_owned(), |after| format!("after {after}"))
        };
        for change in &self.0 {
            match change {
                Change::Setting(line) => writeln!(f, "~ {line}")?,
                Change::Added { rule, after } => writeln!(f, "+ rule {rule}, {}", place(after))?,
                Change::Removed { rule } => writeln!(f, "- rule {rule}")?,
                Change::Moved { rule, after } => writeln!(f, "~ rule {rule}: now {}", place(after))?,
                Change::Altered { rule, lines } => {
                    lines.iter().try_for_each(|line| writeln!(f, "~ rule {rule}: {line}"))?;
                }
                Change::Initial { old, new } => {
                    old.iter()
                        .filter(|line| !new.contains(line))
                        .try_for_each(|line| writeln!(f, "- initial {line}"))?;
                    new.iter()
                        .filter(|line| !old.contains(line))
                        .try_for_each(|line| writeln!(f, "+ initial {line}"))?;
                    let same = |line: &&String| old.contains(line) && new.contains(line);
                    if old.iter().filter(same).ne(new.iter().filter(same)) {
                        writeln!(f, "~ initial options: another order")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kept_its_order() {
        assert_eq!(longest_ascending(&[]), [] as [usize; 0]);
        assert_eq!(longest_ascending(&[0, 1, 2]), [0, 1, 2]);
        assert_eq!(longest_ascending(&[2, 0, 1]), [0, 1]);
        assert_eq!(longest_ascending(&[0, 3, 1, 2]), [0, 1, 2]);
    }
}
