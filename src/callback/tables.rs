//! Our callback tables: one for each set of slots that a client may have filled, so that a NULL slot stays NULL.

use core::ffi::c_void;

use wsk_sys::{
    WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_DATAGRAM_DISPATCH, WSK_CLIENT_LISTEN_DISPATCH,
    WSK_CLIENT_STREAM_DISPATCH,
};
use wskguard_core::Category;

use super::{
    abort_event, accept_event, disconnect_event, inspect_event, receive_event, receive_from_event, send_backlog_event,
};

/// Sets of three slots; bit n stands for the n-th.
const SETS: usize = 8;

const fn listen(set: usize) -> WSK_CLIENT_LISTEN_DISPATCH {
    WSK_CLIENT_LISTEN_DISPATCH {
        WskAcceptEvent: if set & 1 != 0 { Some(accept_event) } else { None },
        WskInspectEvent: if set & 2 != 0 { Some(inspect_event) } else { None },
        WskAbortEvent: if set & 4 != 0 { Some(abort_event) } else { None },
    }
}

const fn connection(set: usize) -> WSK_CLIENT_CONNECTION_DISPATCH {
    WSK_CLIENT_CONNECTION_DISPATCH {
        WskReceiveEvent: if set & 1 != 0 { Some(receive_event) } else { None },
        WskDisconnectEvent: if set & 2 != 0 { Some(disconnect_event) } else { None },
        WskSendBacklogEvent: if set & 4 != 0 { Some(send_backlog_event) } else { None },
    }
}

static LISTEN: [WSK_CLIENT_LISTEN_DISPATCH; SETS] = [
    listen(0),
    listen(1),
    listen(2),
    listen(3),
    listen(4),
    listen(5),
    listen(6),
    listen(7),
];
static CONNECTION: [WSK_CLIENT_CONNECTION_DISPATCH; SETS] = [
    connection(0),
    connection(1),
    connection(2),
    connection(3),
    connection(4),
    connection(5),
    connection(6),
    connection(7),
];
static DATAGRAM: [WSK_CLIENT_DATAGRAM_DISPATCH; 2] = [
    WSK_CLIENT_DATAGRAM_DISPATCH {
        WskReceiveFromEvent: None,
    },
    WSK_CLIENT_DATAGRAM_DISPATCH {
        WskReceiveFromEvent: Some(receive_from_event),
    },
];

/// Stream tables point to a listen and a connection table, either of which may be absent: index 8 is none.
struct Streams([[WSK_CLIENT_STREAM_DISPATCH; SETS + 1]; SETS + 1]);
// SAFETY: never written; the pointers are to the statics above.
unsafe impl Sync for Streams {}

static STREAM: Streams = Streams({
    let none = WSK_CLIENT_STREAM_DISPATCH {
        Listen: core::ptr::null(),
        Connect: core::ptr::null(),
    };
    let mut tables = [[none; SETS + 1]; SETS + 1];
    let mut rows: &mut [[WSK_CLIENT_STREAM_DISPATCH; SETS + 1]] = &mut tables;
    let mut listeners: &[WSK_CLIENT_LISTEN_DISPATCH] = &LISTEN;
    while let [row, rest @ ..] = rows {
        rows = rest;
        let listen = match listeners {
            [table, more @ ..] => {
                listeners = more;
                &raw const *table
            }
            [] => core::ptr::null(),
        };
        let mut cells: &mut [WSK_CLIENT_STREAM_DISPATCH] = row;
        let mut connections: &[WSK_CLIENT_CONNECTION_DISPATCH] = &CONNECTION;
        while let [cell, others @ ..] = cells {
            cells = others;
            cell.Listen = listen;
            if let [table, more @ ..] = connections {
                connections = more;
                cell.Connect = &raw const *table;
            }
        }
    }
    tables
});

fn set_of(slots: [bool; 3]) -> usize {
    let [first, second, third] = slots;
    usize::from(first) | usize::from(second) << 1 | usize::from(third) << 2
}

/// Index of the table for a client's listen callbacks; 8 for NULL.
unsafe fn listen_set(table: *const WSK_CLIENT_LISTEN_DISPATCH) -> usize {
    // SAFETY: the caller's table is NULL or valid.
    unsafe { table.as_ref() }.map_or(SETS, |table| {
        set_of([
            table.WskAcceptEvent.is_some(),
            table.WskInspectEvent.is_some(),
            table.WskAbortEvent.is_some(),
        ])
    })
}

/// Index of the table for a client's connection callbacks; 8 for NULL.
unsafe fn connection_set(table: *const WSK_CLIENT_CONNECTION_DISPATCH) -> usize {
    // SAFETY: the caller's table is NULL or valid.
    unsafe { table.as_ref() }.map_or(SETS, |table| {
        set_of([
            table.WskReceiveEvent.is_some(),
            table.WskDisconnectEvent.is_some(),
            table.WskSendBacklogEvent.is_some(),
        ])
    })
}

/// Our table for a client's connection callbacks; NULL for NULL.
///
/// # Safety
/// `table` is NULL or valid.
pub unsafe fn connection_table(table: *const WSK_CLIENT_CONNECTION_DISPATCH) -> *const WSK_CLIENT_CONNECTION_DISPATCH {
    // SAFETY: as the caller promises.
    CONNECTION
        .get(unsafe { connection_set(table) })
        .map_or(core::ptr::null(), core::ptr::from_ref)
}

/// Our table for a client's callbacks of a category; NULL for NULL.
///
/// # Safety
/// `table` is NULL or a valid table of that category.
pub unsafe fn table_for(category: Category, table: *const c_void) -> *const c_void {
    if table.is_null() {
        return table;
    }
    match category {
        Category::Basic => table,
        // SAFETY: as the caller promises.
        Category::Listen => LISTEN
            .get(unsafe { listen_set(table.cast()) })
            .map_or(core::ptr::null(), |t| (&raw const *t).cast()),
        // SAFETY: as the caller promises.
        Category::Connection => unsafe { connection_table(table.cast()) }.cast(),
        Category::Datagram => {
            // SAFETY: as the caller promises.
            let set =
                usize::from(unsafe { (*table.cast::<WSK_CLIENT_DATAGRAM_DISPATCH>()).WskReceiveFromEvent }.is_some());
            DATAGRAM.get(set).map_or(core::ptr::null(), |t| (&raw const *t).cast())
        }
        Category::Stream => {
            // SAFETY: as the caller promises.
            let client = unsafe { &*table.cast::<WSK_CLIENT_STREAM_DISPATCH>() };
            // SAFETY: both are NULL or valid.
            let (row, cell) = (unsafe { listen_set(client.Listen) }, unsafe {
                connection_set(client.Connect)
            });
            STREAM
                .0
                .get(row)
                .and_then(|row| row.get(cell))
                .map_or(core::ptr::null(), |t| (&raw const *t).cast())
        }
    }
}
