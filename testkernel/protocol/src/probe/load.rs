//! Work that takes many calls: transfers, stress and measurements, driven inside the probe.

use super::{wire_enum, wire_struct};

wire_enum! {
    /// What a transfer goes through.
    Medium {
        /// Two connected sockets.
        Stream = 0,
        /// Two bound datagram sockets, one datagram in flight at a time.
        Datagram = 1,
    }
}

wire_enum! {
    /// What a measurement repeats.
    Workload {
        /// Get of a 4-byte option.
        Get = 0,
        /// Set of a 4-byte option.
        Set = 1,
        /// A datagram sent and received back by another socket.
        Datagram = 2,
        /// A small send on a connection and its receive.
        Echo = 3,
        /// Create and close.
        CreateClose = 4,
        /// WskGetLocalAddress: a call that only is forwarded.
        LocalAddress = 5,
        /// A send on a connection; nothing receives it, so the socket is one without a host socket.
        Send = 6,
        /// A receive on a connection without a host socket, which fails: nothing could arrive.
        Receive = 7,
        /// No measurement: so many sockets as there are repetitions are opened, stay open for the pause, and are closed.
        Crowd = 8,
        /// No socket: a function of the kernel, by its [`KernelCall`] in `code`.
        Kernel = 9,
    }
}

wire_enum! {
    /// What requests through a filter call of the kernel.
    KernelCall {
        /// KeGetCurrentProcessorNumberEx.
        Processor = 0,
        /// KeQuerySystemTimePrecise.
        SystemTime = 1,
        /// KeGetCurrentIrql.
        Irql = 2,
        /// KfRaiseIrql to DISPATCH_LEVEL, and KeLowerIrql.
        RaiseLower = 3,
        /// IoInitializeIrp of an IRP with one stack location.
        InitializeIrp = 4,
        /// The same, and IofCompleteRequest to a completion routine that keeps it.
        InitializeAndComplete = 5,
    }
}

wire_struct! {
    /// Sends `bytes` patterned bytes from `from` to `to`, and the same back when `both` is 1.
    Transfer {
        /// [`Medium`].
        medium: u32,
        /// Sender.
        from: u32,
        /// Receiver.
        to: u32,
        /// 1: both ways at once.
        both: u32,
        /// Bytes each way.
        bytes: u64,
        /// Bytes of one send.
        send_size: u32,
        /// Room of one receive.
        receive_size: u32,
        /// First byte of the pattern.
        seed: u32,
        /// Longest wait for one request, ms.
        timeout_ms: u32,
        /// Where datagrams from `from` go: a `SOCKADDR`.
        to_address: [u8; 28],
        /// Where datagrams back go.
        from_address: [u8; 28],
    }
    /// Answer to that.
    TransferReport {
        /// First failure, or success.
        status: i32,
        /// Bytes that arrived but were not the pattern's.
        wrong: u32,
        /// Bytes sent, forth and back.
        sent: [u64; 2],
        /// Bytes received, forth and back.
        received: [u64; 2],
        /// Sends and receives.
        requests: u64,
        /// Ticks from the first call to the last completion.
        ticks: u64,
    }
    /// Threads that open, set, get, bind, cancel and close sockets at random.
    Stress {
        /// The client whose sockets they are.
        client: u32,
        /// Threads, 16 at most.
        threads: u32,
        /// Sockets of each thread, 64 at most.
        sockets: u32,
        /// Steps of each thread.
        steps: u32,
        /// Same seed, same steps.
        seed: u32,
        /// Longest wait for one request, ms.
        timeout_ms: u32,
        /// 1: calls also at `DISPATCH_LEVEL`.
        at_dispatch: u32,
        /// `AF_*`.
        family: u32,
        /// Protocol of every socket; 0: the category's.
        protocol: u32,
    }
    /// Answer to that.
    StressReport {
        /// `STATUS_SUCCESS`, or the first thing that may never happen.
        status: i32,
        /// Requests that did not complete in time.
        stuck: u32,
        /// Completions beyond the first.
        double_completions: u32,
        /// Requests whose `PendingReturned` did not match what was returned.
        mismatched: u32,
        /// Requests launched.
        launched: u64,
        /// Requests that succeeded.
        succeeded: u64,
        /// Requests that ended as cancelled.
        cancelled: u64,
        /// Requests that failed otherwise.
        failed: u64,
        /// Ticks in all.
        ticks: u64,
        /// Line of the source that noticed the failure of `status`.
        line: u32,
        /// Zero.
        reserved: u32,
    }
    /// Measures.
    Bench {
        /// [`Workload`].
        workload: u32,
        /// The client whose sockets are made.
        client: u32,
        /// Threads, 16 at most, with sockets of their own.
        threads: u32,
        /// Sockets in turn for each thread, 64 at most.
        sockets: u32,
        /// Repetitions of each thread.
        iterations: u32,
        /// `AF_*`.
        family: u32,
        /// Option for get and set.
        code: u32,
        /// Its level.
        level: u32,
        /// Protocol of every socket; 0: the category's.
        protocol: u32,
        /// Repetitions that are timed together, for a counter that ticks seldom; 0 is 1.
        stretch: u32,
        /// Pause between the sockets' making and the first repetition, ms.
        pause_ms: u32,
    }
    /// Answer to that. Ticks are those of the processor's time stamp counter, summed over threads.
    BenchReport {
        /// First failure, or success.
        status: i32,
        /// Threads that ran.
        threads: u32,
        /// Repetitions done.
        iterations: u64,
        /// Ticks of the performance counter from start to end.
        elapsed: u64,
        /// Time stamps of all repetitions together.
        cycles: u64,
        /// The shortest stretch.
        least: u64,
        /// The median of the first 4096 stretches of the first thread.
        median: u64,
        /// The 99th percentile of the same.
        percentile99: u64,
        /// Time stamps per second.
        cycles_per_second: u64,
    }
}
