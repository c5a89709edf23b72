//! What a decision costs, and that rules for other options do not add to it. `cargo bench -p wskguard-policy` fails when they do.

use std::hint::black_box;
use std::time::Instant;

use wskguard_core::policy::{Image, MatchInput};
use wskguard_core::{Category, RequestKind, SOL_SOCKET};
use wskguard_policy::{Action, Members, Policy, Ranges, Rule, Scope, encode};

const SO_RCVBUF: u32 = 0x1002;
/// `FIELD_NEW`.
const NEW: u8 = 1;

/// A rule for one value of one option.
fn rule(number: usize, code: u32) -> Rule {
    Rule {
        name: format!("rule {number}"),
        requests: 1,
        scope: Scope::Option {
            level: SOL_SOCKET,
            code,
        },
        conditions: vec![(NEW, Members::Ranges(Ranges::one(1_000_000 + number as u64)))],
        action: Action::Deny(0xC000_0022),
        ..Rule::default()
    }
}

/// `rules` rules, `relevant` of them, evenly spread, for `SO_RCVBUF`.
fn image(rules: usize, relevant: usize) -> Vec<u8> {
    let every = rules.checked_div(relevant).unwrap_or(usize::MAX).max(1);
    let code = |number: usize| match number % every {
        0 if relevant != 0 => SO_RCVBUF,
        _ => 0x10_0000 + u32::try_from(number).unwrap(),
    };
    let rules = (0..rules).map(|number| rule(number, code(number))).collect();
    encode(&Policy {
        name: "bench".to_owned(),
        rules,
        ..Policy::default()
    })
    .unwrap()
    .0
}

/// Nanoseconds for one decision, in each of `cases`: the least of many rounds that take turns, so that what else the machine does
/// counts little, and for all alike.
fn nanoseconds(cases: &[(Image<'_>, u64)]) -> Vec<f64> {
    const TURNS: u32 = 20_000;
    let round = |(image, value): &(Image<'_>, u64)| {
        let mut input = MatchInput::new(RequestKind::Set, SOL_SOCKET, SO_RCVBUF, Category::Connection);
        input.new_value = Some(*value);
        let start = Instant::now();
        for _ in 0..TURNS {
            black_box(image.evaluate(black_box(&input)));
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS)
    };
    let mut least = vec![f64::INFINITY; cases.len()];
    for _ in 0..200 {
        for (least, case) in least.iter_mut().zip(cases) {
            *least = least.min(round(case));
        }
    }
    least
}

fn main() {
    const FIRST: u64 = 1_000_000;
    let cases = [
        (0, 0, 0),
        (10_000, 0, 0),
        (10, 10, FIRST),
        (10, 10, 0),
        (10_000, 10, 0),
        (40_000, 10, 0),
    ];
    let images = cases.map(|(rules, relevant, _)| image(rules, relevant));
    let parsed: Vec<_> = images
        .iter()
        .zip(cases)
        .map(|(bytes, (_, _, value))| (Image::parse(bytes).unwrap(), value))
        .collect();
    let costs = nanoseconds(&parsed);
    for (((rules, relevant, value), bytes), cost) in cases.iter().zip(&images).zip(&costs) {
        let what = if *value == FIRST {
            "the first matches"
        } else {
            "none matches"
        };
        println!(
            "{rules:>6} rules ({:>7} bytes), {relevant:>2} for the option, {what:<17} {cost:>7.1} ns",
            bytes.len()
        );
    }
    let ratio = costs[4] / costs[3];
    println!("10 of 10 000 rules cost {ratio:.2} times what 10 of 10 do");
    assert!(ratio <= 1.5, "rules for other options cost time");
}
