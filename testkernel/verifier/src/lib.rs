#![no_std]
//! Test kernel: missing kernel exports and Driver-Verifier-class checks.
