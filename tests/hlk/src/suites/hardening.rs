//! What a hostile or careless client may try on the filter: bytes that change under its eyes, lengths without memory behind them, noise
//! on its device.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use probe_protocol::probe::{Category, Function, Reactions};
use wskguard_abi::{ABI_VERSION, Code, RangeRequest, Request, StatusReply, WIN32_PATH};
use wskguardctl::device::Device as Control;
use wskguardctl::host::Access;
use zerocopy::IntoBytes;

use crate::check;
use crate::context::Context;
use crate::device::Device;
use crate::guard::under;
use crate::probe::Family;
use crate::runner::tests;
use crate::status;
use crate::wsk::{SO_BROADCAST, SO_EXCLUSIVEADDRUSE, SO_RCVBUF, SO_REUSEADDR, SOL_SOCKET};

tests! {
    "hardening";
    captured_once, Filtered, "interposition", "the decision is made on the bytes that the provider is given, whatever the client does to them";
    huge_lengths_are_not_read, Filtered, "interposition", "a length of -1 is not a promise of memory";
    by_process, Filtered, "POLICY.md process", "a rule can ask whether an owning process was given";
    initial_on_socket_connect, Filtered, "interposition", "WskSocketConnect is carried out in steps where a rule needs it";
    access_bits, Filtered, "IOCTL.md Rules", "a handle opened for reading can change nothing";
    @60 noise, Filtered, "IOCTL.md Rules", "random requests of every code do no harm";
    reads_are_zeroed, Filtered, "IOCTL.md Rules", "unused output is zero";
    listing_while_changing, Filtered, "decisions and records", "a list read while endpoints come and go has all that last, and no duplicates";
}

const LIMIT: Duration = Duration::from_secs(5);
const ONE: [u8; 4] = [1, 0, 0, 0];

/// Rules as TOML.
fn rule(body: &str) -> String {
    format!(
        "[[rule]]\nname = \"r{:x}\"\n{body}\n",
        body.len() * 31 + body.bytes().map(usize::from).sum::<usize>()
    )
}

fn device() -> Result<Device> {
    Device::open(WIN32_PATH)
}

/// Sends bytes; status and answer.
fn send(device: &Device, code: Code, input: &[u8], room: usize) -> Result<(i32, Vec<u8>)> {
    let (completion, output) = device.control(code as u32, input.to_vec(), room, LIMIT)?;
    Ok((completion.status, output))
}

fn captured_once(context: &Context) -> Result<()> {
    let rules = rule("request = \"set\"\noption = \"SO_RCVBUF\"\nnew = \">65536\"\naction = \"deny\"");
    under(context, "off", &rules, |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        socket.set(SO_RCVBUF, 0x2000)?;
        // One value is harmless, its complement is not, and the bytes change all the time.
        for _ in 0..60 {
            let set = socket.set_call(SO_RCVBUF, SOL_SOCKET, &[0x00, 0x20, 0x00, 0x00]);
            let done = set.flip_input().unchecked().run()?;
            check::one_of("set", done.result(), &[status::SUCCESS, status::ACCESS_DENIED])?;
            let value = socket.get(SO_RCVBUF)?;
            ensure!(value <= 65_536, "the provider was given {value}, which the rule denies");
        }
        Ok(())
    })
}

fn huge_lengths_are_not_read(context: &Context) -> Result<()> {
    let rules = rule("request = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"");
    under(context, "compat", &rules, |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        for size in [u64::MAX, u64::from(u32::MAX), 1 << 40] {
            let set = |code| socket.set_call(code, SOL_SOCKET, &ONE).sized_input(size);
            set(SO_BROADCAST).run()?;
            set(SO_REUSEADDR).run()?;
            set(SO_RCVBUF).run()?;
        }
        check::equal("SO_BROADCAST", socket.get(SO_BROADCAST)?, 0)
    })
}

fn by_process(context: &Context) -> Result<()> {
    let rules = rule("request = \"set\"\noption = \"SO_BROADCAST\"\nprocess = \"given\"\naction = \"deny\"");
    under(context, "off", &rules, |_, client| {
        client.datagram_socket(Family::V4)?.set(SO_BROADCAST, 1)?;
        let done = client.create(Category::Datagram, Family::V4).with_process().ok()?;
        let owned = crate::probe::Socket::made(client.probe, *client, &done, Category::Datagram, Family::V4)?;
        owned
            .set_call(SO_BROADCAST, SOL_SOCKET, &ONE)
            .fails_with(status::ACCESS_DENIED)?;
        Ok(())
    })
}

fn initial_on_socket_connect(context: &Context) -> Result<()> {
    let initial = "[[initial]]\ncategory = \"connection\"\noption = \"SO_EXCLUSIVEADDRUSE\"\nvalue = 1\n";
    under(context, "off", initial, |_, client| {
        let (listening, address) = client.listener(Family::V4)?;
        let accept = listening.accept_call(Reactions::default()).start()?;
        let near = client.socket_connect(address, Reactions::default())?;
        let done = accept.wait()?.checked_ok()?;
        check::equal("set before the bind", near.get(SO_EXCLUSIVEADDRUSE)?, 1)?;
        let far = listening.accepted(&done)?;
        near.send(b"in steps")?;
        check::equal("data", far.receive_all(8)?, b"in steps".to_vec())?;
        // What fails on the way leaves nothing behind, and fails as the provider does.
        listening.close()?;
        let failing = client
            .call(Function::SocketConnect)
            .numbers([0, 1, 6, 0])
            .address(Family::V4.loopback(0))
            .address2(address)
            .run()?;
        check::status("to nobody", failing.result(), status::CONNECTION_REFUSED)?;
        check::equal("no socket", failing.information(), 0)
    })
}

fn access_bits(_: &Context) -> Result<()> {
    let Ok(reader) = Control::open(Access::Read) else {
        anyhow::bail!("the device cannot be opened for reading")
    };
    let status = reader.control(Code::QueryStatus as u32, Request::default().as_bytes(), &mut [0; 256]);
    check::holds("a reader may ask", status.is_ok())?;
    for code in [Code::SetPolicy, Code::Drain, Code::Lock] {
        let refused = reader.control(code as u32, Request::default().as_bytes(), &mut [0; 256]);
        check::equal(
            &format!("{code:?}"),
            refused,
            Err(status::ACCESS_DENIED.cast_unsigned()),
        )?;
    }
    Ok(())
}

fn noise(context: &Context) -> Result<()> {
    let device = device()?;
    let mut state = 0x1234_5678_9ABC_DEF1_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..1500 {
        let codes: Vec<Code> = Code::ALL
            .iter()
            .copied()
            .filter(|code| !matches!(code, Code::Lock | Code::WaitAudit))
            .collect();
        let code = codes[usize::try_from(random())? % codes.len()];
        let length = usize::try_from(random() % 96)?;
        let mut input: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
        if round % 4 != 0 && length >= 8 {
            // Past the first check.
            input[..4].copy_from_slice(&ABI_VERSION.to_le_bytes());
            input[4..8].copy_from_slice(&u32::try_from(length)?.to_le_bytes());
        }
        if code == Code::Drain && length == 16 {
            input[8..12].copy_from_slice(&[0; 4]);
        }
        send(&device, code, &input, usize::try_from(random() % 600)?)?;
    }
    // It lives, and does what it did.
    context.guard()?.load(crate::guard::PERMISSIVE)?;
    let client = context.attach()?;
    client.datagram_socket(Family::V4)?.set(SO_BROADCAST, 1).map(drop)
}

fn reads_are_zeroed(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _socket = client.datagram_socket(Family::V4)?;
    let device = device()?;
    let (status, output) = send(&device, Code::QueryStatus, Request::default().as_bytes(), 4096)?;
    check::status("QueryStatus", status, status::SUCCESS)?;
    check::equal("bytes written", output.len(), size_of::<StatusReply>())?;
    let (_, output) = send(&device, Code::ListClients, RangeRequest::new(0, 8).as_bytes(), 4096)?;
    let clients = &output[24..];
    check::holds("a client", clients.len() >= 104)?;
    let (name, length) = (&clients[40..104], clients[36] as usize);
    check::holds("nothing behind the name", name[length..].iter().all(|byte| *byte == 0))
}

fn listing_while_changing(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let lasting = (0..40)
        .map(|_| client.datagram_socket(Family::V4))
        .collect::<Result<Vec<_>>>()?;
    let mut guard = context.guard()?;
    let known: Vec<u64> = super::lifetime::list(&mut guard)?
        .iter()
        .map(|endpoint| endpoint.id)
        .collect();
    let listed = thread::scope(|scope| -> Result<Vec<Vec<u64>>> {
        let reader = scope.spawn(|| -> Result<Vec<Vec<u64>>> {
            let mut lists = Vec::new();
            for _ in 0..20 {
                let list = super::lifetime::list(&mut guard)?;
                lists.push(list.iter().map(|endpoint| endpoint.id).collect());
            }
            Ok(lists)
        });
        for _ in 0..60 {
            client.listen_socket(Family::V6)?.close()?;
        }
        reader.join().map_err(|_| anyhow::anyhow!("panicked"))?
    })?;
    for mut ids in listed {
        check::holds("all that lasted are listed", known.iter().all(|id| ids.contains(id)))?;
        ids.sort_unstable();
        check::holds("no duplicates", ids.windows(2).all(|pair| pair[0] != pair[1]))?;
    }
    check::holds("they lasted", lasting.len() == 40)
}
