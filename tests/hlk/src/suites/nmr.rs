//! Clients come to the filter through the Network Module Registrar, several at once, and leave in any order.

use anyhow::Result;
use probe_protocol::probe::{Choice, Happening, OnDetach, Reactions, Slots};

use crate::check;
use crate::context::{Context, finish};
use crate::probe::{Client, Family, Npi};
use crate::runner::tests;
use crate::status;
use crate::wsk::WSK_EVENT_RECEIVE;

tests! {
    "nmr";
    several_clients, Both, "a binding for each client", "clients of one driver are attached side by side and do not see each other";
    two_drivers, Filtered, "opting in", "clients of two drivers are told apart by their image";
    client_is_listed, Filtered, "IOCTL.md Rules", "an attached client is listed with version, module id, image and sockets, and no longer after it left";
    versions, Filtered, "NMR: versions", "a version that the provider lacks is refused with NOINTERFACE";
    without_client_event, Both, "WSK: client object", "a client without WskClientEvent";
    registered_client, Direct, "WSK: lifetime", "WskRegister, WskCaptureProviderNPI, sockets, WskDeregister";
    detach_waits_for_sockets, Both, "NMR: detach", "a detach that the client pends completes when its last socket is closed";
    detach_and_attach_again, Both, "NMR: attach", "attach and detach many times";
    declined_offers, Direct, "NMR: offers", "every provider of the NPI is offered to a client, which may decline";
    filter_declines_itself, Filtered, "a binding for each client", "the filter's lower binding is to the system's provider";
    own_binding_per_client, Filtered, "a binding for each client", "each attached client has a lower binding of its own";
    provider_dispatch_version, Both, "WSK: client object", "the provider's version is at least what the client asked for";
}

fn works(client: &Client<'_>) -> Result<()> {
    let (listener, near, far) = client.pair(Family::V4)?;
    near.send(b"works")?;
    check::equal("data", far.receive_all(5)?, b"works".to_vec())?;
    for socket in [near, far, listener] {
        socket.close()?;
    }
    Ok(())
}

fn several_clients(context: &Context) -> Result<()> {
    let clients = (0..4).map(|_| context.attach()).collect::<Result<Vec<_>>>()?;
    let events = context.probe.events();
    for client in &clients {
        works(client)?;
    }
    clients[1].static_events(WSK_EVENT_RECEIVE)?;
    let (near, far) = super::callbacks::pair(
        &clients[2],
        Reactions {
            slots: Slots::ALL.0,
            ..Reactions::default()
        },
    )?;
    far.send(b"quiet")?;
    events.none(Happening::Receive, near.id)?;
    for client in [clients[0], clients[3]] {
        let state = client.detach(5000)?;
        check::status("detach", state.status, status::SUCCESS)?;
    }
    works(&clients[1])
}

fn two_drivers(context: &Context) -> Result<()> {
    let second = context.second_driver()?;
    let first = context.attach()?;
    let other = second.attach(Npi::Wskguard)?;
    let mut guard = context.guard()?;
    let (one, two) = (guard.client_of("probe.sys")?, guard.client_of("probe2.sys")?);
    check::holds("two clients", one.id != two.id)?;
    works(&first)?;
    works(&other)?;
    finish(&second)?;
    check::holds("gone", guard.client_of("probe2.sys").is_err())?;
    works(&first)
}

fn client_is_listed(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    check::holds("not there yet", guard.client_of("probe.sys").is_err())?;
    let client = context.attach()?;
    let listed = guard.client_of("probe.sys")?;
    check::equal("version", listed.version, 0x0100)?;
    check::equal("module id", listed.module_id, Npi::Wskguard.attach().module)?;
    check::equal("own NPI", listed.flags & 1, 1)?;
    check::equal("sockets", listed.endpoints, 0)?;
    let socket = client.datagram_socket(Family::V4)?;
    check::equal("sockets", guard.client_of("probe.sys")?.endpoints, 1)?;
    socket.close()?;
    check::equal("sockets", guard.client_of("probe.sys")?.endpoints, 0)?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
    check::holds("gone", guard.client_of("probe.sys").is_err())
}

fn versions(context: &Context) -> Result<()> {
    for version in [0x0200, 0x7F00] {
        let wish = probe_protocol::probe::Attach {
            version,
            timeout_ms: 500,
            ..Npi::Wskguard.attach()
        };
        let attached = Client::try_attach(&context.probe, &wish)?;
        check::status(&format!("version {version:#x}"), attached.status, status::NOINTERFACE)?;
    }
    works(&context.attach()?)
}

fn without_client_event(context: &Context) -> Result<()> {
    let wish = probe_protocol::probe::Attach {
        without_client_event: 1,
        ..context.npi().attach()
    };
    let attached = Client::try_attach(&context.probe, &wish)?;
    check::status("attach", attached.status, status::SUCCESS)?;
    works(&Client {
        probe: &context.probe,
        id: attached.client,
        version: attached.version,
    })
}

fn registered_client(context: &Context) -> Result<()> {
    let client = context.probe.attach(Npi::Register)?;
    works(&client)?;
    check::status("WskDeregister", client.detach(5000)?.status, status::SUCCESS)
}

fn detach_waits_for_sockets(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (socket, _) = client.datagram(Family::V4)?;
    let state = client.detach(300)?;
    check::status("detach with a socket", state.status, status::TIMEOUT)?;
    socket.close()?;
    check::status("detach after the close", client.detach(5000)?.status, status::SUCCESS)
}

fn detach_and_attach_again(context: &Context) -> Result<()> {
    for _ in 0..20 {
        let client = context.attach()?;
        let socket = client.datagram_socket(Family::V4)?;
        socket.close()?;
        check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
    }
    Ok(())
}

fn declined_offers(context: &Context) -> Result<()> {
    let wish = probe_protocol::probe::Attach {
        choice: Choice::None as u32,
        ..Npi::System.attach()
    };
    let attached = Client::try_attach(&context.probe, &wish)?;
    check::status("registration", attached.status, status::SUCCESS)?;
    let client = Client {
        probe: &context.probe,
        id: attached.client,
        version: 0,
    };
    let state = client.state()?;
    check::holds("offered", state.offered >= 1)?;
    check::equal("attached", state.attached, 0)?;
    check::status("deregistration", client.detach(5000)?.status, status::SUCCESS)
}

fn filter_declines_itself(context: &Context) -> Result<()> {
    // Were the filter bound to itself, each socket would be counted twice.
    let mut guard = context.guard()?;
    let before = guard.status()?.endpoints;
    let client = context.attach()?;
    let _socket = client.datagram_socket(Family::V4)?;
    check::equal("endpoints", guard.status()?.endpoints, before + 1)
}

fn own_binding_per_client(context: &Context) -> Result<()> {
    let netio = crate::testkernel::Netio::open()?;
    let before = netio.statistics()?.clients;
    let first = context.attach()?;
    let second = context.attach()?;
    check::equal(
        "clients of the system's provider",
        netio.statistics()?.clients,
        before + 2,
    )?;
    check::status("detach", first.detach(5000)?.status, status::SUCCESS)?;
    check::equal(
        "clients of the system's provider",
        netio.statistics()?.clients,
        before + 1,
    )?;
    works(&second)
}

fn provider_dispatch_version(context: &Context) -> Result<()> {
    let client = context.attach()?;
    check::holds("version", client.version >= 0x0100 && client.version < 0x0200)?;
    let wish = probe_protocol::probe::Attach {
        on_detach: OnDetach::AtOnce as u32,
        ..context.npi().attach()
    };
    let attached = Client::try_attach(&context.probe, &wish)?;
    check::equal("the same for every client", attached.version, client.version)
}
