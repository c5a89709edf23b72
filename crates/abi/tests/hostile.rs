//! Random and mutated buffers against everything that the driver does with a caller's bytes before it looks at its own state.
//!
//! `WSKGUARD_HOSTILE=10000000 cargo test --release -p wskguard-abi --test hostile` for the long run.

use wskguard_abi::{
    ABI_VERSION, AuditEntry, AuditReply, Code, CountersReply, DrainRequest, EndpointInfo, GetPolicyRequest, Header,
    ListEndpointsRequest, ListReply, MAX_POLICY_IMAGE, QueryEndpointRequest, RangeRequest, ReadAuditRequest, Request,
    SetPolicyRequest,
    parse::{Asked, Malformed, Reply, parse, reply_size},
};
use wskguard_core::policy::{Image, OFF};
use zerocopy::IntoBytes;

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    /// A number that is likelier to be on an edge.
    fn edge(&mut self) -> u32 {
        let numbers = [0, 1, 2, 3, 7, 8, 0x7FFF_FFFF, 0x8000_0000, u32::MAX - 7, u32::MAX];
        match self.below(3) {
            0 => numbers[self.below(numbers.len())],
            1 => u32::try_from(self.below(200)).unwrap(),
            _ => u32::try_from(self.next() >> 32).unwrap(),
        }
    }
}

/// A well-formed request of each code.
fn good(code: Code) -> Vec<u8> {
    match code {
        Code::QueryVersion => Vec::new(),
        Code::QueryStatus | Code::QueryCounters | Code::Lock => Request::default().as_bytes().to_vec(),
        Code::SetPolicy => {
            let request = SetPolicyRequest::new(u32::try_from(OFF.len()).unwrap());
            [request.as_bytes(), OFF].concat()
        }
        Code::GetPolicy => GetPolicyRequest::new(0).as_bytes().to_vec(),
        Code::QueryRuleCounters | Code::ListClients => RangeRequest::new(0, u32::MAX).as_bytes().to_vec(),
        Code::ListEndpoints => ListEndpointsRequest::new(0, u32::MAX).as_bytes().to_vec(),
        Code::QueryEndpoint => QueryEndpointRequest::new(1).as_bytes().to_vec(),
        Code::ReadAudit | Code::WaitAudit => ReadAuditRequest::new(0, u32::MAX).as_bytes().to_vec(),
        Code::Drain => DrainRequest::new(false).as_bytes().to_vec(),
    }
}

fn mutate(random: &mut Random, input: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        match random.below(6) {
            0 if !input.is_empty() => {
                let at = random.below(input.len());
                input[at] ^= 1 << random.below(8);
            }
            1 if input.len() >= 4 => {
                let at = random.below(input.len() / 4) * 4;
                let edge = random.edge();
                input[at..at + 4].copy_from_slice(&edge.to_le_bytes());
            }
            2 => input.truncate(random.below(input.len() + 1)),
            3 => {
                let more = random.below(40);
                input.extend((0..more).map(|at| u8::try_from(at).unwrap()));
            }
            4 => input.clear(),
            _ => {
                let length = random.below(64);
                *input = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
            }
        }
    }
}

fn code(random: &mut Random) -> u32 {
    match random.below(8) {
        0 => u32::try_from(random.next() >> 32).unwrap(),
        1 => Code::ALL[random.below(Code::ALL.len())] as u32 ^ (1 << random.below(32)),
        _ => Code::ALL[random.below(Code::ALL.len())] as u32,
    }
}

/// What holds of a request that was not refused, whatever its bytes.
fn accepted(asked: Asked, code: u32, input: &[u8], output: usize) {
    let known = Code::from_u32(code).expect("a code of the contract");
    assert!(output >= reply_size(known));
    if asked == Asked::QueryVersion {
        return;
    }
    let header: [u8; 8] = input[..8].try_into().unwrap();
    assert_eq!(header[..4], ABI_VERSION.to_le_bytes());
    let tail = match asked {
        Asked::SetPolicy(request) => {
            assert!(request.flags == 0 && request.image_length <= MAX_POLICY_IMAGE);
            let image = &input[size_of::<SetPolicyRequest>()..];
            // What a handler does next: whatever the bytes are, they are an image or they are not.
            let _ = Image::parse(image);
            request.image_length
        }
        Asked::ReadAudit(request) | Asked::WaitAudit(request) => {
            assert!(request.flags <= 2);
            0
        }
        Asked::GetPolicy(request) => request.reserved,
        Asked::ListEndpoints(request) => request.reserved,
        _ => 0,
    };
    let stated = u32::from_le_bytes(header[4..].try_into().unwrap());
    assert_eq!(input.len(), usize::try_from(stated + tail).unwrap());
}

/// The lists that a reply is made of never go beyond its room, and what is not written is zero.
fn reply(random: &mut Random, room: &mut [u8]) {
    room.fill(0xA5);
    let (element, max) = ([0x5A; size_of::<EndpointInfo>()], random.edge());
    let length = room.len();
    let Ok(mut reply) = Reply::begin::<ListReply>(room) else {
        assert!(length < size_of::<ListReply>());
        return;
    };
    let fits = reply.fits(element.len(), max);
    let pushed = (0..fits).filter(|_| reply.push(&element)).count();
    assert_eq!(pushed, fits, "what fits is taken");
    let used = reply.finish(&ListReply::default()).unwrap();
    assert_eq!(used, size_of::<ListReply>() + pushed * element.len());
    assert!(used <= length && room[used..].iter().all(|byte| *byte == 0));
}

fn rounds() -> u64 {
    std::env::var("WSKGUARD_HOSTILE")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(200_000)
}

#[test]
fn no_bytes_get_past_the_contract() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut room = vec![0; 4096];
    let (mut accepted_count, mut refused) = (0_u64, [0_u64; 4]);
    for _ in 0..rounds() {
        let code = code(&mut random);
        let mut input = Code::from_u32(code).map_or_else(Vec::new, good);
        mutate(&mut random, &mut input);
        let output = match random.below(4) {
            0 => random.below(100),
            _ => random.below(room.len()),
        };
        match parse(code, &input, output) {
            Ok(asked) => {
                accepted_count += 1;
                accepted(asked, code, &input, output);
            }
            Err(why) => refused[why as usize] += 1,
        }
        reply(&mut random, &mut room[..output]);
    }
    // Every way out was taken, and taken often.
    println!("{accepted_count} accepted, refused by code, version, parameter, output: {refused:?}");
    let least = rounds() / 200;
    assert!(accepted_count > least && refused.iter().all(|&count| count > least));
}

#[test]
fn good_requests_are_good_and_every_cut_is_not() {
    for &code in Code::ALL {
        let input = good(code);
        assert!(parse(code as u32, &input, 4096).is_ok(), "{code:?}");
        let small = reply_size(code).checked_sub(1);
        if let Some(small) = small {
            assert_eq!(parse(code as u32, &input, small), Err(Malformed::Output), "{code:?}");
        }
        if code == Code::QueryVersion {
            continue;
        }
        for length in 0..input.len() {
            assert_eq!(
                parse(code as u32, &input[..length], 4096),
                Err(Malformed::Parameter),
                "{code:?}, {length} bytes"
            );
        }
        let mut foreign = input.clone();
        foreign[0] ^= 0xFF;
        assert_eq!(
            parse(code as u32, &foreign[..8], 0),
            Err(Malformed::Version),
            "{code:?}"
        );
    }
    assert_eq!(Header::of::<AuditReply>().size, 80);
    assert_eq!((size_of::<AuditEntry>(), size_of::<CountersReply>()), (128, 32));
}

#[test]
fn an_image_longer_than_the_most_is_refused() {
    for (length, good) in [(MAX_POLICY_IMAGE, true), (MAX_POLICY_IMAGE + 1, false)] {
        let mut input = SetPolicyRequest::new(length).as_bytes().to_vec();
        input.resize(input.len() + usize::try_from(length).unwrap(), 0);
        assert_eq!(
            parse(Code::SetPolicy as u32, &input, 32).is_ok(),
            good,
            "{length} bytes"
        );
    }
}
