//! The IRQL that the documentation of each function asks for, and which functions fault injection makes fail. Any IRQL.
//!
//! The source is the "IRQL" row of each function's page in the driver reference. A function that is not here is not checked.

use crate::thread::{APC, DISPATCH, HIGH, PASSIVE};

/// What is special about a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Plain,
    /// A wait whose time-out is the argument of this index: above APC_LEVEL it must be zero.
    Wait(usize),
    /// An allocation whose pool flags, or pool type, is the first argument, size and tag the next two: paged pool needs APC_LEVEL.
    Pool2,
    /// As `Pool2`, with a pool type.
    PoolType,
    /// Returns NULL for want of memory.
    Null,
    /// Returns a status; made to fail, STATUS_INSUFFICIENT_RESOURCES.
    Status,
    /// May be called at DISPATCH_LEVEL only with WSK_NO_WAIT as the argument of this index.
    NoWait(usize),
}

/// A function's rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) lowest: u8,
    pub(crate) highest: u8,
    pub(crate) kind: Kind,
}

const fn rule(name: &'static str, lowest: u8, highest: u8, kind: Kind) -> Rule {
    Rule {
        name,
        lowest,
        highest,
        kind,
    }
}

macro_rules! rules {
    ($($lowest:ident..$highest:ident $kind:expr => [$($name:ident)*]),* $(,)?) => {
        &[$(&[$(rule(stringify!($name), $lowest, $highest, $kind)),*]),*]
    };
}

use Kind::{NoWait, Null, Plain, Pool2, PoolType, Status, Wait};

/// Every function with a rule.
static RULES: &[&[Rule]] = rules! {
    PASSIVE..PASSIVE Plain => [
        EtwUnregister
        ExDeleteTimer
        ExUnregisterCallback
        IoDeleteSymbolicLink
        IoUnregisterShutdownNotification
        KeFlushQueuedDpcs
        MmGetSystemRoutineAddress
        NmrDeregisterClient
        NmrDeregisterProvider
        NmrWaitForClientDeregisterComplete
        NmrWaitForProviderDeregisterComplete
        PsGetVersion
        PsRemoveLoadImageNotifyRoutine
        PsTerminateSystemThread
        RtlFreeAnsiString
        RtlFreeUnicodeString
        RtlGetVersion
        RtlUnicodeStringToInteger
        SeAccessCheck
        SeCaptureSubjectContext
        SeLockSubjectContext
        SeReleaseSubjectContext
        SeUnlockSubjectContext
        WskDeregister
        ZwClose
        ZwMakeTemporaryObject
        ZwUnloadDriver
        ZwUnmapViewOfSection
    ],
    PASSIVE..PASSIVE Status => [
        EtwRegister
        EtwSetInformation
        IoCreateSymbolicLink
        IoGetDeviceInterfaces
        IoGetDeviceObjectPointer
        IoOpenDeviceRegistryKey
        IoOpenDriverRegistryKey
        IoRegisterShutdownNotification
        IoSetDeviceInterfaceState
        NmrClientAttachProvider
        NmrRegisterClient
        NmrRegisterProvider
        ObOpenObjectByPointer
        ObReferenceObjectByHandle
        PsCreateSystemThread
        PsSetCreateProcessNotifyRoutine
        PsSetCreateProcessNotifyRoutineEx
        PsSetLoadImageNotifyRoutine
        PsSetLoadImageNotifyRoutineEx
        RtlAnsiStringToUnicodeString
        RtlCreateRegistryKey
        RtlDeleteRegistryValue
        RtlQueryRegistryValues
        RtlUnicodeStringToAnsiString
        RtlWriteRegistryValue
        SeLocateProcessImageName
        WskRegister
        ZwCreateDirectoryObject
        ZwCreateFile
        ZwCreateKey
        ZwCreateSection
        ZwDeleteFile
        ZwDeleteKey
        ZwDeleteValueKey
        ZwEnumerateKey
        ZwEnumerateValueKey
        ZwFlushKey
        ZwLoadDriver
        ZwMapViewOfSection
        ZwOpenFile
        ZwOpenKey
        ZwOpenSection
        ZwOpenSymbolicLinkObject
        ZwQueryInformationFile
        ZwQueryKey
        ZwQuerySymbolicLinkObject
        ZwQuerySystemInformation
        ZwQueryValueKey
        ZwReadFile
        ZwSetInformationFile
        ZwSetSecurityObject
        ZwSetValueKey
        ZwWriteFile
    ],
    PASSIVE..APC Status => [
        IoCreateDevice
        PcwCreateInstance
        PcwRegister
        PsLookupProcessByProcessId
        RtlAddAccessAllowedAce
        RtlCreateAcl
        RtlCreateSecurityDescriptor
        RtlSetDaclSecurityDescriptor
    ],
    PASSIVE..APC Plain => [
        ExAcquireFastMutex
        ExAcquireResourceExclusiveLite
        ExAcquireResourceSharedLite
        ExDeleteResourceLite
        ExGetPreviousMode
        ExWaitForRundownProtectionRelease
        ExWaitForRundownProtectionReleaseCacheAware
        IoAttachDeviceToDeviceStack
        IoDeleteDevice
        IoGetCurrentProcess
        KeDelayExecutionThread
        KeEnterCriticalRegion
        KeLeaveCriticalRegion
        MmProbeAndLockPages
        PcwCloseInstance
        PcwUnregister
        ProbeForRead
        ProbeForWrite
        RtlLengthSecurityDescriptor
    ],
    APC..APC Plain => [ExReleaseFastMutex],
    PASSIVE..DISPATCH Wait(4) => [KeWaitForSingleObject KeWaitForMutexObject],
    PASSIVE..DISPATCH Wait(6) => [KeWaitForMultipleObjects],
    PASSIVE..DISPATCH NoWait(1) => [WskCaptureProviderNPI],
    PASSIVE..DISPATCH Pool2 => [ExAllocatePool2 ExAllocatePool3],
    PASSIVE..DISPATCH PoolType => [ExAllocatePoolWithTag ExAllocatePool ExAllocatePoolWithQuotaTag ExAllocatePoolWithTagPriority],
    PASSIVE..DISPATCH Null => [
        ExAllocateCacheAwareRundownProtection
        IoAllocateIrp
        IoAllocateIrpEx
        IoAllocateMdl
        IoAllocateWorkItem
        IoBuildAsynchronousFsdRequest
        MmMapLockedPagesSpecifyCache
    ],
    PASSIVE..PASSIVE Null => [IoBuildSynchronousFsdRequest IoBuildDeviceIoControlRequest],
    PASSIVE..DISPATCH Status => [ExInitializeLookasideListEx IoSetCompletionRoutineEx],
    PASSIVE..DISPATCH Plain => [
        EtwEventEnabled
        EtwProviderEnabled
        ExAcquireRundownProtection
        ExAcquireRundownProtectionCacheAware
        ExAcquireRundownProtectionCacheAwareEx
        ExAcquireRundownProtectionEx
        ExAcquireSpinLockExclusive
        ExAcquireSpinLockShared
        ExCancelTimer
        ExDeleteLookasideListEx
        ExDeleteNPagedLookasideList
        ExFlushLookasideListEx
        ExFreeCacheAwareRundownProtection
        ExFreePool
        ExFreePool2
        ExFreePoolWithTag
        ExInitializeNPagedLookasideList
        ExReleaseRundownProtection
        ExReleaseRundownProtectionCacheAware
        ExReleaseRundownProtectionCacheAwareEx
        ExReleaseRundownProtectionEx
        ExSetTimer
        IoAcquireCancelSpinLock
        IoBuildPartialMdl
        IoCancelIrp
        IoCsqInitialize
        IoCsqInsertIrp
        IoCsqInsertIrpEx
        IoCsqRemoveIrp
        IoCsqRemoveNextIrp
        IoFreeIrp
        IoFreeMdl
        IoFreeWorkItem
        IoGetAttachedDevice
        IoGetRequestorProcess
        IoGetRequestorProcessId
        IoInitializeIrp
        IoInitializeWorkItem
        IoQueueWorkItem
        IoQueueWorkItemEx
        IoReuseIrp
        IoTryQueueWorkItem
        IoUninitializeWorkItem
        IofCallDriver
        IofCompleteRequest
        KeAcquireInStackQueuedSpinLock
        KeAcquireSpinLockRaiseToDpc
        KeCancelTimer
        KeClearEvent
        KeReadStateEvent
        KeReleaseMutex
        KeReleaseSemaphore
        KeResetEvent
        KeSetEvent
        KeSetTimer
        KeSetTimerEx
        MmBuildMdlForNonPagedPool
        MmMapLockedPages
        MmUnlockPages
        MmUnmapLockedPages
        NmrClientDetachProviderComplete
        NmrProviderDetachClientComplete
        ObfDereferenceObject
        ObfReferenceObject
        PsGetCurrentThreadId
        PsGetProcessId
        WskQueryProviderCharacteristics
        WskReleaseProviderNPI
    ],
    DISPATCH..DISPATCH Plain => [
        ExAcquireSpinLockExclusiveAtDpcLevel
        ExAcquireSpinLockSharedAtDpcLevel
        ExReleaseSpinLockExclusive
        ExReleaseSpinLockExclusiveFromDpcLevel
        ExReleaseSpinLockShared
        ExReleaseSpinLockSharedFromDpcLevel
        IoReleaseCancelSpinLock
        KeAcquireInStackQueuedSpinLockAtDpcLevel
        KeAcquireSpinLockAtDpcLevel
        KeReleaseInStackQueuedSpinLock
        KeReleaseInStackQueuedSpinLockFromDpcLevel
        KeReleaseSpinLock
        KeReleaseSpinLockFromDpcLevel
    ],
    PASSIVE..HIGH Status => [EtwWrite EtwWriteEx EtwWriteString EtwWriteTransfer],
    PASSIVE..HIGH Plain => [
        DbgPrint
        DbgPrintEx
        ExInitializeRundownProtection
        KeBugCheck
        KeBugCheckEx
        KeGetCurrentIrql
        KeGetCurrentProcessorNumberEx
        KeInitializeDpc
        KeInitializeEvent
        KeInitializeSpinLock
        KeInitializeTimer
        KeInitializeTimerEx
        KeInsertQueueDpc
        KeLowerIrql
        KeQueryActiveProcessorCountEx
        KeQueryInterruptTime
        KeQueryInterruptTimePrecise
        KeQueryMaximumProcessorCountEx
        KeQueryPerformanceCounter
        KeQuerySystemTimePrecise
        KeQueryTickCount
        KeQueryUnbiasedInterruptTimePrecise
        KeRemoveQueueDpc
        KfRaiseIrql
        RtlCopyMemory
        RtlFillMemory
        RtlInitUnicodeString
        RtlMoveMemory
        RtlZeroMemory
    ],
};

impl Rule {
    /// Whether fault injection makes it fail.
    pub(crate) fn is_fallible(&self) -> bool {
        matches!(self.kind, Pool2 | PoolType | Null | Status)
    }
}

/// The rule of a function.
pub(crate) fn find(name: &[u8]) -> Option<&'static Rule> {
    RULES
        .iter()
        .copied()
        .flatten()
        .find(|rule| rule.name.as_bytes() == name)
}
