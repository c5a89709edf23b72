//! The requests of the control device. `PASSIVE_LEVEL`.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::netio::{
    Action, Choice, Configuration, Death, DetachOrder, Header, NullSockets, Number, Operation, OptionQuery,
    OptionReply, PortQuery, Rule, Statistics, VERSION,
};
use probe_protocol::probe::{Function, put, take};
use zerocopy::{Immutable, IntoBytes};

use crate::provider::request::OUTSTANDING;
use crate::provider::socket::{self, Phase, Socket, Task};
use crate::provider::{self, null};
use crate::status::{NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_SUCCESS};
use crate::{host, level, nmr, registration, report, script};

type Reply = Result<Vec<u8>, NTSTATUS>;

/// Carries out the request in the first `input` bytes; the reply goes to the first `output` bytes.
pub(crate) fn execute(buffer: &mut [u8], input: usize, output: usize) -> (NTSTATUS, usize) {
    match answer(buffer.get(..input).unwrap_or(&[])) {
        Ok(reply) if reply.len() > output => (STATUS_BUFFER_TOO_SMALL, 0),
        Ok(reply) => {
            if let Some(room) = buffer.get_mut(..reply.len()) {
                room.copy_from_slice(&reply);
            }
            (STATUS_SUCCESS, reply.len())
        }
        Err(status) => (status, 0),
    }
}

fn reply<T: IntoBytes + Immutable>(value: &T) -> Reply {
    let mut bytes = vec![0; size_of::<T>()];
    put(&mut bytes, value).ok_or(STATUS_INVALID_PARAMETER)?;
    Ok(bytes)
}

fn answer(request: &[u8]) -> Reply {
    let (header, body) = take::<Header>(request).ok_or(STATUS_INVALID_PARAMETER)?;
    let operation = Operation::from_u32(header.operation).filter(|_| header.version == VERSION);
    match operation.ok_or(STATUS_INVALID_PARAMETER)? {
        Operation::AddRule => add_rule(&read(body)?),
        Operation::ClearRules => {
            script::clear();
            Ok(Vec::new())
        }
        Operation::Release => {
            let which: Number = read(body)?;
            let function = if which.value == 0 {
                None
            } else {
                Some(function(which.value)?)
            };
            number(script::release(function))
        }
        Operation::Configure => configure(&read(body)?),
        Operation::Query => reply(&statistics()),
        Operation::HostOption => reply(&host_option(&read(body)?)),
        Operation::Kill => kill(&read(body)?),
        Operation::ForceClose => force_close(&read(body)?),
        Operation::Leave => provider::leave().map(|()| Vec::new()),
        Operation::Return => provider::come_back().map(|()| Vec::new()),
    }
}

fn read<T: zerocopy::FromBytes + Immutable + zerocopy::KnownLayout + Copy>(body: &[u8]) -> Result<T, NTSTATUS> {
    take(body).map(|(value, _)| value).ok_or(STATUS_INVALID_PARAMETER)
}

fn number(value: usize) -> Reply {
    reply(&Number { value: clamp(value) })
}

fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn function(number: u32) -> Result<Function, NTSTATUS> {
    Function::from_u32(number).ok_or(STATUS_INVALID_PARAMETER)
}

fn add_rule(rule: &Rule) -> Reply {
    script::add(script::Rule {
        function: function(rule.function)?,
        skip: rule.skip,
        count: rule.count,
        action: Action::from_u32(rule.action).ok_or(STATUS_INVALID_PARAMETER)?,
        status: rule.status,
        milliseconds: rule.milliseconds,
        flags: rule.flags,
    });
    Ok(Vec::new())
}

/// What is in force, as the last request gave it.
static SETTINGS: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

fn configure(new: &Configuration) -> Reply {
    let choice = Choice::from_u32(new.choice).ok_or(STATUS_INVALID_PARAMETER)?;
    let order = DetachOrder::from_u32(new.detach_order).ok_or(STATUS_INVALID_PARAMETER)?;
    let null_sockets = NullSockets::from_u32(new.null_sockets).ok_or(STATUS_INVALID_PARAMETER)?;
    registration::set_choice(choice);
    nmr::set_order(order);
    null::set_all(null_sockets == NullSockets::All);
    let at_dispatch = level::AT_DISPATCH.swap(new.at_dispatch != 0, Ordering::Relaxed);
    let [before_choice, before_order, before_null] = &SETTINGS;
    reply(&Configuration {
        choice: before_choice.swap(new.choice, Ordering::Relaxed),
        detach_order: before_order.swap(new.detach_order, Ordering::Relaxed),
        at_dispatch: at_dispatch.into(),
        null_sockets: before_null.swap(new.null_sockets, Ordering::Relaxed),
    })
}

fn statistics() -> Statistics {
    let (sockets, created) = socket::counts();
    let (modules, bindings) = nmr::counts();
    let (null_sockets, null_created) = null::counts();
    Statistics {
        sockets: clamp(sockets),
        null_sockets: clamp(null_sockets),
        host_sockets: clamp(host::OPEN.load(Ordering::Relaxed)),
        irps: clamp(OUTSTANDING.load(Ordering::Relaxed)),
        held: clamp(script::held()),
        modules: clamp(modules),
        bindings: clamp(bindings),
        clients: clamp(provider::clients()),
        retained: clamp(provider::retained()),
        descriptors: clamp(provider::descriptors()),
        misuses: report::MISUSES.load(Ordering::Relaxed),
        created: created.saturating_add(null_created),
    }
}

/// Whether a socket is bound to a port, as its client sees it.
fn is_bound_to(socket: &Socket, family: u32, port: u32) -> bool {
    u32::from(socket.family) == family
        && socket.look(|inner| inner.local.is_some_and(|local| u32::from(local.port()) == port))
}

fn host_option(query: &OptionQuery) -> OptionReply {
    let mut answer = OptionReply {
        status: STATUS_NOT_FOUND,
        ..OptionReply::default()
    };
    let fits = |socket: &Socket| {
        let connected = socket.phase() == Phase::Connected;
        u32::from(socket.kind) == query.kind
            && connected == (query.connected != 0)
            && is_bound_to(socket, query.family, query.port)
    };
    let Some(socket) = socket::find_all(fits).into_iter().next() else {
        return answer;
    };
    let length = (query.length as usize).min(answer.value.len());
    let Some(room) = answer.value.get_mut(..length) else {
        return answer;
    };
    let read = socket.look(|inner| {
        inner
            .host
            .as_ref()
            .map(|host| host.get(query.level, query.option, room))
    });
    match read {
        Some(Ok(length)) => {
            answer.status = STATUS_SUCCESS;
            answer.length = clamp(length);
        }
        Some(Err(status)) => answer.status = status,
        None => {}
    }
    answer
}

fn force_close(query: &PortQuery) -> Reply {
    let fits = |socket: &Socket| u32::from(socket.kind) == query.kind && is_bound_to(socket, query.family, query.port);
    let sockets = socket::find_all(fits);
    for socket in &sockets {
        socket.post(Task::ForceClose);
    }
    number(sockets.len())
}

fn kill(death: &Death) -> Reply {
    let fits = |socket: &Socket| socket.phase() == Phase::Connected && is_bound_to(socket, death.family, death.port);
    let sockets = socket::find_all(fits);
    for socket in &sockets {
        socket.post(Task::Die {
            status: death.status,
            abortive: death.abortive != 0,
        });
    }
    number(sockets.len())
}
