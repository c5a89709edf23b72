//! One call, built up and carried out; and what came of it.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use probe_protocol::probe::{
    Call, CallFlags, Function, Input, Op, Outcome, Output, Progress, Reactions, RequestRef, Style, take,
};
use wskguard_abi::GuidFields;
use zerocopy::IntoBytes;

use super::client::guid;
use super::{Address, DEFAULT_MS, Probe, TRACE};
use crate::{check, status};

/// A call to be.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct CallBuilder<'p> {
    probe: &'p Probe,
    call: Call,
    data: Vec<u8>,
    control: Vec<u8>,
    check_rules: bool,
}

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $flag:ident;)*) => {
        $($(#[$doc])* pub(crate) fn $name(mut self) -> Self {
            self.call.flags |= CallFlags::$flag.0;
            self
        })*
    };
}

#[allow(dead_code, reason = "every argument can be stated")]
impl<'p> CallBuilder<'p> {
    pub(crate) fn new(probe: &'p Probe, function: Function) -> Self {
        let call = Call {
            function: function as u32,
            timeout_ms: DEFAULT_MS,
            ..Call::default()
        };
        Self {
            probe,
            call,
            data: Vec::new(),
            control: Vec::new(),
            check_rules: true,
        }
    }

    flags! {
        at_dispatch = AT_DISPATCH;
        no_irp = NO_IRP;
        null_target = NULL_TARGET;
        null_address = NULL_ADDRESS;
        null_buffer = NULL_BUFFER;
        output_returned = OUTPUT_RETURNED;
        with_process = WITH_PROCESS;
        keep = KEEP;
        flip_input = FLIP_INPUT;
        deep_irp = DEEP_IRP;
        cancel_first = CANCEL_FIRST;
        null_context = NULL_CONTEXT;
        null_dispatch = NULL_DISPATCH;
    }

    pub(crate) fn probe(&self) -> &'p Probe {
        self.probe
    }

    /// NULL context and NULL dispatch, as for basic sockets.
    pub(crate) fn without_callbacks(self) -> Self {
        self.null_context().null_dispatch()
    }

    /// The IRP rules are not checked: the test breaks them, or checks by itself.
    pub(crate) fn unchecked(mut self) -> Self {
        self.check_rules = false;
        self
    }

    pub(crate) fn client(mut self, client: u32) -> Self {
        self.call.client = client;
        self
    }

    pub(crate) fn socket(mut self, socket: u32) -> Self {
        self.call.socket = socket;
        self
    }

    pub(crate) fn table_of(mut self, socket: u32) -> Self {
        self.call.table_of = socket;
        self
    }

    pub(crate) fn security(mut self, handle: u32) -> Self {
        self.call.security = handle;
        self
    }

    pub(crate) fn numbers(mut self, numbers: [u32; 4]) -> Self {
        self.call.numbers = numbers;
        self
    }

    /// The flags argument.
    pub(crate) fn flag(mut self, flags: u32) -> Self {
        self.call.numbers[3] = flags;
        self
    }

    pub(crate) fn style(mut self, style: Style) -> Self {
        self.call.style = style as u32;
        self
    }

    pub(crate) fn timeout(mut self, ms: u32) -> Self {
        self.call.timeout_ms = ms;
        self
    }

    pub(crate) fn address(mut self, address: Address) -> Self {
        (self.call.address, self.call.address_length) = address.bytes();
        self
    }

    pub(crate) fn address2(mut self, address: Address) -> Self {
        (self.call.address2, self.call.address2_length) = address.bytes();
        self
    }

    /// Input bytes, with their size.
    pub(crate) fn input(self, bytes: &[u8]) -> Self {
        self.input_kind(Input::Bytes, bytes)
    }

    pub(crate) fn input_kind(mut self, kind: Input, bytes: &[u8]) -> Self {
        self.call.input = kind as u32;
        self.call.input_length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.call.input_size = bytes.len() as u64;
        self.data = bytes.to_vec();
        self
    }

    /// The size passed for the input, whatever the bytes.
    pub(crate) fn sized_input(mut self, size: u64) -> Self {
        self.call.input_size = size;
        self
    }

    /// A `WSK_EVENT_CALLBACK_CONTROL`.
    pub(crate) fn event_control(self, mask: u32, npi: GuidFields) -> Self {
        let bytes: Vec<u8> = mask.to_le_bytes().into_iter().chain(guid(npi)).collect();
        self.input_kind(Input::EventControl, &bytes).sized_input(16)
    }

    /// Room for output, with its size.
    pub(crate) fn output(self, room: u32) -> Self {
        self.output_kind(Output::Bytes, room)
    }

    pub(crate) fn output_kind(mut self, kind: Output, room: u32) -> Self {
        self.call.output = kind as u32;
        self.call.output_length = room;
        self.call.output_size = room.into();
        self
    }

    pub(crate) fn output_handle(self) -> Self {
        self.output_kind(Output::Handle, 8)
    }

    /// The size passed for the output, whatever the room.
    pub(crate) fn sized_output(mut self, size: u64) -> Self {
        self.call.output_size = size;
        self
    }

    /// What the output holds before the call.
    pub(crate) fn fill(mut self, byte: u8) -> Self {
        self.call.fill = byte.into();
        self
    }

    /// Describes the data with this many MDLs.
    pub(crate) fn pieces(mut self, pieces: u32) -> Self {
        self.call.pieces = pieces;
        self
    }

    /// Skips bytes at the front of the data.
    pub(crate) fn offset(mut self, offset: u32) -> Self {
        self.call.data_offset = offset;
        self
    }

    /// Control messages to send.
    pub(crate) fn control_messages(mut self, bytes: &[u8]) -> Self {
        self.control = bytes.to_vec();
        self.call.control_length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self
    }

    /// Room for control messages.
    pub(crate) fn control_room(mut self, room: u32) -> Self {
        self.call.control_length = room;
        self
    }

    pub(crate) fn reactions(mut self, reactions: Reactions) -> Self {
        self.call.reactions = reactions;
        self
    }

    fn send(&self, extra: CallFlags) -> Result<Done> {
        let mut call = self.call;
        call.flags |= extra.0;
        let function = Function::from_u32(call.function).context("a function of the protocol")?;
        let room = size_of::<Outcome>() + call.output_length as usize + call.control_length as usize + 64;
        if TRACE.load(Ordering::Relaxed) {
            println!("      {function:?} ...");
        }
        let reply = self.probe.execute(
            Op::Call,
            &[call.as_bytes(), &self.data, &self.control],
            room,
            call.timeout_ms,
        )?;
        let done = Done::parse(function, &reply)?;
        if TRACE.load(Ordering::Relaxed) {
            let (returned, result) = (status::name(done.outcome.returned), status::name(done.result()));
            let (socket, numbers) = (call.socket, call.numbers);
            let information = done.information();
            println!("      {function:?} socket {socket:#x} {numbers:?}: {returned}, {result}, {information}");
        }
        if done.outcome.is(Progress::NO_SUCH_OBJECT) || done.outcome.is(Progress::NO_SUCH_FUNCTION) {
            bail!("{function:?}: nothing to call: {:?}", done.outcome.progress());
        }
        Ok(done)
    }

    /// Makes the call, waits, and checks the IRP rules; the status is the caller's to judge.
    pub(crate) fn run(&self) -> Result<Done> {
        let done = self.send(CallFlags(0))?;
        if done.outcome.is(Progress::TIMED_OUT) {
            bail!(
                "{:?} did not complete in {} ms: {:?}",
                done.function,
                self.call.timeout_ms,
                done.outcome
            );
        }
        if self.check_rules {
            done.check_rules()?;
        }
        Ok(done)
    }

    /// Makes the call and wants success.
    pub(crate) fn ok(&self) -> Result<Done> {
        let done = self.run()?;
        if done.result() < 0 {
            bail!("{:?}: {}", done.function, status::name(done.result()));
        }
        Ok(done)
    }

    /// Makes the call and wants this final status.
    pub(crate) fn fails_with(&self, expected: i32) -> Result<Done> {
        let done = self.run()?;
        check::status(&format!("{:?}", done.function), done.result(), expected)?;
        Ok(done)
    }

    /// Makes the call, and waits, but not beyond the time given: what is not complete then is the caller's to judge.
    pub(crate) fn attempt(&self) -> Result<Done> {
        self.send(CallFlags(0))
    }

    /// Makes the call and does not wait.
    pub(crate) fn start(&self) -> Result<Pending<'p>> {
        let first = self.send(CallFlags::ASYNC)?;
        Ok(Pending {
            probe: self.probe,
            request: first.outcome.request,
            first,
            room: self.room(),
        })
    }

    /// Does not call yet.
    pub(crate) fn prepare(&self) -> Result<Pending<'p>> {
        let first = self.send(CallFlags::PREPARE)?;
        Ok(Pending {
            probe: self.probe,
            request: first.outcome.request,
            first,
            room: self.room(),
        })
    }

    fn room(&self) -> usize {
        size_of::<Outcome>() + self.call.output_length as usize + self.call.control_length as usize + 64
    }
}

/// A request that was not waited for, or not launched.
#[derive(Clone, Debug)]
pub(crate) struct Pending<'p> {
    probe: &'p Probe,
    pub(crate) request: u32,
    /// How it stood when the call returned.
    pub(crate) first: Done,
    room: usize,
}

#[allow(dead_code, reason = "every operation can be asked for")]
impl Pending<'_> {
    fn operate(&self, op: Op, timeout_ms: u32, flags: CallFlags) -> Result<Done> {
        let request = RequestRef {
            request: self.request,
            timeout_ms,
            flags: flags.0,
        };
        let reply = self.probe.execute(op, &[request.as_bytes()], self.room, timeout_ms)?;
        Done::parse(self.first.function, &reply)
    }

    /// Waits for the end.
    pub(crate) fn wait(&self) -> Result<Done> {
        let done = self.wait_up_to(DEFAULT_MS)?;
        if done.outcome.is(Progress::TIMED_OUT) {
            bail!("{:?} did not complete in {DEFAULT_MS} ms", done.function);
        }
        Ok(done)
    }

    /// Waits at most so long; `TIMED_OUT` says whether it was not enough.
    pub(crate) fn wait_up_to(&self, ms: u32) -> Result<Done> {
        self.operate(Op::Wait, ms, CallFlags(0))
    }

    /// How it stands.
    pub(crate) fn look(&self) -> Result<Done> {
        self.wait_up_to(0)
    }

    /// Whether it still is in progress, after a moment.
    pub(crate) fn is_pending(&self) -> Result<bool> {
        Ok(self.wait_up_to(100)?.outcome.is(Progress::TIMED_OUT))
    }

    /// `IoCancelIrp`, and waits for the end.
    pub(crate) fn cancel(&self) -> Result<Done> {
        let done = self.operate(Op::Cancel, DEFAULT_MS, CallFlags(0))?;
        if done.outcome.is(Progress::TIMED_OUT) {
            bail!(
                "{:?} did not complete in {DEFAULT_MS} ms after its cancellation",
                done.function
            );
        }
        Ok(done)
    }

    /// `IoCancelIrp`, and does not wait.
    pub(crate) fn cancel_only(&self, at_dispatch: bool) -> Result<Done> {
        let flags = if at_dispatch {
            CallFlags::AT_DISPATCH
        } else {
            CallFlags(0)
        };
        self.operate(Op::Cancel, 0, flags)
    }

    /// Launches it, for the first time or again, and waits.
    pub(crate) fn launch(&self) -> Result<Done> {
        let done = self.operate(Op::Launch, DEFAULT_MS, CallFlags::KEEP)?;
        if done.outcome.is(Progress::TIMED_OUT) {
            bail!("{:?} did not complete in {DEFAULT_MS} ms", done.function);
        }
        Ok(done)
    }

    /// Launches it and does not wait.
    pub(crate) fn launch_only(&self) -> Result<Done> {
        self.operate(Op::Launch, 0, CallFlags::ASYNC | CallFlags::KEEP)
    }

    /// Forgets it.
    pub(crate) fn free(self) -> Result<()> {
        self.probe.tell(
            Op::Free,
            RequestRef {
                request: self.request,
                timeout_ms: 0,
                flags: 0,
            }
            .as_bytes(),
        )
    }
}

/// What came of a call.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) function: Function,
    pub(crate) outcome: Outcome,
    /// The output buffer, whole.
    pub(crate) output: Vec<u8>,
    /// Control messages.
    pub(crate) control: Vec<u8>,
}

#[allow(dead_code, reason = "every observation can be asked for")]
impl Done {
    fn parse(function: Function, reply: &[u8]) -> Result<Self> {
        let (outcome, rest) = take::<Outcome>(reply).context("a short reply")?;
        let (output, rest) = rest
            .split_at_checked(outcome.output_length as usize)
            .context("a short reply")?;
        let control = rest.get(..outcome.control_length as usize).context("a short reply")?;
        Ok(Self {
            function,
            outcome,
            output: output.to_vec(),
            control: control.to_vec(),
        })
    }

    pub(crate) fn is(&self, progress: Progress) -> bool {
        self.outcome.is(progress)
    }

    /// The final status: of the IRP where there is one that completed, else what was returned.
    pub(crate) fn result(&self) -> i32 {
        if self.is(Progress::COMPLETED) {
            self.outcome.status
        } else {
            self.outcome.returned
        }
    }

    /// This, if it succeeded within the rules.
    pub(crate) fn checked_ok(self) -> Result<Self> {
        self.check_rules()?;
        if self.result() < 0 {
            bail!("{:?}: {}", self.function, status::name(self.result()));
        }
        Ok(self)
    }

    /// The rules that every WSK request keeps, whatever its status:
    /// an IRP completes once; a returned status other than pending is the completed one, completed before the return;
    /// pending is returned exactly when the IRP says so; nothing outside the buffers and nothing of the input is written.
    pub(crate) fn check_rules(&self) -> Result<()> {
        let what = |text: &str| format!("{:?}: {text}: {:?}", self.function, self.outcome);
        let outcome = &self.outcome;
        check::holds(
            &what("bytes outside the buffers were written"),
            !self.is(Progress::OVERRUN),
        )?;
        check::holds(&what("the input was changed"), !self.is(Progress::INPUT_CHANGED))?;
        check::holds(
            &what("the IRQL was not restored"),
            outcome.irql_after == 0 || outcome.irql_after == 2,
        )?;
        if !self.is(Progress::HAS_IRP) {
            check::holds(&what("pending without an IRP"), outcome.returned != status::PENDING)?;
            return Ok(());
        }
        check::holds(&what("the IRP did not complete"), self.is(Progress::COMPLETED))?;
        check::holds(&what("the IRP completed more than once"), outcome.completions == 1)?;
        check::holds(&what("completed with pending"), outcome.status != status::PENDING)?;
        if outcome.returned == status::PENDING {
            check::holds(
                &what("pending was returned and not marked"),
                self.is(Progress::PENDING_RETURNED),
            )?;
        } else {
            check::holds(
                &what("another status was returned than completed"),
                outcome.returned == outcome.status,
            )?;
            check::holds(
                &what("returned before it completed"),
                self.is(Progress::COMPLETED_INLINE),
            )?;
            check::holds(
                &what("marked pending and not returned so"),
                !self.is(Progress::PENDING_RETURNED),
            )?;
        }
        Ok(())
    }

    /// `Information`.
    pub(crate) fn information(&self) -> u64 {
        self.outcome.information
    }

    /// The output as far as `Information` says it was written.
    pub(crate) fn written(&self) -> &[u8] {
        let length = usize::try_from(self.information())
            .unwrap_or(usize::MAX)
            .min(self.output.len());
        &self.output[..length]
    }

    /// The output as a number.
    pub(crate) fn value(&self) -> u64 {
        let mut bytes = [0; 8];
        let count = self.output.len().min(8);
        bytes[..count].copy_from_slice(&self.output[..count]);
        u64::from_le_bytes(bytes)
    }

    /// The handle under which the probe keeps a pointer.
    pub(crate) fn handle(&self) -> Result<u32> {
        match self.value() {
            0 => bail!("{:?} gave no pointer", self.function),
            handle => Ok(u32::try_from(handle)?),
        }
    }

    /// The address that was asked for.
    pub(crate) fn address(&self) -> Result<Address> {
        Address::parse(&self.outcome.address).with_context(|| format!("{:?}: no address", self.function))
    }

    /// The second address, where there are two.
    pub(crate) fn address2(&self) -> Result<Address> {
        Address::parse(&self.outcome.address2).with_context(|| format!("{:?}: no second address", self.function))
    }
}
