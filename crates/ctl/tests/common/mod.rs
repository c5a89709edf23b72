//! A driver made of recorded replies, and a command line run against it, as one text.

use clap::Parser;
use wskguard_abi::{
    AuditEntry, AuditReply, ClientInfo, Code, CountersReply, DrainReply, EndpointInfo, Header, ListReply, PolicyReply,
    StatusReply, VersionReply, client_flags, option_bits,
};
use wskguard_core::{
    SOL_SOCKET,
    audit::{FLAG_HAS_ASKED, FLAG_HAS_NEW, FLAG_HAS_OLD, Kind},
    status::Reason,
};
use wskguardctl::{cli::Cli, host::Recording, output::Output, time::SECOND, transport::Exchange};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// 2025-06-01T12:00:00Z.
pub(crate) const STARTED: u64 = 133_932_528_000_000_000;
/// 3 h 12 min later.
pub(crate) const NOW: u64 = STARTED + 11_520 * SECOND;

/// Files of tests are in a folder of their own, which is the current one, so that their names are the same everywhere.
pub(crate) fn scratch() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::env::set_current_dir(env!("CARGO_TARGET_TMPDIR")).unwrap());
}

/// What a command did: its command line, output, errors and exit code.
pub(crate) fn run(arguments: &[&str], host: &mut Recording) -> String {
    scratch();
    let cli = Cli::try_parse_from(["wskguardctl"].iter().chain(arguments)).expect("a command line");
    let json = cli.json;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = wskguardctl::run(cli, host, &mut Output::new(&mut stdout, &mut stderr));
    assert_eq!(host.replies.borrow().left(), 0, "replies that nobody asked for");
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    let for_people = !json && !["completions", "man", "metrics"].contains(&arguments[0]);
    for line in stdout.lines().chain(stderr.lines()).filter(|_| for_people) {
        assert!(line.chars().count() <= 100, "longer than a terminal is wide: {line}");
        assert_eq!(line.trim_end(), line, "blanks at the end");
    }
    let command = arguments.join(" ");
    format!(
        "$ wskguardctl {command}\n{stdout}--- stderr\n{stderr}--- exit {} ({})\n",
        exit as u8,
        exit.word()
    )
}

/// A driver that gives these answers at `NOW`.
pub(crate) fn driver(exchanges: impl IntoIterator<Item = Exchange>) -> Recording {
    Recording {
        now: NOW,
        ..Recording::new(exchanges)
    }
}

pub(crate) fn reply(code: Code, parts: &[&[u8]]) -> Exchange {
    Exchange {
        code,
        input: None,
        reply: Ok(parts.concat()),
    }
}

pub(crate) fn refusal(code: Code, status: u32) -> Exchange {
    Exchange {
        code,
        input: None,
        reply: Err(status),
    }
}

pub(crate) fn version(contract: u32) -> Exchange {
    let reply_ = VersionReply {
        header: Header {
            abi_version: contract,
            size: 16,
        },
        driver: [2, 1, 0, 0],
    };
    reply(Code::QueryVersion, &[reply_.as_bytes()])
}

/// A status; `change` makes it another.
pub(crate) fn status(change: impl FnOnce(&mut StatusReply)) -> Exchange {
    let image = image();
    let mut status = StatusReply {
        header: Header::of::<StatusReply>(),
        driver: [0, 1, 0, 0],
        policy_mode: 0,
        semantics: 2,
        generation: 4,
        policy_hash: hash(&image),
        rules: 3,
        clients: 2,
        bypassing: 1,
        endpoints: 41,
        endpoints_max: 1_048_576,
        processors: 2,
        started: STARTED,
        windows: [10, 0, 19041],
        ..StatusReply::default()
    };
    change(&mut status);
    reply(Code::QueryStatus, &[status.as_bytes()])
}

pub(crate) fn image() -> Vec<u8> {
    wskguard_policy::compile("policy.toml", include_str!("../policy.toml"))
        .unwrap()
        .image
}

pub(crate) fn hash(image: &[u8]) -> u64 {
    wskguard_core::policy::Image::parse(image).unwrap().hash()
}

fn policy_reply(generation: u64, image: &[u8], count: usize) -> PolicyReply {
    PolicyReply {
        header: Header::of::<PolicyReply>(),
        generation,
        hash: if image.is_empty() { 0 } else { hash(image) },
        total: u32::try_from(image.len()).unwrap(),
        count: u32::try_from(count).unwrap(),
    }
}

/// What `SetPolicy` answers.
pub(crate) fn policy_set(generation: u64, image: &[u8]) -> Exchange {
    reply(Code::SetPolicy, &[policy_reply(generation, image, 0).as_bytes()])
}

/// The policy in force, in one piece.
pub(crate) fn policy(generation: u64, image: &[u8]) -> Exchange {
    policy_piece(generation, image, 0..image.len())
}

pub(crate) fn policy_piece(generation: u64, image: &[u8], range: std::ops::Range<usize>) -> Exchange {
    reply(
        Code::GetPolicy,
        &[policy_reply(generation, image, range.len()).as_bytes(), &image[range]],
    )
}

pub(crate) fn no_policy() -> Exchange {
    reply(Code::GetPolicy, &[policy_reply(0, &[], 0).as_bytes()])
}

pub(crate) fn list<T: IntoBytes + Immutable>(code: Code, next: u64, elements: &[T]) -> Exchange {
    let header = ListReply {
        header: Header::of::<ListReply>(),
        next,
        count: u32::try_from(elements.len()).unwrap(),
        element_size: u32::try_from(size_of::<T>()).unwrap(),
    };
    reply(code, &[header.as_bytes(), elements.as_bytes()])
}

fn client(id: u32, image: &str, flags: u16, endpoints: u32) -> ClientInfo {
    let mut name = [0; 64];
    name[..image.len()].copy_from_slice(image.as_bytes());
    ClientInfo {
        id,
        version: 0x0100,
        flags,
        module_id: [u8::try_from(id).unwrap(); 16],
        attached: STARTED + u64::from(id) * 90 * SECOND,
        endpoints,
        image_length: u32::try_from(image.len()).unwrap(),
        image: name,
    }
}

pub(crate) fn clients() -> Exchange {
    let clients = [
        client(1, "msquic.sys", client_flags::OWN_NPI, 40),
        client(2, "probe.sys", client_flags::OWN_NPI, 1),
        client(3, "wintun.sys", client_flags::BYPASSING, 0),
    ];
    list(Code::ListClients, 0, &clients)
}

pub(crate) fn no_clients() -> Exchange {
    list::<ClientInfo>(Code::ListClients, 0, &[])
}

pub(crate) fn listener() -> EndpointInfo {
    EndpointInfo {
        id: 0x0100_0001,
        client: 1,
        protocol: 6,
        family: 23,
        socket_type: 1,
        category: 1,
        phase: 3,
        mode: 2,
        port: 443,
        options: option_bits::EXCLUSIVEADDRUSE | option_bits::LINGER,
        rcvbuf: 65536,
        linger: 5,
        process: 4711,
        created: STARTED + 60 * SECOND,
        decided: 3,
        local: core::net::Ipv6Addr::new(0xFE80, 0, 0, 0, 0x1234, 0x5678, 0x9ABC, 0xDEF0).octets(),
        ..EndpointInfo::default()
    }
}

pub(crate) fn datagram() -> EndpointInfo {
    EndpointInfo {
        id: 0x0100_0002,
        client: 2,
        protocol: 17,
        family: 2,
        socket_type: 2,
        category: 3,
        phase: 0,
        mode: 2,
        created: STARTED + 61 * SECOND,
        decided: 1042,
        refused: 17,
        ..EndpointInfo::default()
    }
}

pub(crate) fn connection() -> EndpointInfo {
    EndpointInfo {
        id: 0x0200_0003,
        client: 9,
        protocol: 6,
        family: 2,
        socket_type: 1,
        category: 4,
        phase: 5,
        mode: 3,
        port: 49152,
        options: option_bits::KEEPALIVE,
        created: STARTED + 62 * SECOND,
        decided: 1,
        local: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ..EndpointInfo::default()
    }
}

pub(crate) fn numbers(code: Code, generation: u64, total: usize, first: usize, values: &[u64]) -> Exchange {
    let number = |number: usize| u32::try_from(number).unwrap();
    let header = CountersReply {
        header: Header::of::<CountersReply>(),
        generation,
        first: number(first),
        count: number(values.len()),
        total: number(total),
        reserved: 0,
    };
    reply(code, &[header.as_bytes(), values.as_bytes()])
}

/// A driver that has these counters: the first of the list.
pub(crate) fn counters(values: &[u64]) -> Exchange {
    numbers(Code::QueryCounters, 4, values.len(), 0, values)
}

pub(crate) fn drained(clients: u32, endpoints: u32) -> Exchange {
    let drained = u32::from(clients == 0 && endpoints == 0);
    let drain = DrainReply {
        header: Header::of::<DrainReply>(),
        clients,
        endpoints,
        drained,
        reserved: 0,
    };
    reply(Code::Drain, &[drain.as_bytes()])
}

/// Audit records and the books.
pub(crate) fn audit(code: Code, overwritten: u64, entries: &[AuditEntry]) -> Exchange {
    let header = AuditReply {
        header: Header::of::<AuditReply>(),
        count: u32::try_from(entries.len()).unwrap(),
        element_size: u32::try_from(size_of::<AuditEntry>()).unwrap(),
        overwritten,
        read: entries.len() as u64,
        decided: 12_034,
        written: 12_000,
        suppressed: [20, 0, 10],
        dropped: 4,
    };
    reply(code, &[header.as_bytes(), entries.as_bytes()])
}

/// Four records of two processors, as one read gives them: in order for each processor.
pub(crate) fn entries() -> Vec<AuditEntry> {
    let entry = |after: u64, cpu, sequence| {
        let mut entry = AuditEntry::new_zeroed();
        entry.time = STARTED + after * SECOND / 10;
        (entry.cpu, entry.sequence, entry.version, entry.kind) = (cpu, sequence, 1, Kind::Decision as u8);
        (entry.level, entry.rule, entry.generation, entry.family) = (SOL_SOCKET, u32::MAX, 4, 2);
        (entry.client, entry.endpoint, entry.mode) = (1, 0x0100_0001, 2);
        entry
    };
    let denied = AuditEntry {
        code: 4,
        flags: FLAG_HAS_ASKED | FLAG_HAS_OLD,
        asked_value: 1,
        input_length: 4,
        rule: 0,
        status: 0xC000_0022,
        wsa: 10013,
        action: 1,
        reason: Reason::Policy as u8,
        category: 1,
        ..entry(10, 0, 7)
    };
    let clamped = AuditEntry {
        code: 0x1002,
        flags: FLAG_HAS_ASKED | FLAG_HAS_NEW | FLAG_HAS_OLD,
        asked_value: 131_072,
        new_value: 65_536,
        input_length: 4,
        rule: 1,
        action: 5,
        category: 2,
        ..entry(30, 0, 8)
    };
    let bind = AuditEntry {
        level: 0,
        request: 3,
        port: 8080,
        rule: 2,
        generation: 3,
        status: 0xC000_0022,
        wsa: 10013,
        action: 1,
        reason: Reason::Policy as u8,
        category: 1,
        client: 9,
        endpoint: 0x0200_0003,
        ..entry(20, 1, 3)
    };
    let ioctl = AuditEntry {
        level: 0,
        code: 0x9800_0004,
        request: 2,
        client: 2,
        category: 2,
        ..entry(25, 1, 4)
    };
    vec![denied, clamped, bind, ioctl]
}
