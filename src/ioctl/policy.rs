//! Setting the policy, reading it back, locking it.

use wdk_sys::{NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER};
use wskguard_abi::{GetPolicyRequest, Header, PolicyReply, SetPolicyRequest};

use super::{Call, count_of, zero};
use crate::guard::guard;

pub fn set_policy(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<SetPolicyRequest>(|request| request.image_length)?;
    zero(request.flags)?;
    let image = call
        .buffer
        .get(size_of::<SetPolicyRequest>()..call.input)
        .ok_or(STATUS_INVALID_PARAMETER)?;
    if call.output < size_of::<PolicyReply>() {
        // Before anything changes: the caller could not learn what is in force.
        return Err(STATUS_BUFFER_TOO_SMALL);
    }
    let (generation, hash) = guard().policy.load(image, request.expected_generation)?;
    let reply = call.reply::<PolicyReply>()?;
    reply.finish(&PolicyReply {
        header: Header::of::<PolicyReply>(),
        generation,
        hash,
        total: request.image_length,
        count: 0,
    })
}

pub fn get_policy(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<GetPolicyRequest>(|_| 0)?;
    zero(request.reserved)?;
    let mut reply = call.reply::<PolicyReply>()?;
    let mut fixed = PolicyReply {
        header: Header::of::<PolicyReply>(),
        ..PolicyReply::default()
    };
    if let Some(generation) = guard().policy.enter() {
        let image = generation.bytes();
        fixed.generation = generation.number;
        fixed.hash = generation.image.hash();
        fixed.total = count_of(image.len());
        let rest = usize::try_from(request.offset)
            .ok()
            .and_then(|offset| image.get(offset..))
            .unwrap_or(&[]);
        let piece = rest.get(..reply.fits(1, u32::MAX)).unwrap_or(rest);
        if reply.push(piece) {
            fixed.count = count_of(piece.len());
        }
    }
    reply.finish(&fixed)
}

pub fn lock(call: Call<'_>) -> Result<usize, NTSTATUS> {
    call.plain()?;
    guard().policy.lock();
    Ok(0)
}
