//! Expectations against what was seen.

use std::fmt::Debug;

use anyhow::{Context, Result, bail, ensure};

use crate::backend::{Access, Observed, WskFacts};
use crate::format::{AccessDefault, Csaddr, Expect, Information, NumberOr, Presence, Size};

/// A step that has been run.
pub struct Done {
    /// Its number in the source row.
    pub n: u32,
    /// What was seen.
    pub observed: Observed,
}

/// How a step did.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is not as expected.
    pub wrong: Vec<String>,
    /// What could not be observed.
    pub unchecked: Vec<String>,
}

impl Findings {
    fn compare<T: Debug>(&mut self, what: &str, expected: &T, seen: Option<impl Debug>, same: bool) {
        match seen {
            None => self.unchecked.push(format!("{what} cannot be observed")),
            Some(seen) if !same => self.wrong.push(format!("{what}: expected {expected:?}, got {seen:?}")),
            Some(_) => {}
        }
    }

    fn equal<T: Debug + PartialEq>(&mut self, what: &str, expected: Option<&T>, seen: Option<&T>) {
        if let Some(expected) = expected {
            self.compare(what, expected, seen, seen == Some(expected));
        }
    }

    fn unobservable(&mut self, what: &str, asked: bool) {
        if asked {
            self.unchecked.push(format!("{what} cannot be observed"));
        }
    }
}

/// Checks the given members, and nothing else.
///
/// # Errors
/// The expectation makes no sense for the step.
pub fn check(expect: &Expect, observed: &Observed, history: &[Done]) -> Result<Findings> {
    let mut findings = Findings::default();
    results(expect, observed, &mut findings)?;
    buffers(expect, observed, history, &mut findings)?;
    wsk(expect, observed, &mut findings)?;
    Ok(findings)
}

fn results(expect: &Expect, observed: &Observed, findings: &mut Findings) -> Result<()> {
    findings.equal("wsa", expect.wsa.as_ref(), observed.wsa.as_ref());
    if let Some(fail) = expect.fail {
        ensure!(fail, "fail is true or absent");
        let seen = observed.wsa.or(observed.final_status).or(observed.status);
        findings.compare("result", &"failure", seen, observed.failed());
    }
    ensure!(
        expect.wsa_documented.is_none() || expect.fail.is_some(),
        "wsa_documented comes with fail"
    );
    if let Some(size) = &expect.returned {
        findings.compare(
            "returned",
            size,
            observed.returned,
            observed.returned == Some(length(size)?),
        );
    }
    findings.equal("count", expect.count.as_ref(), observed.count.as_ref());
    findings.equal("pending", expect.pending.as_ref(), observed.pending.as_ref());
    findings.equal(
        "delivered_to",
        expect.delivered_to.as_ref(),
        observed.delivered_to.as_ref(),
    );
    findings.equal("statuses", expect.statuses.as_ref(), observed.statuses.as_ref());
    if let Some(area) = &expect.no_effect {
        let seen = observed.unaffected.as_ref();
        findings.compare(
            "no effect on",
            area,
            seen,
            seen.is_some_and(|areas| areas.contains(area)),
        );
    }
    Ok(())
}

/// A length as a 32-bit variable holds it.
fn length(size: &Size) -> Result<u32> {
    let size = size.bytes()?;
    Ok(if size < 0 { u32::MAX } else { u32::try_from(size)? })
}

fn buffers(expect: &Expect, observed: &Observed, history: &[Done], findings: &mut Findings) -> Result<()> {
    if let Some(size) = &expect.size {
        findings.compare("size", size, observed.size, observed.size == Some(length(size)?));
    }
    let bytes = observed.buffer.as_ref().map(|buffer| buffer.bytes.as_slice());
    if let Some(expected) = &expect.bytes {
        let seen = bytes.map(|bytes| &bytes[..bytes.len().min(expected.0.len())]);
        findings.compare("bytes", &expected.0, seen, seen == Some(&expected.0));
    }
    let value = observed.value.or_else(|| bytes.map(|bytes| number(bytes, 0)));
    match &expect.value {
        Some(NumberOr::Number(expected)) => findings.equal("value", Some(expected), value.as_ref()),
        Some(NumberOr::Word(word)) if word == "transport" => findings.compare("value", word, value, true),
        Some(NumberOr::Word(word)) => bail!("value {word}"),
        None => {}
    }
    if let Some(expected) = &expect.value_in {
        findings.compare(
            "value",
            expected,
            value,
            value.is_some_and(|value| expected.contains(&value)),
        );
    }
    half(
        "onoff",
        expect.onoff.as_ref(),
        "nonzero",
        value.map(|value| value & 0xFFFF),
        |seen| seen != 0,
        findings,
    )?;
    half(
        "linger",
        expect.linger.as_ref(),
        "any",
        value.map(|value| value >> 16),
        |_| true,
        findings,
    )?;
    if let Some(step) = expect.value_not_onoff_of {
        let other = number(earlier(history, step)?, 0) & 0xFFFF;
        let expected = u32::from(other == 0);
        findings.equal("value", Some(&expected), value.as_ref());
    }
    prefixes(expect, observed, history, findings)?;
    if let Some(csaddr) = &expect.csaddr {
        addresses(csaddr, observed, history, findings)?;
    }
    Ok(())
}

/// One u16 of a struct linger.
fn half(
    what: &str,
    expected: Option<&NumberOr>,
    word: &str,
    seen: Option<u32>,
    passes: impl Fn(u32) -> bool,
    findings: &mut Findings,
) -> Result<()> {
    match expected {
        Some(NumberOr::Number(number)) => findings.equal(what, Some(number), seen.as_ref()),
        Some(NumberOr::Word(other)) if other == word => findings.compare(what, other, seen, seen.is_some_and(passes)),
        Some(NumberOr::Word(other)) => bail!("{what} {other}"),
        None => {}
    }
    Ok(())
}

/// The bytes that the get of step `n` returned.
fn earlier(history: &[Done], n: u32) -> Result<&[u8]> {
    let found = history
        .iter()
        .rev()
        .filter(|done| done.n == n)
        .find_map(|done| done.observed.buffer.as_ref());
    found
        .map(|buffer| buffer.bytes.as_slice())
        .with_context(|| format!("no get with n {n}"))
}

/// The little-endian u32 at `at`; missing bytes are zero.
fn number(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    for (to, from) in four.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u32::from_le_bytes(four)
}

fn prefixes(expect: &Expect, observed: &Observed, history: &[Done], findings: &mut Findings) -> Result<()> {
    let own = observed.buffer.as_ref().map(|buffer| buffer.bytes.as_slice());
    if let Some(prefix) = &expect.same_prefix {
        let other = earlier(history, prefix.step)?.get(..prefix.count);
        let seen = own.and_then(|bytes| bytes.get(..prefix.count));
        ensure!(
            other.is_some(),
            "step {} read less than {} bytes",
            prefix.step,
            prefix.count
        );
        findings.compare("prefix", &other, seen, seen == other);
    }
    if expect.describes_socket.is_some() {
        let mut infos: Vec<&[u8]> = own.into_iter().collect();
        if let Some(prefix) = &expect.same_prefix {
            infos.push(earlier(history, prefix.step)?);
        }
        for info in infos {
            // WSAPROTOCOL_INFO: iAddressFamily, iSocketType and iProtocol.
            let seen = (number(info, 76), number(info, 88), number(info, 92));
            let expected = observed
                .socket
                .map(|(family, ty, protocol)| (u32::from(family.0), ty as u32, protocol));
            findings.equal("socket", expected.as_ref(), Some(&seen));
        }
    }
    Ok(())
}

/// A `CSADDR_INFO` taken apart.
struct Addresses {
    local: Option<Vec<u8>>,
    remote: Option<Vec<u8>>,
    socket_type: u32,
    protocol: u32,
}

fn csaddr_info(observed: &Observed) -> Option<Addresses> {
    const WORD: usize = size_of::<usize>();
    let buffer = observed.buffer.as_ref()?;
    let word = |at: usize| Some(usize::from_le_bytes(buffer.bytes.get(at..at + WORD)?.try_into().ok()?));
    let address = |at: usize| {
        let (pointer, len) = (word(at)?, number(&buffer.bytes, at + WORD) as usize);
        let start = pointer.checked_sub(buffer.base)?;
        (len != 0)
            .then(|| buffer.bytes.get(start..start.checked_add(len)?).map(<[u8]>::to_vec))
            .flatten()
    };
    Some(Addresses {
        local: address(0),
        remote: address(2 * WORD),
        socket_type: number(&buffer.bytes, 4 * WORD),
        protocol: number(&buffer.bytes, 4 * WORD + 4),
    })
}

fn addresses(expected: &Csaddr, observed: &Observed, history: &[Done], findings: &mut Findings) -> Result<()> {
    let Some(seen) = csaddr_info(observed) else {
        findings.unobservable("csaddr", true);
        return Ok(());
    };
    let presence = |address: &Option<Vec<u8>>| {
        if address.is_some() {
            Presence::Present
        } else {
            Presence::None
        }
    };
    findings.equal("local address", expected.local.as_ref(), Some(&presence(&seen.local)));
    findings.equal(
        "remote address",
        expected.remote.as_ref(),
        Some(&presence(&seen.remote)),
    );
    findings.equal("iSocketType", expected.socket_type.as_ref(), Some(&seen.socket_type));
    findings.equal("iProtocol", expected.protocol.as_ref(), Some(&seen.protocol));
    if let Some(name) = &expected.mirrors {
        let mut answers = history
            .iter()
            .rev()
            .filter(|done| done.observed.socket_name.as_ref() == Some(name));
        let other = answers.find_map(|done| csaddr_info(&done.observed));
        let other = other.with_context(|| format!("no earlier answer of {name}"))?;
        findings.equal("local address", Some(&other.remote), Some(&seen.local));
        findings.equal("remote address", Some(&other.local), Some(&seen.remote));
    }
    Ok(())
}

fn wsk(expect: &Expect, observed: &Observed, findings: &mut Findings) -> Result<()> {
    findings.equal("status", expect.status.as_ref(), observed.status.as_ref());
    findings.equal("irp_status", expect.irp_status.as_ref(), observed.irp_status.as_ref());
    findings.equal("final", expect.final_status.as_ref(), observed.final_status.as_ref());
    findings.equal("written", expect.written.as_ref(), observed.written.as_ref());
    findings.equal(
        "status_recommended",
        expect.status_recommended.as_ref(),
        observed.recommended.as_ref(),
    );
    if let Some(expected) = &expect.status_in {
        let same = observed.status.is_some_and(|status| expected.contains(&status));
        findings.compare("status", expected, observed.status, same);
    }
    if let Some(word) = &expect.violation {
        findings.compare("violation", word, observed.violation, observed.violation == Some(word));
    }
    if let Some(ok) = expect.ok {
        ensure!(ok, "ok is true or absent");
        let seen = observed.final_status.or(observed.status);
        findings.compare("status", &"success", seen, !observed.failed());
    }
    match &expect.information {
        Some(Information::Size(size)) => {
            let same = observed.information == Some(u64::from(length(size)?));
            findings.compare("information", size, observed.information, same);
        }
        Some(Information::Word(word)) if word == "written" => {
            let same = observed.information.is_some() && observed.information == observed.written;
            findings.compare("information", &observed.written, observed.information, same);
        }
        Some(Information::Word(word)) => {
            findings.equal("information", Some(&word.as_str()), observed.wsk.information.as_ref());
        }
        None => {}
    }
    if let Some(expected) = &expect.access_check {
        let default = if expected.default == AccessDefault::Granted {
            expected.granted
        } else {
            expected.denied
        };
        let wanted = (expected.granted, expected.denied, default);
        let seen = observed
            .access
            .map(|Access { granted, denied, now }| (granted, denied, now));
        findings.equal("access check", Some(&wanted), seen.as_ref());
    }
    facts(expect, &observed.wsk, findings);
    for (what, asked) in [
        ("sd_replaces", expect.sd_replaces.is_some()),
        ("sd_equals", expect.sd_equals.is_some()),
        ("sd_released_by", expect.sd_released_by.is_some()),
    ] {
        findings.unobservable(what, asked);
    }
    Ok(())
}

/// What events and the driver's objects showed.
fn facts(expect: &Expect, seen: &WskFacts, findings: &mut Findings) {
    let said = |word: &Option<String>| word.is_some().then_some(true);
    for (what, expected, seen) in [
        (
            "completion after the callback",
            said(&expect.irp_completes_after),
            seen.after_callback,
        ),
        (
            "receive-ex callback",
            expect.receive_ex_callback.as_ref().map(Option::is_some),
            seen.receive_ex_callback,
        ),
        ("received", expect.received, seen.received),
        ("addresses filled in", said(&expect.addresses), seen.addresses_filled),
        ("IRP untouched", expect.irp_untouched, seen.irp_untouched),
        ("client captured", said(&expect.client), seen.client),
        (
            "descriptor cached until completion",
            said(&expect.sd_cached_until),
            seen.sd_cached,
        ),
        ("all accepted", said(&expect.accepted), seen.all_accepted),
    ] {
        findings.equal(what, expected.as_ref(), seen.as_ref());
    }
    findings.equal(
        "events_enabled",
        expect.events_enabled.as_ref(),
        seen.events_enabled.as_ref(),
    );
    let then = expect.then.as_deref();
    findings.equal("then", then.as_ref(), seen.then.as_ref());
    if let Some(least) = expect.version_min {
        findings.compare(
            "version",
            &least,
            seen.version,
            seen.version.is_some_and(|version| version >= least),
        );
    }
    let remote = expect.fixed_remote.as_ref().map(|remote| {
        let names = remote.as_ref();
        names.map(|names| (names.sends_to.clone(), names.receives_from.clone()))
    });
    findings.equal("fixed_remote", remote.as_ref(), seen.fixed_remote.as_ref());
}
