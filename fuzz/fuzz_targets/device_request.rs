//! Any bytes as a request to the control device: a code, a length of output, input. What is not refused is exactly as long as it says, and
//! a reply that is made for it stays within its output. Seeds: a well-formed request of each code.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wskguard_abi::{
    Code, Header, ListReply,
    parse::{Asked, Reply, parse, reply_size},
};

fuzz_target!(|request: (u8, u16, &[u8])| {
    let (code, output, input) = request;
    let code = Code::ALL[usize::from(code) % Code::ALL.len()];
    let mut room = vec![0xA5; usize::from(output)];
    if let Ok(asked) = parse(code as u32, input, room.len()) {
        assert!(room.len() >= reply_size(code));
        let image = match asked {
            Asked::SetPolicy(request) => request.image_length as usize,
            _ => 0,
        };
        if asked != Asked::QueryVersion {
            let size = u32::from_le_bytes([input[4], input[5], input[6], input[7]]) as usize;
            assert!(size >= size_of::<Header>() && input.len() == size + image);
        }
    }
    if let Ok(mut reply) = Reply::begin::<ListReply>(&mut room) {
        while reply.push(input) && !input.is_empty() {}
        let used = reply.finish(&ListReply::default()).expect("the type it was begun with");
        assert!(room[used..].iter().all(|byte| *byte == 0));
    }
});
