//! A socket, with one method for each thing that WSK clients do.

use anyhow::{Context, Result, ensure};
use probe_protocol::probe::{
    Category, Function, Op, Reactions, ReleaseRetained, Released, SetReactions, SocketRef, SocketState,
};
use zerocopy::IntoBytes;

use super::client::WSK_NPI;
use super::{Address, CallBuilder, Client, DEFAULT_MS, Done, Family, Probe};
use crate::wsk::{SO_WSK_EVENT_CALLBACK, SOL_SOCKET};

/// A socket of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket<'p> {
    pub(crate) probe: &'p Probe,
    pub(crate) client: Client<'p>,
    pub(crate) id: u32,
    pub(crate) category: Category,
    pub(crate) family: Family,
}

#[allow(dead_code, reason = "every function of the tables has its method")]
impl<'p> Socket<'p> {
    /// The socket that a create or accept made.
    pub(crate) fn made(
        probe: &'p Probe,
        client: Client<'p>,
        done: &Done,
        category: Category,
        family: Family,
    ) -> Result<Self> {
        let id = u32::try_from(done.information())?;
        ensure!(
            id == done.outcome.socket && id != 0,
            "no socket was made: {:?}",
            done.outcome
        );
        Ok(Self {
            probe,
            client,
            id,
            category,
            family,
        })
    }

    /// The connection socket with this id.
    pub(crate) fn accepted_as(&self, id: u32) -> Self {
        Self {
            id,
            category: Category::Connection,
            ..*self
        }
    }

    pub(crate) fn call(&self, function: Function) -> CallBuilder<'p> {
        CallBuilder::new(self.probe, function).socket(self.id)
    }

    pub(crate) fn state(&self) -> Result<SocketState> {
        self.probe
            .ask(Op::QuerySocket, &[SocketRef { socket: self.id }.as_bytes()])
    }

    pub(crate) fn set_reactions(&self, reactions: Reactions) -> Result<()> {
        self.probe.tell(
            Op::SetReactions,
            SetReactions {
                socket: self.id,
                reactions,
            }
            .as_bytes(),
        )
    }

    /// Gives back what its callbacks retained, oldest first.
    pub(crate) fn release(&self, max: u32, at_dispatch: bool) -> Result<Released> {
        let wish = ReleaseRetained {
            socket: self.id,
            max,
            at_dispatch: at_dispatch.into(),
        };
        self.probe.ask(Op::ReleaseRetained, &[wish.as_bytes()])
    }

    // Control.

    /// `WskControlSocket`: request type, code, level.
    pub(crate) fn control(&self, request: u32, code: u32, level: u32) -> CallBuilder<'p> {
        self.call(Function::ControlSocket).numbers([request, code, level, 0])
    }

    pub(crate) fn set_call(&self, code: u32, level: u32, value: &[u8]) -> CallBuilder<'p> {
        self.control(0, code, level).input(value)
    }

    pub(crate) fn get_call(&self, code: u32, level: u32, room: u32) -> CallBuilder<'p> {
        self.control(1, code, level).output(room)
    }

    pub(crate) fn ioctl_call(&self, code: u32) -> CallBuilder<'p> {
        self.control(2, code, 0)
    }

    /// Sets a 4-byte `SOL_SOCKET` option.
    pub(crate) fn set(&self, code: u32, value: u32) -> Result<&Self> {
        self.set_call(code, SOL_SOCKET, &value.to_le_bytes()).ok()?;
        Ok(self)
    }

    /// Gets a 4-byte `SOL_SOCKET` option.
    pub(crate) fn get(&self, code: u32) -> Result<u32> {
        let done = self.get_call(code, SOL_SOCKET, 4).ok()?;
        Ok(u32::try_from(done.value())?)
    }

    /// `SO_WSK_EVENT_CALLBACK` without an IRP, which enables.
    pub(crate) fn enable(&self, events: u32) -> Result<&Self> {
        self.events_call(events).no_irp().ok()?;
        Ok(self)
    }

    pub(crate) fn events_call(&self, mask: u32) -> CallBuilder<'p> {
        self.control(0, SO_WSK_EVENT_CALLBACK, SOL_SOCKET)
            .event_control(mask, WSK_NPI)
    }

    // Addresses.

    pub(crate) fn bind_call(&self, address: Address) -> CallBuilder<'p> {
        self.call(Function::Bind).address(address)
    }

    pub(crate) fn bind(&self, address: Address) -> Result<&Self> {
        self.bind_call(address)
            .ok()
            .with_context(|| format!("bind to {address}"))?;
        Ok(self)
    }

    pub(crate) fn local_address(&self) -> Result<Address> {
        self.call(Function::GetLocalAddress).ok()?.address()
    }

    pub(crate) fn remote_address(&self) -> Result<Address> {
        self.call(Function::GetRemoteAddress).ok()?.address()
    }

    // Connections.

    pub(crate) fn listen(&self) -> Result<&Self> {
        self.call(Function::Listen).ok()?;
        Ok(self)
    }

    pub(crate) fn accept_call(&self, reactions: Reactions) -> CallBuilder<'p> {
        self.call(Function::Accept).reactions(reactions)
    }

    /// The socket of an accept that completed.
    pub(crate) fn accepted(&self, done: &Done) -> Result<Self> {
        Self::made(self.probe, self.client, done, Category::Connection, self.family)
    }

    pub(crate) fn connect_call(&self, address: Address) -> CallBuilder<'p> {
        self.call(Function::Connect).address(address)
    }

    pub(crate) fn connect(&self, address: Address) -> Result<&Self> {
        self.connect_call(address).ok()?;
        Ok(self)
    }

    /// `WskDisconnect`, graceful.
    pub(crate) fn disconnect(&self) -> Result<Done> {
        self.call(Function::Disconnect).null_buffer().ok()
    }

    /// `WskDisconnect` with `WSK_FLAG_ABORTIVE`.
    pub(crate) fn abort(&self) -> Result<Done> {
        self.call(Function::Disconnect).null_buffer().flag(1).ok()
    }

    // Data.

    pub(crate) fn send_call(&self, data: &[u8]) -> CallBuilder<'p> {
        self.call(Function::Send).input(data)
    }

    /// Sends all of it.
    pub(crate) fn send(&self, data: &[u8]) -> Result<&Self> {
        let done = self.send_call(data).ok()?;
        ensure!(
            done.information() == data.len() as u64,
            "{} of {} bytes sent",
            done.information(),
            data.len()
        );
        Ok(self)
    }

    pub(crate) fn receive_call(&self, room: u32) -> CallBuilder<'p> {
        self.call(Function::Receive).output(room)
    }

    /// Receives what is there, at most `room` bytes.
    pub(crate) fn receive(&self, room: u32) -> Result<Vec<u8>> {
        Ok(self.receive_call(room).ok()?.written().to_vec())
    }

    /// Receives exactly so many bytes, in as many calls as it takes.
    pub(crate) fn receive_all(&self, count: usize) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        while data.len() < count {
            let piece = self.receive(u32::try_from(count - data.len())?)?;
            ensure!(
                !piece.is_empty(),
                "the stream ended after {} of {count} bytes",
                data.len()
            );
            data.extend(piece);
        }
        Ok(data)
    }

    pub(crate) fn send_to_call(&self, data: &[u8], to: Address) -> CallBuilder<'p> {
        self.call(Function::SendTo).input(data).address(to)
    }

    pub(crate) fn send_to(&self, data: &[u8], to: Address) -> Result<&Self> {
        let done = self.send_to_call(data, to).ok()?;
        ensure!(
            done.information() == data.len() as u64,
            "{} of {} bytes sent",
            done.information(),
            data.len()
        );
        Ok(self)
    }

    pub(crate) fn receive_from_call(&self, room: u32) -> CallBuilder<'p> {
        self.call(Function::ReceiveFrom).output(room)
    }

    /// A datagram and its sender.
    pub(crate) fn receive_from(&self, room: u32) -> Result<(Vec<u8>, Address)> {
        let done = self.receive_from_call(room).ok()?;
        Ok((done.written().to_vec(), done.address()?))
    }

    // The end.

    pub(crate) fn close_call(&self) -> CallBuilder<'p> {
        self.call(Function::CloseSocket).timeout(DEFAULT_MS)
    }

    pub(crate) fn close(&self) -> Result<Done> {
        self.close_call().ok()
    }
}
