//! The table, in parts. Each row names where its facts come from; a class of A to D is \[T\] `test_optsize`.

mod ioctls;
mod socket;
mod special;
mod spi;

use super::row::{
    CategorySet as C, Class, Default, Families, Inherits, Irp, Kind, Opt, Row, Size, Space, Support, Timing, TypeSet,
    Wsk,
};

pub(super) const STREAM: TypeSet = TypeSet::STREAM;
pub(super) const DGRAM: TypeSet = TypeSet::DGRAM;
pub(super) const BOTH: TypeSet = TypeSet::STREAM.union(TypeSet::DGRAM);
pub(super) const ALL: TypeSet = TypeSet::all();
pub(super) const LISTEN_DATAGRAM_CONNECTION: C = C::LISTEN.union(C::DATAGRAM).union(C::CONNECTION);

pub(super) const UNDOCUMENTED: Wsk = Wsk {
    support: Support::Undocumented,
    irp: Irp::Unsaid,
    wants_size: false,
    categories: C::empty(),
};
pub(super) const NOT_IN_WSK: Wsk = Wsk {
    support: Support::NotApplicable,
    ..UNDOCUMENTED
};

/// A WSK page that asks for an IRP and names these categories.
pub(super) const fn with_irp(categories: C) -> Wsk {
    Wsk {
        support: Support::Documented,
        irp: Irp::Required,
        wants_size: false,
        categories,
    }
}

/// What most options are: four bytes, get and set, any type, any time, default 0.
pub(super) const OPTION: Row = Row {
    id: Opt::Broadcast,
    name: "",
    code: 0,
    space: Space::Socket,
    kind: Kind::Int,
    class: Class::Dword,
    set_len: Size::Bytes(4),
    get_len: Size::Bytes(4),
    settable: true,
    gettable: true,
    types: ALL,
    families: Families::All,
    timing: Timing::Any,
    inherits: Inherits::Untested,
    default: Default::Value(0),
    reserved: false,
    wsk: UNDOCUMENTED,
};
pub(super) const BOOL: Row = Row {
    kind: Kind::Bool,
    ..OPTION
};
/// A socket-layer boolean (class A).
pub(super) const SOCKET_BOOL: Row = Row {
    class: Class::A,
    ..BOOL
};
/// A transport boolean (class B): a get returns one byte.
pub(super) const TRANSPORT_BOOL: Row = Row {
    class: Class::B,
    get_len: Size::Bytes(1),
    ..BOOL
};
/// Read only: there is nothing to inherit.
pub(super) const READ_ONLY: Row = Row {
    settable: false,
    set_len: Size::Absent,
    inherits: Inherits::No,
    ..OPTION
};
pub(super) const SET_ONLY: Row = Row {
    gettable: false,
    get_len: Size::Absent,
    ..OPTION
};
/// Neither get nor set; refused by TCP/IP.
pub(super) const ABSENT: Row = Row {
    settable: false,
    gettable: false,
    set_len: Size::Absent,
    get_len: Size::Absent,
    inherits: Inherits::No,
    default: Default::None,
    families: Families::NotTcpIp,
    class: Class::Opaque,
    ..OPTION
};
/// DECNet and OSI TP4; not supported by TCP/IP.
pub(super) const LEGACY: Row = Row {
    types: STREAM,
    families: Families::NotTcpIp,
    class: Class::Opaque,
    ..OPTION
};
pub(super) const LEGACY_DATA: Row = Row {
    kind: Kind::Opaque,
    set_len: Size::Variable,
    get_len: Size::Variable,
    default: Default::Varies,
    ..LEGACY
};
pub(super) const LEGACY_LENGTH: Row = Row {
    gettable: false,
    get_len: Size::Absent,
    ..LEGACY
};
pub(super) const IOCTL: Row = Row {
    space: Space::Ioctl,
    kind: Kind::Struct,
    class: Class::Opaque,
    inherits: Inherits::No,
    default: Default::None,
    ..OPTION
};
pub(super) const IOCTL_IN: Row = Row {
    gettable: false,
    get_len: Size::Bytes(0),
    ..IOCTL
};
pub(super) const IOCTL_OUT: Row = Row {
    settable: false,
    set_len: Size::Bytes(0),
    types: STREAM,
    ..IOCTL
};

/// Every row, in the order of [`Opt`].
#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
pub static OPTIONS: [Row; 60] = {
    let parts: [&[Row]; 4] = [&spi::ROWS, &socket::ROWS, &special::ROWS, &ioctls::ROWS];
    let mut all = [OPTION; 60];
    let (mut part, mut next) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[next] = parts[part][row];
            next += 1;
            row += 1;
        }
        part += 1;
    }
    assert!(next == all.len());
    all
};

/// `Opt::row` finds a row by position.
const _: () = {
    let mut index = 0;
    let mut rest: &[Row] = &OPTIONS;
    while let [row, tail @ ..] = rest {
        assert!(row.id as usize == index);
        index += 1;
        rest = tail;
    }
};
