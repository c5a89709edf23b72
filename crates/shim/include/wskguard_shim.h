/*
 * wskguard's shim for WSK clients in C: WskRegister, WskDeregister, WskCaptureProviderNPI, WskReleaseProviderNPI and
 * WskQueryProviderCharacteristics, which take a client to wskguard instead of the system's provider. No source changes.
 *
 * Put one of these on the client's link line, before netio.lib:
 *
 *     wskguard-shim-open.lib    /INCLUDE:wskguard_shim_fail_open      without wskguard: the system's provider, after 2 s at most
 *     wskguard-shim-closed.lib  /INCLUDE:wskguard_shim_fail_closed    without wskguard: no provider
 *
 * The symbol makes sure that the library is linked, or the link fails: without it a netio.lib that stands first is taken for the
 * same functions, and the shim is left out without a word. A source file that includes this header with WSKGUARD_SHIM_FAIL_OPEN or
 * WSKGUARD_SHIM_FAIL_CLOSED defined asks for the symbol itself. A driver that imports WskRegister from netio.sys is not on the shim.
 *
 * Differences from netio.sys's functions:
 *   - WskCaptureProviderNPI(WSK_NO_WAIT) above PASSIVE_LEVEL does not fall back; it fails with STATUS_DEVICE_NOT_READY.
 *   - A wskguard that drains, or lacks the client's version, refuses the client: fail-closed that is STATUS_NOINTERFACE.
 *   - A client that was bound to the system's provider stays there until it registers anew; wskguard lists it as bypassing.
 */
#ifndef WSKGUARD_SHIM_H
#define WSKGUARD_SHIM_H

#if defined(WSKGUARD_SHIM_FAIL_OPEN) && defined(WSKGUARD_SHIM_FAIL_CLOSED)
#error "fail open or fail closed, not both"
#elif defined(WSKGUARD_SHIM_FAIL_OPEN)
#pragma comment(linker, "/INCLUDE:wskguard_shim_fail_open")
#elif defined(WSKGUARD_SHIM_FAIL_CLOSED)
#pragma comment(linker, "/INCLUDE:wskguard_shim_fail_closed")
#endif

/* Longest time in milliseconds, counted from WskRegister, for which a fail-open client waits for wskguard. */
#define WSKGUARD_SHIM_FALLBACK_WAIT 2000

/*
 * For clients that attach through NMR themselves: the NPI at which wskguard offers a WSK_PROVIDER_DISPATCH, with a PWSK_CLIENT as
 * binding context. The initialiser of a GUID, {9A1C5E52-7D0B-4B0E-8F3A-5CD24166E091}.
 */
#define WSKGUARD_NPI_ID_INIT \
    { 0x9A1C5E52, 0x7D0B, 0x4B0E, { 0x8F, 0x3A, 0x5C, 0xD2, 0x41, 0x66, 0xE0, 0x91 } }

#endif
