//! Setting the policy, reading it back, locking it.

use wdk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use wskguard_abi::{GetPolicyRequest, Header, PolicyReply, SetPolicyRequest};
use wskguard_core::audit::Happened;

use super::{Call, count_of, finish};
use crate::audit::event;
use crate::guard::guard;

pub fn set_policy(call: Call<'_>, request: SetPolicyRequest) -> Result<usize, NTSTATUS> {
    let image = call
        .buffer
        .get(size_of::<SetPolicyRequest>()..call.input)
        .ok_or(STATUS_INVALID_PARAMETER)?;
    let (generation, hash) = guard().policy.load(image, request.expected_generation)?;
    let reply = call.reply::<PolicyReply>()?;
    finish(
        reply,
        &PolicyReply {
            header: Header::of::<PolicyReply>(),
            generation,
            hash,
            total: request.image_length,
            count: 0,
        },
    )
}

pub fn get_policy(call: Call<'_>, request: GetPolicyRequest) -> Result<usize, NTSTATUS> {
    let mut reply = call.reply::<PolicyReply>()?;
    let mut fixed = PolicyReply {
        header: Header::of::<PolicyReply>(),
        ..PolicyReply::default()
    };
    if let Some(generation) = guard().policy.look().filter(|generation| generation.number != 0) {
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
    finish(reply, &fixed)
}

pub fn lock() {
    guard().policy.lock();
    event(Happened::Locked, STATUS_SUCCESS, 0);
}
