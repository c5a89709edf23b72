//! `clients`: which drivers go through wskguard, and which had to bypass it.

use super::{Context, Ending};
use crate::{
    exit::Exit,
    host::Access,
    output::{Output, Style},
    table::{Cell, Column, Table},
    time,
    view::Client,
};

/// What to do when no client is attached.
pub(super) const NOBODY: &str =
    "no client is attached: a driver goes through wskguard when it links the shim or attaches to wskguard's NPI";

pub(super) fn run(context: &mut Context<'_, '_>) -> Ending {
    let clients: Vec<Client> = context
        .open(Access::Read)?
        .clients()?
        .iter()
        .map(Client::from)
        .collect();
    if context.out.json {
        for client in &clients {
            context.out.element(client)?;
        }
    } else if clients.is_empty() {
        context.out.hint(NOBODY);
    } else {
        table(context.out, &clients)?;
    }
    Ok(Exit::Ok)
}

/// The clients, for people.
pub(super) fn table(out: &mut Output<'_>, clients: &[Client]) -> std::io::Result<()> {
    const COLUMNS: &[Column] = &[
        Column::number("CLIENT"),
        Column::text("IMAGE"),
        Column::text("VIA"),
        Column::text("WSK"),
        Column::number("SOCKETS"),
        Column::text("ATTACHED"),
    ];
    let row = |client: &Client| {
        let style = if client.via == "bypassing" {
            Style::Bad
        } else {
            Style::Plain
        };
        let attached = time::parse(&client.attached).map(time::plain).unwrap_or_default();
        vec![
            client.id.to_string().into(),
            Cell::from(if client.image.is_empty() {
                "(unknown)"
            } else {
                &client.image
            }),
            Cell::styled(client.via.as_str(), style),
            client.wsk.as_str().into(),
            client.sockets.to_string().into(),
            attached.into(),
        ]
    };
    Table::new(COLUMNS).page(out, clients.iter().map(row).collect())
}
