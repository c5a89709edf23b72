//! `audit tail`: the records in order, and how many were lost.

use wskguard_abi::{AuditEntry, AuditReply, audit_flags};
use wskguard_core::audit::Happened;

use super::{AnyDriver, Context, Ending, directory};
use crate::{
    audit::{Cursor, Directory, Record},
    cli::TailArgs,
    driver::{AuditBatch, Error},
    exit::{Exit, Failure},
    host::Access,
    ntstatus,
    output::{Output, Style},
    table::{Cell, Column, Table},
    time,
};

pub(super) fn tail(context: &mut Context<'_, '_>, args: &TailArgs) -> Ending {
    let now = context.host.now();
    let mut driver = context.open(Access::Read)?;
    let (mut names, _) = directory(&mut driver)?;
    let choose = |entries: &[AuditEntry], names: &Directory| -> Vec<Record> {
        let later = entries
            .iter()
            .filter(|entry| args.since.is_none_or(|since| Cursor::of(entry) > since.0));
        let records = later.map(|entry| Record::new(entry, names));
        records
            .filter(|record| args.filter.iter().all(|filter| filter.matches(record)))
            .collect()
    };
    let mut table = Table::new(COLUMNS);
    let mut losses = Losses::default();

    let entries = present(&mut driver, now, &mut losses)?;
    let records = choose(&entries, &names);
    let skipped = args.last.map_or(0, |last| records.len().saturating_sub(last));
    print(
        context.out,
        &mut table,
        records.get(skipped..).unwrap_or_default(),
        &today(now),
    )?;
    losses.report(context.out);

    if !args.follow {
        return Ok(Exit::Ok);
    }
    loop {
        context.out.flush()?;
        let batch = match driver.wait_audit(0, u32::MAX) {
            Ok(batch) => batch,
            Err(Error::Status {
                status: ntstatus::CANCELLED,
                ..
            }) => return Ok(Exit::Ok),
            Err(error) => return Err(error.into()),
        };
        if batch.entries.iter().any(|entry| unknown(entry, &names)) {
            (names, _) = directory(&mut driver)?;
        }
        let entries = losses.take(batch);
        print(
            context.out,
            &mut table,
            &choose(&entries, &names),
            &today(context.host.now()),
        )?;
        losses.report(context.out);
    }
}

/// All records up to `end`, in order. As many as the rings hold; those that come meanwhile are left to the next read.
pub(super) fn present(driver: &mut AnyDriver, end: u64, losses: &mut Losses) -> Result<Vec<AuditEntry>, Failure> {
    let processors = driver.status()?.processors;
    let mut entries = Vec::new();
    let mut flags = audit_flags::FROM_OLDEST;
    let mut late = 0;
    // Each read begins with the next processor: when one after another has only what came later, nothing older is left.
    while late < processors {
        let page = losses.take(driver.read_audit(flags, u32::MAX)?);
        flags = 0;
        if page.is_empty() {
            break;
        }
        late = if page.iter().all(|entry| entry.time > end) {
            late + 1
        } else {
            0
        };
        entries.extend(page);
    }
    entries.sort_by_key(Cursor::of);
    Ok(entries)
}

/// Whether a record names a client or a policy that was not there when the names were read.
fn unknown(entry: &AuditEntry, names: &Directory) -> bool {
    u64::from(entry.generation) > names.generation || (entry.client != 0 && names.image(entry.client).is_empty())
}

/// What this reader lost so far.
#[derive(Debug, Default)]
pub(super) struct Losses {
    overwritten: u64,
    reported: u64,
}

impl Losses {
    /// The records of a batch, in order.
    fn take(&mut self, batch: AuditBatch) -> Vec<AuditEntry> {
        let AuditBatch {
            reply: AuditReply { overwritten, .. },
            mut entries,
        } = batch;
        self.overwritten = overwritten;
        entries.sort_by_key(Cursor::of);
        entries
    }

    fn report(&mut self, out: &mut Output<'_>) {
        let new = self.overwritten.saturating_sub(self.reported);
        if new != 0 {
            out.warn(&format!("{new} records were overwritten before they could be read"));
        }
        self.reported = self.overwritten;
    }
}

const COLUMNS: &[Column] = &[
    Column::text("TIME"),
    Column::text("CLIENT"),
    Column::text("ENDPOINT"),
    Column::text("REQUEST"),
    Column::text("VALUE"),
    Column::text("ACTION"),
    Column::text("WHY"),
];

fn print(out: &mut Output<'_>, table: &mut Table, records: &[Record], today: &str) -> std::io::Result<()> {
    if out.json {
        return records.iter().try_for_each(|record| out.element(record));
    }
    if records.is_empty() {
        return Ok(());
    }
    table.page(out, records.iter().map(|record| row(record, today)).collect())
}

fn today(now: u64) -> String {
    time::precise(now).split('T').next().unwrap_or_default().to_owned()
}

/// The time of day, to the millisecond; on another day than today the day too, to the second.
fn when(time: &str, today: &str) -> String {
    let part = |range| time.get(range).unwrap_or_default();
    if part(0..10) == today {
        part(11..23).to_owned()
    } else {
        format!("{} {}", part(0..10), part(11..19))
    }
}

fn row(record: &Record, today: &str) -> Vec<Cell> {
    let client = if record.client == 0 {
        "-".to_owned()
    } else if record.image.is_empty() {
        format!("#{}", record.client)
    } else {
        record.image.clone()
    };
    let loud = record.kind != "decision" && Happened::from_u32(record.code).is_some_and(Happened::is_loud);
    let style = match record.action.as_str() {
        _ if loud => Style::Bad,
        "denied" | "refused" => Style::Bad,
        "forwarded" => Style::Plain,
        _ => Style::Warn,
    };
    vec![
        when(&record.time, today).into(),
        client.into(),
        record.endpoint.as_deref().unwrap_or("-").into(),
        what(record).into(),
        value(record).into(),
        Cell::styled(record.action.as_str(), style),
        why(record).into(),
    ]
}

fn what(record: &Record) -> String {
    match (record.kind.as_str(), &record.local) {
        ("decision", Some(local)) => format!("bind {local}"),
        ("decision", None) => format!("{} {}", record.request, record.option),
        (kind, _) => kind.to_owned(),
    }
}

/// What was asked, and what became of it.
fn value(record: &Record) -> String {
    match (record.asked, record.new) {
        (Some(asked), Some(new)) if asked != new => format!("{asked}→{new}"),
        (Some(value), _) | (None, Some(value)) => value.to_string(),
        (None, None) => "-".to_owned(),
    }
}

/// What was asked, the values, and who decided why.
#[cfg(feature = "top")]
pub(crate) fn columns(record: &Record) -> [String; 3] {
    [what(record), value(record), why(record)]
}

/// Who decided; where that does not say it all, the reason and the status.
fn why(record: &Record) -> String {
    let rule = match (&record.rule, record.rule_index) {
        (Some(name), _) => name.clone(),
        (None, Some(index)) => format!("rule {index} of generation {}", record.generation),
        (None, None) => String::new(),
    };
    let mut parts = vec![rule];
    if record.reason != "policy" {
        parts.push(record.reason.clone());
    }
    let expected = matches!(
        record.status.as_str(),
        "STATUS_SUCCESS" | "STATUS_PENDING" | "STATUS_ACCESS_DENIED"
    );
    if !expected {
        parts.push(record.status.clone());
    }
    if record.flags.iter().any(|flag| flag == "not-enforced") {
        parts.push("(audit mode)".to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}
