#![no_std]
//! A WSK client driver that does what a test tells it.
