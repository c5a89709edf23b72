//! The bytes of every structure of the contract, written out: what one side sends is what the other side has always read.

use wskguard_abi::{
    AuditEntry, AuditReply, ClientInfo, CountersReply, DrainReply, DrainRequest, EndpointInfo, GetPolicyRequest,
    Header, ListEndpointsRequest, ListReply, PolicyReply, QueryEndpointRequest, RangeRequest, ReadAuditRequest,
    Request, SetPolicyRequest, StatusReply, VersionReply,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `value` has exactly these bytes (hexadecimal, blanks ignored), and they read back as `value`.
#[track_caller]
fn golden<T>(value: &T, hex: &str)
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout + PartialEq + core::fmt::Debug,
{
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let expected: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(value.as_bytes(), expected, "{value:?}");
    assert_eq!(&T::read_from_bytes(&expected).unwrap(), value);
}

fn header(size: u32) -> Header {
    Header { abi_version: 2, size }
}

#[test]
fn plain_request() {
    golden(&Request::default(), "02000000 08000000");
}

#[test]
fn version() {
    golden(
        &VersionReply {
            header: header(16),
            driver: [1, 2, 3, 0],
        },
        "02000000 10000000 0100 0200 0300 0000",
    );
}

#[test]
fn status() {
    let reply = StatusReply {
        header: header(96),
        driver: [1, 2, 3, 0],
        flags: 0x2A,
        policy_mode: 1,
        semantics: 2,
        default_action: 1,
        reserved: 0,
        generation: 0x0102_0304_0506_0708,
        policy_hash: 0x1112_1314_1516_1718,
        rules: 0x21,
        clients: 0x22,
        bypassing: 0x23,
        endpoints: 0x24,
        endpoints_max: 0x25,
        processors: 0x26,
        started: 0x3132_3334_3536_3738,
        windows: [10, 0, 19041],
        transparent_status: 0xC000_0001,
        state_status: 0xC000_0034,
        unhealthy_starts: 0x41,
    };
    golden(
        &reply,
        "02000000 60000000 0100 0200 0300 0000 2a000000 01 02 01 00 0807060504030201 1817161514131211
         21000000 22000000 23000000 24000000 25000000 26000000 3837363534333231 0a000000 00000000 614a0000 010000c0
         340000c0 41000000",
    );
}

#[test]
fn policy() {
    golden(
        &SetPolicyRequest {
            expected_generation: 7,
            ..SetPolicyRequest::new(0x1234)
        },
        "02000000 18000000 00000000 34120000 0700000000000000",
    );
    golden(
        &SetPolicyRequest::new(1),
        "02000000 18000000 00000000 01000000 ffffffffffffffff",
    );
    golden(&GetPolicyRequest::new(0x1234), "02000000 10000000 34120000 00000000");
    golden(
        &PolicyReply {
            header: header(32),
            generation: 3,
            hash: 0x1112_1314_1516_1718,
            total: 0x500,
            count: 0x100,
        },
        "02000000 20000000 0300000000000000 1817161514131211 00050000 00010000",
    );
}

#[test]
fn counters() {
    golden(&RangeRequest::new(5, 6), "02000000 10000000 05000000 06000000");
    golden(
        &CountersReply {
            header: header(32),
            generation: 3,
            first: 1,
            count: 2,
            total: 4,
            reserved: 0,
        },
        "02000000 20000000 0300000000000000 01000000 02000000 04000000 00000000",
    );
}

#[test]
fn endpoints() {
    golden(
        &ListEndpointsRequest::new(0x0102_0304_0506_0708, 9),
        "02000000 18000000 0807060504030201 09000000 00000000",
    );
    golden(
        &QueryEndpointRequest::new(0x0102_0304_0506_0708),
        "02000000 10000000 0807060504030201",
    );
    golden(
        &ListReply {
            header: header(24),
            next: 0x0A,
            count: 2,
            element_size: 88,
        },
        "02000000 18000000 0a00000000000000 02000000 58000000",
    );
    let endpoint = EndpointInfo {
        id: 0x0102_0304_0506_0708,
        client: 3,
        protocol: 6,
        family: 2,
        socket_type: 1,
        category: 4,
        phase: 5,
        mode: 2,
        port: 8080,
        options: 0x0120,
        rcvbuf: 65536,
        sndbuf: 4096,
        linger: 30,
        reserved: 0,
        process: 0x1234,
        created: 0x3132_3334_3536_3738,
        decided: 12,
        refused: 1,
        local: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    golden(
        &endpoint,
        "0807060504030201 03000000 06000000 0200 01 04 05 02 901f 20010000 00000100 00100000 1e00 0000 3412000000000000
         3837363534333231 0c00000000000000 0100000000000000 7f000001000000000000000000000000",
    );
}

#[test]
fn clients() {
    let mut image = [0; 64];
    image[..9].copy_from_slice(b"probe.sys");
    let client = ClientInfo {
        id: 1,
        version: 0x0100,
        flags: 1,
        module_id: [
            0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF,
        ],
        attached: 0x3132_3334_3536_3738,
        endpoints: 2,
        image_length: 9,
        image,
    };
    let fixed =
        "01000000 0001 0100 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 3837363534333231 02000000 09000000 70726f62652e737973";
    golden(&client, &format!("{fixed}{}", "00".repeat(55)));
}

#[test]
fn audit() {
    golden(&ReadAuditRequest::new(1, 64), "02000000 10000000 01000000 40000000");
    let reply = AuditReply {
        header: header(80),
        count: 1,
        element_size: 128,
        overwritten: 2,
        read: 3,
        decided: 18,
        written: 4,
        suppressed: [5, 6, 7],
        dropped: 8,
    };
    golden(
        &reply,
        "02000000 50000000 01000000 80000000 0200000000000000 0300000000000000 1200000000000000 0400000000000000
         0500000000000000 0600000000000000 0700000000000000 0800000000000000",
    );
}

#[test]
fn audit_entry() {
    let entry = AuditEntry {
        sequence: 0x0102_0304_0506_0708,
        time: 0x3132_3334_3536_3738,
        endpoint: 0x0100_0003,
        client: 2,
        old_value: 3,
        asked_value: 4,
        new_value: 5,
        process: 6,
        level: 0xFFFF,
        code: 0x1002,
        rule: 7,
        generation: 8,
        status: 0xC000_0022,
        wsa: 10013,
        input_length: 4,
        scope: 9,
        family: 2,
        port: 8080,
        flags: 0x70,
        cpu: 10,
        version: 1,
        kind: 2,
        request: 3,
        action: 4,
        reason: 5,
        mode: 6,
        category: 7,
        phase: 8,
        address: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    golden(
        &entry,
        "0807060504030201 3837363534333231 0300000100000000 0200000000000000 0300000000000000 0400000000000000
         0500000000000000 0600000000000000 ffff0000 02100000 07000000 08000000 220000c0 1d270000 04000000 09000000
         0200 901f 7000 0a00 01 02 03 04 05 06 07 08 7f000001000000000000000000000000",
    );
}

#[test]
fn drain() {
    golden(&DrainRequest::new(true), "02000000 10000000 01000000 00000000");
    golden(
        &DrainReply {
            header: header(24),
            clients: 2,
            endpoints: 3,
            drained: 0,
            reserved: 0,
        },
        "02000000 18000000 02000000 03000000 00000000 00000000",
    );
}
