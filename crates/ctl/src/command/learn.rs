//! `policy learn`: a draft from what was recorded. It is text for a person to read; nothing is loaded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use wskguard_core::{
    Category, RequestKind,
    policy::{AddressClass, BindInput, Sharing},
    status,
};
use wskguard_policy::Observed;

use super::{Context, Ending, audit, directory, replace};
use crate::{
    audit::Record,
    cli::{LearnArgs, units},
    exit::{Exit, Failure},
    host::Access,
    names,
};

/// `policy learn`, for scripts.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Learned {
    /// The draft, as TOML.
    pub(crate) policy: String,
    /// Decisions that it was learned from.
    pub(crate) decisions: u64,
    /// The file that they were read from; null: the driver's records.
    pub(crate) from: Option<String>,
    /// The file that the draft was written to, if any.
    pub(crate) output: Option<String>,
}

pub(super) fn run(context: &mut Context<'_, '_>, args: &LearnArgs) -> Ending {
    let records = match &args.from {
        Some(file) => saved(file)?,
        None => recorded(context, args)?,
    };
    let decisions = records.iter().filter(|record| record.kind == "decision");
    let observed: Vec<Observed<'_>> = decisions.filter_map(observed).collect();
    if observed.is_empty() {
        return Err(Failure::new(Exit::Failed, "there are no decisions to learn from")
            .hint("a policy with `audit = \"all\"` records every request"));
    }
    let count = observed.len();
    let draft = wskguard_policy::learn(&args.name, observed);
    if let Some(file) = &args.output {
        replace(file, draft.as_bytes())?;
    }
    if context.out.json {
        let named = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
        context.out.document(&Learned {
            policy: draft,
            decisions: count as u64,
            from: named(&args.from),
            output: named(&args.output),
        })?;
        return Ok(Exit::Ok);
    }
    if args.output.is_none() {
        context.out.raw(draft.as_bytes())?;
    }
    context.out.hint(&format!(
        "learned from {count} decisions; read the draft before `policy load`"
    ));
    Ok(Exit::Ok)
}

/// Records that `audit tail --json` printed.
fn saved(file: &Path) -> Result<Vec<Record>, Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let record = |(line, number): (&str, u32)| {
        serde_json::from_str(line).map_err(|error| {
            Failure::new(Exit::Failed, format!("{}:{number}: {error}", file.display()))
                .hint("give what `wskguardctl audit tail --json` printed")
        })
    };
    lines.map(record).collect()
}

/// Records of the driver: those that are there, or those that come in the given time.
fn recorded(context: &mut Context<'_, '_>, args: &LearnArgs) -> Result<Vec<Record>, Failure> {
    const POLL: std::time::Duration = std::time::Duration::from_millis(500);
    let mut driver = context.open(Access::Read)?;
    let mut losses = audit::Losses::default();
    let mut entries = audit::present(&mut driver, context.host.now(), &mut losses)?;
    if let Some(during) = args.during {
        let end = context.host.now().saturating_add(units(during));
        context
            .out
            .progress(&format!("reading records for {}", crate::time::span(units(during))));
        while context.host.now() < end {
            context.host.sleep(POLL);
            entries.extend(driver.read_audit(0, u32::MAX)?.entries);
        }
    }
    let (names, _) = directory(&mut driver)?;
    Ok(entries.iter().map(|entry| Record::new(entry, &names)).collect())
}

/// A record as a request that can be learned from; none when it has a word that is not known.
fn observed(record: &Record) -> Option<Observed<'_>> {
    let request = match record.request.as_str() {
        "set" => RequestKind::Set,
        "get" => RequestKind::Get,
        "ioctl" => RequestKind::Ioctl,
        "bind" => RequestKind::Bind,
        _ => return None,
    };
    let categories = [
        Category::Basic,
        Category::Listen,
        Category::Connection,
        Category::Datagram,
        Category::Stream,
    ];
    let category = names::CATEGORIES.iter().position(|&word| word == record.category)?;
    Some(Observed {
        request,
        level: record.level,
        code: record.code,
        category: categories.get(category).copied()?,
        client: &record.image,
        value: record.asked,
        bind: (request == RequestKind::Bind).then(|| bind(record)),
        status: nt_status(&record.status),
        when: &record.time,
    })
}

/// What a record tells of a bind: the sharing options are not among it.
fn bind(record: &Record) -> BindInput {
    let local: Option<std::net::SocketAddr> = record.local.as_deref().and_then(|local| local.parse().ok());
    let address = match local.map(|local| local.ip()) {
        Some(ip) if ip.is_unspecified() => AddressClass::Wildcard,
        Some(ip) if ip.is_loopback() => AddressClass::Loopback,
        _ => AddressClass::Specific,
    };
    BindInput {
        port: record.port,
        address,
        sharing: Sharing::default(),
    }
}

fn nt_status(text: &str) -> u32 {
    let number = || {
        text.strip_prefix("0x")
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    status::status_by_name(text)
        .map(|status| status.0)
        .or_else(number)
        .unwrap_or_default()
}
