//! The tables of the contract in full, as vectors made here: every option of a class at every length, every cell of the matrices, every
//! inherited option. The given vectors are a part of them.

use serde_json::{Value, json};
use wskguard_vectors::{Record, Selection, Verdict, format, run_vectors};

/// Runs one vector made of `steps` on every family and type.
fn passes(families: &[&str], types: &[&str], categories: Option<&[&str]>, steps: &[Value], what: &str) {
    let line = json!({
        "id": what, "layer": "core", "grade": "tested", "source": "",
        "where": {"family": families, "type": types, "category": categories}, "steps": steps,
    });
    let vector = format::parse(&line.to_string()).unwrap();
    let report = run_vectors(vec![vector], &Selection::default(), &mut Record);
    assert_eq!(report.rows[0].verdict, Verdict::Pass, "{what}: {line}");
}

fn set(sock: &str, opt: &str, len: i64, bytes: &str, wsa: u32) -> Value {
    json!({"n": 1, "op": "set", "sock": sock, "level": "SOL_SOCKET", "opt": opt, "ptr": "valid", "len": len, "bytes": bytes,
           "expect": {"wsa": wsa}})
}

fn get(sock: &str, opt: &str, cap: i64, expect: &Value) -> Value {
    json!({"n": 2, "op": "get", "sock": sock, "level": "SOL_SOCKET", "opt": opt, "ptr": "valid", "cap": cap, "fill": "EFBEADDEEFBEADDE",
           "expect": expect})
}

const A: [(&str, &str); 5] = [
    ("SO_BROADCAST", "dgram"),
    ("SO_DONTLINGER", "stream"),
    ("SO_OOBINLINE", "stream"),
    ("SO_REUSEADDR", "stream"),
    ("SO_EXCLUSIVEADDRUSE", "stream"),
];
const B: [(&str, &str); 2] = [("SO_KEEPALIVE", "stream"), ("SO_DONTROUTE", "stream")];
const C: [(&str, &str); 3] = [
    ("SO_LINGER", "stream"),
    ("SO_RCVBUF", "stream"),
    ("SO_SNDBUF", "stream"),
];
const D: [(&str, &str); 3] = [
    ("SO_RCVTIMEO", "stream"),
    ("SO_SNDTIMEO", "stream"),
    ("SO_OPENTYPE", "stream"),
];

/// Outcome of a set by length, then of a get by length: code, size, bytes after the call.
type Lengths = ([(i64, u32); 6], [(i64, u32, i64, &'static str); 6]);

/// After a set of 4 bytes `00010000`, which is TRUE, FALSE or 256.
const CLASSES: [(&[(&str, &str)], Lengths); 4] = [
    (
        &A,
        (
            [(0, 0), (1, 0), (2, 0), (4, 0), (8, 0), (-1, 0)],
            [
                (0, 10014, 0, "EFBEADDE"),
                (1, 0, 1, "01BEADDE"),
                (2, 0, 1, "0100ADDE"),
                (4, 0, 4, "01000000"),
                (8, 0, 4, "01000000"),
                (-1, 10014, -1, "EFBEADDE"),
            ],
        ),
    ),
    (
        &B,
        (
            [(0, 10014), (1, 0), (2, 0), (4, 0), (8, 0), (-1, 10055)],
            [
                (0, 10014, 0, "EFBEADDE"),
                (1, 0, 1, "00BEADDE"),
                (2, 0, 1, "00BEADDE"),
                (4, 0, 1, "00BEADDE"),
                (8, 0, 1, "00BEADDE"),
                (-1, 10014, -1, "EFBEADDE"),
            ],
        ),
    ),
    (
        &C,
        (
            [(0, 10014), (1, 10014), (2, 10014), (4, 0), (8, 0), (-1, 0)],
            [
                (0, 10014, 0, "EFBEADDE"),
                (1, 10014, 1, "00BEADDE"),
                (2, 10014, 2, "0000ADDE"),
                (4, 0, 4, "00010000"),
                (8, 0, 4, "00010000"),
                (-1, 10014, -1, "EFBEADDE"),
            ],
        ),
    ),
    (
        &D,
        (
            [(0, 10014), (1, 10014), (2, 10014), (4, 0), (8, 0), (-1, 0)],
            [
                (0, 10014, 0, "EFBEADDE"),
                (1, 10014, 1, "EFBEADDE"),
                (2, 10014, 2, "EFBEADDE"),
                (4, 0, 4, "00010000"),
                (8, 0, 4, "00010000"),
                (-1, 10014, -1, "EFBEADDE"),
            ],
        ),
    ),
];

fn families(opt: &str) -> &'static [&'static str] {
    if opt == "SO_DONTROUTE" {
        &["inet"]
    } else {
        &["inet", "inet6"]
    }
}

#[test]
fn lengths() {
    for (options, (sets, gets)) in CLASSES {
        for (opt, ty) in options {
            for (len, code) in sets {
                let steps = [set("A", opt, len, "0100000000000000", code)];
                passes(families(opt), &[ty], None, &steps, &format!("set {opt} {len}"));
            }
            for (cap, code, size, bytes) in gets {
                let thread = *opt == "SO_OPENTYPE" && cap == -1;
                let expect = if thread {
                    json!({"wsa": 0, "size": 4, "bytes": "00010000"})
                } else {
                    json!({"wsa": code, "size": size, "bytes": bytes})
                };
                let steps = [set("A", opt, 4, "00010000", 0), get("A", opt, cap, &expect)];
                passes(families(opt), &[ty], None, &steps, &format!("get {opt} {cap}"));
            }
        }
    }
}

#[test]
fn short_sets_of_transport_booleans_take_effect() {
    for (opt, ty) in B {
        for len in [1, 2, 4, 8] {
            let steps = [
                set("A", opt, len, "0100000000000000", 0),
                get("A", opt, 4, &json!({"wsa": 0, "size": 1, "bytes": "01BEADDE"})),
                set("A", opt, len, "0001000000000000", 0),
                get("A", opt, 4, &json!({"wsa": 0, "size": 1, "bytes": "00BEADDE"})),
            ];
            passes(families(opt), &[ty], None, &steps, &format!("{opt} {len}"));
        }
    }
}

#[test]
fn pointers_levels_and_handles() {
    for (opt, ty) in A.iter().chain(&B).chain(&C).chain(&D) {
        for len in [0, 1, 4] {
            for ptr in ["null", "one"] {
                let step = json!({"n": 1, "op": "set", "sock": "A", "level": "SOL_SOCKET", "opt": opt, "ptr": ptr, "len": len,
                                  "expect": {"wsa": 10014}});
                passes(families(opt), &[ty], None, &[step], &format!("{opt} {ptr}"));
            }
        }
        let read = |sock: &str, level: Value, ptr: &str, cap: Value, wsa: u32| json!({"n": 1, "op": "get", "sock": sock, "level": level, "opt": opt, "ptr": ptr, "cap": cap, "expect": {"wsa": wsa}});
        let steps = [
            read("A", json!("SOL_SOCKET"), "null", json!(4), 10014),
            read("A", json!("SOL_SOCKET"), "valid", Value::Null, 10014),
        ];
        passes(
            families(opt),
            &[ty],
            None,
            &steps,
            &format!("{opt} get without pointers"),
        );
        let mut steps: Vec<Value> = [0xFFFF_FFFF_u32, 0x1234_FFFF, 0x8000_FFFF, 0x8000, 0x800]
            .map(|level| read("A", json!(level), "valid", json!(4), 10022))
            .into();
        let bad = json!({"n": 1, "op": "set", "sock": "A", "level": 0x8000, "opt": opt, "ptr": "valid", "len": 4, "bytes": "01000000",
                         "expect": {"wsa": 10022}});
        steps.push(bad);
        passes(families(opt), &[ty], None, &steps, &format!("{opt} level"));
        if *opt != "SO_OPENTYPE" {
            let close = json!({"n": 1, "op": "close", "sock": "A"});
            let steps = [
                close,
                set("A", opt, 4, "01000000", 10038),
                get("A", opt, 4, &json!({"wsa": 10038, "bytes": "EFBEADDE"})),
                set("INVALID", opt, 4, "01000000", 10038),
                read("FILE", json!("SOL_SOCKET"), "null", Value::Null, 10038),
            ];
            passes(families(opt), &[ty], None, &steps, &format!("{opt} no socket"));
        }
    }
}

#[test]
fn inheritance() {
    for (opt, bytes, value) in [
        ("SO_REUSEADDR", "01000000", 1),
        ("SO_KEEPALIVE", "01000000", 1),
        ("SO_OOBINLINE", "01000000", 1),
        ("SO_SNDBUF", "23010000", 0x123),
        ("SO_RCVBUF", "23010000", 0x123),
        ("SO_SNDTIMEO", "23010000", 0x123),
        ("SO_RCVTIMEO", "23010000", 0x123),
        ("SO_LINGER", "01002B02", 0x022B_0001),
        ("SO_DONTLINGER", "00000000", 0),
    ] {
        let steps = |accept: &str| {
            vec![
                set("L", opt, 4, bytes, 0),
                json!({"n": 1, "op": "bind", "sock": "L", "addr": "loopback", "port": "any"}),
                json!({"n": 1, "op": "listen", "sock": "L"}),
                json!({"n": 1, "op": accept, "sock": "L", "as": "S"}),
            ]
        };
        let read = json!({"n": 2, "op": "get", "sock": "S", "level": "SOL_SOCKET", "opt": opt, "ptr": "valid", "cap": 4,
                          "expect": {"wsa": 0, "value": value}});
        let mut accepted = steps("accept");
        accepted.push(read.clone());
        passes(&["inet", "inet6"], &["stream"], None, &accepted, opt);
        // Through AcceptEx only once the socket is told of its listener.
        let mut told = steps("acceptex");
        told.push(json!({"n": 1, "op": "set", "sock": "S", "level": "SOL_SOCKET", "opt": "SO_UPDATE_ACCEPT_CONTEXT", "ptr": "valid",
                         "len": {"sizeof": "SOCKET"}, "bytes": {"handle_of": "L"}, "expect": {"wsa": 0}}));
        told.push(read);
        passes(&["inet", "inet6"], &["stream"], None, &told, opt);
    }
}

const KINDS: [(&str, &str); 6] = [
    ("", "wildcard"),
    ("", "specific"),
    ("SO_REUSEADDR", "wildcard"),
    ("SO_REUSEADDR", "specific"),
    ("SO_EXCLUSIVEADDRUSE", "wildcard"),
    ("SO_EXCLUSIVEADDRUSE", "specific"),
];

#[test]
fn winsock_matrices() {
    let same = ["ISASIS", "SISAII", "ISSSIS", "SISSII", "IAAAIA", "SISAII"];
    let other = ["IAAAIA", "SISAII", "IASSIA", "SISSII", "IAAAIA", "SISAII"];
    for (user, table) in [("same", same), ("other", other)] {
        for (first, row) in KINDS.iter().zip(table) {
            for (second, cell) in KINDS.iter().zip(row.chars()) {
                let code = match cell {
                    'S' => 0,
                    'I' => 10048,
                    _ => 10013,
                };
                let mut steps = Vec::new();
                for (sock, (opt, addr), user, code) in [("A", first, "same", 0), ("B", second, user, code)] {
                    if !opt.is_empty() {
                        steps.push(set(sock, opt, 4, "01000000", 0));
                    }
                    steps.push(
                        json!({"n": 1, "op": "bind", "sock": sock, "addr": addr, "port": "P", "user": user,
                                      "expect": {"wsa": code}}),
                    );
                }
                passes(
                    &["inet", "inet6"],
                    &["stream", "dgram"],
                    None,
                    &steps,
                    &format!("{user} {first:?} {second:?}"),
                );
            }
        }
    }
}

#[test]
fn wsk_matrix() {
    // Rows: second; columns: first; as the page has it.
    let table = ["ISISIS", "CICDDI", "DSSSDS", "CDSSDD", "IIIIII", "CICIDI"];
    for (second, row) in KINDS.iter().zip(table) {
        for (first, cell) in KINDS.iter().zip(row.chars()) {
            let expect = match cell {
                'S' => json!({"final": 0}),
                'I' => json!({"final": 0xC000_020A_u32}),
                'D' => json!({"final": 0xC000_0022_u32}),
                _ => json!({"access_check": {"granted": 0, "denied": 0xC000_0022_u32, "default": "denied"}}),
            };
            let mut steps = Vec::new();
            for (sock, (opt, addr), expect) in [("A", first, json!({"final": 0})), ("B", second, expect)] {
                if !opt.is_empty() {
                    steps.push(json!({"n": 1, "op": "wskctl", "sock": sock, "request": "set", "level": "SOL_SOCKET", "code": opt,
                                      "in": "01000000", "out": 0, "outret": false, "irp": true, "phase": "unbound"}));
                }
                steps.push(json!({"n": 1, "op": "wskcall", "sock": sock, "fn": "WskBind", "irp": true, "addr": addr, "port": "P",
                                  "expect": expect}));
            }
            let categories: &[&str] = &["listen", "datagram", "connection"];
            let types: &[&str] = &["stream", "dgram"];
            passes(
                &["inet", "inet6"],
                types,
                Some(categories),
                &steps,
                &format!("{first:?} {second:?}"),
            );
        }
    }
}

#[test]
fn keep_alive_failure() {
    let steps = [
        json!({"n": 1, "op": "pair", "sock": "A", "peer": "B"}),
        set("A", "SO_KEEPALIVE", 4, "01000000", 0),
        json!({"n": 1, "op": "recv", "sock": "A", "mode": "overlapped", "len": 1, "flags": [], "as": "r1", "expect": {"pending": true}}),
        json!({"n": 1, "op": "keepalive_drop", "sock": "A"}),
        json!({"n": 1, "op": "complete", "request": "r1", "expect": {"wsa": 10052}}),
        set("A", "SO_KEEPALIVE", 4, "01000000", 10057),
        set("A", "SO_RCVBUF", 4, "00040000", 10057),
        json!({"n": 1, "op": "send", "sock": "A", "bytes": "41", "flags": [], "expect": {"wsa": 10057}}),
    ];
    passes(&["inet", "inet6"], &["stream"], None, &steps, "keep-alive");
    let steps = [
        json!({"n": 1, "op": "pair", "sock": "A", "peer": "B"}),
        json!({"n": 1, "op": "reset", "sock": "B"}),
        set("A", "SO_KEEPALIVE", 4, "01000000", 10057),
        json!({"n": 1, "op": "send", "sock": "A", "bytes": "41", "flags": [], "expect": {"wsa": 10054}}),
    ];
    passes(&["inet", "inet6"], &["stream"], None, &steps, "reset");
}

#[test]
fn the_error_of_a_connect() {
    let connect = |mode: &str, outcome: &str| json!({"n": 1, "op": "connect_event", "sock": "A", "mode": mode, "outcome": outcome});
    let error = |value: u32| {
        json!({"n": 2, "op": "get", "sock": "A", "level": "SOL_SOCKET", "opt": "SO_ERROR", "ptr": "valid", "cap": 4,
               "expect": {"wsa": 0, "value": value}})
    };
    let steps = [
        connect("async", "refused"),
        error(10061),
        connect("async", "pending"),
        error(10061),
        connect("async", "connected"),
        error(0),
    ];
    passes(&["inet", "inet6"], &["stream"], None, &steps, "retried");
    passes(
        &["inet"],
        &["stream"],
        None,
        &[connect("blocking", "refused"), error(0)],
        "blocking",
    );
    let settable = [set("A", "SO_ERROR", 4, "D2040000", 0), error(1234), error(1234)];
    passes(&["inet"], &["stream"], None, &settable, "settable");
}
