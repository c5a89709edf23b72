//! Patterned bytes through a connection or as datagrams, checked as they arrive.

use probe_protocol::probe::{Call, Function, Input, Medium, Output, Transfer, TransferReport};
use wdk_rtl::lock::SpinLock;
use wdk_sys::{
    NTSTATUS, STATUS_CONNECTION_DISCONNECTED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
    STATUS_TIMEOUT,
};

use super::{carry_out, on_threads, wait};
use crate::ke;
use crate::request::Request;
use crate::session::Session;
use crate::shared::Shared;

/// The byte at `offset`.
fn pattern(seed: u32, offset: u64) -> u8 {
    let [.., high] = offset
        .wrapping_add(u64::from(seed))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .to_le_bytes();
    high
}

/// One direction of a stream: what one thread does.
struct Leg {
    request: Shared<Request>,
    sends: bool,
    bytes: u64,
    piece: usize,
    seed: u32,
    timeout_ms: u32,
    result: SpinLock<Moved>,
}

#[derive(Clone, Copy, Default)]
struct Moved {
    status: NTSTATUS,
    bytes: u64,
    wrong: u32,
    requests: u64,
}

fn run_leg(leg: &Leg) {
    let mut result = Moved::default();
    while result.bytes < leg.bytes && result.status >= 0 {
        let left = usize::try_from(leg.bytes.saturating_sub(result.bytes)).unwrap_or(usize::MAX);
        let piece = leg.piece.min(left);
        leg.request.arguments.set_data_length(piece);
        if leg.sends {
            leg.request.arguments.fill_input(piece, |index| {
                pattern(leg.seed, result.bytes.wrapping_add(index as u64))
            });
        }
        result.requests = result.requests.saturating_add(1);
        match carry_out(&leg.request, false, leg.timeout_ms) {
            Err(()) => result.status = STATUS_TIMEOUT,
            Ok((status, _)) if status < 0 => result.status = status,
            Ok((_, 0)) => result.status = STATUS_CONNECTION_DISCONNECTED,
            Ok((_, moved)) => {
                if !leg.sends {
                    let wrong = leg.request.arguments.count_output(moved, |index, byte| {
                        byte != pattern(leg.seed, result.bytes.wrapping_add(index as u64))
                    });
                    result.wrong = result.wrong.saturating_add(wrong);
                }
                result.bytes = result.bytes.saturating_add(moved as u64);
            }
        }
    }
    *leg.result.lock() = result;
}

fn call(function: Function, socket: u32, piece: u32, address: Option<[u8; 28]>) -> Call {
    let sends = matches!(function, Function::Send | Function::SendTo);
    let (input, output) = if sends {
        (Input::Bytes, Output::Null)
    } else {
        (Input::Null, Output::Bytes)
    };
    Call {
        function: function as u32,
        socket,
        input: input as u32,
        output: output as u32,
        input_length: if sends { piece } else { 0 },
        output_length: if sends { 0 } else { piece },
        input_size: piece.into(),
        output_size: piece.into(),
        address: address.unwrap_or_default(),
        address_length: match address {
            Some([23, ..]) => 28,
            Some(_) => 16,
            None => 0,
        },
        ..Call::default()
    }
}

/// A request with a buffer of `piece` bytes.
fn request(
    session: &Shared<Session>,
    function: Function,
    socket: u32,
    piece: u32,
    address: Option<[u8; 28]>,
) -> Result<Shared<Request>, NTSTATUS> {
    let zeroes = crate::buffer::Buffer::filled(piece as usize, 0).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let call = call(function, socket, piece, address);
    // SAFETY: the buffer is ours alone.
    let data = unsafe { zeroes.bytes() };
    session.prepare(&call, if call.input_length > 0 { data } else { &[] })
}

pub(super) fn run(session: &Shared<Session>, wish: &Transfer) -> Result<TransferReport, NTSTATUS> {
    if wish.send_size == 0 || wish.receive_size == 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    match Medium::from_u32(wish.medium) {
        Some(Medium::Stream) => stream(session, wish),
        Some(Medium::Datagram) => datagrams(session, wish),
        None => Err(STATUS_INVALID_PARAMETER),
    }
}

fn stream(session: &Shared<Session>, wish: &Transfer) -> Result<TransferReport, NTSTATUS> {
    let leg = |function, socket, piece, seed| -> Result<Shared<Leg>, NTSTATUS> {
        Shared::try_new(Leg {
            request: request(session, function, socket, piece, None)?,
            sends: function == Function::Send,
            bytes: wish.bytes,
            piece: piece as usize,
            seed,
            timeout_ms: wish.timeout_ms,
            result: SpinLock::new(Moved::default()),
        })
        .ok_or(STATUS_INSUFFICIENT_RESOURCES)
    };
    let back = wish.seed.wrapping_add(1);
    let legs = [
        Some(leg(Function::Send, wish.from, wish.send_size, wish.seed)?),
        Some(leg(Function::Receive, wish.to, wish.receive_size, wish.seed)?),
        (wish.both != 0)
            .then(|| leg(Function::Send, wish.to, wish.send_size, back))
            .transpose()?,
        (wish.both != 0)
            .then(|| leg(Function::Receive, wish.from, wish.receive_size, back))
            .transpose()?,
    ];
    let count = if wish.both != 0 { 4 } else { 2 };
    let started = ke::ticks();
    on_threads(count, run_leg, |index| legs.get(index)?.clone()).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let mut report = TransferReport {
        ticks: ke::ticks().wrapping_sub(started),
        ..TransferReport::default()
    };
    for (index, leg) in legs.iter().flatten().enumerate() {
        let result = *leg.result.lock();
        let way = index / 2;
        let place = if leg.sends {
            report.sent.get_mut(way)
        } else {
            report.received.get_mut(way)
        };
        if let Some(place) = place {
            *place = result.bytes;
        }
        report.wrong = report.wrong.saturating_add(result.wrong);
        report.requests = report.requests.saturating_add(result.requests);
        if report.status >= 0 {
            report.status = result.status;
        }
        session.forget(&leg.request);
    }
    Ok(report)
}

fn datagrams(session: &Shared<Session>, wish: &Transfer) -> Result<TransferReport, NTSTATUS> {
    let mut report = TransferReport::default();
    let started = ke::ticks();
    let ways = [
        (wish.from, wish.to, wish.to_address),
        (wish.to, wish.from, wish.from_address),
    ];
    for (way, (from, to, address)) in ways.into_iter().enumerate().take(if wish.both != 0 { 2 } else { 1 }) {
        let send = request(session, Function::SendTo, from, wish.send_size, Some(address))?;
        let receive = request(session, Function::ReceiveFrom, to, wish.receive_size, None)?;
        let start = wish.seed.wrapping_add(u32::try_from(way).unwrap_or(0));
        let result = exchange(&send, &receive, wish, start);
        if let (Some(sent), Some(received)) = (report.sent.get_mut(way), report.received.get_mut(way)) {
            *sent = result.bytes;
            *received = result.bytes;
        }
        report.wrong = report.wrong.saturating_add(result.wrong);
        report.requests = report.requests.saturating_add(result.requests);
        session.forget(&send);
        session.forget(&receive);
        if result.status < 0 || result.status == STATUS_TIMEOUT {
            report.status = result.status;
            break;
        }
    }
    report.ticks = ke::ticks().wrapping_sub(started);
    Ok(report)
}

/// One datagram at a time, its receive posted before it is sent.
fn exchange(send: &Shared<Request>, receive: &Shared<Request>, wish: &Transfer, start: u32) -> Moved {
    let mut result = Moved {
        status: STATUS_SUCCESS,
        ..Moved::default()
    };
    while result.bytes < wish.bytes {
        let left = usize::try_from(wish.bytes.saturating_sub(result.bytes)).unwrap_or(usize::MAX);
        let piece = (wish.send_size as usize).min(left);
        send.arguments.set_data_length(piece);
        send.arguments
            .fill_input(piece, |index| pattern(start, result.bytes.wrapping_add(index as u64)));
        result.requests = result.requests.saturating_add(2);
        receive.launch(receive, false);
        let gone = carry_out(send, false, wish.timeout_ms);
        let come = wait(receive, wish.timeout_ms);
        let (Ok((out_status, _)), Ok((in_status, moved))) = (gone, come) else {
            result.status = STATUS_TIMEOUT;
            break;
        };
        if out_status < 0 || in_status < 0 {
            result.status = out_status.min(in_status);
            break;
        }
        let wrong = receive.arguments.count_output(moved, |index, byte| {
            byte != pattern(start, result.bytes.wrapping_add(index as u64))
        });
        let missing = u32::from(moved != piece);
        result.wrong = result.wrong.saturating_add(wrong).saturating_add(missing);
        result.bytes = result.bytes.saturating_add(piece as u64);
    }
    result
}
