/*
 * The part of Winsock Kernel that client.c uses, declared as wsk.h documents it: the registration functions, the provider's
 * dispatch and the datagram category. For builds without the WDK's own header.
 */
#ifndef WSK_DECLARATIONS_H
#define WSK_DECLARATIONS_H

#define WSKAPI NTAPI
#define MAKE_WSK_VERSION(major, minor) ((USHORT)(((major) << 8) | ((minor) & 0xff)))

#define WSK_NO_WAIT 0
#define WSK_INFINITE_WAIT 0xFFFFFFFF
#define WSK_FLAG_DATAGRAM_SOCKET 4

typedef PVOID PWSK_CLIENT;
typedef struct _WSK_SOCKET { const VOID *Dispatch; } WSK_SOCKET, *PWSK_SOCKET;
typedef struct _WSK_BUF { PMDL Mdl; ULONG Offset; SIZE_T Length; } WSK_BUF, *PWSK_BUF;
typedef struct _WSK_PROVIDER_CHARACTERISTICS {
    USHORT HighestVersion;
    USHORT LowestVersion;
} WSK_PROVIDER_CHARACTERISTICS, *PWSK_PROVIDER_CHARACTERISTICS;

typedef NTSTATUS(WSKAPI *PFN_WSK_CLIENT_EVENT)(PVOID Context, ULONG Event, PVOID Information, SIZE_T Length);
typedef struct _WSK_CLIENT_DISPATCH {
    USHORT Version;
    USHORT Reserved;
    PFN_WSK_CLIENT_EVENT WskClientEvent;
} WSK_CLIENT_DISPATCH;

typedef struct _WSK_CLIENT_NPI {
    PVOID ClientContext;
    const WSK_CLIENT_DISPATCH *Dispatch;
} WSK_CLIENT_NPI, *PWSK_CLIENT_NPI;

typedef NTSTATUS(WSKAPI *PFN_WSK_SOCKET)(PWSK_CLIENT Client, USHORT AddressFamily, USHORT SocketType, ULONG Protocol,
    ULONG Flags, PVOID SocketContext, const VOID *Dispatch, PEPROCESS OwningProcess, PETHREAD OwningThread,
    PSECURITY_DESCRIPTOR SecurityDescriptor, PIRP Irp);

typedef struct _WSK_PROVIDER_DISPATCH {
    USHORT Version;
    USHORT Reserved;
    PFN_WSK_SOCKET WskSocket;
    PVOID WskSocketConnect;
    PVOID WskControlClient;
    PVOID WskGetAddressInfo;
    PVOID WskFreeAddressInfo;
    PVOID WskGetNameInfo;
} WSK_PROVIDER_DISPATCH;

typedef struct _WSK_PROVIDER_NPI {
    PWSK_CLIENT Client;
    const WSK_PROVIDER_DISPATCH *Dispatch;
} WSK_PROVIDER_NPI, *PWSK_PROVIDER_NPI;

typedef struct _WSK_REGISTRATION {
    ULONGLONG ReservedRegistrationState;
    PVOID ReservedRegistrationContext;
    KSPIN_LOCK ReservedRegistrationLock;
} WSK_REGISTRATION, *PWSK_REGISTRATION;

typedef enum { WskSetOption, WskGetOption, WskIoctl } WSK_CONTROL_SOCKET_TYPE;

typedef struct _WSK_PROVIDER_DATAGRAM_DISPATCH {
    NTSTATUS(WSKAPI *WskControlSocket)(PWSK_SOCKET Socket, WSK_CONTROL_SOCKET_TYPE RequestType, ULONG ControlCode,
        ULONG Level, SIZE_T InputSize, PVOID InputBuffer, SIZE_T OutputSize, PVOID OutputBuffer,
        SIZE_T *OutputSizeReturned, PIRP Irp);
    NTSTATUS(WSKAPI *WskCloseSocket)(PWSK_SOCKET Socket, PIRP Irp);
    NTSTATUS(WSKAPI *WskBind)(PWSK_SOCKET Socket, PVOID LocalAddress, ULONG Flags, PIRP Irp);
    NTSTATUS(WSKAPI *WskSendTo)(PWSK_SOCKET Socket, PWSK_BUF Buffer, ULONG Flags, PVOID RemoteAddress,
        ULONG ControlInfoLength, PVOID ControlInfo, PIRP Irp);
    NTSTATUS(WSKAPI *WskReceiveFrom)(PWSK_SOCKET Socket, PWSK_BUF Buffer, ULONG Flags, PVOID RemoteAddress,
        PULONG ControlLength, PVOID ControlInfo, PULONG ControlFlags, PIRP Irp);
    PVOID WskRelease;
    NTSTATUS(WSKAPI *WskGetLocalAddress)(PWSK_SOCKET Socket, PVOID LocalAddress, PIRP Irp);
} WSK_PROVIDER_DATAGRAM_DISPATCH;

/* As wsk.h has them on a line built for a driver: imported from netio.sys, so that calls go through __imp_ pointers. */
#define WSK_IMPORT __declspec(dllimport)
WSK_IMPORT NTSTATUS WSKAPI WskRegister(PWSK_CLIENT_NPI WskClientNpi, PWSK_REGISTRATION WskRegistration);
WSK_IMPORT VOID WSKAPI WskDeregister(PWSK_REGISTRATION WskRegistration);
WSK_IMPORT NTSTATUS WSKAPI WskCaptureProviderNPI(PWSK_REGISTRATION WskRegistration, ULONG WaitTimeout,
    PWSK_PROVIDER_NPI WskProviderNpi);
/* And without, which the linker resolves by the plain name. */
VOID WSKAPI WskReleaseProviderNPI(PWSK_REGISTRATION WskRegistration);
NTSTATUS WSKAPI WskQueryProviderCharacteristics(PWSK_REGISTRATION WskRegistration,
    PWSK_PROVIDER_CHARACTERISTICS WskProviderCharacteristics);

#endif
