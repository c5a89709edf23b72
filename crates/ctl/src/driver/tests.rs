//! Replies that change or lie while they are read.

use wskguard_abi::{AuditEntry, Header};

use super::*;
use crate::transport::{Exchange, Recorded};

fn driver(code: Code, replies: impl IntoIterator<Item = Vec<u8>>) -> Driver<Recorded> {
    let exchange = |reply| Exchange {
        code,
        input: None,
        reply: Ok(reply),
    };
    Driver::new(Recorded::new(replies.into_iter().map(exchange)))
}

fn policy(generation: u64, total: u32, piece: &[u8]) -> Vec<u8> {
    let count = u32::try_from(piece.len()).unwrap();
    let reply = PolicyReply {
        header: Header::of::<PolicyReply>(),
        generation,
        hash: generation,
        total,
        count,
    };
    [reply.as_bytes(), piece].concat()
}

fn hits(generation: u64, first: u32, total: u32, values: &[u64]) -> Vec<u8> {
    let count = u32::try_from(values.len()).unwrap();
    let header = Header::of::<CountersReply>();
    let reply = CountersReply {
        header,
        generation,
        first,
        count,
        total,
        reserved: 0,
    };
    [reply.as_bytes(), values.as_bytes()].concat()
}

fn list(next: u64, count: u32, element_size: usize, tail: &[u8]) -> Vec<u8> {
    let element_size = u32::try_from(element_size).unwrap();
    let reply = ListReply {
        header: Header::of::<ListReply>(),
        next,
        count,
        element_size,
    };
    [reply.as_bytes(), tail].concat()
}

fn endpoints(driver: &mut Driver<Recorded>) -> Result<Vec<u64>> {
    driver
        .endpoints()
        .map(|endpoint| endpoint.map(|endpoint| endpoint.id))
        .collect()
}

const ENDPOINT: usize = size_of::<EndpointInfo>();

fn endpoint(id: u64) -> Vec<u8> {
    EndpointInfo {
        id,
        ..EndpointInfo::default()
    }
    .as_bytes()
    .to_vec()
}

#[test]
fn a_policy_that_changes_is_read_again() {
    let replies = [policy(1, 4, b"ab"), policy(2, 3, b"y"), policy(2, 3, b"xyz")];
    let read = driver(Code::GetPolicy, replies).policy_in_force().unwrap();
    assert_eq!((read.generation, read.image.as_slice()), (2, &b"xyz"[..]));
}

#[test]
fn a_policy_that_does_not_end_is_an_error() {
    for replies in [
        vec![policy(1, 4, b"")],
        vec![policy(1, 1, b"ab")],
        vec![policy(1, u32::MAX, b"a")],
    ] {
        let error = driver(Code::GetPolicy, replies).policy_in_force().unwrap_err();
        assert!(
            matches!(
                error,
                Error::Malformed {
                    code: Code::GetPolicy,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn hits_are_of_one_generation() {
    let replies = [
        hits(1, 0, 3, &[7]),
        hits(2, 1, 3, &[8, 9]),
        hits(2, 0, 2, &[1]),
        hits(2, 1, 2, &[2]),
    ];
    let read = driver(Code::QueryRuleCounters, replies).rule_counters().unwrap();
    assert_eq!(
        read,
        CounterValues {
            generation: 2,
            values: vec![1, 2]
        }
    );
    let elsewhere = driver(Code::QueryRuleCounters, [hits(1, 1, 3, &[7])]).rule_counters();
    assert!(matches!(elsewhere, Err(Error::Malformed { .. })));
}

#[test]
fn endpoints_go_on_over_empty_pages() {
    let both = [endpoint(1), endpoint(2)].concat();
    let replies = [
        list(5, 2, ENDPOINT, &both),
        list(9, 0, ENDPOINT, &[]),
        list(0, 1, ENDPOINT, &endpoint(3)),
    ];
    assert_eq!(endpoints(&mut driver(Code::ListEndpoints, replies)), Ok(vec![1, 2, 3]));
    assert_eq!(
        endpoints(&mut driver(Code::ListEndpoints, [list(0, 0, 0, &[])])),
        Ok(vec![])
    );
}

#[test]
fn counts_and_sizes_are_checked() {
    let one = endpoint(1);
    let cases = [
        list(0, 2, ENDPOINT, &one),
        list(0, u32::MAX, ENDPOINT, &one),
        list(0, 1, ENDPOINT - 8, &one),
        list(0, 1, 0, &one),
        list(0, 1, ENDPOINT, &one[1..]),
        vec![0; 8],
        [&[0xFF, 0, 0, 0], &list(0, 0, 0, &[])[4..]].concat(),
    ];
    for reply in cases {
        assert!(matches!(
            endpoints(&mut driver(Code::ListEndpoints, [reply])),
            Err(Error::Malformed { .. })
        ));
    }
    let looping = [list(5, 0, ENDPOINT, &[]), list(5, 0, ENDPOINT, &[])];
    assert!(endpoints(&mut driver(Code::ListEndpoints, looping)).is_err());
}

#[test]
fn an_image_that_cannot_be_sent_is_not_sent() {
    let image = vec![0; MAX_POLICY_IMAGE as usize + 1];
    assert!(driver(Code::SetPolicy, []).set_policy(&image, None).is_err());
}

#[test]
fn requests_are_what_the_contract_says() {
    let input = [
        SetPolicyRequest {
            expected_generation: 3,
            ..SetPolicyRequest::new(2)
        }
        .as_bytes(),
        b"ab",
    ]
    .concat();
    let reply = Ok(policy(4, 2, b""));
    let set = Exchange {
        code: Code::SetPolicy,
        input: Some(input),
        reply,
    };
    let entry = ReadAuditRequest::new(wskguard_abi::audit_flags::FROM_NOW, 7)
        .as_bytes()
        .to_vec();
    let header = Header::of::<AuditReply>();
    let empty = AuditReply {
        header,
        element_size: u32::try_from(size_of::<AuditEntry>()).unwrap(),
        ..AuditReply::default()
    };
    let audit = Exchange {
        code: Code::ReadAudit,
        input: Some(entry),
        reply: Ok(empty.as_bytes().to_vec()),
    };
    let mut driver = Driver::new(Recorded::new([set, audit]));
    assert_eq!(driver.set_policy(b"ab", Some(3)).map(|reply| reply.generation), Ok(4));
    assert!(
        driver
            .read_audit(wskguard_abi::audit_flags::FROM_NOW, 7)
            .unwrap()
            .entries
            .is_empty()
    );
}

/// Answers with noise: sometimes under a valid header, for so many calls.
struct Noise {
    state: u64,
    calls: u32,
}

impl Noise {
    fn next(&mut self) -> u64 {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }
}

impl Transport for Noise {
    fn call(&mut self, code: Code, _: &[u8], output: &mut [u8]) -> std::result::Result<usize, TransportError> {
        self.calls = self.calls.checked_sub(1).ok_or(TransportError::Absent)?;
        if self.one_in(16) {
            return Err(TransportError::Status(ntstatus::REVISION_MISMATCH));
        }
        let length = (self.next() % 400) as usize;
        for chunk in output[..length].chunks_mut(8) {
            let small = !self.one_in(4);
            let noise = if small {
                (self.next() % 8) << (self.next() % 2 * 32)
            } else {
                self.next()
            };
            chunk.copy_from_slice(&noise.to_le_bytes()[..chunk.len()]);
        }
        let size = match code {
            Code::QueryStatus => size_of::<StatusReply>(),
            Code::SetPolicy | Code::GetPolicy => size_of::<PolicyReply>(),
            Code::QueryCounters | Code::QueryRuleCounters => size_of::<CountersReply>(),
            Code::ReadAudit | Code::WaitAudit => size_of::<AuditReply>(),
            _ => size_of::<ListReply>(),
        };
        let header = Header {
            abi_version: wskguard_abi::ABI_VERSION,
            size: u32::try_from(size).unwrap(),
        };
        if length >= 8 && !self.one_in(8) {
            output[..8].copy_from_slice(header.as_bytes());
        }
        Ok(if self.one_in(32) { output.len() + 1 } else { length })
    }
}

#[test]
fn noise_is_refused_or_read_but_never_a_panic() {
    let mut good = 0;
    for seed in 1..20_000_u64 {
        let noise = Noise {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            calls: 40,
        };
        let mut driver = Driver::new(noise);
        driver.buffer.truncate(512);
        good += u32::from(driver.status().is_ok());
        good += u32::from(driver.policy_in_force().is_ok());
        good += u32::from(driver.counters().is_ok());
        good += u32::from(driver.rule_counters().is_ok());
        good += u32::from(driver.clients().is_ok());
        good += u32::from(driver.endpoint(seed).is_ok());
        good += u32::from(driver.read_audit(0, 1).is_ok());
        good += u32::from(driver.drain(true).is_ok());
        good += u32::from(driver.endpoints().take(64).all(|endpoint| endpoint.is_ok()));
    }
    // The noise is not so loud that nothing was read.
    assert!(good > 1_000, "{good}");
}
