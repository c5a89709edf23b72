// Included ahead of mingw-w64's DDK headers, which clang reads here in MSVC mode.
#pragma once

// The headers tell "GCC-like" from "MSVC" by this; in MSVC mode they ask for things that only cl.exe has.
#define __GNUC__ 4
#define __GNUC_MINOR__ 4

#define _WIN32_WINNT 0x0A00
#define WINVER 0x0A00
#define NTDDI_VERSION 0x0A000008

// The headers' inline functions call intrinsics of <intrin.h>, which is left empty (it would pull in every vector type).
// Bindings are made of declarations; the bodies are never compiled.
#pragma clang diagnostic ignored "-Wimplicit-function-declaration"
#pragma clang diagnostic ignored "-Wint-conversion"

// Inline here, exported functions in today's WDK: epilogue.h declares them as such.
#define KeGetCurrentIrql mingw_KeGetCurrentIrql
#define KfRaiseIrql mingw_KfRaiseIrql
#define KeLowerIrql mingw_KeLowerIrql
