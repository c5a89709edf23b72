//! The oracle against the pages and against what was tested, each written out again from the source.

use super::*;

const TCP: u32 = 6;
const LOOPBACK4: &str = "127.0.0.1";
const LOOPBACK6: &str = "::1";

fn binding(address: &str, v6only: bool, sharing: Sharing) -> Binding {
    Binding {
        address: address.parse().unwrap(),
        port: 7,
        protocol: TCP,
        v6only,
        sharing,
    }
}

fn letter(result: Result<(), Conflict>) -> char {
    match result {
        Ok(()) => 'S',
        Err(Conflict::InUse) => 'I',
        Err(Conflict::Denied) => 'A',
    }
}

const KINDS: [(Sharing, &str); 6] = [
    (Sharing::Default, "0.0.0.0"),
    (Sharing::Default, LOOPBACK4),
    (Sharing::Reuse, "0.0.0.0"),
    (Sharing::Reuse, LOOPBACK4),
    (Sharing::Exclusive, "0.0.0.0"),
    (Sharing::Exclusive, LOOPBACK4),
];

fn table(view: View, access: bool) -> String {
    let kind = |(sharing, address): (Sharing, &str)| binding(address, true, sharing);
    KINDS
        .iter()
        .map(|&first| {
            KINDS
                .iter()
                .map(|&second| letter(check_bind([&kind(first)], &kind(second), view, |_| access)))
                .collect()
        })
        .collect::<Vec<String>>()
        .join(" ")
}

#[test]
fn the_winsock_page() {
    assert_eq!(
        table(View::Winsock, true),
        "ISASIS SISAII ISSSIS SISSII IAAAIA SISAII",
        "one user"
    );
    assert_eq!(
        table(View::Winsock, false),
        "IAAAIA SISAII IASSIA SISSII IAAAIA SISAII",
        "two users"
    );
}

#[test]
fn the_wsk_page_is_the_winsock_page_but_for_one_cell() {
    // First reuse-specific, second default-specific: denied in WSK, in use in Winsock.
    for access in [true, false] {
        let winsock = table(View::Winsock, access);
        let wsk = table(View::Wsk, access);
        let different: Vec<usize> = (0..winsock.len())
            .filter(|&i| winsock.as_bytes()[i] != wsk.as_bytes()[i])
            .collect();
        assert_eq!(different, [3 * 7 + 1]);
        assert_eq!(&wsk[22..23], "A");
    }
}

/// The array of `test_reuseaddr` and the case of `test_ipv6only`.
#[test]
fn dual_stack_sockets() {
    use Sharing::{Default as N, Exclusive as E, Reuse as R};
    const MAPPED: &str = "::ffff:127.0.0.1";
    let rows = [
        ("0.0.0.0", E, LOOPBACK4, N, 'A'),
        ("::", E, LOOPBACK4, N, 'A'),
        ("0.0.0.0", N, LOOPBACK4, E, 'S'),
        ("0.0.0.0", E, LOOPBACK4, E, 'A'),
        (LOOPBACK4, E, "0.0.0.0", N, 'S'),
        (LOOPBACK4, N, "0.0.0.0", E, 'I'),
        (LOOPBACK4, N, "::", E, 'I'),
        (LOOPBACK6, N, "0.0.0.0", E, 'S'),
        (LOOPBACK6, E, LOOPBACK4, E, 'S'),
        (MAPPED, N, "0.0.0.0", E, 'I'),
        ("::", E, "0.0.0.0", N, 'A'),
        ("::", N, "0.0.0.0", E, 'S'),
        ("0.0.0.0", N, "0.0.0.0", E, 'I'),
        ("0.0.0.0", N, "0.0.0.0", N, 'I'),
        ("::", N, "0.0.0.0", N, 'S'),
        ("::ffff:0.0.0.0", N, "0.0.0.0", N, 'I'),
        (MAPPED, N, LOOPBACK4, N, 'I'),
        (LOOPBACK4, N, MAPPED, N, 'I'),
        (LOOPBACK4, E, LOOPBACK4, N, 'I'),
        (LOOPBACK4, N, LOOPBACK4, E, 'I'),
        ("::", E, "0.0.0.0", R, 'A'),
    ];
    for (number, (first, a, second, b, expected)) in rows.into_iter().enumerate() {
        let result = check_bind(
            [&binding(first, false, a)],
            &binding(second, false, b),
            View::Winsock,
            |_| true,
        );
        assert_eq!(letter(result), expected, "row {number}");
    }
}

#[test]
fn what_has_no_address_in_common_never_conflicts() {
    use Sharing::{Default as N, Exclusive as E, Reuse as R};
    for view in [View::Winsock, View::Wsk] {
        for a in [N, R, E] {
            for b in [N, R, E] {
                let apart = [
                    (binding("10.0.0.1", true, a), binding("10.0.0.2", true, b)),
                    (binding("::", true, a), binding("0.0.0.0", true, b)),
                    (binding(LOOPBACK6, false, a), binding("0.0.0.0", true, b)),
                    (
                        binding(LOOPBACK4, true, a),
                        Binding {
                            port: 8,
                            ..binding(LOOPBACK4, true, b)
                        },
                    ),
                    (
                        binding(LOOPBACK4, true, a),
                        Binding {
                            protocol: 17,
                            ..binding(LOOPBACK4, true, b)
                        },
                    ),
                ];
                for (first, second) in apart {
                    assert_eq!(check_bind([&first], &second, view, |_| false), Ok(()));
                    assert_eq!(check_bind([&second], &first, view, |_| false), Ok(()));
                }
            }
        }
    }
}

#[test]
fn delivery_goes_to_the_most_specific_then_to_the_first_bound() {
    let loopback = LOOPBACK4.parse().unwrap();
    let named = |list: &[&str]| {
        let bindings: Vec<Binding> = list.iter().map(|a| binding(a, false, Sharing::Reuse)).collect();
        deliver(bindings.iter().zip(0..), TCP, loopback, 7)
    };
    assert_eq!(named(&["0.0.0.0", LOOPBACK4]), Some(1));
    assert_eq!(named(&[LOOPBACK4, "0.0.0.0"]), Some(0));
    assert_eq!(named(&[LOOPBACK4, LOOPBACK4]), Some(0));
    assert_eq!(named(&["::", "0.0.0.0"]), Some(1));
    assert_eq!(named(&["::", "10.0.0.1"]), Some(0));
    assert_eq!(named(&["::ffff:127.0.0.1"]), Some(0));
    assert_eq!(named(&[LOOPBACK6, "10.0.0.1"]), None);
    let only6 = binding("::", true, Sharing::Default);
    assert_eq!(deliver([(&only6, ())], TCP, loopback, 7), None);
    assert_eq!(deliver([(&only6, ())], TCP, LOOPBACK6.parse().unwrap(), 7), Some(()));
    assert_eq!(deliver([(&only6, ())], TCP, LOOPBACK6.parse().unwrap(), 8), None);
}

#[test]
fn conflicts_by_winsock() {
    assert_eq!(
        [Conflict::InUse, Conflict::Denied].map(Conflict::wsa),
        [wsa::EADDRINUSE, wsa::EACCES]
    );
}
