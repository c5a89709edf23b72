//! The two documented matrices as data. Any IRQL.

use super::Sharing;
use Outcome::{AccessCheck as C, Denied as D, InUse as I, Success as S};

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// `bind` of Winsock (Windows Server 2003 and later).
    Winsock,
    /// `WskBind`.
    Wsk,
}

/// What a second bind comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeds.
    Success,
    /// WSAEADDRINUSE, `STATUS_ADDRESS_ALREADY_EXISTS`.
    InUse,
    /// WSAEACCES, `STATUS_ACCESS_DENIED`.
    Denied,
    /// Success or denied, by an access check.
    AccessCheck,
}

/// Rows: first bind; columns: second bind; both none, reuse, exclusive, each wildcard before specific. The page has one table for
/// sockets of one user and one for two users; they differ in the cells that here are an access check.
const WINSOCK: [[Outcome; 6]; 6] = [
    [I, C, D, C, I, C],
    [S, I, S, D, I, I],
    [I, C, S, S, I, C],
    [S, I, S, S, I, I],
    [I, D, D, D, I, D],
    [S, I, S, D, I, I],
];

/// Rows: second bind; columns: first bind, as the page has it.
const WSK: [[Outcome; 6]; 6] = [
    [I, S, I, S, I, S],
    [C, I, C, D, D, I],
    [D, S, S, S, D, S],
    [C, D, S, S, D, D],
    [I, I, I, I, I, I],
    [C, I, C, I, D, I],
];

/// Position of an option and a breadth in either matrix.
const fn position(sharing: Sharing, wildcard: bool) -> usize {
    let row = match sharing {
        Sharing::Default => 0,
        Sharing::Reuse => 2,
        Sharing::Exclusive => 4,
    };
    if wildcard { row } else { row | 1 }
}

/// The cell for two overlapping binds, each an option and whether it is the wildcard of the two.
pub(super) fn cell(view: View, first: (Sharing, bool), second: (Sharing, bool)) -> Outcome {
    let (first, second) = (position(first.0, first.1), position(second.0, second.1));
    let (table, row, column) = match view {
        View::Winsock => (&WINSOCK, first, second),
        View::Wsk => (&WSK, second, first),
    };
    table.get(row).and_then(|row| row.get(column)).copied().unwrap_or(I)
}
