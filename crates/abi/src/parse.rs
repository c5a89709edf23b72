//! From bytes to a request, and from a reply to bytes: the whole of what the driver has to believe of a caller's buffer. Pure; any IRQL.
//!
//! Everything that can be said of a request without the driver's state is said here: version, sizes, reserved fields, flags, and that the
//! output has room for the reply's fixed part. A handler never sees a request that is not well formed.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::{
    ABI_VERSION, AuditReply, Code, CountersReply, DrainReply, DrainRequest, GetPolicyRequest, Header,
    ListEndpointsRequest, ListReply, MAX_POLICY_IMAGE, PolicyReply, QueryEndpointRequest, RangeRequest,
    ReadAuditRequest, Request, SetPolicyRequest, StatusReply, VersionReply, audit_flags,
};

/// A well-formed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// [`Code::QueryVersion`].
    QueryVersion,
    /// [`Code::QueryStatus`].
    QueryStatus,
    /// [`Code::SetPolicy`]; the image is the rest of the input.
    SetPolicy(SetPolicyRequest),
    /// [`Code::GetPolicy`].
    GetPolicy(GetPolicyRequest),
    /// [`Code::QueryCounters`].
    QueryCounters,
    /// [`Code::QueryRuleCounters`].
    QueryRuleCounters(RangeRequest),
    /// [`Code::ListEndpoints`].
    ListEndpoints(ListEndpointsRequest),
    /// [`Code::QueryEndpoint`].
    QueryEndpoint(QueryEndpointRequest),
    /// [`Code::ListClients`].
    ListClients(RangeRequest),
    /// [`Code::ReadAudit`].
    ReadAudit(ReadAuditRequest),
    /// [`Code::WaitAudit`].
    WaitAudit(ReadAuditRequest),
    /// [`Code::Drain`]; whether it begins.
    Drain(bool),
    /// [`Code::Lock`].
    Lock,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// `STATUS_INVALID_DEVICE_REQUEST`: no such code.
    Code,
    /// `STATUS_REVISION_MISMATCH`: another version of the contract.
    Version,
    /// `STATUS_INVALID_PARAMETER`: a size, a reserved field or a flag.
    Parameter,
    /// `STATUS_BUFFER_TOO_SMALL`: the output does not hold the reply's fixed part.
    Output,
}

/// The request that `input` is, if all of it is right and `output` bytes hold the fixed part of its reply.
///
/// # Errors
/// [`Malformed`], in its order.
pub fn parse(code: u32, input: &[u8], output: usize) -> Result<Asked, Malformed> {
    let code = Code::from_u32(code).ok_or(Malformed::Code)?;
    let asked = match code {
        Code::QueryVersion => Asked::QueryVersion,
        Code::QueryStatus => plain(input, Asked::QueryStatus)?,
        Code::SetPolicy => set_policy(input)?,
        Code::GetPolicy => Asked::GetPolicy(fixed(input, |request: &GetPolicyRequest| request.reserved == 0)?),
        Code::QueryCounters => plain(input, Asked::QueryCounters)?,
        Code::QueryRuleCounters => Asked::QueryRuleCounters(fixed(input, |_| true)?),
        Code::ListEndpoints => {
            Asked::ListEndpoints(fixed(input, |request: &ListEndpointsRequest| request.reserved == 0)?)
        }
        Code::QueryEndpoint => Asked::QueryEndpoint(fixed(input, |_| true)?),
        Code::ListClients => Asked::ListClients(fixed(input, |_| true)?),
        Code::ReadAudit => Asked::ReadAudit(fixed(input, audit_flags_are_known)?),
        Code::WaitAudit => Asked::WaitAudit(fixed(input, audit_flags_are_known)?),
        Code::Drain => {
            let known = |request: &DrainRequest| request.reserved == 0 && request.begin <= 1;
            Asked::Drain(fixed(input, known)?.begin == 1)
        }
        Code::Lock => plain(input, Asked::Lock)?,
    };
    if output < reply_size(code) {
        return Err(Malformed::Output);
    }
    Ok(asked)
}

/// Bytes of the fixed part of the reply to a code.
#[must_use]
pub const fn reply_size(code: Code) -> usize {
    match code {
        Code::QueryVersion => size_of::<VersionReply>(),
        Code::QueryStatus => size_of::<StatusReply>(),
        Code::SetPolicy | Code::GetPolicy => size_of::<PolicyReply>(),
        Code::QueryCounters | Code::QueryRuleCounters => size_of::<CountersReply>(),
        Code::ListEndpoints | Code::QueryEndpoint | Code::ListClients => size_of::<ListReply>(),
        Code::ReadAudit | Code::WaitAudit => size_of::<AuditReply>(),
        Code::Drain => size_of::<DrainReply>(),
        Code::Lock => 0,
    }
}

/// The fixed part, and what follows it.
fn split<T: FromBytes + KnownLayout + Immutable>(input: &[u8]) -> Result<(T, &[u8]), Malformed> {
    let (header, _) = Header::read_from_prefix(input).map_err(|_| Malformed::Parameter)?;
    if header.abi_version != ABI_VERSION {
        return Err(Malformed::Version);
    }
    let (fixed, rest) = T::read_from_prefix(input).map_err(|_| Malformed::Parameter)?;
    if header.size != Header::of::<T>().size {
        return Err(Malformed::Parameter);
    }
    Ok((fixed, rest))
}

/// A request that is nothing but its fixed part.
fn fixed<T: FromBytes + KnownLayout + Immutable>(input: &[u8], good: impl FnOnce(&T) -> bool) -> Result<T, Malformed> {
    let (request, rest) = split::<T>(input)?;
    if rest.is_empty() && good(&request) {
        Ok(request)
    } else {
        Err(Malformed::Parameter)
    }
}

fn plain(input: &[u8], asked: Asked) -> Result<Asked, Malformed> {
    fixed(input, |_: &Request| true).map(|_| asked)
}

fn set_policy(input: &[u8]) -> Result<Asked, Malformed> {
    let (request, image) = split::<SetPolicyRequest>(input)?;
    let whole = usize::try_from(request.image_length) == Ok(image.len());
    if whole && request.flags == 0 && request.image_length <= MAX_POLICY_IMAGE {
        Ok(Asked::SetPolicy(request))
    } else {
        Err(Malformed::Parameter)
    }
}

fn audit_flags_are_known(request: &ReadAuditRequest) -> bool {
    let both = audit_flags::FROM_OLDEST | audit_flags::FROM_NOW;
    request.flags & !both == 0 && request.flags != both
}

/// Output: zeroed, with a fixed part that is written last, and what follows it.
#[derive(Debug)]
pub struct Reply<'a> {
    room: &'a mut [u8],
    fixed: usize,
    used: usize,
}

impl<'a> Reply<'a> {
    /// A reply whose fixed part is a `T`; all of `room` is zeroed.
    ///
    /// # Errors
    /// [`Malformed::Output`]: there is no room for it.
    pub fn begin<T: IntoBytes + Immutable>(room: &'a mut [u8]) -> Result<Self, Malformed> {
        if room.len() < size_of::<T>() {
            return Err(Malformed::Output);
        }
        room.zero();
        Ok(Self {
            room,
            fixed: size_of::<T>(),
            used: size_of::<T>(),
        })
    }

    /// Appends bytes; false when they do not fit.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let end = self.used.saturating_add(bytes.len());
        let Some(to) = self.room.get_mut(self.used..end) else {
            return false;
        };
        // `copy_from_slice` would panic on other lengths, which the compiler cannot see to be equal.
        for (to, from) in to.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.used = end;
        true
    }

    /// How many more elements of `size` bytes fit, up to `max`.
    #[must_use]
    pub fn fits(&self, size: usize, max: u32) -> usize {
        let left = self.room.len().saturating_sub(self.used);
        left.checked_div(size)
            .unwrap_or(0)
            .min(usize::try_from(max).unwrap_or(usize::MAX))
    }

    /// Writes the fixed part; bytes of the reply.
    ///
    /// # Errors
    /// [`Malformed::Output`]: it is not the type that the reply was begun with.
    pub fn finish<T: IntoBytes + Immutable>(self, fixed: &T) -> Result<usize, Malformed> {
        let to = self.room.get_mut(..self.fixed).ok_or(Malformed::Output)?;
        fixed.write_to(to).map_err(|_| Malformed::Output)?;
        Ok(self.used)
    }
}
