//! The screen, drawn into a buffer.

use ratatui::{Terminal, backend::TestBackend};

#[path = "../../tests/common/picture.rs"]
mod picture;

use super::{
    model::{Busy, Look},
    screen::draw,
};
use crate::{
    audit::Record,
    time::SECOND,
    view::{Books, Client, Endpoint, EndpointSummary, PolicySummary, Status, Transparent},
};

fn client(id: u32, image: &str, via: &str) -> Client {
    Client {
        id,
        image: image.into(),
        via: via.into(),
        module: String::new(),
        wsk: "1.0".into(),
        sockets: 1,
        attached: String::new(),
    }
}

fn look() -> Look {
    let status = Status {
        driver: "0.1.0".into(),
        contract: 1,
        windows: "10.0.19041".into(),
        started: String::new(),
        draining: false,
        locked: false,
        kept: crate::view::Kept {
            stored: true,
            turned_off: false,
            last_known_good: false,
            damaged: false,
            error: None,
            unhealthy_starts: 0,
        },
        kill_switch: false,
        policy: PolicySummary {
            name: Some("port hijack hardening".into()),
            generation: 4,
            hash: String::new(),
            built_in: false,
            mode: "enforce".into(),
            semantics: "compat".into(),
            default: "allow".into(),
            rules: 3,
        },
        transparent: Transparent {
            state: "off".into(),
            why: None,
        },
        endpoints: EndpointSummary { live: 41, most: 65536 },
        audit: Books {
            decided: 12_034,
            written: 12_000,
            suppressed_endpoint_budget: 20,
            suppressed_client_budget: 0,
            not_wanted: 10,
            dropped: 4,
        },
        clients: vec![client(1, "msquic.sys", "npi"), client(2, "wintun.sys", "bypassing")],
    };
    let info = |id, decided, refused| wskguard_abi::EndpointInfo {
        id,
        client: 1,
        family: 2,
        category: 1,
        port: 443,
        decided,
        refused,
        ..wskguard_abi::EndpointInfo::default()
    };
    let busy = |id, per_second, decided, refused| Busy {
        endpoint: Endpoint::new(&info(id, decided, refused), "msquic.sys"),
        per_second,
    };
    let record = Record {
        time: "2025-06-01T12:00:01.0000000Z".into(),
        kind: "decision".into(),
        image: "msquic.sys".into(),
        request: "set".into(),
        option: "SO_RCVBUF".into(),
        asked: Some(131_072),
        new: Some(65_536),
        action: "clamped".into(),
        rule: Some("rcvbuf-ceiling".into()),
        status: "STATUS_SUCCESS".into(),
        ..Record::default()
    };
    Look {
        status,
        uptime: 11_520 * SECOND,
        rates: vec![
            ("requests_set".into(), 812),
            ("forwarded".into(), 800),
            ("clamped".into(), 12),
        ],
        history: (0..40).map(|look| look * look % 97 + 700).chain([812]).collect(),
        endpoints: vec![busy(0x100_0001, 800, 90_412, 0), busy(0x100_0002, 12, 1_042, 17)],
        records: vec![record],
        trouble: None,
    }
}

fn screen(width: u16, height: u16, look: &Look, paused: bool) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, look, paused)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_look() {
    insta::assert_snapshot!(screen(100, 24, &look(), false));
}

/// The screen with its colours, as a terminal is told of them.
fn coloured(width: u16, height: u16, look: &Look) -> String {
    use std::fmt::Write as _;

    use ratatui::style::{Color, Modifier};

    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, look, false)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(width)) {
        for cell in row {
            let color = match cell.fg {
                Color::Red => "31",
                Color::Yellow => "33",
                Color::Cyan => "36",
                _ => "39",
            };
            let bold = if cell.modifier.contains(Modifier::BOLD) {
                ";1"
            } else {
                ""
            };
            let dim = if cell.modifier.contains(Modifier::DIM) {
                ";2"
            } else {
                ""
            };
            write!(text, "\x1b[0;{color}{bold}{dim}m{}", cell.symbol()).unwrap();
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

#[test]
fn the_picture_in_the_documents() {
    picture::same("top", &coloured(100, 24, &look()));
}

#[test]
fn trouble_is_shown() {
    let look = Look {
        trouble: Some("the driver is not loaded".into()),
        ..look()
    };
    assert!(screen(100, 24, &look, true).contains("the driver is not loaded"));
}

#[test]
fn no_size_is_too_small() {
    for size in [(1, 1), (20, 5), (40, 60), (300, 100)] {
        screen(size.0, size.1, &look(), false);
    }
}

#[test]
fn rates_are_differences_between_looks() {
    use wskguard_abi::{AuditReply, Code, CountersReply, EndpointInfo, Header, ListReply, PolicyReply, StatusReply};
    use zerocopy::IntoBytes;

    use crate::{host::Recording, transport::Exchange};

    let exchange = |code, parts: &[&[u8]]| Exchange {
        code,
        input: None,
        reply: Ok(parts.concat()),
    };
    let replies = |requests: u64, decided: u64| {
        let status = StatusReply {
            header: Header::of::<StatusReply>(),
            ..StatusReply::default()
        };
        let policy = PolicyReply {
            header: Header::of::<PolicyReply>(),
            ..PolicyReply::default()
        };
        let clients = ListReply {
            header: Header::of::<ListReply>(),
            ..ListReply::default()
        };
        let audit = AuditReply {
            header: Header::of::<AuditReply>(),
            ..AuditReply::default()
        };
        let counters = CountersReply {
            header: Header::of::<CountersReply>(),
            count: 1,
            total: 1,
            ..CountersReply::default()
        };
        let element_size = u32::try_from(size_of::<EndpointInfo>()).unwrap();
        let list = ListReply {
            header: Header::of::<ListReply>(),
            next: 0,
            count: 1,
            element_size,
        };
        let endpoint = EndpointInfo {
            id: 1,
            decided,
            ..EndpointInfo::default()
        };
        [
            exchange(Code::QueryStatus, &[status.as_bytes()]),
            exchange(Code::GetPolicy, &[policy.as_bytes()]),
            exchange(Code::ListClients, &[clients.as_bytes()]),
            exchange(Code::ReadAudit, &[audit.as_bytes()]),
            exchange(Code::QueryCounters, &[counters.as_bytes(), requests.as_bytes()]),
            exchange(Code::ListEndpoints, &[list.as_bytes(), endpoint.as_bytes()]),
            exchange(Code::ReadAudit, &[audit.as_bytes()]),
        ]
    };
    let mut host = Recording::new(replies(10, 5).into_iter().chain(replies(30, 11)));
    host.now = SECOND;
    let mut follower = super::model::Follower::default();
    let first = follower.look(&mut host).unwrap();
    assert!(first.rates.is_empty() && first.history == [0] && first.endpoints[0].per_second == 0);
    host.now += 2 * SECOND;
    let second = follower.look(&mut host).unwrap();
    assert_eq!(second.rates, [("requests_set".to_owned(), 10)]);
    assert_eq!((second.history, second.endpoints[0].per_second), (vec![0, 10], 3));
}
