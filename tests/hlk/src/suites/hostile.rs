//! The control device under callers that mean it no good: random and mutated requests, opens and closes in between, and what the answers
//! give away.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testkernel_check::verifier::{Range, Verifier};
use wskguard_abi::{
    Code, DrainRequest, GetPolicyRequest, ListEndpointsRequest, QueryEndpointRequest, RangeRequest, ReadAuditRequest,
    Request, SetPolicyRequest, WIN32_PATH,
};
use zerocopy::IntoBytes;

use crate::check;
use crate::context::{Context, skip};
use crate::device::Device;
use crate::guard::{Guard, PERMISSIVE};
use crate::probe::Family;
use crate::runner::tests;

tests! {
    "hostile";
    @900 random_requests, Filtered, "IOCTL.md Rules", "100000 random and mutated requests on three opens, with opens and closes in between: no leak, no address in an answer";
    @60 sub_opens, Filtered, "IOCTL.md Rules", "names below the device's are opened and closed a thousand times, and leave nothing";
}

const REQUESTS: u64 = 100_000;
const THREADS: u64 = 3;
const TAGS: [&[u8; 4]; 6] = [b"WsGc", b"WsGe", b"WsGr", b"WsGt", b"WsGp", b"WsGs"];

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
        (self.next() >> 16) as usize % end.max(1)
    }
}

fn good(code: Code, image: &[u8]) -> Vec<u8> {
    match code {
        Code::QueryVersion => Vec::new(),
        Code::QueryStatus | Code::QueryCounters | Code::Lock => Request::default().as_bytes().to_vec(),
        Code::SetPolicy => [SetPolicyRequest::new(image.len() as u32).as_bytes(), image].concat(),
        Code::GetPolicy => GetPolicyRequest::new(0).as_bytes().to_vec(),
        Code::QueryRuleCounters | Code::ListClients => RangeRequest::new(0, u32::MAX).as_bytes().to_vec(),
        Code::ListEndpoints => ListEndpointsRequest::new(0, u32::MAX).as_bytes().to_vec(),
        Code::QueryEndpoint => QueryEndpointRequest::new(1).as_bytes().to_vec(),
        Code::ReadAudit | Code::WaitAudit => ReadAuditRequest::new(1, u32::MAX).as_bytes().to_vec(),
        Code::Drain => DrainRequest::new(false).as_bytes().to_vec(),
    }
}

fn mutate(random: &mut Random, input: &mut Vec<u8>) {
    for _ in 0..random.below(3) {
        match random.below(5) {
            0 if !input.is_empty() => {
                let at = random.below(input.len());
                input[at] ^= 1 << random.below(8);
            }
            1 if input.len() >= 4 => {
                let at = random.below(input.len() / 4) * 4;
                let value = [0, 1, u32::MAX, random.next() as u32][random.below(4)];
                input[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            2 => input.truncate(random.below(input.len() + 1)),
            3 => input.extend(std::iter::repeat_n(0xA5, random.below(40))),
            _ => *input = (0..random.below(64)).map(|_| random.next() as u8).collect(),
        }
    }
}

/// A request that does not lock the driver for good, nor drain it.
fn request(random: &mut Random, image: &[u8]) -> (u32, Vec<u8>) {
    loop {
        let known = Code::ALL[random.below(Code::ALL.len())];
        let code = match random.below(8) {
            0 => random.next() as u32,
            1 => known as u32 ^ (1 << random.below(32)),
            _ => known as u32,
        };
        let mut input = good(known, image);
        mutate(random, &mut input);
        let locks = code == Code::Lock as u32 && input == Request::default().as_bytes();
        let drains = code == Code::Drain as u32 && input == DrainRequest::new(true).as_bytes();
        if !locks && !drains {
            return (code, input);
        }
    }
}

/// Memory that answers must not name.
struct Secrets(Vec<Range>);

impl Secrets {
    fn read(verifier: &Verifier) -> Result<Self> {
        let mut ranges = verifier.ranges()?;
        ensure!(ranges.len() > 10, "the verifier knows of {} ranges only", ranges.len());
        ranges.sort_unstable_by_key(|range| range.start);
        Ok(Self(ranges))
    }

    /// Whether a number is an address: where a block begins, or anywhere in an image; above 4 GiB anywhere in a block too. The test kernel
    /// has memory below, and images at round addresses above, where counts and ids are too: what has fewer than four bytes other than 0 is
    /// taken for one of those.
    fn contain(&self, value: u64) -> bool {
        if value.to_le_bytes().iter().filter(|byte| **byte != 0).count() < 4 {
            return false;
        }
        let after = self.0.partition_point(|range| range.start <= value);
        after.checked_sub(1).map(|at| self.0[at]).is_some_and(|range| {
            let inside = value - range.start < range.length;
            value == range.start || inside && (range.image == 1 || value >= 1 << 32)
        })
    }

    /// The first 8 bytes, at any offset, that are such an address.
    fn found(&self, output: &[u8]) -> Option<u64> {
        output
            .windows(8)
            .filter_map(|window| window.try_into().ok())
            .map(u64::from_le_bytes)
            .find(|value| self.contain(*value))
    }
}

fn blocks(verifier: &Verifier) -> Result<[u64; 6]> {
    let mut blocks = [0; 6];
    for (blocks, tag) in blocks.iter_mut().zip(TAGS) {
        *blocks = verifier.pool(Some(*tag))?.blocks;
    }
    Ok(blocks)
}

fn bombard(seed: u64, image: &[u8], secrets: &Secrets, answered: &AtomicU64) -> Result<()> {
    let mut random = Random(seed);
    let device = Device::open(WIN32_PATH)?;
    for number in 0..REQUESTS / THREADS {
        let (code, input) = request(&mut random, image);
        let room = if random.below(8) == 0 { 0 } else { random.below(2048) };
        // An error is a wait that pended until it was cancelled.
        let Ok((completion, output)) = device.control(code, input, room, Duration::from_millis(5)) else {
            continue;
        };
        ensure!(
            completion.information <= room,
            "code {code:#x}: more than there is room for"
        );
        if completion.status >= 0 {
            answered.fetch_add(1, Ordering::Relaxed);
        }
        // What a policy image holds is the caller's own.
        if let Some(address) = secrets.found(&output).filter(|_| code != Code::GetPolicy as u32) {
            return Err(anyhow!("request {number}, code {code:#x}: {address:#x} in {output:x?}"));
        }
    }
    Ok(())
}

fn random_requests(context: &Context) -> Result<()> {
    let Ok(verifier) = Verifier::open() else {
        return skip("only the test kernel says where its memory is");
    };
    let client = context.attach()?;
    let sockets = (0..20)
        .map(|_| client.datagram_socket(Family::V4))
        .collect::<Result<Vec<_>>>()?;
    let image = super::policy::compile(PERMISSIVE)?;
    Guard::open()?.load(PERMISSIVE)?;
    let before = blocks(&verifier)?;
    let secrets = Secrets::read(&verifier)?;
    let (answered, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| -> Result<()> {
        let callers: Vec<_> = (1..=THREADS)
            .map(|seed| {
                let (image, secrets, answered) = (&image, &secrets, &answered);
                scope.spawn(move || bombard(seed * 0x9E37_79B9, image, secrets, answered))
            })
            .collect();
        let opener = scope.spawn(|| -> Result<u64> {
            let mut opens = 0;
            while !over.load(Ordering::Relaxed) {
                drop(Device::open(WIN32_PATH)?);
                opens += 1;
                thread::sleep(Duration::from_millis(1));
            }
            Ok(opens)
        });
        let ended: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
        over.store(true, Ordering::Relaxed);
        let opens = opener.join().map_err(|_| anyhow!("the opener panicked"))??;
        for caller in ended {
            caller.map_err(|_| anyhow!("a caller panicked"))??;
        }
        check::holds(&format!("opens and closes in between: {opens}"), opens > 100)
    })?;
    let answered = answered.into_inner();
    check::holds(&format!("many were answered: {answered}"), answered > REQUESTS / 20)?;
    let mut guard = Guard::open()?;
    guard.load(PERMISSIVE)?;
    drop(guard);
    // What the answers were compared with was there all the time: it is there still.
    let after = Secrets::read(&verifier)?;
    let kept = secrets
        .0
        .iter()
        .filter(|range| after.0.binary_search_by_key(&range.start, |range| range.start).is_ok());
    check::holds("addresses that were there all the time", kept.count() > 10)?;
    check::equal("blocks by tag", blocks(&verifier)?, before)?;
    drop(sockets);
    super::policy::works(&client)
}

fn sub_opens(_: &Context) -> Result<()> {
    let verifier = Verifier::open();
    let before = verifier.as_ref().map(blocks);
    for number in 0..1000 {
        // Refused or not, it has to come back and to leave nothing.
        drop(Device::open(&format!("{WIN32_PATH}\\below\\{number}")));
    }
    if let (Ok(verifier), Ok(before)) = (&verifier, before) {
        check::equal("blocks by tag", blocks(verifier)?, before?)?;
    }
    Guard::open()?.status().map(drop).map_err(Into::into)
}
