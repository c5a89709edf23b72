#![no_std]
//! Test kernel: NMR and a WSK provider over host sockets.
