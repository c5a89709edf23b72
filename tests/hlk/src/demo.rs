//! `hlk demo`: what wskguard does, told step by step, with every claim checked.
//!
//! Two client drivers go through wskguard; a policy refuses one an option and the other a bind, and cuts a buffer down; data goes
//! through unharmed; the companion shows what was decided and why.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use probe_protocol::netio;
use probe_protocol::probe::{Medium, Op, Transfer, TransferReport};
use testkernel_check::verifier::Verifier;
use zerocopy::{FromBytes, IntoBytes};

use crate::check;
use crate::context::finish;
use crate::device::Device;
use crate::guard::Guard;
use crate::probe::{Address, Family, Npi, Probe, Socket};
use crate::status;

const SO_REUSEADDR: u32 = 4;
const SO_RCVBUF: u32 = 0x1002;
/// `rcvbuf-ceiling` of policies/demo.toml.
const CEILING: u32 = 65536;
const TRANSFER: u64 = 16 << 20;

#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    /// The companion
    #[arg(long, value_name = "FILE")]
    ctl: PathBuf,
    /// policies/demo.toml
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
}

/// Runs the demonstration.
pub(crate) fn run(options: &DemoOptions) -> Result<()> {
    let ctl = Companion(&options.ctl);
    say("A policy is compiled by the companion, validated again by the driver, and put in force.");
    ctl.show(&["policy", "load", &options.policy.to_string_lossy()])?;

    say("Two client drivers, probe.sys and probe2.sys, attach to wskguard and open sockets.");
    let (first, second) = (Probe::open("probe")?, Probe::open("probe2")?);
    let (holder, intruder) = (first.attach(Npi::Wskguard)?, second.attach(Npi::Wskguard)?);

    say("probe.sys listens. Setting SO_REUSEADDR on the listener is refused:");
    let (listener, address) = holder.listener(Family::V4)?;
    refused(
        "WskControlSocket(SO_REUSEADDR = 1)",
        &listener.set_call(SO_REUSEADDR, 0xFFFF, &1_u32.to_le_bytes()),
    )?;

    say(
        "probe2.sys wants the same port, with an option set where no rule forbids it. The bind is refused before Windows sees it:",
    );
    let thief = intruder.connection_socket(Family::V4)?;
    thief.set(SO_REUSEADDR, 1)?;
    refused(&format!("WskBind({address})"), &thief.bind_call(address))?;

    say(
        "A receive buffer of 1 MiB is asked for. The provider is given what the rule allows, and the real socket has it:",
    );
    let buffered = holder.datagram_socket(Family::V4)?;
    buffered.bind(Family::V4.loopback(0))?.set(SO_RCVBUF, 1 << 20)?;
    let granted = buffered.get(SO_RCVBUF)?;
    let host = host_receive_buffer(buffered.local_address()?)?;
    println!("    asked for 1048576, read back {granted}; the socket beneath has {host}");
    check::equal("SO_RCVBUF through WSK", granted, CEILING)?;
    ensure!(
        host == CEILING || host == 2 * CEILING,
        "the socket beneath has {host}: neither {CEILING} nor twice that"
    );

    say("16 MiB each way through a connection, and through a pair of datagram sockets:");
    let (_accepting, near, far) = holder.pair(Family::V4)?;
    transfer(&first, Medium::Stream, &near, &far, [Family::V4.loopback(0); 2])?;
    let ((from, here), (to, there)) = (intruder.datagram(Family::V6)?, intruder.datagram(Family::V6)?);
    transfer(&second, Medium::Datagram, &from, &to, [there, here])?;

    say("What the companion shows while all of it is open: the endpoints,");
    ctl.show(&["endpoints", "list"])?;
    say("which rules were hit, and the counters that moved,");
    ctl.show(&["counters", "--rules"])?;
    ctl.show(&["counters"])?;
    say("what was decided, and by which rule,");
    ctl.show(&["audit", "tail"])?;
    say("and why a stop fails as long as drivers hold sockets:");
    ctl.fail(&["stop"], "held")?;

    finish(&first)?;
    finish(&second)?;
    let left = Guard::open()?.status()?;
    ensure!(
        left.endpoints == 0 && left.clients == 0,
        "{} endpoints and {} clients are left",
        left.endpoints,
        left.clients
    );
    Ok(())
}

fn say(what: &str) {
    println!("\n--- {what}");
}

/// Makes a call that policy must refuse with `STATUS_ACCESS_DENIED`.
fn refused(what: &str, call: &crate::probe::CallBuilder<'_>) -> Result<()> {
    let done = call.fails_with(status::ACCESS_DENIED)?;
    println!("    {what}: {}", status::name(done.result()));
    Ok(())
}

/// `SO_RCVBUF` of the host's socket that is bound to this address.
fn host_receive_buffer(address: Address) -> Result<u32> {
    let device = Device::open(netio::WIN32_NAME)?;
    let query = netio::OptionQuery {
        family: 2,
        port: u32::from(address.port()),
        kind: 2,
        connected: 0,
        level: 0xFFFF,
        option: SO_RCVBUF,
        length: 4,
    };
    let header = netio::Header {
        version: netio::VERSION,
        operation: netio::Operation::HostOption as u32,
    };
    let mut input = header.as_bytes().to_vec();
    input.extend_from_slice(query.as_bytes());
    let (completion, output) = device.control(netio::IOCTL_EXECUTE, input, 256, std::time::Duration::from_secs(10))?;
    ensure!(
        completion.status >= 0,
        "netio.sys answered {}",
        status::name(completion.status)
    );
    let (reply, _) = netio::OptionReply::read_from_prefix(&output).map_err(|_| anyhow::anyhow!("a short reply"))?;
    ensure!(reply.status >= 0, "the socket beneath: {}", status::name(reply.status));
    let [a, b, c, d, ..] = reply.value;
    Ok(u32::from_le_bytes([a, b, c, d]))
}

fn transfer(probe: &Probe, medium: Medium, from: &Socket<'_>, to: &Socket<'_>, addresses: [Address; 2]) -> Result<()> {
    let [to_address, from_address] = addresses.map(|address| address.bytes().0);
    let size = match medium {
        Medium::Stream => 65536,
        Medium::Datagram => 16384,
    };
    let request = Transfer {
        medium: medium as u32,
        from: from.id,
        to: to.id,
        both: 1,
        bytes: TRANSFER,
        send_size: size,
        receive_size: size,
        seed: 7,
        timeout_ms: 20_000,
        to_address,
        from_address,
    };
    let report: TransferReport = probe.ask_for(Op::Transfer, &[request.as_bytes()], 120_000)?;
    println!(
        "    {medium:?}: {} bytes forth, {} back, {} wrong, {} requests",
        report.received[0], report.received[1], report.wrong, report.requests
    );
    check::status("transfer", report.status, status::SUCCESS)?;
    check::equal("wrong bytes", report.wrong, 0)?;
    check::equal("received", report.received, [TRANSFER; 2])
}

/// wskguardctl.exe, run as a user would.
struct Companion<'a>(&'a Path);

impl Companion<'_> {
    fn run(&self, arguments: &[&str]) -> Result<(bool, String)> {
        println!("    > wskguardctl {}", arguments.join(" "));
        let output = Command::new(self.0)
            .args(arguments)
            .output()
            .context("wskguardctl.exe does not start")?;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        for line in text.lines() {
            println!("    {line}");
        }
        Ok((output.status.success(), text))
    }

    fn show(&self, arguments: &[&str]) -> Result<()> {
        let (success, _) = self.run(arguments)?;
        ensure!(success, "wskguardctl {} failed", arguments.join(" "));
        Ok(())
    }

    /// A command that has to fail, and to say `why`.
    fn fail(&self, arguments: &[&str], why: &str) -> Result<()> {
        let (success, text) = self.run(arguments)?;
        if success || !text.contains(why) {
            bail!("wskguardctl {} was to fail and to say {why:?}", arguments.join(" "));
        }
        Ok(())
    }
}

/// `hlk leftovers`: what wskguard.sys, now unloaded, has left in the pool, and what the verifier has against anybody.
pub(crate) fn leftovers() -> Result<()> {
    const TAGS: [&[u8; 4]; 6] = [b"WsGc", b"WsGe", b"WsGr", b"WsGt", b"WsGp", b"WsGs"];
    let verifier = Verifier::open().context("verifier.sys")?;
    for tag in TAGS {
        let pool = verifier.pool(Some(*tag))?;
        println!(
            "    pool {}: {} allocated, {} freed, {} left",
            String::from_utf8_lossy(tag),
            pool.allocations,
            pool.frees,
            pool.blocks
        );
        ensure!(
            pool.blocks == 0,
            "{} bytes are left in {} blocks",
            pool.bytes,
            pool.blocks
        );
    }
    let stops = verifier.stops()?;
    println!("    verifier: {} stops", stops.len());
    ensure!(stops.is_empty(), "the verifier has stopped {} times", stops.len());
    Ok(())
}
