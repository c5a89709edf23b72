/*
 * A WSK client driver in C as any other: it registers with WskRegister and knows nothing of wskguard. Which provider it gets is
 * decided when it is linked. A test drives it through its device, whose name is made from the service's: each request is one step,
 * with one number, and is answered with a status and two numbers (probe_protocol::client). PASSIVE_LEVEL.
 */
#include <ntifs.h>
#include "wsk_declarations.h"

enum { REGISTER = 1, CAPTURE, QUERY, RELEASE, DEREGISTER, OPEN, SET_RCVBUF, EXCHANGE, CLOSE };

typedef struct { ULONG Operation; ULONG Number; } REQUEST;
typedef struct { NTSTATUS Status; ULONG First; ULONG Second; } REPLY;

/* FILE_DEVICE_UNKNOWN, function 0x920, METHOD_BUFFERED, read and write access */
#define IOCTL_STEP CTL_CODE(FILE_DEVICE_UNKNOWN, 0x920, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)
#define LONGEST_NAME 96
#ifndef POOL_FLAG_NON_PAGED
#define POOL_FLAG_NON_PAGED 0x40ULL
#endif
#define AF_INET 2
#define SOCK_DGRAM 2
#define IPPROTO_UDP 17
#define SOL_SOCKET 0xFFFF
#define SO_RCVBUF 0x1002
#define REQUEST_LIMIT_MS 5000

typedef struct { USHORT Family; USHORT Port; UCHAR Address[4]; UCHAR Zero[8]; } INET_ADDRESS;

DRIVER_INITIALIZE DriverEntry;

static NTSTATUS WSKAPI ClientEvent(PVOID Context, ULONG Event, PVOID Information, SIZE_T Length);

static const WSK_CLIENT_DISPATCH Dispatch = { MAKE_WSK_VERSION(1, 0), 0, ClientEvent };
static WSK_CLIENT_NPI ClientNpi = { NULL, &Dispatch };
static WSK_REGISTRATION Registration;
static WSK_PROVIDER_NPI Provider;
static PWSK_SOCKET Socket;
static BOOLEAN Registered, Captured;

static WCHAR DeviceText[LONGEST_NAME], LinkText[LONGEST_NAME];
static UNICODE_STRING DeviceName, LinkName;
static PDEVICE_OBJECT Device;

/* What IoCompleteRequest of the provider tells of a request, and memory that outlives a request that is given up. */
typedef struct { KEVENT Done; PIRP Irp; INET_ADDRESS Address; ULONG Value; UCHAR Data[64]; } CALL;

static NTSTATUS WSKAPI ClientEvent(PVOID Context, ULONG Event, PVOID Information, SIZE_T Length)
{
    UNREFERENCED_PARAMETER(Context);
    UNREFERENCED_PARAMETER(Event);
    UNREFERENCED_PARAMETER(Information);
    UNREFERENCED_PARAMETER(Length);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Completed(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Irp);
    KeSetEvent(&((CALL *)Context)->Done, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static CALL *NewCall(void)
{
    CALL *Call = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Call), 'lCWC');
    if (Call == NULL)
        return NULL;
    Call->Irp = IoAllocateIrp(1, FALSE);
    if (Call->Irp == NULL) {
        ExFreePoolWithTag(Call, 'lCWC');
        return NULL;
    }
    KeInitializeEvent(&Call->Done, NotificationEvent, FALSE);
    return Call;
}

/* Before each use of the IRP. */
static PIRP Ready(CALL *Call)
{
    IoReuseIrp(Call->Irp, STATUS_UNSUCCESSFUL);
    IoSetCompletionRoutine(Call->Irp, Completed, Call, TRUE, TRUE, TRUE);
    KeClearEvent(&Call->Done);
    return Call->Irp;
}

/* The IRP's status, cancelled if it takes too long. A WSK IRP always completes. */
static NTSTATUS Finish(CALL *Call, NTSTATUS Returned)
{
    LARGE_INTEGER Limit;
    UNREFERENCED_PARAMETER(Returned);
    Limit.QuadPart = -10000LL * REQUEST_LIMIT_MS;
    if (KeWaitForSingleObject(&Call->Done, Executive, KernelMode, FALSE, &Limit) == STATUS_TIMEOUT) {
        IoCancelIrp(Call->Irp);
        KeWaitForSingleObject(&Call->Done, Executive, KernelMode, FALSE, NULL);
    }
    return Call->Irp->IoStatus.Status;
}

static void FreeCall(CALL *Call)
{
    IoFreeIrp(Call->Irp);
    ExFreePoolWithTag(Call, 'lCWC');
}

static const WSK_PROVIDER_DATAGRAM_DISPATCH *Functions(void)
{
    return Socket->Dispatch;
}

static NTSTATUS Open(CALL *Call)
{
    NTSTATUS Status;
    if (!Captured || Socket != NULL)
        return STATUS_INVALID_DEVICE_STATE;
    Ready(Call);
    Status = Finish(Call, Provider.Dispatch->WskSocket(Provider.Client, AF_INET, SOCK_DGRAM, IPPROTO_UDP,
        WSK_FLAG_DATAGRAM_SOCKET, NULL, NULL, NULL, NULL, NULL, Call->Irp));
    if (!NT_SUCCESS(Status))
        return Status;
    Socket = (PWSK_SOCKET)Call->Irp->IoStatus.Information;
    Call->Address = (INET_ADDRESS){ AF_INET, 0, { 127, 0, 0, 1 }, { 0 } };
    Ready(Call);
    return Finish(Call, Functions()->WskBind(Socket, &Call->Address, 0, Call->Irp));
}

/* Sets a receive buffer and reads back what it is. */
static NTSTATUS SetReceiveBuffer(CALL *Call, ULONG Size, REPLY *Reply)
{
    NTSTATUS Status;
    Call->Value = Size;
    Ready(Call);
    Status = Finish(Call, Functions()->WskControlSocket(Socket, WskSetOption, SO_RCVBUF, SOL_SOCKET,
        sizeof(Call->Value), &Call->Value, 0, NULL, NULL, Call->Irp));
    if (!NT_SUCCESS(Status))
        return Status;
    Ready(Call);
    Status = Finish(Call, Functions()->WskControlSocket(Socket, WskGetOption, SO_RCVBUF, SOL_SOCKET,
        0, NULL, sizeof(Call->Value), &Call->Value, NULL, Call->Irp));
    Reply->First = Call->Value;
    return Status;
}

/* Sends itself a datagram. */
static NTSTATUS Exchange(CALL *Call, ULONG Length, REPLY *Reply)
{
    NTSTATUS Status;
    WSK_BUF Buffer;
    ULONG Index;
    if (Length > sizeof(Call->Data))
        return STATUS_INVALID_PARAMETER;
    Ready(Call);
    Status = Finish(Call, Functions()->WskGetLocalAddress(Socket, &Call->Address, Call->Irp));
    if (!NT_SUCCESS(Status))
        return Status;
    Buffer.Mdl = IoAllocateMdl(Call->Data, sizeof(Call->Data), FALSE, FALSE, NULL);
    if (Buffer.Mdl == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    MmBuildMdlForNonPagedPool(Buffer.Mdl);
    Buffer.Offset = 0;
    Buffer.Length = Length;
    for (Index = 0; Index < Length; Index++)
        Call->Data[Index] = (UCHAR)(Index + 1);
    Ready(Call);
    Status = Finish(Call, Functions()->WskSendTo(Socket, &Buffer, 0, &Call->Address, 0, NULL, Call->Irp));
    if (NT_SUCCESS(Status)) {
        RtlZeroMemory(Call->Data, sizeof(Call->Data));
        Buffer.Length = sizeof(Call->Data);
        Ready(Call);
        Status = Finish(Call, Functions()->WskReceiveFrom(Socket, &Buffer, 0, NULL, NULL, NULL, NULL, Call->Irp));
        Reply->First = (ULONG)Call->Irp->IoStatus.Information;
        for (Index = 0; Index < Length; Index++)
            Reply->Second += Call->Data[Index] == (UCHAR)(Index + 1);
    }
    IoFreeMdl(Buffer.Mdl);
    return Status;
}

static NTSTATUS Close(CALL *Call)
{
    NTSTATUS Status;
    Ready(Call);
    Status = Finish(Call, Functions()->WskCloseSocket(Socket, Call->Irp));
    Socket = NULL;
    return Status;
}

static NTSTATUS WithSocket(const REQUEST *Request, REPLY *Reply)
{
    NTSTATUS Status;
    CALL *Call;
    if (Socket == NULL && Request->Operation != OPEN)
        return STATUS_INVALID_DEVICE_STATE;
    Call = NewCall();
    if (Call == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    switch (Request->Operation) {
    case OPEN: Status = Open(Call); break;
    case SET_RCVBUF: Status = SetReceiveBuffer(Call, Request->Number, Reply); break;
    case EXCHANGE: Status = Exchange(Call, Request->Number, Reply); break;
    case CLOSE: Status = Close(Call); break;
    default: Status = STATUS_INVALID_PARAMETER; break;
    }
    FreeCall(Call);
    return Status;
}

static NTSTATUS Step(const REQUEST *Request, REPLY *Reply)
{
    WSK_PROVIDER_CHARACTERISTICS Versions;
    NTSTATUS Status = STATUS_SUCCESS;
    if ((Request->Operation == REGISTER) == Registered)
        return STATUS_INVALID_DEVICE_STATE;
    switch (Request->Operation) {
    case REGISTER:
        Status = WskRegister(&ClientNpi, &Registration);
        Registered = NT_SUCCESS(Status);
        return Status;
    case CAPTURE:
        if (Captured)
            return STATUS_INVALID_DEVICE_STATE;
        Status = WskCaptureProviderNPI(&Registration, Request->Number, &Provider);
        Captured = NT_SUCCESS(Status);
        Reply->First = Captured ? Provider.Dispatch->Version : 0;
        return Status;
    case QUERY:
        Status = WskQueryProviderCharacteristics(&Registration, &Versions);
        if (NT_SUCCESS(Status)) {
            Reply->First = Versions.LowestVersion;
            Reply->Second = Versions.HighestVersion;
        }
        return Status;
    case RELEASE:
        if (!Captured)
            return STATUS_INVALID_DEVICE_STATE;
        Captured = FALSE;
        WskReleaseProviderNPI(&Registration);
        return Status;
    case DEREGISTER:
        if (Captured || Socket != NULL)
            return STATUS_INVALID_DEVICE_STATE;
        Registered = FALSE;
        WskDeregister(&Registration);
        return Status;
    default:
        return WithSocket(Request, Reply);
    }
}

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static NTSTATUS NTAPI CreateOrClose(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    return Complete(Irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Location = IoGetCurrentIrpStackLocation(Irp);
    REQUEST Request;
    REPLY Reply = { STATUS_SUCCESS, 0, 0 };
    UNREFERENCED_PARAMETER(DeviceObject);
    if (Location->Parameters.DeviceIoControl.IoControlCode != IOCTL_STEP)
        return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    if (Location->Parameters.DeviceIoControl.InputBufferLength != sizeof(Request) ||
        Location->Parameters.DeviceIoControl.OutputBufferLength < sizeof(Reply))
        return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
    Request = *(REQUEST *)Irp->AssociatedIrp.SystemBuffer;
    Reply.Status = Step(&Request, &Reply);
    *(REPLY *)Irp->AssociatedIrp.SystemBuffer = Reply;
    return Complete(Irp, STATUS_SUCCESS, sizeof(Reply));
}

static VOID NTAPI Unload(PDRIVER_OBJECT Driver)
{
    REPLY Reply = { STATUS_SUCCESS, 0, 0 };
    REQUEST Steps[] = { { CLOSE, 0 }, { RELEASE, 0 }, { DEREGISTER, 0 } };
    ULONG Index;
    UNREFERENCED_PARAMETER(Driver);
    for (Index = 0; Index < RTL_NUMBER_OF(Steps); Index++)
        (VOID)Step(&Steps[Index], &Reply);
    IoDeleteSymbolicLink(&LinkName);
    IoDeleteDevice(Device);
}

/* Prefix and the last part of the registry path, which is the service's name. */
static VOID MakeName(UNICODE_STRING *Name, WCHAR *Text, const WCHAR *Prefix, PUNICODE_STRING RegistryPath)
{
    USHORT Units = RegistryPath->Length / sizeof(WCHAR), First = Units, Length = 0;
    while (First > 0 && RegistryPath->Buffer[First - 1] != L'\\')
        First--;
    while (*Prefix != 0 && Length < LONGEST_NAME)
        Text[Length++] = *Prefix++;
    while (First < Units && Length < LONGEST_NAME)
        Text[Length++] = RegistryPath->Buffer[First++];
    Name->Buffer = Text;
    Name->Length = Name->MaximumLength = Length * sizeof(WCHAR);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;
    MakeName(&DeviceName, DeviceText, L"\\Device\\WskClient-", RegistryPath);
    MakeName(&LinkName, LinkText, L"\\DosDevices\\WskClient-", RegistryPath);
    Status = IoCreateDevice(Driver, 0, &DeviceName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    Status = IoCreateSymbolicLink(&LinkName, &DeviceName);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(Device);
        return Status;
    }
    Driver->MajorFunction[IRP_MJ_CREATE] = CreateOrClose;
    Driver->MajorFunction[IRP_MJ_CLEANUP] = CreateOrClose;
    Driver->MajorFunction[IRP_MJ_CLOSE] = CreateOrClose;
    Driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    Driver->DriverUnload = Unload;
    Device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}
