//! Reading the audit rings at the cursor of the open. <= `DISPATCH_LEVEL`, since a pended read completes there.

use wdk_sys::{NTSTATUS, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES};
use wskguard_abi::{AuditEntry, AuditReply, Header, ReadAuditRequest, audit_flags};
use wskguard_core::audit::Cursor;
use zerocopy::{FromZeros, IntoBytes};

use super::{Call, Opened, Reply, count_of, finish};
use crate::guard::{Pool, guard};

/// Where a reader stands in the rings, and its account.
pub struct Place {
    standing: Standing,
    read: u64,
    overwritten: u64,
}

enum Standing {
    /// At the oldest record, not looked for yet.
    Start,
    At(Cursor<Pool>),
    /// A request is reading: not under the lock.
    Busy,
}

impl Place {
    pub const fn start() -> Self {
        Self {
            standing: Standing::Start,
            read: 0,
            overwritten: 0,
        }
    }
}

pub fn read(call: Call<'_>, request: ReadAuditRequest) -> Result<usize, NTSTATUS> {
    let opened = call.opened;
    if opened.wait.is_pended() {
        return Err(STATUS_DEVICE_BUSY);
    }
    position(opened, request.flags)?;
    let reply = call.reply::<AuditReply>()?;
    fill(opened, reply, request.max)
}

/// Moves the cursor as the flags say, and makes it where there is none yet.
pub fn position(opened: &Opened, flags: u32) -> Result<(), NTSTATUS> {
    let rings = &guard().rings;
    let taken = core::mem::replace(&mut opened.place.lock().standing, Standing::Busy);
    let cursor = match taken {
        Standing::Busy => return Err(STATUS_DEVICE_BUSY),
        Standing::At(cursor) if flags == 0 => Some(cursor),
        _ if flags & audit_flags::FROM_NOW != 0 => rings.from_now(Pool),
        _ => rings.from_oldest(Pool),
    };
    let mut place = opened.place.lock();
    let made = cursor.is_some();
    place.standing = cursor.map_or(Standing::Start, Standing::At);
    if made {
        Ok(())
    } else {
        Err(STATUS_INSUFFICIENT_RESOURCES)
    }
}

/// Whether there is anything to read at the cursor.
pub fn anything(opened: &Opened) -> bool {
    match &opened.place.lock().standing {
        Standing::At(cursor) => guard().rings.waiting(cursor) > 0,
        Standing::Start | Standing::Busy => true,
    }
}

/// Reads up to `max` records into the reply.
pub fn fill(opened: &Opened, mut reply: Reply<'_>, max: u32) -> Result<usize, NTSTATUS> {
    let taken = core::mem::replace(&mut opened.place.lock().standing, Standing::Busy);
    let mut cursor = match taken {
        Standing::At(cursor) => cursor,
        other => {
            if matches!(other, Standing::Start) {
                opened.place.lock().standing = other;
            }
            return Err(STATUS_DEVICE_BUSY);
        }
    };
    let rings = &guard().rings;
    let (mut count, mut overwritten) = (0_u32, 0_u64);
    let mut chunk = [AuditEntry::new_zeroed(); 8];
    let mut room = reply.fits(size_of::<AuditEntry>(), max);
    while room > 0 {
        let length = room.min(chunk.len());
        let Some(out) = chunk.get_mut(..length) else { break };
        let result = rings.read(&mut cursor, out);
        overwritten = overwritten.saturating_add(result.overwritten);
        for record in out.iter().take(result.read) {
            if reply.push(record.as_bytes()) {
                count = count.saturating_add(1);
            }
        }
        room = room.saturating_sub(result.read);
        if result.read < length {
            break;
        }
    }
    let books = guard().books();
    let mut place = opened.place.lock();
    place.standing = Standing::At(cursor);
    place.read = place.read.saturating_add(count.into());
    place.overwritten = place.overwritten.saturating_add(overwritten);
    let fixed = AuditReply {
        header: Header::of::<AuditReply>(),
        count,
        element_size: count_of(size_of::<AuditEntry>()),
        overwritten: place.overwritten,
        read: place.read,
        decided: books.decided(),
        written: books.written,
        suppressed: books.suppressed,
        dropped: books.dropped_busy,
    };
    drop(place);
    finish(reply, &fixed)
}
