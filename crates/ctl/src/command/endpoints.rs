//! `endpoints`: list them in bounded memory, show one, report what changes.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use wskguard_abi::EndpointInfo;

use super::{AnyDriver, Context, Ending};
use crate::{
    cli::EndpointSelection,
    exit::{Exit, Failure},
    host::Access,
    names,
    output::{Output, Style},
    table::{Cell, Column, Table},
    view::{Client, Endpoint},
};

/// A change, as `endpoints watch --json` prints it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Change {
    /// `opened`, `closed` or `changed`.
    pub(crate) change: &'static str,
    /// The endpoint; as it last was, if it is closed.
    pub(crate) endpoint: Endpoint,
}

pub(super) fn list(context: &mut Context<'_, '_>, selection: &EndpointSelection) -> Ending {
    let mut driver = context.open(Access::Read)?;
    let images = images(&mut driver)?;
    let mut table = Table::new(COLUMNS);
    let mut endpoints = driver.endpoints();
    let mut any = false;
    loop {
        let page = endpoints.next_page()?;
        if page.is_empty() {
            break;
        }
        let chosen: Vec<Endpoint> = page
            .iter()
            .map(|info| view(info, &images))
            .filter(|e| selected(e, selection))
            .collect();
        any |= !chosen.is_empty();
        if context.out.json {
            chosen.iter().try_for_each(|endpoint| context.out.element(endpoint))?;
        } else if !chosen.is_empty() {
            table.page(context.out, chosen.iter().map(row).collect())?;
        }
    }
    if !any && !context.out.json {
        context.out.hint("there is no such endpoint");
    }
    Ok(Exit::Ok)
}

pub(super) fn show(context: &mut Context<'_, '_>, id: u64) -> Ending {
    let mut driver = context.open(Access::Read)?;
    let Some(info) = driver.endpoint(id)? else {
        return Err(
            Failure::new(Exit::Failed, format!("there is no endpoint {}", names::id(id)))
                .hint("ids are never reused: it was closed, or never was"),
        );
    };
    let endpoint = view(&info, &images(&mut driver)?);
    if context.out.json {
        context.out.document(&endpoint)?;
    } else {
        details(context.out, &endpoint)?;
    }
    Ok(Exit::Ok)
}

pub(super) fn watch(
    context: &mut Context<'_, '_>,
    selection: &EndpointSelection,
    interval: Duration,
    count: Option<u64>,
) -> Ending {
    let mut known: HashMap<u64, EndpointInfo> = HashMap::new();
    let mut table = Table::new(WATCH_COLUMNS);
    let mut looks = 0;
    loop {
        let mut driver = context.open(Access::Read)?;
        let images = images(&mut driver)?;
        let now: HashMap<u64, EndpointInfo> = driver
            .endpoints()
            .map(|info| info.map(|info| (info.id, info)))
            .collect::<Result<_, _>>()?;
        // An open handle would keep the driver from stopping while this sleeps.
        drop(driver);
        let changes = changes(&known, &now).into_iter().map(|(change, info)| Change {
            change,
            endpoint: view(info, &images),
        });
        let changes: Vec<Change> = changes.filter(|change| selected(&change.endpoint, selection)).collect();
        if context.out.json {
            changes.iter().try_for_each(|change| context.out.element(change))?;
        } else if !changes.is_empty() {
            table.page(context.out, changes.iter().map(change_row).collect())?;
        }
        context.out.flush()?;
        known = now;
        looks += 1;
        if count.is_some_and(|count| looks >= count) {
            return Ok(Exit::Ok);
        }
        context.host.sleep(interval);
    }
}

/// What is new, gone or different, in the order of ids.
fn changes<'a>(
    before: &'a HashMap<u64, EndpointInfo>,
    now: &'a HashMap<u64, EndpointInfo>,
) -> Vec<(&'static str, &'a EndpointInfo)> {
    let current = now.iter().filter_map(|(id, info)| match before.get(id) {
        None => Some(("opened", info)),
        Some(old) if old != info => Some(("changed", info)),
        Some(_) => None,
    });
    let gone = before
        .iter()
        .filter(|(id, _)| !now.contains_key(id))
        .map(|(_, info)| ("closed", info));
    let mut changes: Vec<_> = current.chain(gone).collect();
    changes.sort_by_key(|(_, info)| info.id);
    changes
}

fn images(driver: &mut AnyDriver) -> Result<HashMap<u32, String>, Failure> {
    Ok(driver
        .clients()?
        .iter()
        .map(Client::from)
        .map(|client| (client.id, client.image))
        .collect())
}

fn view(info: &EndpointInfo, images: &HashMap<u32, String>) -> Endpoint {
    Endpoint::new(info, images.get(&info.client).map_or("", String::as_str))
}

fn selected(endpoint: &Endpoint, selection: &EndpointSelection) -> bool {
    let client =
        |wanted: &String| wanted.eq_ignore_ascii_case(&endpoint.image) || *wanted == endpoint.client.to_string();
    selection.client.as_ref().is_none_or(client)
        && selection
            .category
            .as_ref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(&endpoint.category))
        && selection.port.is_none_or(|wanted| wanted == endpoint.port)
}

const COLUMNS: &[Column] = &[
    Column::text("ENDPOINT"),
    Column::text("CATEGORY"),
    Column::text("PROTO"),
    Column::text("LOCAL"),
    Column::text("PHASE"),
    Column::text("CLIENT"),
    Column::number("DECIDED"),
    Column::number("REFUSED"),
];

fn row(endpoint: &Endpoint) -> Vec<Cell> {
    let client = if endpoint.image.is_empty() {
        format!("#{}", endpoint.client)
    } else {
        endpoint.image.clone()
    };
    vec![
        endpoint.id.as_str().into(),
        endpoint.category.as_str().into(),
        endpoint.protocol.as_str().into(),
        endpoint.local.as_deref().unwrap_or("-").into(),
        endpoint.phase.as_str().into(),
        client.into(),
        endpoint.decided.to_string().into(),
        Cell::alarm(endpoint.refused),
    ]
}

const WATCH_COLUMNS: &[Column] = &[
    Column::text("CHANGE").at_least(7),
    Column::text("ENDPOINT"),
    Column::text("CATEGORY"),
    Column::text("LOCAL"),
    Column::text("PHASE"),
    Column::text("CLIENT"),
    Column::number("DECIDED"),
    Column::number("REFUSED"),
];

fn change_row(change: &Change) -> Vec<Cell> {
    let style = match change.change {
        "opened" => Style::Good,
        "closed" => Style::Dim,
        _ => Style::Plain,
    };
    let mut cells = row(&change.endpoint);
    cells.remove(2);
    cells.insert(0, Cell::styled(change.change, style));
    cells
}

fn details(out: &mut Output<'_>, endpoint: &Endpoint) -> std::io::Result<()> {
    let or_unset = |value: Option<u32>| value.map_or_else(|| "not set".to_owned(), |bytes| format!("{bytes} bytes"));
    let client = format!("{} (client {})", endpoint.image, endpoint.client);
    let fields = [
        ("endpoint", endpoint.id.clone()),
        ("client", crate::table::printable(client.trim_start())),
        (
            "socket",
            format!(
                "{}, {} {} {}",
                endpoint.category, endpoint.family, endpoint.socket_type, endpoint.protocol
            ),
        ),
        (
            "local",
            endpoint.local.clone().unwrap_or_else(|| "not bound".to_owned()),
        ),
        ("phase", endpoint.phase.clone()),
        ("semantics", endpoint.semantics.clone()),
        (
            "options",
            if endpoint.options.is_empty() {
                "none on".to_owned()
            } else {
                endpoint.options.join(" ")
            },
        ),
        ("SO_RCVBUF", or_unset(endpoint.rcvbuf)),
        ("SO_SNDBUF", or_unset(endpoint.sndbuf)),
        (
            "linger",
            endpoint
                .linger
                .map_or_else(|| "off".to_owned(), |seconds| format!("{seconds} s")),
        ),
        (
            "process",
            endpoint
                .process
                .map_or_else(|| "none given".to_owned(), |id| id.to_string()),
        ),
        (
            "created",
            crate::time::parse(&endpoint.created)
                .map(crate::time::plain)
                .unwrap_or_default(),
        ),
        (
            "decided",
            format!("{}, of which {} refused", endpoint.decided, endpoint.refused),
        ),
    ];
    for (name, value) in fields {
        out.field(10, name, Style::Plain, &value)?;
    }
    Ok(())
}
