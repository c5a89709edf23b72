//! Much of everything: long transfers, many threads, and what a call costs.

use anyhow::Result;
use probe_protocol::probe::{Bench, BenchReport, Medium, Op, Stress, StressReport, Transfer, TransferReport, Workload};
use zerocopy::IntoBytes;

use crate::check;
use crate::context::Context;
use crate::probe::{Client, Family, Npi};
use crate::runner::tests;
use crate::status;
use crate::wsk::SO_BROADCAST;

tests! {
    "load";
    @90 stream_16_mib, Both, "load and faults", "16 MiB each way through one connection, every byte checked";
    @60 datagrams_1_mib, Both, "load and faults", "1 MiB each way in datagrams, every byte checked";
    small_pieces, Both, "load and faults", "sends of 7 bytes into receives of 5";
    @120 stress, Both, "load and faults", "four threads open, set, get, bind, start, cancel and close at random";
    @120 stress_at_dispatch, Both, "load and faults", "the same with calls at DISPATCH_LEVEL";
    @60 many_sockets, Both, "decisions and records", "hundreds of sockets at once";
}

fn transfer(client: &Client<'_>, wish: &Transfer) -> Result<TransferReport> {
    let report: TransferReport = client.probe.ask_for(Op::Transfer, &[wish.as_bytes()], 80_000)?;
    check::status("transfer", report.status, status::SUCCESS)?;
    check::equal("wrong bytes", report.wrong, 0)?;
    let expected = [wish.bytes, if wish.both == 1 { wish.bytes } else { 0 }];
    check::equal("sent", report.sent, expected)?;
    check::equal("received", report.received, expected)?;
    Ok(report)
}

fn stream(client: &Client<'_>, bytes: u64, send_size: u32, receive_size: u32) -> Result<()> {
    let (_listener, near, far) = client.pair(Family::V4)?;
    let wish = Transfer {
        medium: Medium::Stream as u32,
        from: near.id,
        to: far.id,
        both: 1,
        bytes,
        send_size,
        receive_size,
        seed: 17,
        timeout_ms: 10_000,
        ..Transfer::default()
    };
    transfer(client, &wish).map(drop)
}

fn stream_16_mib(context: &Context) -> Result<()> {
    stream(&context.attach()?, 16 << 20, 65_536, 65_536)
}

fn small_pieces(context: &Context) -> Result<()> {
    stream(&context.attach()?, 7 * 500, 7, 5)
}

fn datagrams_1_mib(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let ((one, address), (two, other)) = (client.datagram(Family::V4)?, client.datagram(Family::V4)?);
    let wish = Transfer {
        medium: Medium::Datagram as u32,
        from: one.id,
        to: two.id,
        both: 1,
        bytes: 1 << 20,
        send_size: 1400,
        receive_size: 2048,
        seed: 5,
        timeout_ms: 5000,
        to_address: other.bytes().0,
        from_address: address.bytes().0,
    };
    transfer(&client, &wish).map(drop)
}

fn run_stress(context: &Context, at_dispatch: u32) -> Result<()> {
    let client = context.attach()?;
    for seed in [1, 20_260] {
        let wish = Stress {
            client: client.id,
            threads: 4,
            sockets: 8,
            steps: 400,
            seed,
            timeout_ms: 5000,
            at_dispatch,
            family: Family::V4.number(),
            protocol: 0,
        };
        let report: StressReport = client.probe.ask_for(Op::Stress, &[wish.as_bytes()], 100_000)?;
        let what = format!("seed {seed}: {report:?}");
        check::equal(&format!("stuck requests, {what}"), report.stuck, 0)?;
        check::equal(&format!("completions too many, {what}"), report.double_completions, 0)?;
        check::equal(&format!("pending flags, {what}"), report.mismatched, 0)?;
        check::status(&what, report.status, status::SUCCESS)?;
        check::holds(
            &format!("something happened, {what}"),
            report.succeeded > 100 && report.cancelled > 0,
        )?;
    }
    Ok(())
}

fn stress(context: &Context) -> Result<()> {
    run_stress(context, 0)
}

fn stress_at_dispatch(context: &Context) -> Result<()> {
    run_stress(context, 1)
}

fn many_sockets(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let mut sockets = Vec::new();
    for index in 0..300 {
        let socket = client.datagram_socket(Family::BOTH[index % 2])?;
        socket.set(SO_BROADCAST, 1)?;
        sockets.push(socket);
    }
    if context.npi() == Npi::Wskguard {
        let mut guard = context.guard()?;
        check::holds("listed", super::lifetime::list(&mut guard)?.len() >= 300)?;
    }
    for socket in sockets {
        socket.close()?;
    }
    Ok(())
}

/// One measurement with 16 sockets in turn for each thread.
pub(crate) fn measure(client: &Client<'_>, wish: &Bench) -> Result<BenchReport> {
    let wish = Bench {
        client: client.id,
        ..*wish
    };
    let report: BenchReport = client.probe.ask_for(Op::Bench, &[wish.as_bytes()], 120_000)?;
    check::status(
        &format!("{:?}", Workload::from_u32(wish.workload)),
        report.status,
        status::SUCCESS,
    )?;
    let expected = u64::from(wish.iterations) * u64::from(wish.threads);
    check::equal("repetitions", report.iterations, expected)?;
    Ok(report)
}
