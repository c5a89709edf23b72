//! The WSK calls that the sharing rows need: setting options and binding.

use anyhow::{Context, anyhow};
use wskguard_core::catalogue::Opt;
use wskguard_core::semantics::{Plan, Pointer, Request, capture_len, plan, violation_word, wsk_form};
use wskguard_core::{Mode, NtStatus, Phase, RequestKind, catalogue};

use super::options::bare;
use super::{World, unsupported};
use crate::backend::{Observed, Stop};
use crate::format::{IrqlName, PhaseName, RequestName, WskFunction, WskInput, WskOutput, WskcallStep, WskctlStep};

/// Bytes of an input, as far as the record looks at them.
fn input(input: Option<&WskInput>) -> Vec<u8> {
    let word = |tail: u32| {
        let mut bytes = vec![0; size_of::<usize>()];
        bytes.extend_from_slice(&tail.to_le_bytes());
        bytes.resize(2 * size_of::<usize>(), 0);
        bytes
    };
    match input {
        None | Some(WskInput::Unspecified(_)) => Vec::new(),
        Some(WskInput::Hex(hex)) => hex.0.clone(),
        // The address of a descriptor; which one is of no account here.
        Some(WskInput::Sd(_) | WskInput::Function(_)) => vec![0x10; size_of::<usize>()],
        Some(WskInput::Event(event)) => word(event.event.mask),
        Some(WskInput::Sockaddr(_)) => vec![0; 28],
        Some(WskInput::Extension(_)) => vec![0; 3 * size_of::<usize>()],
    }
}

impl World {
    pub(super) fn wskctl(&mut self, step: &WskctlStep) -> Result<Observed, Stop> {
        self.socket(&step.sock)?.context("no socket")?;
        self.bring_to(&step.sock, step.phase)?;
        let (level, code) = (step.level.level()?, step.code.option()?);
        let kind = match step.request {
            RequestName::Set => RequestKind::Set,
            RequestName::Get => RequestKind::Get,
            RequestName::Ioctl => RequestKind::Ioctl,
        };
        let bytes = input(step.input.as_ref());
        let output = match &step.out {
            WskOutput::Size(size) => usize::try_from(size.bytes()?).context("a negative output size")?,
            WskOutput::Unspecified(_) => 0,
        };
        let pointer = |there| if there { Pointer::Valid } else { Pointer::Null };
        let captured = capture_len(kind, level, code, bytes.len()).min(bytes.len());
        let request = Request {
            input_pointer: pointer(step.input.is_some()),
            input_len: bytes.len(),
            input: &bytes[..captured],
            output_pointer: pointer(output > 0),
            output_len: output,
            has_irp: step.irp,
            wants_size: step.outret,
            at_dispatch: step.irql == IrqlName::Dispatch,
            ..bare(kind, level, code, self.now)
        };
        self.control(&step.sock, &request)
    }

    /// What the engine makes of the request, with a provider that takes every set.
    fn control(&mut self, name: &str, request: &Request<'_>) -> Result<Observed, Stop> {
        let socket = self.socket(name)?.context("no socket")?;
        let form = wsk_form(&socket.facts, socket.phase, request);
        let observed = Observed {
            violation: Some(form.and_then(|refusal| violation_word(refusal.reason)).unwrap_or("")),
            recommended: form.map(|refusal| refusal.status.0),
            ..Observed::default()
        };
        if form.is_some() {
            return Ok(observed);
        }
        if request.kind != RequestKind::Set {
            return unsupported("the answer is the provider's");
        }
        let change = match plan(&socket.facts, &socket.state, socket.phase, Mode::Compat, request) {
            Plan::Refuse(refusal) => {
                return Ok(Observed {
                    final_status: Some(refusal.status.0),
                    ..observed
                });
            }
            Plan::Forward(forward) => forward.commit,
            Plan::Answer(answer) => answer.commit,
        };
        socket
            .state
            .apply(change)
            .map_err(|refusal| anyhow!("{refusal:?} after it was planned"))?;
        socket.shares |= catalogue::option(request.level, request.code).is_some_and(|row| row.id == Opt::WskSecurity);
        Ok(Observed {
            final_status: Some(NtStatus::SUCCESS.0),
            ..observed
        })
    }

    fn bring_to(&mut self, name: &str, phase: PhaseName) -> Result<(), Stop> {
        match phase {
            PhaseName::Unbound | PhaseName::Any => {}
            PhaseName::Bound => self.bind_anywhere(name)?,
            PhaseName::Connected => {
                self.bind_anywhere(name)?;
                if let Some(socket) = self.sockets.get_mut(name) {
                    socket.phase = Phase::Connected;
                }
            }
        }
        Ok(())
    }

    pub(super) fn wskcall(&mut self, step: &WskcallStep) -> Result<Observed, Stop> {
        let Some(name) = &step.sock else {
            return unsupported("needs the driver in the test kernel");
        };
        if !step.irp || step.client.is_some() || step.request.is_some() {
            return unsupported("needs the driver in the test kernel");
        }
        self.socket(name)?.context("no socket")?;
        let done = Observed {
            final_status: Some(NtStatus::SUCCESS.0),
            ..Observed::default()
        };
        match step.function {
            WskFunction::WskSocket => Ok(done),
            WskFunction::WskCloseSocket => self.close(name).map(|_| done),
            WskFunction::WskBind => {
                let (addr, port) = (
                    step.addr.context("WskBind without addr")?,
                    step.port.as_ref().context("port")?,
                );
                self.wsk_bind(name, addr, port)
            }
            _ => unsupported("needs the driver in the test kernel"),
        }
    }
}
