//! The control device: what it refuses, that a refused request changes nothing, and that it keeps its promises to several opens.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use wskguard_abi::{
    ABI_VERSION, AuditEntry, AuditReply, Code, CountersReply, DrainReply, DrainRequest, EndpointInfo, GetPolicyRequest,
    Header, ListEndpointsRequest, ListReply, PolicyReply, QueryEndpointRequest, RangeRequest, ReadAuditRequest,
    Request, SERVICE_NAME, SetPolicyRequest, StatusReply, VersionReply, WIN32_PATH, audit_flags, status_flags,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::check;
use crate::context::Context;
use crate::device::{Completion, Device};
use crate::guard::PERMISSIVE;
use crate::probe::Family;
use crate::runner::tests;
use crate::status;
use crate::wsk::SO_BROADCAST;

tests! {
    "device";
    other_versions, Filtered, "IOCTL.md Rules", "another ABI version is refused by every code but QueryVersion, which answers it";
    wrong_lengths, Filtered, "IOCTL.md Rules", "an input that is cut short, too long, or says another size is refused and changes nothing";
    image_length, Filtered, "IOCTL.md SetPolicyRequest", "an image that is not as long as it says, or not an image, is refused";
    reserved_and_unknown, Filtered, "IOCTL.md Rules", "reserved fields and unknown flags are refused and change nothing";
    small_outputs, Filtered, "IOCTL.md Rules", "an output without room for the fixed part is refused";
    small_output_changes_nothing, Filtered, "IOCTL.md Rules", "a Drain or SetPolicy whose reply has no room does nothing";
    small_output_keeps_the_cursor, Filtered, "IOCTL.md ReadAuditRequest", "a read that is refused does not move the cursor of its open";
    unknown_codes, Filtered, "IOCTL.md", "codes of another function, access, method or device type are refused";
    element_by_element, Filtered, "IOCTL.md ListReply", "a walk with room for one endpoint at a time sees each once";
    foreign_cursor, Filtered, "IOCTL.md Rules", "a cursor that this open was not given is refused";
    many_opens, Filtered, "IOCTL.md Rules", "a hundred opens each have a cursor of their own";
    second_start, Filtered, "interposition", "starting the loaded driver again is refused and changes nothing";
    stop_while_held, Filtered, "interposition", "a stop while a client holds sockets fails, and the driver stays usable";
    drain_turns_clients_away, Filtered, "IOCTL.md DrainRequest", "while draining no client attaches; afterwards it does";
    wait_is_completed, Filtered, "IOCTL.md WaitAudit", "a pended wait ends with the next record";
    wait_is_cancelled, Filtered, "IOCTL.md WaitAudit", "a pended wait can be cancelled, and the open can wait again";
    wait_ends_with_drain, Filtered, "IOCTL.md WaitAudit", "a pended wait ends as cancelled once the driver is drained";
    one_wait_per_open, Filtered, "IOCTL.md Rules", "a second wait on an open that waits gets DEVICE_BUSY";
    wait_while_waiting, Filtered, "IOCTL.md Rules", "... also one that would move the cursor, which stays where it is";
    read_while_waiting, Filtered, "IOCTL.md Rules", "a read on an open that waits gets DEVICE_BUSY";
}

/// Fixed parts: of the request, and of the reply.
const fn sizes(code: Code) -> (usize, usize) {
    match code {
        Code::QueryVersion => (0, size_of::<VersionReply>()),
        Code::QueryStatus => (size_of::<Request>(), size_of::<StatusReply>()),
        Code::SetPolicy => (size_of::<SetPolicyRequest>(), size_of::<PolicyReply>()),
        Code::GetPolicy => (size_of::<GetPolicyRequest>(), size_of::<PolicyReply>()),
        Code::QueryCounters => (size_of::<Request>(), size_of::<CountersReply>()),
        Code::QueryRuleCounters => (size_of::<RangeRequest>(), size_of::<CountersReply>()),
        Code::ListEndpoints => (size_of::<ListEndpointsRequest>(), size_of::<ListReply>()),
        Code::QueryEndpoint => (size_of::<QueryEndpointRequest>(), size_of::<ListReply>()),
        Code::ListClients => (size_of::<RangeRequest>(), size_of::<ListReply>()),
        Code::ReadAudit | Code::WaitAudit => (size_of::<ReadAuditRequest>(), size_of::<AuditReply>()),
        Code::Drain => (size_of::<DrainRequest>(), size_of::<DrainReply>()),
        Code::Lock => (size_of::<Request>(), 0),
    }
}

/// Codes that parse their input.
fn parsing() -> impl Iterator<Item = Code> {
    Code::ALL.iter().copied().filter(|code| *code != Code::QueryVersion)
}

fn open() -> Result<Device> {
    Device::open(WIN32_PATH)
}

fn ask(device: &Device, code: u32, input: &[u8], room: usize) -> Result<(Completion, Vec<u8>)> {
    device
        .control(code, input.to_vec(), room, Duration::from_secs(3))
        .with_context(|| format!("code {code:#x}"))
}

fn refused(device: &Device, what: &str, code: Code, input: &[u8], room: usize, expected: i32) -> Result<()> {
    let (completion, output) = ask(device, code as u32, input, room)?;
    let what = format!("{code:?}, {what}, {} bytes in, {room} out", input.len());
    check::status(&what, completion.status, expected)?;
    check::holds(&what, completion.information == 0 && output.is_empty())
}

fn answer<T: FromBytes + KnownLayout + Immutable>(
    device: &Device,
    code: Code,
    input: &[u8],
    room: usize,
) -> Result<(T, Vec<u8>)> {
    let (completion, output) = ask(device, code as u32, input, room)?;
    check::status(&format!("{code:?}"), completion.status, status::SUCCESS)?;
    check::holds("no more than there is room for", completion.information <= room)?;
    let (fixed, rest) = T::read_from_prefix(&output).map_err(|_| anyhow::anyhow!("{code:?}: a short reply"))?;
    Ok((fixed, rest.to_vec()))
}

fn driver_status(device: &Device) -> Result<StatusReply> {
    let (mut status, _) = answer::<StatusReply>(
        device,
        Code::QueryStatus,
        Request::default().as_bytes(),
        size_of::<StatusReply>(),
    )?;
    // A minute after its start the driver counts as healthy, whatever test runs then.
    status.unhealthy_starts = 0;
    Ok(status)
}

/// A fixed part of zeroes with the right header.
fn blank(code: Code) -> Vec<u8> {
    let (size, _) = sizes(code);
    let header = Header {
        abi_version: ABI_VERSION,
        size: u32::try_from(size).unwrap_or(0),
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(size, 0);
    bytes
}

fn other_versions(_: &Context) -> Result<()> {
    let device = open()?;
    let before = driver_status(&device)?;
    for version in [0, ABI_VERSION + 1, u32::MAX] {
        for code in parsing() {
            let mut input = blank(code);
            input[..4].copy_from_slice(&version.to_le_bytes());
            refused(
                &device,
                &format!("version {version}"),
                code,
                &input,
                4096,
                status::REVISION_MISMATCH,
            )?;
            // Of another version nothing but the header is known.
            refused(
                &device,
                "header alone",
                code,
                &input[..8],
                4096,
                status::REVISION_MISMATCH,
            )?;
        }
        for input in [&[][..], &version.to_le_bytes(), &[0xFF; 100]] {
            let (reply, rest) = answer::<VersionReply>(&device, Code::QueryVersion, input, 64)?;
            check::equal("contract", reply.header, Header::of::<VersionReply>())?;
            check::holds("nothing follows", rest.is_empty())?;
        }
    }
    check::equal("status", driver_status(&device)?, before)
}

fn wrong_lengths(_: &Context) -> Result<()> {
    let device = open()?;
    let before = driver_status(&device)?;
    for code in parsing() {
        let whole = blank(code);
        for length in 0..whole.len() {
            refused(
                &device,
                "cut short",
                code,
                &whole[..length],
                4096,
                status::INVALID_PARAMETER,
            )?;
        }
        for more in [1, 8, 4096] {
            let mut long = whole.clone();
            long.resize(whole.len() + more, 0);
            refused(&device, "too long", code, &long, 4096, status::INVALID_PARAMETER)?;
        }
        for size in [0, 7, u32::try_from(whole.len())? + 1, u32::MAX] {
            let mut lying = whole.clone();
            lying[4..8].copy_from_slice(&size.to_le_bytes());
            refused(
                &device,
                &format!("size {size}"),
                code,
                &lying,
                4096,
                status::INVALID_PARAMETER,
            )?;
        }
    }
    check::equal("status", driver_status(&device)?, before)
}

fn image_length(_: &Context) -> Result<()> {
    let device = open()?;
    let before = driver_status(&device)?;
    for (said, sent) in [
        (1, 0),
        (0, 1),
        (100, 99),
        (100, 101),
        (u32::MAX, 100),
        (u32::MAX - 23, 0),
    ] {
        let input = [SetPolicyRequest::new(said).as_bytes(), &vec![0; sent]].concat();
        refused(
            &device,
            &format!("says {said}, sent {sent}"),
            Code::SetPolicy,
            &input,
            64,
            status::INVALID_PARAMETER,
        )?;
    }
    for length in [0_u32, 1, 64, 4096, (8 << 20) + 1] {
        let input = [SetPolicyRequest::new(length).as_bytes(), &vec![0; length as usize]].concat();
        let (completion, _) = ask(&device, Code::SetPolicy as u32, &input, 64)?;
        let accepted = [status::INVALID_PARAMETER, (0xC000_007B_u32).cast_signed()];
        check::one_of(&format!("{length} zeroes"), completion.status, &accepted)?;
    }
    check::equal("status", driver_status(&device)?, before)
}

fn reserved_and_unknown(_: &Context) -> Result<()> {
    let device = open()?;
    let before = driver_status(&device)?;
    let field = |code: Code, at: usize, value: u32| {
        let mut input = blank(code);
        input[at..at + 4].copy_from_slice(&value.to_le_bytes());
        refused(
            &device,
            &format!("{value:#x} at {at}"),
            code,
            &input,
            4096,
            status::INVALID_PARAMETER,
        )
    };
    for value in [1, 0x8000_0000, u32::MAX] {
        field(Code::SetPolicy, 8, value)?;
        field(Code::GetPolicy, 12, value)?;
        field(Code::ListEndpoints, 20, value)?;
        field(Code::Drain, 12, value)?;
    }
    for value in [2, 3, u32::MAX] {
        field(Code::Drain, 8, value)?;
    }
    for value in [3, 4, 5, 0x8000_0001, u32::MAX] {
        field(Code::ReadAudit, 8, value)?;
        field(Code::WaitAudit, 8, value)?;
    }
    check::equal("status", driver_status(&device)?, before)
}

fn small_outputs(_: &Context) -> Result<()> {
    let device = open()?;
    let before = driver_status(&device)?;
    for code in Code::ALL.iter().copied().filter(|code| *code != Code::Lock) {
        let (_, reply) = sizes(code);
        for room in [0, 1, 8, reply - 1] {
            // A drain with `begin` 0 and an image of no bytes: nothing would come of them either way.
            refused(
                &device,
                "small output",
                code,
                &blank(code),
                room,
                status::BUFFER_TOO_SMALL,
            )?;
        }
    }
    check::equal("status", driver_status(&device)?, before)
}

fn small_output_changes_nothing(_: &Context) -> Result<()> {
    let device = open()?;
    let before = driver_status(&device)?;
    let image = super::policy::compile(PERMISSIVE)?;
    let set = [SetPolicyRequest::new(u32::try_from(image.len())?).as_bytes(), &image].concat();
    refused(
        &device,
        "valid image",
        Code::SetPolicy,
        &set,
        size_of::<PolicyReply>() - 1,
        status::BUFFER_TOO_SMALL,
    )?;
    let drain = DrainRequest::new(true);
    refused(
        &device,
        "begin",
        Code::Drain,
        drain.as_bytes(),
        size_of::<DrainReply>() - 1,
        status::BUFFER_TOO_SMALL,
    )?;
    check::equal("status", driver_status(&device)?, before)
}

/// Leaves at least `count` records.
fn leave_records(context: &Context, count: usize) -> Result<()> {
    let _policy = super::policy::InForce::load("audit = \"all\"", "")?;
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    for _ in 0..count {
        socket.set(SO_BROADCAST, 1)?;
    }
    socket.close()?;
    client.detach(5000).map(drop)
}

fn small_output_keeps_the_cursor(context: &Context) -> Result<()> {
    let device = open()?;
    let (now, here) = (
        ReadAuditRequest::new(audit_flags::FROM_NOW, 0),
        ReadAuditRequest::new(0, 0),
    );
    answer::<AuditReply>(&device, Code::ReadAudit, now.as_bytes(), 4096)?;
    leave_records(context, 3)?;
    refused(
        &device,
        "from now",
        Code::ReadAudit,
        now.as_bytes(),
        8,
        status::BUFFER_TOO_SMALL,
    )?;
    refused(
        &device,
        "from now",
        Code::WaitAudit,
        now.as_bytes(),
        8,
        status::BUFFER_TOO_SMALL,
    )?;
    answer::<AuditReply>(&device, Code::ReadAudit, here.as_bytes(), 4096)?;
    let all = ReadAuditRequest::new(0, u32::MAX);
    let (reply, _) = answer::<AuditReply>(&device, Code::ReadAudit, all.as_bytes(), 65_536)?;
    check::holds(
        &format!("the 3 records are still to be read: {}", reply.count),
        reply.count >= 3,
    )
}

fn unknown_codes(_: &Context) -> Result<()> {
    let device = open()?;
    let before = driver_status(&device)?;
    let codes = [0x7FF_u32, 0x80D, 0x80E, 0x900, 0xFFF]
        .map(|function| 0x9A1C_0000 | 0x6000 | function << 2)
        .to_vec();
    let other_access = [0x9A1C_2000, 0x9A1C_A000, 0x9A1C_E000].to_vec();
    let methods = (1..4).map(|method| Code::QueryStatus as u32 | method).collect();
    let types = vec![0x9A1D_6004, 0x0022_6004, 0x0000_6004, u32::MAX, 0];
    for code in [codes, other_access, methods, types].concat() {
        let (completion, output) = ask(&device, code, Request::default().as_bytes(), 4096)?;
        check::status(
            &format!("code {code:#x}"),
            completion.status,
            status::INVALID_DEVICE_REQUEST,
        )?;
        check::holds("no output", output.is_empty())?;
    }
    check::equal("status", driver_status(&device)?, before)
}

fn element_by_element(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let sockets = (0..20)
        .map(|_| client.datagram_socket(Family::V4))
        .collect::<Result<Vec<_>>>()?;
    let device = open()?;
    let (mut cursor, mut ids) = (0, Vec::new());
    loop {
        let request = ListEndpointsRequest::new(cursor, u32::MAX);
        let room = size_of::<ListReply>() + size_of::<EndpointInfo>() + 80;
        let (reply, rest) = answer::<ListReply>(&device, Code::ListEndpoints, request.as_bytes(), room)?;
        check::holds(
            "at most one",
            reply.count <= 1 && rest.len() == reply.count as usize * size_of::<EndpointInfo>(),
        )?;
        if let Ok((endpoint, _)) = EndpointInfo::read_from_prefix(&rest) {
            check::holds("its reserved field is zero", endpoint.reserved == 0)?;
            ids.push(endpoint.id);
        }
        if reply.next == 0 {
            break;
        }
        check::holds("it ends", ids.len() < 1000)?;
        cursor = reply.next;
    }
    let seen = ids.len();
    ids.sort_unstable();
    ids.dedup();
    check::equal("each once", ids.len(), seen)?;
    check::equal("all", seen, driver_status(&device)?.endpoints as usize)?;
    check::holds("those made here", seen >= sockets.len())
}

fn foreign_cursor(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _sockets = (0..4)
        .map(|_| client.datagram_socket(Family::V4))
        .collect::<Result<Vec<_>>>()?;
    let (one, other) = (open()?, open()?);
    let room = size_of::<ListReply>() + size_of::<EndpointInfo>();
    let begin = ListEndpointsRequest::new(0, u32::MAX);
    let (reply, _) = answer::<ListReply>(&one, Code::ListEndpoints, begin.as_bytes(), room)?;
    check::holds("there is more", reply.next != 0)?;
    for cursor in [reply.next, 77, u64::MAX] {
        let input = ListEndpointsRequest::new(cursor, u32::MAX);
        refused(
            &other,
            "another's cursor",
            Code::ListEndpoints,
            input.as_bytes(),
            room,
            status::INVALID_PARAMETER,
        )?;
    }
    let wrong = ListEndpointsRequest::new(reply.next + 1, u32::MAX);
    refused(
        &one,
        "not given",
        Code::ListEndpoints,
        wrong.as_bytes(),
        room,
        status::INVALID_PARAMETER,
    )?;
    let next = ListEndpointsRequest::new(reply.next, u32::MAX);
    let (second, _) = answer::<ListReply>(&one, Code::ListEndpoints, next.as_bytes(), room)?;
    check::equal("the walk goes on", second.count, 1)
}

fn many_opens(context: &Context) -> Result<()> {
    let opens = (0..100).map(|_| open()).collect::<Result<Vec<_>>>()?;
    let now = ReadAuditRequest::new(audit_flags::FROM_NOW, 0);
    for device in &opens {
        answer::<AuditReply>(device, Code::ReadAudit, now.as_bytes(), 4096)?;
    }
    leave_records(context, 5)?;
    let all = ReadAuditRequest::new(0, u32::MAX);
    let room = size_of::<AuditReply>() + 64 * size_of::<AuditEntry>();
    for (index, device) in opens.iter().enumerate() {
        let (reply, rest) = answer::<AuditReply>(device, Code::ReadAudit, all.as_bytes(), room)?;
        check::holds(&format!("open {index} reads all: {}", reply.count), reply.count >= 5)?;
        check::equal("bytes", rest.len(), reply.count as usize * size_of::<AuditEntry>())?;
        check::equal("its account", (reply.read, reply.overwritten), (reply.count.into(), 0))?;
    }
    Ok(())
}

/// The service control manager's answer to a command: whether it did it, and its words.
fn service(verb: &str) -> Result<(bool, String)> {
    let output = Command::new("sc")
        .args([verb, SERVICE_NAME])
        .output()
        .context("sc.exe does not start")?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    ))
}

fn second_start(context: &Context) -> Result<()> {
    let device = open()?;
    let before = driver_status(&device)?;
    let (known, said) = service("query")?;
    check::holds(&format!("the service is known: {said}"), known)?;
    let (done, said) = service("start")?;
    check::holds(&format!("refused: {said}"), !done)?;
    check::equal("status", driver_status(&device)?, before)?;
    super::policy::works(&context.attach()?)
}

fn stop_while_held(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, near, far) = client.pair(Family::V4)?;
    let before = driver_status(&open()?)?;
    // No handle of the device is open here: what holds the driver is the client alone.
    let (done, said) = service("stop")?;
    check::holds(&format!("refused: {said}"), !done)?;
    check::equal("status", driver_status(&open()?)?, before)?;
    near.send(b"still here")?;
    check::equal("data", far.receive_all(10)?, b"still here".to_vec())?;
    for socket in [near, far, listener] {
        socket.close()?;
    }
    super::policy::works(&client)
}

fn drain_turns_clients_away(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    let client = context.attach()?;
    let reply = guard.drain(true)?;
    let draining = (|| -> Result<()> {
        check::equal("held", (reply.drained, reply.clients), (0, 1))?;
        check::holds("says so", guard.status()?.flags & status_flags::DRAINING != 0)?;
        let wish = probe_protocol::probe::Attach {
            timeout_ms: 500,
            ..context.npi().attach()
        };
        let second = crate::probe::Client::try_attach(&context.probe, &wish)?;
        check::status("attach", second.status, status::NOINTERFACE)?;
        // Who is there stays there.
        super::policy::works(&client)
    })();
    let ended = guard.drain(false)?;
    draining?;
    check::equal("clients", ended.clients, 1)?;
    check::holds("over", guard.status()?.flags & status_flags::DRAINING == 0)?;
    let second = context.attach()?;
    super::policy::works(&second)
}

/// A wait in a thread of its own, from now on.
struct Waiting(thread::JoinHandle<Result<(Completion, Vec<u8>)>>);

impl Waiting {
    fn begin(device: &Arc<Device>, limit: Duration) -> Result<Self> {
        let request = ReadAuditRequest::new(audit_flags::FROM_NOW, u32::MAX);
        let shared = Arc::clone(device);
        let thread =
            thread::spawn(move || shared.control(Code::WaitAudit as u32, request.as_bytes().to_vec(), 65_536, limit));
        thread::sleep(Duration::from_millis(200));
        if thread.is_finished() {
            let (completion, _) = thread.join().map_err(|_| anyhow!("the thread panicked"))??;
            bail!("the wait did not pend: {}", status::name(completion.status));
        }
        Ok(Self(thread))
    }

    fn end(self) -> Result<(Completion, Vec<u8>)> {
        self.0
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the waiting thread panicked"))
    }
}

fn wait_is_completed(context: &Context) -> Result<()> {
    let device = Arc::new(open()?);
    let waiting = Waiting::begin(&device, Duration::from_secs(5))?;
    leave_records(context, 1)?;
    let (completion, output) = waiting.end()?;
    check::status("wait", completion.status, status::SUCCESS)?;
    let (reply, _) = AuditReply::read_from_prefix(&output).map_err(|_| anyhow::anyhow!("a short reply"))?;
    check::holds("a record", reply.count > 0)?;
    check::equal(
        "bytes",
        output.len(),
        size_of::<AuditReply>() + reply.count as usize * size_of::<AuditEntry>(),
    )
}

fn wait_is_cancelled(_: &Context) -> Result<()> {
    let device = Arc::new(open()?);
    for _ in 0..3 {
        let waiting = Waiting::begin(&device, Duration::from_millis(500))?;
        let Err(error) = waiting.end() else {
            anyhow::bail!("a record came from nowhere")
        };
        check::holds(
            &format!("ended by the cancellation: {error:#}"),
            format!("{error:#}").contains("until it was cancelled"),
        )?;
    }
    driver_status(&device).map(drop)
}

fn wait_ends_with_drain(context: &Context) -> Result<()> {
    let device = Arc::new(open()?);
    let waiting = Waiting::begin(&device, Duration::from_secs(5))?;
    let mut guard = context.guard()?;
    let drained = guard.drain(true)?;
    guard.drain(false)?;
    let (completion, _) = waiting.end()?;
    check::equal("drained", drained.drained, 1)?;
    check::status("wait", completion.status, status::CANCELLED)?;
    super::policy::works(&context.attach()?)
}

/// What a request on an open gets while another waits there.
fn meanwhile(context: &Context, code: Code, flags: u32) -> Result<()> {
    let device = Arc::new(open()?);
    leave_records(context, 1)?;
    let waiting = Waiting::begin(&device, Duration::from_secs(5))?;
    let request = ReadAuditRequest::new(flags, 16);
    let (second, _) = ask(&device, code as u32, request.as_bytes(), 4096)?;
    leave_records(context, 1)?;
    let (first, output) = waiting.end()?;
    check::status("the wait", first.status, status::SUCCESS)?;
    let (reply, _) = AuditReply::read_from_prefix(&output).map_err(|_| anyhow::anyhow!("a short reply"))?;
    check::holds(
        "with what came after it began",
        reply.read == u64::from(reply.count) && reply.count < 8,
    )?;
    check::status("the other", second.status, status::DEVICE_BUSY)
}

fn one_wait_per_open(context: &Context) -> Result<()> {
    meanwhile(context, Code::WaitAudit, 0)
}

fn wait_while_waiting(context: &Context) -> Result<()> {
    meanwhile(context, Code::WaitAudit, audit_flags::FROM_OLDEST)
}

fn read_while_waiting(context: &Context) -> Result<()> {
    meanwhile(context, Code::ReadAudit, 0)
}
