//! A request of a client: its IRP while the provider owns it, and what is asked. And what the host is asked for it.
//!
//! The IRP is set up as by a lower driver: own stack location, marked pending when `STATUS_PENDING` is returned, cancellable. It is
//! completed exactly once, with `Information` 0 unless it succeeds. `<= DISPATCH_LEVEL`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use probe_protocol::probe::Function;
use wdk_rtl::irp;
use wdk_sys::ntddk::{IoAcquireCancelSpinLock, IoReleaseCancelSpinLock};
use wdk_sys::{DEVICE_OBJECT, IRP};
use wsk_sys::{
    PIRP, PSOCKADDR, SOCKADDR, ULONG, WSK_BUF, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CONTROL_SOCKET_TYPE,
    WSK_INSPECT_ACTION, WSK_INSPECT_ID,
};

use super::client::Client;
use super::socket::{Socket, Task};
use crate::host::sys::{OVERLAPPED, WSABUF};
use crate::host::{Address, HostSocket};
use crate::level;
use crate::report::misuse;
use crate::script::{self, Plan};
use crate::status::{NTSTATUS, STATUS_CANCELLED, is_success};

/// IRPs that the provider owns.
pub(crate) static OUTSTANDING: AtomicUsize = AtomicUsize::new(0);
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// What is asked. Pointers are the client's, good until the IRP is completed, and followed as late as that.
pub(crate) enum Op {
    Create,
    CreateConnected {
        local: *const SOCKADDR,
        remote: *const SOCKADDR,
    },
    Bind(*const SOCKADDR),
    Listen,
    Accept(Accept),
    InspectComplete {
        id: WSK_INSPECT_ID,
        action: WSK_INSPECT_ACTION,
    },
    LocalAddress(PSOCKADDR),
    RemoteAddress(PSOCKADDR),
    Connect {
        to: *const SOCKADDR,
        data: Option<WSK_BUF>,
    },
    Send {
        data: WSK_BUF,
        flags: ULONG,
    },
    Receive {
        data: WSK_BUF,
        flags: ULONG,
    },
    Disconnect {
        data: Option<WSK_BUF>,
        flags: ULONG,
    },
    SendTo {
        datagrams: Vec<WSK_BUF>,
        to: *const SOCKADDR,
    },
    ReceiveFrom(ReceiveFrom),
    Control(Control),
    /// Disables the event; completed when its callback is not in progress any more.
    DisableEvent(ULONG),
    /// With the client that has one socket less when this is complete.
    Close(Option<Arc<Client>>),
}

#[derive(Clone, Copy)]
pub(crate) struct Accept {
    pub(crate) context: *mut c_void,
    pub(crate) dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    pub(crate) local: PSOCKADDR,
    pub(crate) remote: PSOCKADDR,
}

#[derive(Clone, Copy)]
pub(crate) struct ReceiveFrom {
    pub(crate) data: WSK_BUF,
    pub(crate) from: PSOCKADDR,
    pub(crate) control_length: *mut ULONG,
    pub(crate) control_flags: *mut ULONG,
}

/// `WskControlSocket`, from the request type on.
#[derive(Clone, Copy)]
pub(crate) struct Control {
    pub(crate) kind: WSK_CONTROL_SOCKET_TYPE,
    pub(crate) code: ULONG,
    pub(crate) level: ULONG,
    pub(crate) input: *mut c_void,
    pub(crate) input_size: usize,
    pub(crate) output: *mut c_void,
    pub(crate) output_size: usize,
}

pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) function: Function,
    pub(crate) op: Op,
    pub(crate) plan: Plan,
    irp: PIRP,
    target: Option<*mut Target>,
}

/// What the cancel routine finds in the IRP's driver context.
struct Target {
    socket: Arc<Socket>,
    id: u64,
}

// SAFETY: the IRP and the client's pointers belong to the request, wherever it is worked on.
unsafe impl Send for Request {}

impl Request {
    /// Takes over an IRP. `pended`: `STATUS_PENDING` will be returned for it.
    ///
    /// # Safety
    /// The IRP is the client's to give and has a stack location left.
    pub(crate) unsafe fn take(irp: PIRP, function: Function, op: Op, plan: Plan) -> Self {
        // SAFETY: as the caller promises.
        unsafe {
            if irp::locations_left(irp) < 1 {
                misuse!("{function:?} with an IRP that has no stack location left");
            }
            irp::set_next_location(irp);
            let location = irp::current_location(irp);
            (*location).DeviceObject = core::ptr::null_mut();
        }
        OUTSTANDING.fetch_add(1, Ordering::Relaxed);
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        Self {
            id,
            function,
            op,
            plan,
            irp,
            target: None,
        }
    }

    /// From here on `STATUS_PENDING` is the answer.
    pub(crate) fn mark_pending(&self) {
        // SAFETY: the request owns the IRP.
        unsafe { irp::mark_pending(self.irp) };
    }

    /// Lets `IoCancelIrp` reach the request through its socket. Not for close.
    pub(crate) fn make_cancellable(&mut self, socket: &Arc<Socket>) {
        let target = Box::into_raw(Box::new(Target {
            socket: Arc::clone(socket),
            id: self.id,
        }));
        self.target = Some(target);
        // SAFETY: the request owns the IRP, whose driver context is its owner's; `disarm` takes the target back.
        unsafe {
            irp::set_driver_context(self.irp, target.cast());
            irp::set_cancel_routine(self.irp, Some(cancel));
        }
    }

    /// Address of the socket that the request belongs to; 0 when it is not cancellable.
    pub(crate) fn socket_address(&self) -> usize {
        // SAFETY: the target is there until `disarm`.
        self.target
            .map_or(0, |target| Arc::as_ptr(unsafe { &(*target).socket }).addr())
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        // SAFETY: the request owns the IRP.
        self.target.is_some() && unsafe { irp::is_cancelled(self.irp) }
    }

    /// Takes the cancel routine off; afterwards it neither runs nor has the IRP in hand.
    fn disarm(&mut self) {
        let Some(target) = self.target.take() else { return };
        // SAFETY: the request owns the IRP; the target is what `make_cancellable` put there.
        unsafe {
            if irp::set_cancel_routine(self.irp, None).is_none() {
                // It was called: wait until it has let go of the lock, and with it of the IRP.
                let mut irql = 0;
                IoAcquireCancelSpinLock(&raw mut irql);
                IoReleaseCancelSpinLock(irql);
            }
            irp::set_driver_context(self.irp, core::ptr::null_mut());
            drop(Box::from_raw(target));
        }
    }

    /// Completes the IRP, now or when the script lets it.
    pub(crate) fn complete(mut self, status: NTSTATUS, information: usize) {
        match script::hold_completion(&mut self.plan) {
            None => self.complete_now(status, information),
            Some(hold) => script::completed(hold, self, status, information),
        }
    }

    /// Completes the IRP.
    pub(crate) fn complete_now(mut self, status: NTSTATUS, information: usize) {
        self.disarm();
        let irp = core::mem::replace(&mut self.irp, core::ptr::null_mut());
        OUTSTANDING.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the request owned the IRP and has given it up.
        unsafe {
            irp::set_status(irp, status, if is_success(status) { information } else { 0 });
            level::call_out(|| irp::complete(irp, irp::IO_NETWORK_INCREMENT));
        }
        if let Op::Close(Some(client)) = &self.op {
            client.remove_socket();
        }
    }

    /// The completion of this is the end of one of the client's sockets: it may not detach before.
    pub(crate) fn closes(&mut self, client: &Arc<Client>) {
        self.op = Op::Close(Some(Arc::clone(client)));
    }

    pub(crate) fn cancelled(self) {
        self.complete(STATUS_CANCELLED, 0);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.irp.is_null() {
            crate::report::print(format_args!("BUG: {:?} dropped without completion", self.function));
        }
    }
}

/// # Safety
/// The I/O manager calls it with the cancel spin lock held.
unsafe extern "C" fn cancel(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: whoever completes the IRP waits for the cancel spin lock, so that the target is still there.
    let (socket, id, irql) = unsafe {
        let target = &*irp::driver_context(irp).cast::<Target>();
        (Arc::clone(&target.socket), target.id, (*irp).CancelIrql)
    };
    // SAFETY: the lock was taken by the caller, at this level.
    unsafe { IoReleaseCancelSpinLock(irql) };
    socket.post(Task::Cancel(id));
}

/// Why the host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Accept,
    Connect,
    Send,
    Receive,
    /// Into a buffer of ours, for an event or for later.
    ReceiveAhead,
    SendTo,
    ReceiveFrom,
    ReceiveFromAhead,
}

/// An overlapped request of the host. It begins with the block that the host hands back.
#[repr(C)]
pub(crate) struct HostRequest {
    overlapped: OVERLAPPED,
    pub(crate) socket: Arc<Socket>,
    pub(crate) role: Role,
    pub(crate) request: Option<Request>,
    pub(crate) buffers: Vec<WSABUF>,
    pub(crate) address: Address,
    pub(crate) flags: u32,
    /// Bytes of earlier rounds.
    pub(crate) before: usize,
    pub(crate) storage: Vec<u8>,
    pub(crate) accepted: Option<HostSocket>,
}

// SAFETY: the buffers are the client's until its IRP is completed, or the storage's.
unsafe impl Send for HostRequest {}

impl HostRequest {
    pub(crate) fn new(socket: &Arc<Socket>, role: Role, request: Option<Request>) -> Box<Self> {
        Box::new(Self {
            overlapped: OVERLAPPED::default(),
            socket: Arc::clone(socket),
            role,
            request,
            buffers: Vec::new(),
            address: Address::NONE,
            flags: 0,
            before: 0,
            storage: Vec::new(),
            accepted: None,
        })
    }

    /// Has `launch` give the request to the host; back at once if that fails, else as [`Task::Finished`] later.
    pub(crate) fn start(
        self: Box<Self>,
        launch: impl FnOnce(&mut Self, *mut OVERLAPPED) -> Result<(), NTSTATUS>,
    ) -> Result<Started, (Box<Self>, NTSTATUS)> {
        let started = Started {
            id: self.request.as_ref().map(|request| request.id),
            role: self.role,
            block: 0,
        };
        let raw = Box::into_raw(self);
        let overlapped = raw.cast::<OVERLAPPED>();
        // SAFETY: the box is ours until the launch has succeeded, and the engine's afterwards.
        let result = unsafe {
            (*overlapped) = OVERLAPPED::default();
            launch(&mut *raw, overlapped)
        };
        match result {
            Ok(()) => Ok(Started {
                block: overlapped.expose_provenance(),
                ..started
            }),
            // SAFETY: the host did not take it.
            Err(status) => Err((unsafe { Box::from_raw(raw) }, status)),
        }
    }

    /// The engine has taken the block from the port.
    ///
    /// # Safety
    /// The block is one that [`Self::start`] gave to the host.
    pub(crate) unsafe fn finished(block: *mut OVERLAPPED) {
        // SAFETY: as the caller promises.
        let this = unsafe { Box::from_raw(block.cast::<Self>()) };
        let status = this.overlapped.status();
        let bytes = this.overlapped.InternalHigh;
        let socket = Arc::clone(&this.socket);
        socket.post(Task::Finished {
            block: block.expose_provenance(),
            host: this,
            status,
            bytes,
        });
    }
}

/// A request that the host is working on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    /// The client's request in it.
    pub(crate) id: Option<u64>,
    pub(crate) role: Role,
    /// Address of the overlapped block, to name it by.
    pub(crate) block: usize,
}
