//! The conformance vectors of layers `wsk` and `transport`, run live: directly where they state facts about WSK, and through the filter, in strict
//! mode, where what breaks a rule must also be classified and refused as the row recommends.

use std::sync::OnceLock;

use anyhow::{Result, bail};
use wskguard_vectors::format::Grade;
use wskguard_vectors::{Layer, Selection, Vector, Verdict, format, run_vectors};

use crate::context::{Context, skip};
use crate::guard::PERMISSIVE;
use crate::live::Live;
use crate::probe::Npi;
use crate::runner::{Body, Paths, Test};

const ROWS: &str = include_str!("../../../fixtures/vectors.jsonl");
const STRICT: &str = "schema = 1\nname = \"strict\"\nsemantics = \"strict\"\naudit = \"all\"\n";

fn rows() -> &'static [Vector] {
    static PARSED: OnceLock<Vec<Vector>> = OnceLock::new();
    PARSED.get_or_init(|| {
        let all = ROWS.lines().filter_map(|line| format::parse(line).ok());
        all.filter(|vector| matches!(vector.layer, Layer::Wsk | Layer::Transport))
            .collect()
    })
}

/// A test for each row.
pub(crate) fn tests() -> impl Iterator<Item = Test> {
    rows().iter().map(|vector| Test {
        category: "vectors",
        name: &vector.id,
        purpose: "a conformance vector",
        requirement: &vector.source,
        paths: Paths::Both,
        limit: Some(60),
        body: Body::Vector(vector),
    })
}

/// Runs one row in every combination it holds for.
pub(crate) fn run(context: &Context, vector: &Vector) -> Result<()> {
    match verdict(context, vector)? {
        // No fact about Windows: worth knowing, not a failure.
        Verdict::Fail(why) if matches!(vector.grade, Grade::Inferred) => {
            skip(format!("inferred, and not so here: {why}"))
        }
        Verdict::Fail(why) => bail!("{why}"),
        Verdict::Unsupported(why) => skip(why),
        Verdict::Pass => Ok(()),
    }
}

/// What comes of one row. An error if its sessions did not end well.
pub(crate) fn verdict(context: &Context, vector: &Vector) -> Result<Verdict> {
    if context.npi() == Npi::Wskguard {
        context.guard()?.load(STRICT)?;
    }
    let mut live = Live::new(context);
    let report = run_vectors(vec![vector.clone()], &Selection::default(), &mut live);
    let end = live.finish();
    if context.npi() == Npi::Wskguard {
        context.guard()?.load(PERMISSIVE)?;
    }
    match report.rows.into_iter().next().map(|row| row.verdict) {
        Some(Verdict::Fail(why)) => Ok(Verdict::Fail(why)),
        Some(verdict) => end.map(|()| verdict),
        None => bail!("a row that says nothing"),
    }
}
