//! The driver as typed calls over a transport. Nothing that comes back is trusted: versions, sizes and counts are checked before
//! a reply is read, lists are bounded, and a list made of several calls says so when the generation changed in between.

mod endpoints;
mod error;
mod reply;

use wskguard_abi::{
    AuditEntry, AuditReply, ClientInfo, Code, CountersReply, DrainReply, DrainRequest, EndpointInfo, GetPolicyRequest,
    Header, ListReply, MAX_POLICY_IMAGE, PolicyReply, QueryEndpointRequest, RangeRequest, ReadAuditRequest, Request,
    SetPolicyRequest, StatusReply, VersionReply,
};
use zerocopy::{FromBytes, IntoBytes};

pub use endpoints::Endpoints;
pub use error::Error;
use reply::{Reply, counted, elements, malformed, numbers};

use crate::{
    ntstatus,
    transport::{Transport, TransportError},
};

/// Bytes of a reply buffer: a page of a list, a piece of a policy image.
const BUFFER: usize = 64 * 1024;
/// How often a policy may change while it is read.
const CHANGES: u32 = 16;

/// What this module's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A policy as the driver has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInForce {
    /// Its generation; 0 is the built-in one.
    pub generation: u64,
    /// Its content hash.
    pub hash: u64,
    /// Its image; empty for the built-in one.
    pub image: Vec<u8>,
}

/// Counter values and the policy generation they were read under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterValues {
    /// Policy generation.
    pub generation: u64,
    /// The values, by index.
    pub values: Vec<u64>,
}

/// Audit records, in no order across processors.
#[derive(Clone, Debug)]
pub struct AuditBatch {
    /// This reader's and the writers' books.
    pub reply: AuditReply,
    /// The records.
    pub entries: Vec<AuditEntry>,
}

/// The driver.
#[derive(Debug)]
pub struct Driver<T> {
    transport: T,
    buffer: Vec<u8>,
}

impl<T: Transport> Driver<T> {
    /// Over this transport.
    pub fn new(transport: T) -> Self {
        Self {
            transport,
            buffer: vec![0; BUFFER],
        }
    }

    /// The transport below.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Versions of the driver and of the contract it speaks. Works with every version.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn version(&mut self) -> Result<VersionReply> {
        let code = Code::QueryVersion;
        let length = self
            .transport
            .call(code, &[], &mut self.buffer)
            .map_err(|error| Error::new(code, error))?;
        let (version, _) = VersionReply::read_from_prefix(self.buffer.get(..length).unwrap_or_default())
            .map_err(|_| malformed(code, "too short"))?;
        Ok(version)
    }

    /// What the driver is and does.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn status(&mut self) -> Result<StatusReply> {
        Ok(self
            .call::<StatusReply>(Code::QueryStatus, Request::default().as_bytes())?
            .0)
    }

    /// Puts `image` in force and returns what is in force now. With `expected`, only if that generation is in force.
    ///
    /// # Errors
    /// See [`Error`]. The old policy is in force then.
    pub fn set_policy(&mut self, image: &[u8], expected: Option<u64>) -> Result<PolicyReply> {
        let code = Code::SetPolicy;
        let length = u32::try_from(image.len())
            .ok()
            .filter(|&length| length <= MAX_POLICY_IMAGE);
        let length = length.ok_or(malformed(code, "the image is too large to send"))?;
        let mut request = SetPolicyRequest::new(length);
        request.expected_generation = expected.unwrap_or(request.expected_generation);
        let input = [request.as_bytes(), image].concat();
        Ok(self.call::<PolicyReply>(code, &input)?.0)
    }

    /// The policy in force, whole. Begins again when it changes meanwhile.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn policy_in_force(&mut self) -> Result<PolicyInForce> {
        let code = Code::GetPolicy;
        let mut policy = PolicyInForce {
            generation: 0,
            hash: 0,
            image: Vec::new(),
        };
        let mut changes = 0;
        while changes < CHANGES {
            let offset = u32::try_from(policy.image.len()).unwrap_or(u32::MAX);
            let (reply, piece) = self.call::<PolicyReply>(code, GetPolicyRequest::new(offset).as_bytes())?;
            if offset != 0 && (reply.generation, reply.hash) != (policy.generation, policy.hash) {
                policy.image.clear();
                changes += 1;
                continue;
            }
            let piece = piece
                .get(..reply.count as usize)
                .ok_or(malformed(code, "shorter than it says"))?;
            policy.image.extend_from_slice(piece);
            (policy.generation, policy.hash) = (reply.generation, reply.hash);
            if reply.total > MAX_POLICY_IMAGE || policy.image.len() > reply.total as usize {
                return Err(malformed(code, "longer than it says"));
            }
            if policy.image.len() == reply.total as usize {
                return Ok(policy);
            }
            if piece.is_empty() {
                return Err(malformed(code, "it does not end"));
            }
        }
        Err(malformed(code, "it keeps changing"))
    }

    /// The counters, in the order of the core's list. A driver may have more of them.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn counters(&mut self) -> Result<CounterValues> {
        let code = Code::QueryCounters;
        let (reply, tail) = self.call::<CountersReply>(code, Request::default().as_bytes())?;
        Ok(CounterValues {
            generation: reply.generation,
            values: numbers(code, &reply, tail)?,
        })
    }

    /// Hits of every rule of the policy in force, those of the default action last. Begins again when the policy changes.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn rule_counters(&mut self) -> Result<CounterValues> {
        let code = Code::QueryRuleCounters;
        let mut hits = CounterValues {
            generation: 0,
            values: Vec::new(),
        };
        let mut changes = 0;
        while changes < CHANGES {
            let first = u32::try_from(hits.values.len()).unwrap_or(u32::MAX);
            let (reply, tail) = self.call::<CountersReply>(code, RangeRequest::new(first, u32::MAX).as_bytes())?;
            if first != 0 && reply.generation != hits.generation {
                hits.values.clear();
                changes += 1;
                continue;
            }
            if reply.first != first {
                return Err(malformed(code, "it begins elsewhere"));
            }
            let piece = numbers(code, &reply, tail)?;
            hits.generation = reply.generation;
            hits.values.extend_from_slice(&piece);
            if hits.values.len() >= reply.total as usize {
                return Ok(hits);
            }
            if piece.is_empty() {
                return Err(malformed(code, "it does not end"));
            }
        }
        Err(malformed(code, "it keeps changing"))
    }

    /// All endpoints, a page of memory at a time, as each page was when it was asked for.
    pub fn endpoints(&mut self) -> Endpoints<'_, T> {
        Endpoints::new(self)
    }

    /// One endpoint; none when it is gone, or never was.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn endpoint(&mut self, id: u64) -> Result<Option<EndpointInfo>> {
        let code = Code::QueryEndpoint;
        match self.call::<ListReply>(code, QueryEndpointRequest::new(id).as_bytes()) {
            Ok((reply, tail)) => Ok(elements(code, &reply, tail)?.into_iter().next()),
            Err(Error::Status {
                status: ntstatus::NOT_FOUND,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Attached clients.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn clients(&mut self) -> Result<Vec<ClientInfo>> {
        let code = Code::ListClients;
        let mut clients = Vec::new();
        let mut first = 0;
        loop {
            let (reply, tail) = self.call::<ListReply>(code, RangeRequest::new(first, u32::MAX).as_bytes())?;
            let page = elements::<ClientInfo>(code, &reply, tail)?;
            let end = page.is_empty();
            clients.extend(page);
            match u32::try_from(reply.next) {
                Ok(0) => return Ok(clients),
                Ok(next) if next > first && !end => first = next,
                _ => return Err(malformed(code, "it does not end")),
            }
        }
    }

    /// Audit records at the cursor of this handle, at most `max`, and the books. `flags`: [`wskguard_abi::audit_flags`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read_audit(&mut self, flags: u32, max: u32) -> Result<AuditBatch> {
        self.audit(Code::ReadAudit, flags, max)
    }

    /// As [`Self::read_audit`], but waits until there is a record.
    ///
    /// # Errors
    /// See [`Error`]; `STATUS_CANCELLED` when the wait was given up.
    pub fn wait_audit(&mut self, flags: u32, max: u32) -> Result<AuditBatch> {
        self.audit(Code::WaitAudit, flags, max)
    }

    fn audit(&mut self, code: Code, flags: u32, max: u32) -> Result<AuditBatch> {
        let (reply, tail) = self.call::<AuditReply>(code, ReadAuditRequest::new(flags, max).as_bytes())?;
        Ok(AuditBatch {
            reply,
            entries: counted(code, reply.count, reply.element_size, tail)?,
        })
    }

    /// Begins or ends draining; what still holds the driver.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn drain(&mut self, begin: bool) -> Result<DrainReply> {
        Ok(self
            .call::<DrainReply>(Code::Drain, DrainRequest::new(begin).as_bytes())?
            .0)
    }

    /// Refuses policy changes and draining until the machine restarts.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn lock(&mut self) -> Result<()> {
        self.send(Code::Lock, Request::default().as_bytes()).map(drop)
    }

    /// Sends a request whose reply begins with an `R`, and returns that and what follows it.
    fn call<R: Reply>(&mut self, code: Code, input: &[u8]) -> Result<(R, &[u8])> {
        let length = self.send(code, input)?;
        let reply = self
            .buffer
            .get(..length)
            .ok_or(malformed(code, "longer than its buffer"))?;
        let (fixed, tail) = R::read_from_prefix(reply).map_err(|_| malformed(code, "too short"))?;
        if fixed.header() != Header::of::<R>() {
            return Err(malformed(code, "its header is another's"));
        }
        Ok((fixed, tail))
    }

    /// Sends a request; when the driver speaks another version, asks which.
    fn send(&mut self, code: Code, input: &[u8]) -> Result<usize> {
        match self.transport.call(code, input, &mut self.buffer) {
            Ok(length) => Ok(length),
            Err(TransportError::Status(ntstatus::REVISION_MISMATCH)) => {
                let version = self.version()?;
                Err(Error::Version {
                    contract: version.header.abi_version,
                    driver: version.driver,
                })
            }
            Err(error) => Err(Error::new(code, error)),
        }
    }
}

#[cfg(test)]
mod tests;
