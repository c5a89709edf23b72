//! `counters`: what happened how often. The driver's counters only grow; differences are made here, against a file.

use std::path::Path;

use wskguard_core::counters::COUNTERS;

use super::{AnyDriver, Context, Ending, replace, rule_names};
use crate::{
    cli::CountersArgs,
    exit::{Exit, Failure},
    host::Access,
    names,
    output::Output,
    table::{Column, Table},
    time,
    view::{Counter, Counters},
};

/// Name of the hits of the default action.
pub(crate) const DEFAULT: &str = "(default)";

pub(super) fn run(context: &mut Context<'_, '_>, args: &CountersArgs) -> Ending {
    let mut driver = context.open(Access::Read)?;
    let now = context.host.now();
    let current = read(&mut driver, now, args.rules)?;
    let shown = match &args.delta {
        Some(file) => delta(context.out, file, &current)?,
        None => current,
    };
    if context.out.json {
        context.out.document(&shown)?;
        return Ok(Exit::Ok);
    }
    let (list, columns) = if args.rules {
        (&shown.rules, RULES)
    } else {
        (&shown.counters, NAMES)
    };
    let rows = list
        .iter()
        .filter(|counter| args.all || args.rules || counter.value != 0);
    let rows: Vec<_> = rows.map(|counter| row(counter, args.rules)).collect();
    if rows.is_empty() {
        context.out.hint("all counters are 0 (--all lists them)");
    } else {
        Table::new(columns).page(context.out, rows)?;
    }
    Ok(Exit::Ok)
}

/// The counters of now, with the hits of rules if asked for.
pub(super) fn read(driver: &mut AnyDriver, now: u64, rules: bool) -> Result<Counters, Failure> {
    let status = driver.status()?;
    let values = driver.counters()?.values;
    let mut counters = Counters {
        started: time::precise(status.started),
        read: time::precise(now),
        generation: status.generation,
        hash: names::hash(status.policy_hash),
        counters: values
            .iter()
            .enumerate()
            .map(|(index, &value)| Counter {
                name: name(index),
                value,
            })
            .collect(),
        rules: Vec::new(),
    };
    if rules {
        let (generation, hash, hits) = hits(driver)?;
        (counters.generation, counters.hash, counters.rules) = (generation, names::hash(hash), hits);
    }
    Ok(counters)
}

/// Generation, hash and hits of the policy in force, all of one generation.
fn hits(driver: &mut AnyDriver) -> Result<(u64, u64, Vec<Counter>), Failure> {
    const TRIES: u32 = 8;
    for _ in 0..TRIES {
        let policy = driver.policy_in_force()?;
        let hits = driver.rule_counters()?;
        if hits.generation != policy.generation {
            continue;
        }
        let names = rule_names(&policy.image);
        let last = hits.values.len().saturating_sub(1);
        let name = |index: usize| match names.get(index) {
            _ if index == last => DEFAULT.to_owned(),
            Some(name) => name.clone(),
            None => format!("rule {index}"),
        };
        let counters = hits.values.iter().enumerate().map(|(index, &value)| Counter {
            name: name(index),
            value,
        });
        return Ok((policy.generation, policy.hash, counters.collect()));
    }
    Err(Failure::new(Exit::Failed, "the policy keeps changing"))
}

/// Name of a counter; a newer driver may have more of them.
fn name(index: usize) -> String {
    COUNTERS
        .get(index)
        .map_or_else(|| format!("counter_{index}"), |(_, name, _)| (*name).to_owned())
}

/// What was added since `file` was written; writes it anew.
fn delta(out: &mut Output<'_>, file: &Path, current: &Counters) -> Result<Counters, Failure> {
    let before = match std::fs::read(file) {
        Ok(text) => Some(serde_json::from_slice::<Counters>(&text).map_err(|error| {
            Failure::new(Exit::Failed, format!("{}: {error}", file.display()))
                .hint("give a file that an earlier `counters --delta` or `counters --json` wrote, or a new one")
        })?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::file("read", file, &error)),
    };
    let text = serde_json::to_vec_pretty(current).map_err(std::io::Error::from)?;
    replace(file, &text)?;
    let Some(before) = before else {
        out.hint(&format!(
            "{} did not exist: these are the counts since the driver's start",
            file.display()
        ));
        return Ok(current.clone());
    };
    let mut shown = current.clone();
    if before.started == current.started {
        subtract(&mut shown.counters, &before.counters);
    } else {
        out.warn("the driver was restarted meanwhile: these are the counts since then");
    }
    if before.started == current.started && before.generation == current.generation {
        subtract(&mut shown.rules, &before.rules);
    } else if !current.rules.is_empty() {
        out.warn("the policy was changed meanwhile: the hits are those since then");
    }
    Ok(shown)
}

fn subtract(current: &mut [Counter], before: &[Counter]) {
    for counter in current {
        let old = before
            .iter()
            .find(|old| old.name == counter.name)
            .map_or(0, |old| old.value);
        counter.value = counter.value.saturating_sub(old);
    }
}

const NAMES: &[Column] = &[
    Column::number("COUNT"),
    Column::text("COUNTER"),
    Column::text("MEANING"),
];
const RULES: &[Column] = &[Column::number("HITS"), Column::text("RULE")];

fn row(counter: &Counter, rule: bool) -> Vec<crate::table::Cell> {
    let meaning = COUNTERS
        .iter()
        .find(|(_, name, _)| *name == counter.name)
        .map_or("", |(_, _, meaning)| meaning);
    let mut row = vec![counter.value.to_string().into(), counter.name.as_str().into()];
    if !rule {
        row.push(meaning.into());
    }
    row
}
