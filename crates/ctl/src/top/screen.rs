//! One look, drawn.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table},
};

use super::model::{Look, losses};
use crate::{audit::Record, command::record_columns, output::count, table::printable, time};

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);

pub(super) fn draw(frame: &mut Frame<'_>, look: &Look, paused: bool) {
    let [head, middle, below, foot] = Layout::vertical([
        Constraint::Length(5),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(32)]).areas(middle);
    summary(frame, head, look);
    endpoints(frame, left, look);
    rates(frame, right, look);
    records(frame, below, look);
    let state = if paused { "paused  " } else { "" };
    let line = match &look.trouble {
        Some(trouble) => Line::from(vec!["  ".into(), trouble.as_str().red()]),
        None => Line::from(format!("  {state}q quit   p pause")).dim(),
    };
    frame.render_widget(line, foot);
}

fn summary(frame: &mut Frame<'_>, area: Rect, look: &Look) {
    let status = &look.status;
    let policy = &status.policy;
    let name = printable(policy.name.as_deref().unwrap_or("(built in)"));
    let mode = if policy.mode == "enforce" {
        policy.mode.as_str().green()
    } else {
        policy.mode.as_str().yellow()
    };
    let state = match (status.kill_switch, status.draining, status.locked) {
        (true, ..) => "off".red(),
        (_, true, _) => "draining".yellow(),
        (.., true) => "running, locked".green(),
        _ => "running".green(),
    };
    let bypassing = status.clients.iter().filter(|client| client.via == "bypassing").count();
    let lost = losses(&status.audit);
    let alarm = |number: u64, text: String| if number == 0 { Span::raw(text) } else { text.red() };
    let clients = (status.clients.len() - bypassing) as u64;
    let lines = vec![
        Line::from(vec![
            state,
            format!(" for {}, ", time::span(look.uptime)).into(),
            format!(
                "{}, {}",
                count(status.endpoints.live, "endpoint"),
                count(clients, "client")
            )
            .into(),
            alarm(bypassing as u64, format!(", {bypassing} bypassing")),
        ]),
        Line::from(vec![
            format!("policy {name}, generation {}: ", policy.generation).into(),
            mode,
            format!(", semantics {}, default {}", policy.semantics, policy.default).into(),
        ]),
        Line::from(vec![
            format!(
                "audit {} decided, {} written, ",
                status.audit.decided, status.audit.written
            )
            .into(),
            alarm(lost, format!("{lost} lost")),
        ]),
    ];
    let title = format!(" wskguard {} ", status.driver);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title.bold())), area);
}

fn endpoints(frame: &mut Frame<'_>, area: Rect, look: &Look) {
    let row = |busy: &super::model::Busy| {
        let endpoint = &busy.endpoint;
        let client = if endpoint.image.is_empty() {
            format!("#{}", endpoint.client)
        } else {
            printable(&endpoint.image)
        };
        let refused = Cell::from(Line::from(endpoint.refused.to_string()).right_aligned());
        Row::new([
            Cell::from(endpoint.id.clone()),
            Cell::from(client),
            Cell::from(endpoint.local.clone().unwrap_or_else(|| "-".to_owned())),
            right(busy.per_second),
            right(endpoint.decided),
            if endpoint.refused == 0 {
                refused
            } else {
                refused.style(Color::Red)
            },
        ])
    };
    let widths = [
        Constraint::Length(10),
        Constraint::Length(12),
        Constraint::Fill(1),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(7),
    ];
    let titles = ["ENDPOINT", "CLIENT", "LOCAL"].map(Cell::from).into_iter();
    let numbers = ["PER S", "DECIDED", "REFUSED"].map(|title| Cell::from(Line::from(title).right_aligned()));
    let table = Table::new(look.endpoints.iter().map(row), widths)
        .header(Row::new(titles.chain(numbers)).style(HEAD))
        .block(Block::bordered().title(" busiest endpoints "));
    frame.render_widget(table, area);
}

fn right(number: u64) -> Cell<'static> {
    Cell::from(Line::from(number.to_string()).right_aligned())
}

fn rates(frame: &mut Frame<'_>, area: Rect, look: &Look) {
    let [graph, list] = Layout::vertical([Constraint::Length(5), Constraint::Fill(1)]).areas(area);
    let now = look.history.last().copied().unwrap_or(0);
    let block = Block::new()
        .borders(Borders::TOP | Borders::RIGHT)
        .title(format!(" {now} requests a second "));
    let width = usize::from(block.inner(graph).width);
    let recent = look.history.iter().skip(look.history.len().saturating_sub(width));
    frame.render_widget(Sparkline::default().block(block).data(recent).style(Color::Cyan), graph);
    let rows = look
        .rates
        .iter()
        .map(|(name, rate)| Row::new([right(*rate), Cell::from(name.clone())]));
    let block = Block::new()
        .borders(Borders::TOP | Borders::RIGHT | Borders::BOTTOM)
        .title(" counters, per second ");
    frame.render_widget(
        Table::new(rows, [Constraint::Length(7), Constraint::Fill(1)]).block(block),
        list,
    );
}

fn records(frame: &mut Frame<'_>, area: Rect, look: &Look) {
    let block = Block::bordered().title(" audit ");
    let fit = usize::from(block.inner(area).height.saturating_sub(1));
    let newest = look.records.iter().skip(look.records.len().saturating_sub(fit));
    let row = |record: &Record| {
        let color = match record.action.as_str() {
            "denied" | "refused" => Color::Red,
            "forwarded" => Color::Reset,
            _ => Color::Yellow,
        };
        let [what, value, why] = record_columns(record).map(|text| printable(&text));
        let client = if record.image.is_empty() {
            format!("#{}", record.client)
        } else {
            printable(&record.image)
        };
        let time = record.time.get(11..23).unwrap_or_default().to_owned();
        Row::new([
            Cell::from(time),
            Cell::from(client),
            Cell::from(what),
            Cell::from(value),
            Cell::from(record.action.clone()).style(color),
            Cell::from(why),
        ])
    };
    let widths = [
        Constraint::Length(12),
        Constraint::Length(12),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(14),
        Constraint::Fill(3),
    ];
    let table = Table::new(newest.map(row), widths)
        .header(Row::new(["TIME", "CLIENT", "REQUEST", "VALUE", "ACTION", "WHY"]).style(HEAD))
        .block(block);
    frame.render_widget(table, area);
}
