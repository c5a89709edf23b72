//! What a test says to verifier.sys and hears back, by IOCTL on [`DEVICE`].
//!
//! All requests are METHOD_BUFFERED with FILE_ANY_ACCESS; input and output are the structures named at each code. Lists are read in
//! pages: the request says where to start, the reply how many there are in all and how many follow its fixed part. Counters and lists
//! begin when the verifier is loaded; nothing is ever dropped from a list without being counted.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Path of the device for a user-mode program.
pub const DEVICE: &str = r"\\.\TestKernelVerifier";
/// First field of every request.
pub const VERSION: u32 = 1;

/// `CTL_CODE` of function `function`, METHOD_BUFFERED, FILE_ANY_ACCESS.
const fn code(function: u32) -> u32 {
    (0x8e51 << 16) | (function << 2)
}

/// [`Request`] → [`Info`].
pub const QUERY_INFO: u32 = code(0x800);
/// [`SetFlags`] → nothing. Holds for drivers loaded later; [`flags::IMMEDIATE`] ones hold at once.
pub const SET_FLAGS: u32 = code(0x801);
/// [`Page`] → [`PageReply`] and [`Stop`]s.
pub const QUERY_STOPS: u32 = code(0x802);
/// [`Request`] → nothing. Empties the list of stops; their sequence numbers go on.
pub const CLEAR_STOPS: u32 = code(0x803);
/// [`PoolQuery`] → [`PoolUse`].
pub const QUERY_POOL: u32 = code(0x804);
/// [`ArmFaults`] → nothing. Starts a new round of fault injection, or ends it.
pub const ARM_FAULTS: u32 = code(0x805);
/// [`Page`] → [`PageReply`] and [`FaultSite`]s of the present round.
pub const QUERY_FAULTS: u32 = code(0x806);
/// [`Page`] → [`PageReply`] and [`Event`]s that a session took, oldest first.
pub const QUERY_EVENTS: u32 = code(0x807);
/// [`Session`] → nothing. The one ETW session: forgets what it took, and listens to all providers from now on, or not at all.
pub const SET_SESSION: u32 = code(0x815);
/// [`Page`] → [`PageReply`] and [`ImportUse`]s: what the verified drivers import and how often they called it.
pub const QUERY_IMPORTS: u32 = code(0x808);
/// [`CoverageMap`] → nothing.
pub const SET_COVERAGE: u32 = code(0x80a);
/// [`Page`] → [`PageReply`] and the offsets (u32) of instructions that have run.
pub const QUERY_COVERAGE: u32 = code(0x80b);
/// In: [`Page`]. Out: [`PageReply`] and [`Range`]s: the memory that kernel addresses of drivers point to, at present.
pub const QUERY_RANGES: u32 = code(0x814);
/// Sent to any device of the test kernel, not to the verifier's: answered with the status of this handle's IRP_MJ_CREATE.
/// Wine gives a handle out before the driver has seen the create request; this is how a test waits for it.
pub const QUERY_CREATE: u32 = code(0x809);
/// [`Page`], whose `first` numbers the callback → [`CrashData`] and its bytes: calls a driver's registered bug check callback for
/// secondary dump data, at HIGH_LEVEL as in a crash, which this is not. Not found: there is no callback of this number.
pub const QUERY_CRASH: u32 = code(0x80c);

/// [`SetFlags`]: on after so many ms, or off (0) → nothing. Counts the instructions of wskguard.sys, from zero.
pub const SET_RETIRED: u32 = code(0x80e);
/// [`Page`] → [`PageReply`] and [`Retired`]s.
pub const QUERY_RETIRED: u32 = code(0x80f);
/// [`Page`] → [`PageReply`] and [`Left`]s: where wskguard.sys went, by call and by return, while its instructions were counted.
pub const QUERY_LEFT: u32 = code(0x80d);

/// Value of the verifier's `Parameters` key that its flags are taken from at start (REG_DWORD); [`flags::STANDARD`] without it.
pub const FLAGS_VALUE: &str = "Flags";

/// Bits of [`SetFlags::flags`] and [`Info::flags`].
pub mod flags {
    /// Blocks end at a guard page (or begin at one, with [`POOL_BEFORE`]), and freed ones stay out of reach.
    pub const SPECIAL_POOL: u32 = 1 << 0;
    /// Special pool guards the start of a block instead of its end.
    pub const POOL_BEFORE: u32 = 1 << 1;
    /// Every block has its tag, size and allocating call stack on record, and what is left at unload is reported.
    pub const POOL_TRACKING: u32 = 1 << 2;
    /// Every import has its documented highest IRQL checked, and every callback the IRQL that it returns at.
    pub const IRQL: u32 = 1 << 3;
    /// Rules of spin locks: nesting, owner, order, none held on return.
    pub const LOCKS: u32 = 1 << 4;
    /// Rules of IRPs.
    pub const IRP: u32 = 1 << 5;
    /// Objects that are alive at unload.
    pub const OBJECTS: u32 = 1 << 6;
    /// Requests of user programs are dispatched on several threads at once, as on Windows, and not one after the other.
    pub const CONCURRENT: u32 = 1 << 7;
    /// Threads are made to wait for a moment, by chance, where verified drivers call the kernel: races show up sooner.
    pub const DELAYS: u32 = 1 << 8;
    /// Every check.
    pub const STANDARD: u32 = SPECIAL_POOL | POOL_TRACKING | IRQL | LOCKS | IRP | OBJECTS;
    /// Those that take effect at once.
    pub const IMMEDIATE: u32 = SPECIAL_POOL | POOL_BEFORE | IRQL | LOCKS | IRP | CONCURRENT | DELAYS;
}

/// What a stop is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum StopCode {
    /// A function was called above the highest IRQL that its documentation allows: function, IRQL, highest.
    IrqlTooHigh = 0x10,
    /// A raise to a lower IRQL: present, wanted.
    IrqlRaiseToLower = 0x11,
    /// A lowering to a higher IRQL: present, wanted.
    IrqlLowerToHigher = 0x12,
    /// The IRQL fell below DISPATCH_LEVEL with a spin lock held: present, wanted, lock.
    IrqlLoweredWithLock = 0x13,
    /// A callback returned at another IRQL than it was called at: callback, before, after.
    IrqlChangedByCallback = 0x14,
    /// A function was called below the IRQL that it needs: function, IRQL, lowest.
    IrqlTooLow = 0x15,

    /// A spin lock was asked for by its holder: lock.
    SpinLockRecursive = 0x20,
    /// A spin lock was released by somebody who does not hold it, or not in this mode: lock.
    SpinLockNotHeld = 0x21,
    /// An at-DISPATCH_LEVEL spin lock function was called below it: lock, IRQL.
    SpinLockBelowDispatch = 0x22,
    /// A spin lock was waited for over ten seconds: lock.
    SpinLockStuck = 0x23,
    /// Two locks were taken in both orders: lock held, lock wanted.
    SpinLockOrder = 0x24,
    /// A callback returned with a spin lock held: callback, lock.
    SpinLockHeldByCallback = 0x25,
    /// A free, or an initialisation, of memory that holds a spin lock in use: block, lock.
    SpinLockFreedHeld = 0x26,

    /// An access beyond the end of a block: address, block, size, tag.
    PoolOverrun = 0x30,
    /// An access ahead of a block: address, block, size, tag.
    PoolUnderrun = 0x31,
    /// An access to a freed block: address, block, size, tag.
    PoolUseAfterFree = 0x32,
    /// A free of a block that is free already: address, size, tag.
    PoolDoubleFree = 0x33,
    /// A free of what is no block: address.
    PoolBadFree = 0x34,
    /// A free with another tag than the block's: address, tag given, tag of the block.
    PoolTagMismatch = 0x35,
    /// A block outlived its driver: address, size, tag.
    PoolLeak = 0x36,
    /// The slack behind a block was written: block, size, tag, offset.
    PoolSlackWritten = 0x37,
    /// An allocation with tag zero, size zero, or unknown flags: size, tag, flags.
    PoolBadRequest = 0x38,
    /// Paged pool was allocated or freed above APC_LEVEL: IRQL, size or block, tag.
    PoolPagedAtDispatch = 0x39,
    /// Freed memory holds something in use: block, kind of object, address.
    PoolFreedInUse = 0x3a,

    /// An IRP was completed twice, or by somebody who no longer owns it: IRP.
    IrpCompletedTwice = 0x40,
    /// An IRP was completed with a cancel routine set: IRP, routine.
    IrpCompletedCancelable = 0x41,
    /// STATUS_PENDING was returned for an IRP that was not marked pending: IRP.
    IrpPendingNotMarked = 0x42,
    /// An IRP was marked pending, and another status returned: IRP, status.
    IrpMarkedNotPending = 0x43,
    /// An IRP was completed with STATUS_PENDING or with -1 as status: IRP, status.
    IrpCompletedPending = 0x44,
    /// A status was returned that is not the one the IRP was completed with: IRP, returned, completed.
    IrpStatusMismatch = 0x45,
    /// An IRP was neither completed nor kept: a final status was returned for it: IRP, status.
    IrpNotCompleted = 0x46,
    /// An IRP was passed down with no stack location left: IRP.
    IrpNoLocation = 0x47,
    /// An IRP was freed or reused while a lower driver owns it: IRP.
    IrpFreedInUse = 0x48,
    /// A driver's own IRP reached its end, with no completion routine that takes it back: IRP.
    IrpNotTakenBack = 0x49,
    /// An IRP, or a handle's request, was left with the driver at unload, or at close: IRP.
    IrpForgotten = 0x4a,
    /// The output length is greater than the caller's buffer: IRP, information, room.
    IrpInformationTooLong = 0x4c,
    /// A completion routine did not pass the pending flag on: IRP.
    IrpPendingNotPassedOn = 0x4d,

    /// A device was left at unload: device.
    DeviceLeft = 0x50,
    /// A symbolic link was left at unload.
    SymbolicLinkLeft = 0x51,
    /// A work item was left at unload, or freed while queued: work item, queued.
    WorkItemLeft = 0x52,
    /// A timer was left running at unload: timer.
    TimerLeft = 0x53,
    /// A DPC was left queued at unload: DPC.
    DpcLeft = 0x54,
    /// A thread of the driver ran on after unload: start routine.
    ThreadLeft = 0x55,
    /// An ETW or PCW registration was left at unload: handle.
    RegistrationLeft = 0x56,
    /// A handle or an object reference was left at unload: handle or object.
    HandleLeft = 0x57,
    /// A look-aside list was left at unload: list.
    LookasideLeft = 0x58,
    /// A callback registration (bug check, process, image) was left at unload: record or routine.
    CallbackLeft = 0x59,

    /// A wait above APC_LEVEL, or at DISPATCH_LEVEL with a time-out: object, IRQL.
    WaitAtDispatch = 0x60,
    /// A rundown reference was released that was not held: reference.
    RundownUnderflow = 0x61,
    /// A function that neither Wine nor this test kernel has was called.
    MissingFunction = 0x62,

    /// KeBugCheck(Ex) was called: code, parameters.
    BugCheck = 0x70,
    /// The driver's code caused a fault: code, address, read or write, data address.
    Exception = 0x71,
}

/// A request without parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
}

/// What the verifier is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Info {
    /// [`VERSION`].
    pub version: u32,
    /// [`flags`] in force.
    pub flags: u32,
    /// Stops since the verifier was loaded.
    pub stops: u32,
    /// Drivers under verification at present.
    pub targets: u32,
    /// Calls into wrapped imports.
    pub calls: u64,
    /// Allocations of verified drivers that were made to fail, all rounds.
    pub faults: u64,
    /// IRPs that verified drivers have at present.
    pub irps: u32,
    /// Blocks that verified drivers have at present.
    pub blocks: u32,
}

/// New flags.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetFlags {
    /// [`VERSION`].
    pub version: u32,
    /// [`flags`].
    pub flags: u32,
}

/// Which part of a list.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Page {
    /// [`VERSION`].
    pub version: u32,
    /// Index of the first element wanted.
    pub first: u32,
}

/// Ahead of a page's elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PageReply {
    /// Elements in the list.
    pub total: u32,
    /// Elements that follow.
    pub count: u32,
    /// Elements that the list had no room for.
    pub dropped: u32,
    /// Zero.
    pub reserved: u32,
}

/// Memory that an address must not be told to user mode of: a driver's image, or a block of pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// 1 for an image, 0 for a block.
    pub image: u64,
}

/// Bytes of a name, padded with NUL.
pub const NAME: usize = 24;
/// Deepest call stack on record.
pub const FRAMES: usize = 12;

/// A place in code.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Frame {
    /// Module's file name.
    pub module: [u8; NAME],
    /// Offset of the return address in the module; the address itself when it is in none.
    pub offset: u64,
}

/// A rule was broken.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Stop {
    /// 1, 2, 3, ... in the order found.
    pub sequence: u32,
    /// [`StopCode`].
    pub code: u32,
    /// As the code says.
    pub parameters: [u64; 4],
    /// Id of the thread.
    pub thread: u32,
    /// Its IRQL.
    pub irql: u8,
    /// 1 if a verified driver is on the call stack.
    pub target: u8,
    /// Frames that are filled in.
    pub depth: u8,
    /// Zero.
    pub reserved: u8,
    /// What it is about, for people: a function or object, padded with NUL.
    pub subject: [u8; 48],
    /// Innermost first.
    pub frames: [Frame; FRAMES],
}

/// Whose memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PoolQuery {
    /// [`VERSION`].
    pub version: u32,
    /// The tag as its four characters in memory order, little-endian; 0 for all tags.
    pub tag: u32,
}

/// Pool of a tag, all drivers of the session.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PoolUse {
    /// Blocks allocated now.
    pub blocks: u64,
    /// Bytes asked for in them.
    pub bytes: u64,
    /// Allocations since the verifier was loaded.
    pub allocations: u64,
    /// Frees since then.
    pub frees: u64,
    /// Most bytes at a time.
    pub peak_bytes: u64,
}

/// What a bug check callback put into the dump.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CrashData {
    /// The data's name, a GUID in memory order.
    pub guid: [u8; 16],
    /// Bytes that follow.
    pub length: u32,
    /// Zero.
    pub reserved: u32,
}

/// How allocations, and other calls that can, are made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FaultMode {
    /// They are not.
    Off = 0,
    /// Each with a probability.
    Random = 1,
    /// Each distinct call stack once, the first time it is seen.
    Systematic = 2,
    /// Only the n-th from now.
    Nth = 3,
    /// None; call stacks are only collected.
    Collect = 4,
    /// One: the first call stack that has not failed in this round. Armed again, it goes on with the round.
    Next = 5,
}

/// A round of fault injection.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ArmFaults {
    /// [`VERSION`].
    pub version: u32,
    /// [`FaultMode`].
    pub mode: u32,
    /// Out of 65536, with [`FaultMode::Random`].
    pub probability: u32,
    /// Start of the random sequence; the same seed and calls give the same failures.
    pub seed: u32,
    /// Which one fails, from 1, with [`FaultMode::Nth`].
    pub nth: u32,
    /// Frames that tell call stacks apart, 1 to [`FRAMES`]; 0 for 6.
    pub depth: u32,
}

/// A distinct call stack, by its frames in verified drivers, that allocates or makes another call that can fail.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FaultSite {
    /// How often it was seen.
    pub hits: u32,
    /// How often it was made to fail.
    pub failed: u32,
    /// Frames that are filled in.
    pub depth: u32,
    /// Tag of the first allocation, or 0.
    pub tag: u32,
    /// The allocating function, padded with NUL.
    pub function: [u8; 48],
    /// Innermost first.
    pub frames: [Frame; FRAMES],
}

/// Most instructions in one request.
pub const COVERAGE_MOST: usize = 4096;

/// Instructions of a driver that are watched for: which of them run?
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CoverageMap {
    /// [`VERSION`].
    pub version: u32,
    /// 1: these are added to the module's; 0: a new list begins.
    pub append: u32,
    /// Entries of `offsets` that are filled in.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// The driver's file name.
    pub module: [u8; NAME],
    /// Where an instruction begins, from the image's start.
    pub offsets: [u32; COVERAGE_MOST],
}

/// What an ETW session listens to.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Session {
    /// [`VERSION`].
    pub version: u32,
    /// Least important level; 0: there is no session.
    pub level: u32,
    /// Any of these keywords; 0: all events.
    pub keywords: u64,
}

/// Most pieces whose length and kind an [`Event`] tells.
pub const PIECES: usize = 12;

/// An event written to ETW.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Event {
    /// 1, 2, 3, ... in the order written.
    pub sequence: u64,
    /// Provider's GUID as in memory.
    pub provider: [u8; 16],
    /// `EVENT_DESCRIPTOR`: id, version, channel, level, opcode, task, keyword.
    pub descriptor: [u8; 16],
    /// Bytes of data written, before they were cut to fit.
    pub bytes: u32,
    /// IRQL of the writer.
    pub irql: u32,
    /// `EVENT_DATA_DESCRIPTOR`s: length, and `Reserved`, which says what a piece of an event that describes itself is.
    pub pieces: [[u32; 2]; PIECES],
    /// The first bytes of the data.
    pub data: [u8; 1024],
}

/// An import of a verified driver.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ImportUse {
    /// Calls so far.
    pub calls: u64,
    /// Bit n: it was called at IRQL n.
    pub irqls: u32,
    /// Highest IRQL that the documentation allows; 255 where the verifier knows of none.
    pub highest: u32,
    /// 1 if fault injection makes it fail.
    pub fallible: u32,
    /// Zero.
    pub reserved: u32,
    /// The driver's file name.
    pub module: [u8; NAME],
    /// The function's name.
    pub name: [u8; 64],
}

/// What wskguard.sys executed for one of its functions that others call, with all that the function called in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Retired {
    /// The function's offset in the image.
    pub entry: u64,
    /// Calls of it.
    pub calls: u64,
    /// Instructions.
    pub instructions: u64,
}

/// Where wskguard.sys went from such a function.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Left {
    /// The function's offset in the image.
    pub entry: u64,
    /// How often.
    pub times: u64,
    /// File name of the module it went to.
    pub module: [u8; NAME],
    /// Name of the import; none where it went by a pointer, or returned.
    pub name: [u8; 64],
}

const _: () = {
    assert!(size_of::<Frame>() == 32);
    assert!(size_of::<Stop>() == 96 + 32 * FRAMES);
    assert!(size_of::<Info>() == 40);
    assert!(size_of::<PageReply>() == 16);
    assert!(size_of::<PoolUse>() == 40);
    assert!(size_of::<ArmFaults>() == 24);
    assert!(size_of::<FaultSite>() == 64 + 32 * FRAMES);
    assert!(size_of::<Event>() == 1168);
    assert!(size_of::<CoverageMap>() == 40 + 4 * COVERAGE_MOST);
    assert!(size_of::<ImportUse>() == 112);
    assert!(size_of::<Retired>() == 24);
    assert!(size_of::<Left>() == 104);
};

/// What faulty.sys is told: one of its cases.
pub mod faulty {
    use super::StopCode;

    /// Path of its device for a user-mode program.
    pub const DEVICE: &str = r"\\.\Faulty";
    /// A device control with the number of a case as input (u32) and the case's result as output (u32).
    pub const RUN: u32 = super::code(0x810);
    /// A device control with the number of a [`Switch`] as input and a number as output, both u32.
    pub const SWITCH: u32 = super::code(0x811);
    /// A device control that is pended until it is cancelled, or until the file is cleaned up; no input or output.
    pub const PEND: u32 = super::code(0x812);

    /// A device control that the driver sends to itself: kept until it lets go.
    pub const HOLD: u32 = super::code(0x813);

    /// A change of the driver's behaviour, or a question about it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u32)]
    #[non_exhaustive]
    pub enum Switch {
        /// DriverUnload becomes NULL.
        NoUnload = 1,
        /// DriverUnload is the driver's routine again.
        Unload = 2,
        /// Create requests fail with STATUS_TOO_MANY_SESSIONS.
        RefuseOpen = 3,
        /// Create requests succeed again.
        AllowOpen = 4,
        /// The device gets a DACL that lets nobody in.
        DenyAll = 5,
        /// The device gets a DACL that lets everybody in.
        GrantAll = 6,
        /// How many create requests were seen.
        Creates = 7,
        /// How many cleanup requests were seen; the upper half counts those that came after their close.
        Cleanups = 8,
        /// How many close requests were seen.
        Closes = 9,
        /// How many pended requests were cancelled.
        Cancels = 10,
        /// Most requests that were in the driver at a time, each staying for twenty milliseconds.
        Crowd = 11,
        /// Two blocks are allocated and freed; if the second fails, the first is not.
        LeakOnFailure = 12,
        /// IRP_MJ_CLOSE returns a while after it has completed its request.
        SlowClose = 13,
    }

    impl Switch {
        /// Every switch.
        pub const ALL: [Self; 13] = [
            Self::NoUnload,
            Self::Unload,
            Self::RefuseOpen,
            Self::AllowOpen,
            Self::DenyAll,
            Self::GrantAll,
            Self::Creates,
            Self::Cleanups,
            Self::Closes,
            Self::Cancels,
            Self::Crowd,
            Self::LeakOnFailure,
            Self::SlowClose,
        ];

        /// The switch with this number.
        #[must_use]
        pub fn from_index(index: u32) -> Option<Self> {
            Self::ALL.into_iter().find(|switch| *switch as u32 == index)
        }
    }

    /// Where the input holds the number, in u32s.
    pub const CASE_INDEX: usize = 0;

    /// A case. The healthy ones return 0, or the number of the first thing that was not as it should be.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u32)]
    #[non_exhaustive]
    pub enum Case {
        /// Pool functions give zeroed, aligned memory and take it back.
        HealthyPool = 1,
        /// IRQL and spin lock functions raise, nest and restore.
        HealthyLocks = 2,
        /// A DPC runs once at DISPATCH_LEVEL, also from a timer; a cancelled timer does not queue it.
        HealthyDpc = 3,
        /// Work items run at PASSIVE_LEVEL.
        HealthyWork = 4,
        /// Rundown protection, plain and cache-aware.
        HealthyRundown = 5,
        /// An IRP of the driver's own goes down, is completed, taken back.
        HealthyIrp = 6,
        /// MDLs of nonpaged pool have flags and addresses as documented.
        HealthyMdl = 7,
        /// Look-aside lists, time, version, processors, registry key.
        HealthySystem = 8,
        /// ETW providers and events.
        HealthyEtw = 9,
        /// Two blocks, an IRP, an MDL, a work item and a look-aside list are allocated and freed; whichever fails, the rest is freed.
        HealthyAllocations = 10,

        /// RtlGetVersion at DISPATCH_LEVEL.
        IrqlTooHigh = 20,
        /// KfRaiseIrql to PASSIVE_LEVEL at DISPATCH_LEVEL.
        IrqlRaiseToLower = 21,
        /// KeLowerIrql to DISPATCH_LEVEL at PASSIVE_LEVEL.
        IrqlLowerToHigher = 22,
        /// KeLowerIrql to PASSIVE_LEVEL with a spin lock held.
        IrqlLoweredWithLock = 23,
        /// A dispatch routine returns at DISPATCH_LEVEL.
        IrqlChangedByCallback = 24,
        /// An at-DPC-level spin lock function at PASSIVE_LEVEL.
        IrqlTooLow = 25,
        /// KeWaitForSingleObject with a time-out at DISPATCH_LEVEL.
        WaitAtDispatch = 26,
        /// A spin lock is taken twice by the same thread.
        LockRecursive = 27,
        /// A spin lock is released that is free.
        LockNotHeld = 28,
        /// A spin lock is released at PASSIVE_LEVEL.
        LockBelowDispatch = 29,
        /// Two spin locks are taken in both orders.
        LockOrder = 30,
        /// Three spin locks are taken in a circle.
        LockOrderOfThree = 31,
        /// A DPC returns with a spin lock held.
        LockHeldByCallback = 32,
        /// Memory is freed with a held spin lock in it.
        LockFreedHeld = 33,
        /// One byte is read behind a block of sixteen.
        PoolOverrunRead = 34,
        /// One byte is written behind a block of sixteen.
        PoolOverrunWrite = 35,
        /// One byte is written ahead of a block, which begins at a guard page.
        PoolUnderrun = 36,
        /// A freed block is written.
        PoolUseAfterFree = 37,
        /// A block is freed twice.
        PoolDoubleFree = 38,
        /// An address inside a block is freed.
        PoolBadFree = 39,
        /// A block is freed under another tag.
        PoolTagMismatch = 40,
        /// A block is not freed.
        PoolLeak = 41,
        /// One byte is written behind a block of five, ahead of its guard.
        PoolSlack = 42,
        /// An allocation with tag zero.
        PoolNoTag = 43,
        /// Paged pool is allocated at DISPATCH_LEVEL.
        PoolPagedAtDispatch = 44,
        /// Memory is freed with a set timer in it.
        PoolFreedTimer = 45,
        /// One byte is written behind the request's system buffer.
        SystemBufferOverrun = 46,
        /// A request is completed twice.
        IrpCompletedTwice = 47,
        /// A request is read after its completion.
        IrpTouchedAfterCompletion = 48,
        /// A request is completed with a cancel routine set.
        IrpCompletedCancelable = 49,
        /// STATUS_PENDING is returned for a request that was not marked.
        IrpPendingNotMarked = 50,
        /// Success is returned for a request that was marked pending.
        IrpMarkedNotPending = 51,
        /// A request is completed with STATUS_PENDING.
        IrpCompletedPending = 52,
        /// Another status is returned than the request was completed with.
        IrpStatusMismatch = 53,
        /// Success is returned for a request that was not completed.
        IrpNotCompleted = 54,
        /// An IRP is passed down that has no stack location left.
        IrpNoLocation = 55,
        /// An IRP is freed while the driver below has it.
        IrpFreedInUse = 56,
        /// An IRP of the driver's own is completed with no completion routine.
        IrpNotTakenBack = 57,
        /// An IRP is not freed.
        IrpLeak = 58,
        /// A request is pended and never completed.
        IrpForgotten = 59,
        /// More output is reported than the caller has room for.
        IrpInformationTooLong = 60,
        /// A completion routine does not pass the pending flag on.
        IrpPendingNotPassedOn = 61,
        /// A second device is not deleted.
        DeviceLeft = 62,
        /// A second symbolic link is not deleted.
        SymbolicLinkLeft = 63,
        /// A work item is not freed.
        WorkItemLeft = 64,
        /// A work item is freed while it is queued.
        WorkItemFreedQueued = 65,
        /// A timer is not cancelled.
        TimerLeft = 66,
        /// A system thread runs on.
        ThreadLeft = 67,
        /// An ETW provider is not unregistered.
        RegistrationLeft = 68,
        /// A registry key is not closed.
        HandleLeft = 69,
        /// A look-aside list is not deleted.
        LookasideLeft = 70,
        /// A bug check callback is not deregistered.
        CallbackLeft = 71,
        /// A rundown reference is released that was not acquired.
        RundownUnderflow = 72,
        /// KeBugCheckEx is called.
        BugCheck = 73,
        /// A NULL pointer is written through.
        NullPointer = 74,
        /// A function is called that no kernel has.
        MissingFunction = 75,
    }

    impl Case {
        /// Every case, with the stop that it must cause; `None` for a healthy one.
        pub const ALL: [(Self, Option<StopCode>); 66] = [
            (Self::HealthyPool, None),
            (Self::HealthyLocks, None),
            (Self::HealthyDpc, None),
            (Self::HealthyWork, None),
            (Self::HealthyRundown, None),
            (Self::HealthyIrp, None),
            (Self::HealthyMdl, None),
            (Self::HealthySystem, None),
            (Self::HealthyEtw, None),
            (Self::HealthyAllocations, None),
            (Self::IrqlTooHigh, Some(StopCode::IrqlTooHigh)),
            (Self::IrqlRaiseToLower, Some(StopCode::IrqlRaiseToLower)),
            (Self::IrqlLowerToHigher, Some(StopCode::IrqlLowerToHigher)),
            (Self::IrqlLoweredWithLock, Some(StopCode::IrqlLoweredWithLock)),
            (Self::IrqlChangedByCallback, Some(StopCode::IrqlChangedByCallback)),
            (Self::IrqlTooLow, Some(StopCode::IrqlTooLow)),
            (Self::WaitAtDispatch, Some(StopCode::WaitAtDispatch)),
            (Self::LockRecursive, Some(StopCode::SpinLockRecursive)),
            (Self::LockNotHeld, Some(StopCode::SpinLockNotHeld)),
            (Self::LockBelowDispatch, Some(StopCode::SpinLockBelowDispatch)),
            (Self::LockOrder, Some(StopCode::SpinLockOrder)),
            (Self::LockOrderOfThree, Some(StopCode::SpinLockOrder)),
            (Self::LockHeldByCallback, Some(StopCode::SpinLockHeldByCallback)),
            (Self::LockFreedHeld, Some(StopCode::SpinLockFreedHeld)),
            (Self::PoolOverrunRead, Some(StopCode::PoolOverrun)),
            (Self::PoolOverrunWrite, Some(StopCode::PoolOverrun)),
            (Self::PoolUnderrun, Some(StopCode::PoolUnderrun)),
            (Self::PoolUseAfterFree, Some(StopCode::PoolUseAfterFree)),
            (Self::PoolDoubleFree, Some(StopCode::PoolDoubleFree)),
            (Self::PoolBadFree, Some(StopCode::PoolBadFree)),
            (Self::PoolTagMismatch, Some(StopCode::PoolTagMismatch)),
            (Self::PoolLeak, Some(StopCode::PoolLeak)),
            (Self::PoolSlack, Some(StopCode::PoolSlackWritten)),
            (Self::PoolNoTag, Some(StopCode::PoolBadRequest)),
            (Self::PoolPagedAtDispatch, Some(StopCode::PoolPagedAtDispatch)),
            (Self::PoolFreedTimer, Some(StopCode::PoolFreedInUse)),
            (Self::SystemBufferOverrun, Some(StopCode::PoolOverrun)),
            (Self::IrpCompletedTwice, Some(StopCode::IrpCompletedTwice)),
            (Self::IrpTouchedAfterCompletion, Some(StopCode::PoolUseAfterFree)),
            (Self::IrpCompletedCancelable, Some(StopCode::IrpCompletedCancelable)),
            (Self::IrpPendingNotMarked, Some(StopCode::IrpPendingNotMarked)),
            (Self::IrpMarkedNotPending, Some(StopCode::IrpMarkedNotPending)),
            (Self::IrpCompletedPending, Some(StopCode::IrpCompletedPending)),
            (Self::IrpStatusMismatch, Some(StopCode::IrpStatusMismatch)),
            (Self::IrpNotCompleted, Some(StopCode::IrpNotCompleted)),
            (Self::IrpNoLocation, Some(StopCode::IrpNoLocation)),
            (Self::IrpFreedInUse, Some(StopCode::IrpFreedInUse)),
            (Self::IrpNotTakenBack, Some(StopCode::IrpNotTakenBack)),
            (Self::IrpLeak, Some(StopCode::IrpForgotten)),
            (Self::IrpForgotten, Some(StopCode::IrpForgotten)),
            (Self::IrpInformationTooLong, Some(StopCode::IrpInformationTooLong)),
            (Self::IrpPendingNotPassedOn, Some(StopCode::IrpPendingNotPassedOn)),
            (Self::DeviceLeft, Some(StopCode::DeviceLeft)),
            (Self::SymbolicLinkLeft, Some(StopCode::SymbolicLinkLeft)),
            (Self::WorkItemLeft, Some(StopCode::WorkItemLeft)),
            (Self::WorkItemFreedQueued, Some(StopCode::WorkItemLeft)),
            (Self::TimerLeft, Some(StopCode::TimerLeft)),
            (Self::ThreadLeft, Some(StopCode::ThreadLeft)),
            (Self::RegistrationLeft, Some(StopCode::RegistrationLeft)),
            (Self::HandleLeft, Some(StopCode::HandleLeft)),
            (Self::LookasideLeft, Some(StopCode::LookasideLeft)),
            (Self::CallbackLeft, Some(StopCode::CallbackLeft)),
            (Self::RundownUnderflow, Some(StopCode::RundownUnderflow)),
            (Self::BugCheck, Some(StopCode::BugCheck)),
            (Self::NullPointer, Some(StopCode::Exception)),
            (Self::MissingFunction, Some(StopCode::MissingFunction)),
        ];

        /// The case with this number.
        #[must_use]
        pub fn from_index(index: u32) -> Option<Self> {
            Self::ALL
                .into_iter()
                .map(|(case, _)| case)
                .find(|case| *case as u32 == index)
        }
    }
}
