//! An attached client and the sockets it makes.

use anyhow::{Result, bail};
use probe_protocol::probe::{
    Attach, Attached, Category, Choice, ClientRequest, ClientState, Function, Input, OnDetach, Op, Output, Reactions,
    Route,
};
use wskguard_abi::{GuidFields, WSKGUARD_NPI_ID, WSKGUARD_PROVIDER_MODULE_ID};
use zerocopy::IntoBytes;

use super::{Address, CallBuilder, DEFAULT_MS, Done, Family, Probe, Socket};
use crate::status;

/// `NPI_WSK_INTERFACE_ID`.
pub(crate) const WSK_NPI: GuidFields = (
    0x2227_E803,
    0x8D8B,
    0x11D4,
    [0xAB, 0xAD, 0x00, 0x90, 0x27, 0x71, 0x9E, 0x09],
);
/// Module id of the probe's clients; the last byte tells several apart.
const PROBE_MODULE: GuidFields = (
    0x5C1E_0B0E,
    0x7A52,
    0x4D0B,
    [0x9C, 0x11, 0x20, 0x1E, 0x55, 0x0A, 0x7B, 0x00],
);

/// A GUID in memory order.
pub(crate) fn guid(fields: GuidFields) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0..4].copy_from_slice(&fields.0.to_le_bytes());
    bytes[4..6].copy_from_slice(&fields.1.to_le_bytes());
    bytes[6..8].copy_from_slice(&fields.2.to_le_bytes());
    bytes[8..16].copy_from_slice(&fields.3);
    bytes
}

/// Which provider, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Npi {
    /// The system's provider, through NMR, and not the filter should it pose as one.
    System,
    /// The filter's own NPI.
    Wskguard,
    /// `WskRegister`: whatever the system hands out.
    Register,
}

impl Npi {
    /// The attach request for it.
    pub(crate) fn attach(self) -> Attach {
        let (route, choice, npi) = match self {
            Self::System => (Route::Nmr, Choice::Except, WSK_NPI),
            Self::Wskguard => (Route::Nmr, Choice::Any, WSKGUARD_NPI_ID),
            Self::Register => (Route::Register, Choice::Any, WSK_NPI),
        };
        Attach {
            route: route as u32,
            choice: choice as u32,
            on_detach: OnDetach::WhenIdle as u32,
            version: 0x0100,
            timeout_ms: DEFAULT_MS,
            without_client_event: 0,
            npi: guid(npi),
            module: guid(PROBE_MODULE),
            provider_module: guid(WSKGUARD_PROVIDER_MODULE_ID),
        }
    }
}

/// A client of some provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'p> {
    pub(crate) probe: &'p Probe,
    pub(crate) id: u32,
    /// Version of the provider's dispatch.
    pub(crate) version: u32,
}

impl<'p> Client<'p> {
    pub(crate) fn attach(probe: &'p Probe, npi: Npi) -> Result<Self> {
        let attached = Self::try_attach(probe, &npi.attach())?;
        if attached.status < 0 {
            bail!(
                "attach to {npi:?}: {} after {} offers",
                status::name(attached.status),
                attached.offered
            );
        }
        Ok(Self {
            probe,
            id: attached.client,
            version: attached.version,
        })
    }

    /// Attaches as `wish` says; the status is the caller's to judge.
    pub(crate) fn try_attach(probe: &'p Probe, wish: &Attach) -> Result<Attached> {
        probe.ask_for(Op::Attach, &[wish.as_bytes()], wish.timeout_ms + DEFAULT_MS)
    }

    fn request(&self, op: Op, timeout_ms: u32) -> Result<ClientState> {
        let request = ClientRequest {
            client: self.id,
            timeout_ms,
        };
        self.probe.ask_for(op, &[request.as_bytes()], timeout_ms)
    }

    /// Deregisters; the state carries the status.
    pub(crate) fn detach(&self, timeout_ms: u32) -> Result<ClientState> {
        self.request(Op::Detach, timeout_ms)
    }

    pub(crate) fn state(&self) -> Result<ClientState> {
        self.request(Op::QueryClient, 0)
    }

    /// A call of one of `WSK_PROVIDER_DISPATCH`.
    pub(crate) fn call(&self, function: Function) -> CallBuilder<'p> {
        CallBuilder::new(self.probe, function).client(self.id)
    }

    /// `WskSocket`, to be completed by the caller.
    pub(crate) fn create(&self, category: Category, family: Family) -> CallBuilder<'p> {
        let (kind, protocol) = if category == Category::Datagram {
            (2, 17)
        } else {
            (1, 6)
        };
        self.call(Function::Socket)
            .numbers([family.number(), kind, protocol, category as u32])
    }

    /// Creates a socket whose callbacks do as `reactions` says.
    pub(crate) fn socket(&self, category: Category, family: Family, reactions: Reactions) -> Result<Socket<'p>> {
        let done = self.create(category, family).reactions(reactions).ok()?;
        Socket::made(self.probe, *self, &done, category, family)
    }

    pub(crate) fn basic_socket(&self, family: Family) -> Result<Socket<'p>> {
        let done = self.create(Category::Basic, family).without_callbacks().ok()?;
        Socket::made(self.probe, *self, &done, Category::Basic, family)
    }

    pub(crate) fn listen_socket(&self, family: Family) -> Result<Socket<'p>> {
        self.socket(Category::Listen, family, Reactions::default())
    }

    pub(crate) fn connection_socket(&self, family: Family) -> Result<Socket<'p>> {
        self.socket(Category::Connection, family, Reactions::default())
    }

    pub(crate) fn datagram_socket(&self, family: Family) -> Result<Socket<'p>> {
        self.socket(Category::Datagram, family, Reactions::default())
    }

    pub(crate) fn stream_socket(&self, family: Family) -> Result<Socket<'p>> {
        self.socket(Category::Stream, family, Reactions::default())
    }

    /// `WskSocketConnect` from the loopback address, any port.
    pub(crate) fn socket_connect(&self, remote: Address, reactions: Reactions) -> Result<Socket<'p>> {
        let family = remote.family();
        let done = self
            .call(Function::SocketConnect)
            .numbers([0, 1, 6, 0])
            .address(family.loopback(0))
            .address2(remote)
            .reactions(reactions)
            .ok()?;
        Socket::made(self.probe, *self, &done, Category::Connection, family)
    }

    /// A listening socket on the loopback address, and that address.
    pub(crate) fn listener(&self, family: Family) -> Result<(Socket<'p>, Address)> {
        let listener = self.listen_socket(family)?;
        let address = listener.bind(family.loopback(0))?.local_address()?;
        Ok((listener, address))
    }

    /// A bound datagram socket and its address.
    pub(crate) fn datagram(&self, family: Family) -> Result<(Socket<'p>, Address)> {
        let socket = self.datagram_socket(family)?;
        let address = socket.bind(family.loopback(0))?.local_address()?;
        Ok((socket, address))
    }

    /// A connected pair: listener, the end that connected, the end that was accepted.
    pub(crate) fn pair(&self, family: Family) -> Result<(Socket<'p>, Socket<'p>, Socket<'p>)> {
        let (listener, address) = self.listener(family)?;
        let (near, far) = self.pair_with(&listener, address)?;
        Ok((listener, near, far))
    }

    /// Connects to a listener and accepts there.
    pub(crate) fn pair_with(&self, listener: &Socket<'p>, address: Address) -> Result<(Socket<'p>, Socket<'p>)> {
        let near = self.connection_socket(address.family())?;
        near.bind(address.family().loopback(0))?;
        let accept = listener.accept_call(Reactions::default()).start()?;
        near.connect(address)?;
        let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
        Ok((near, far))
    }

    /// `WskControlClient`.
    pub(crate) fn control(&self, code: u32) -> CallBuilder<'p> {
        self.call(Function::ControlClient).numbers([code, 0, 0, 0])
    }

    /// `WSK_SET_STATIC_EVENT_CALLBACKS`.
    pub(crate) fn static_events(&self, mask: u32) -> Result<Done> {
        self.control(7).event_control(mask, WSK_NPI).no_irp().run()
    }

    /// `WSK_CACHE_SD`: the handle under which the probe keeps the cached descriptor.
    pub(crate) fn cache_sd(&self, descriptor: &[u8]) -> Result<u32> {
        let done = self
            .control(4)
            .input_kind(Input::AddressOf, descriptor)
            .sized_input(8)
            .output_handle()
            .no_irp()
            .ok()?;
        done.handle()
    }

    /// `WSK_RELEASE_SD`.
    pub(crate) fn release_sd(&self, handle: u32) -> Result<Done> {
        let builder = self
            .control(5)
            .input_kind(Input::Handle, &handle.to_le_bytes())
            .sized_input(8);
        builder.output_kind(Output::Null, 0).no_irp().run()
    }
}
