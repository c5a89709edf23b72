//! One call of a provider's function, with arbitrary arguments.

use super::{Reactions, bits, wire_enum, wire_struct};

wire_enum! {
    /// A function of a provider's dispatch tables. Behind each: what `numbers` mean, and which other arguments it takes.
    /// `flags` is always `numbers[3]`.
    Function {
        /// family, type, protocol.
        Socket = 1,
        /// -, type, protocol; `address` local, `address2` remote.
        SocketConnect = 2,
        /// code; input, output.
        ControlClient = 3,
        /// input: node name, UTF-16; the results are counted and freed.
        GetAddressInfo = 4,
        /// `address`.
        GetNameInfo = 5,
        /// request type, code, level; input, output.
        ControlSocket = 6,
        /// -
        CloseSocket = 7,
        /// `address`.
        Bind = 8,
        /// -; the addresses come back in [`super::Outcome`].
        Accept = 9,
        /// action; input: the 16 bytes of a `WSK_INSPECT_ID`.
        InspectComplete = 10,
        /// -
        GetLocalAddress = 11,
        /// -
        GetRemoteAddress = 12,
        /// -
        Listen = 13,
        /// `address`.
        Connect = 14,
        /// `address`; input as data.
        ConnectEx = 15,
        /// input as data.
        Send = 16,
        /// output as data.
        Receive = 17,
        /// input as data, or none.
        Disconnect = 18,
        /// input as data; `address`.
        SendTo = 19,
        /// output as data.
        ReceiveFrom = 20,
        /// input as data, cut into `pieces` datagrams; `address`.
        SendMessages = 21,
        /// input as data.
        SendEx = 22,
        /// output as data.
        ReceiveEx = 23,
    }
}

wire_enum! {
    /// Category of a socket, as `WSK_FLAG_*_SOCKET` creates it.
    Category {
        /// `WSK_FLAG_BASIC_SOCKET`.
        Basic = 0,
        /// `WSK_FLAG_LISTEN_SOCKET`.
        Listen = 1,
        /// `WSK_FLAG_CONNECTION_SOCKET`.
        Connection = 2,
        /// `WSK_FLAG_DATAGRAM_SOCKET`.
        Datagram = 4,
        /// `WSK_FLAG_STREAM_SOCKET`.
        Stream = 8,
    }
}

wire_enum! {
    /// What the input argument is made of.
    Input {
        /// NULL.
        Null = 0,
        /// The bytes themselves.
        Bytes = 1,
        /// A pointer to a copy of the bytes: how a security descriptor is passed.
        AddressOf = 2,
        /// A `WSK_EVENT_CALLBACK_CONTROL` made from a mask (u32) and an NPI (GUID).
        EventControl = 3,
        /// A `WSK_EXTENSION_CONTROL_IN` for an NPI (GUID).
        Extension = 4,
        /// The probe's `WskReceiveEx` callback.
        ReceiveExCallback = 5,
        /// A NULL callback.
        NullCallback = 6,
        /// The pointer kept under a handle (u32), for cached security descriptors.
        Handle = 7,
    }
}

wire_enum! {
    /// Where the output goes.
    Output {
        /// NULL.
        Null = 0,
        /// To bytes that come back in the reply.
        Bytes = 1,
        /// To a pointer that the probe keeps under a handle; the reply's bytes are the handle (u32).
        Handle = 2,
    }
}

wire_enum! {
    /// How the client finds out that a request has ended. Behind the probe's book-keeping, this is what a driver of that style sees.
    Style {
        /// Waits for the completion whatever was returned.
        AlwaysWaits = 0,
        /// Waits when `STATUS_PENDING` was returned, else believes the returned status and looks at the IRP at once.
        WaitsIfPending = 1,
        /// As above, and its completion routine wakes the waiter only when `PendingReturned` is set.
        WokenIfPendingReturned = 2,
    }
}

bits! {
    /// Departures from the plain synchronous call.
    CallFlags {
        /// Return as soon as the function has.
        ASYNC = 1,
        /// Do not call yet: [`super::Op::Launch`], a reaction or a pass-down will.
        PREPARE = 2,
        /// Call at `DISPATCH_LEVEL`.
        AT_DISPATCH = 4,
        /// NULL IRP.
        NO_IRP = 8,
        /// NULL client or socket.
        NULL_TARGET = 16,
        /// NULL socket context.
        NULL_CONTEXT = 32,
        /// NULL client dispatch.
        NULL_DISPATCH = 64,
        /// NULL address arguments where the function writes addresses.
        NULL_ADDRESS = 128,
        /// NULL `WSK_BUF`.
        NULL_BUFFER = 256,
        /// Give `OutputSizeReturned` (or the control length).
        OUTPUT_RETURNED = 512,
        /// Pass the requestor as owning process.
        WITH_PROCESS = 1024,
        /// Keep the request after a synchronous call, for queries and another launch.
        KEEP = 2048,
        /// Change the input bytes all the time while the call is in progress.
        FLIP_INPUT = 4096,
        /// Allocate the IRP with more than one stack location.
        DEEP_IRP = 8192,
        /// Cancel the IRP before the call.
        CANCEL_FIRST = 16384,
    }
}

wire_struct! {
    /// The call. `input_length` bytes follow, then `control_length` bytes of control messages.
    Call {
        /// [`Function`].
        function: u32,
        /// [`CallFlags`].
        flags: u32,
        /// [`Style`].
        style: u32,
        /// Longest wait of a synchronous call, ms.
        timeout_ms: u32,
        /// The client, for the functions of `WSK_PROVIDER_DISPATCH`.
        client: u32,
        /// The socket.
        socket: u32,
        /// Take the function from this socket's dispatch table; 0: the socket's own.
        table_of: u32,
        /// The pointer kept under this handle as security descriptor; 0: NULL.
        security: u32,
        /// See [`Function`].
        numbers: [u32; 4],
        /// [`Input`].
        input: u32,
        /// Bytes of input that follow.
        input_length: u32,
        /// [`Output`].
        output: u32,
        /// Bytes of output buffer that exist.
        output_length: u32,
        /// Size passed to the function, or `WSK_BUF.Length` of data sent.
        input_size: u64,
        /// Size passed to the function, or `WSK_BUF.Length` of data received.
        output_size: u64,
        /// What the output buffer holds before the call.
        fill: u32,
        /// `WSK_BUF.Offset`: these bytes at the front of the data buffer are skipped.
        data_offset: u32,
        /// MDLs that the data buffer is described with; 0 is 1.
        pieces: u32,
        /// Bytes of control messages that follow the input, or room for those received.
        control_length: u32,
        /// Bytes of `address` in use; 0 is NULL.
        address_length: u32,
        /// Bytes of `address2` in use; 0 is NULL.
        address2_length: u32,
        /// A `SOCKADDR`.
        address: [u8; 28],
        /// A `SOCKADDR`.
        address2: [u8; 28],
        /// Callbacks of a socket that the call creates.
        reactions: Reactions,
    }
    /// Names a request.
    RequestRef {
        /// The request.
        request: u32,
        /// Longest wait, ms; 0 only looks.
        timeout_ms: u32,
        /// [`CallFlags::AT_DISPATCH`], [`CallFlags::ASYNC`], [`CallFlags::KEEP`].
        flags: u32,
    }
    /// Names a socket.
    SocketRef {
        /// The socket.
        socket: u32,
    }
    /// How a socket stands.
    SocketState {
        /// [`Category`].
        category: u32,
        /// 1 while it can be called.
        open: u32,
        /// Callbacks in progress.
        callbacks: u32,
        /// Indications it retains.
        retained: u32,
        /// 1 when the provider said that it is dead.
        dead: u32,
        /// Stands for the `PWSK_SOCKET`: equal for the same socket.
        identity: u32,
        /// Stands for its dispatch table: equal for the same table.
        table: u32,
    }
}
