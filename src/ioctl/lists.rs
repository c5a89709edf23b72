//! Endpoints and clients.

use wdk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND};
use wskguard_abi::{
    ClientInfo, EndpointInfo, Header, ListEndpointsRequest, ListReply, QueryEndpointRequest, RangeRequest,
};
use wskguard_core::EndpointId;
use zerocopy::IntoBytes;

use super::{Call, count_of, finish};
use crate::bypass;
use crate::guard::guard;

fn list_reply<T>(next: u64, count: u32) -> ListReply {
    ListReply {
        header: Header::of::<ListReply>(),
        next,
        count,
        element_size: count_of(size_of::<T>()),
    }
}

pub fn list_endpoints(call: Call<'_>, request: ListEndpointsRequest) -> Result<usize, NTSTATUS> {
    let opened = call.opened;
    let mut reply = call.reply::<ListReply>()?;
    let table = &guard().table;
    let mut walk = if request.cursor == 0 {
        table.walk()
    } else {
        let (name, walk) = *opened.walk.lock();
        if name != request.cursor {
            return Err(STATUS_INVALID_PARAMETER);
        }
        walk
    };
    let room = reply.fits(size_of::<EndpointInfo>(), request.max);
    let (mut count, mut more) = (0_u32, true);
    for _ in 0..room {
        let Some(endpoint) = table.next(&mut walk) else {
            more = false;
            break;
        };
        if reply.push(endpoint.info(endpoint.id()).as_bytes()) {
            count = count.saturating_add(1);
        }
    }
    let next = if more {
        request.cursor.wrapping_add(u64::from(count)).max(1)
    } else {
        0
    };
    *opened.walk.lock() = (next, walk);
    finish(reply, &list_reply::<EndpointInfo>(next, count))
}

pub fn query_endpoint(call: Call<'_>, request: QueryEndpointRequest) -> Result<usize, NTSTATUS> {
    let mut reply = call.reply::<ListReply>()?;
    let endpoint = guard().table.get(EndpointId(request.id)).ok_or(STATUS_NOT_FOUND)?;
    let pushed = reply.push(endpoint.info(endpoint.id()).as_bytes());
    finish(reply, &list_reply::<EndpointInfo>(0, u32::from(pushed)))
}

pub fn list_clients(call: Call<'_>, request: RangeRequest) -> Result<usize, NTSTATUS> {
    let mut reply = call.reply::<ListReply>()?;
    let room = reply.fits(size_of::<ClientInfo>(), request.max);
    let first = usize::try_from(request.first).unwrap_or(usize::MAX);
    let mut count = 0_u32;
    let clients = guard().clients.lock();
    for client in clients.iter().skip(first).take(room) {
        if reply.push(client.info().as_bytes()) {
            count = count.saturating_add(1);
        }
    }
    let attached = clients.iter().count();
    drop(clients);
    // Those that bypass follow those that are attached.
    bypass::list(first.saturating_sub(attached), |client| {
        let listed = usize::try_from(count).unwrap_or(usize::MAX);
        let pushed = listed < room && reply.push(client.as_bytes());
        count = count.saturating_add(u32::from(pushed));
        pushed
    });
    let total = u64::try_from(attached)
        .unwrap_or(0)
        .saturating_add(u64::from(bypass::count()));
    let next = u64::from(request.first).saturating_add(u64::from(count));
    finish(
        reply,
        &list_reply::<ClientInfo>(if count > 0 && next < total { next } else { 0 }, count),
    )
}
