//! The table against the file for people, column by column.

use super::{
    CategorySet, Class, Default, Families, Inherits, Irp, Kind, LengthSet, OPTIONS, Row, Size, Space, Support, Timing,
    TypeSet,
};

const TSV: &str = include_str!("../../../../tests/fixtures/sol_socket.tsv");

fn rows() -> impl Iterator<Item = (&'static Row, Vec<&'static str>)> {
    assert_eq!(TSV.lines().count(), OPTIONS.len() + 1, "as many rows as lines");
    OPTIONS
        .iter()
        .zip(TSV.lines().skip(1))
        .map(|(row, line)| (row, line.split('\t').collect()))
}

/// Runs `check` on the row and the cell of `column` for every line.
fn column(name: &str, check: impl Fn(&Row, &str)) {
    let index = TSV.lines().next().unwrap().split('\t').position(|c| c == name).unwrap();
    for (row, cells) in rows() {
        assert_eq!(cells[0], row.name);
        check(row, cells[index]);
    }
}

fn first(cell: &str) -> char {
    cell.chars().next().unwrap()
}

#[test]
fn values_and_levels() {
    column("value", |row, cell| {
        assert_eq!(
            u32::from_str_radix(cell.trim_start_matches("0x"), 16).unwrap(),
            row.code,
            "{}",
            row.name
        );
    });
    column("level", |row, cell| {
        let space = if cell == "0xFFFF" { Space::Socket } else { Space::Ioctl };
        assert_eq!(space, row.space, "{}", row.name);
    });
}

#[test]
fn kinds() {
    column("kind", |row, cell| {
        let kind = match cell {
            "bool" => Kind::Bool,
            "int" => Kind::Int,
            "linger" => Kind::Linger,
            "struct" => Kind::Struct,
            "opaque" => Kind::Opaque,
            "reserved" => Kind::Reserved,
            other => panic!("kind {other}"),
        };
        assert_eq!(kind, row.kind, "{}", row.name);
    });
}

fn size(cell: &str) -> Size {
    let cell = cell.split(';').next().unwrap();
    let head = cell.split(" (").next().unwrap().trim_start_matches(">=");
    match head {
        "-" => Size::Absent,
        "var" => Size::Variable,
        "provider-defined" => Size::Provider,
        "0 or 4" => Size::ZeroOr(4),
        "sizeof(SOCKET)" | "sizeof(SIZE_T)" | "sizeof(PSECURITY_DESCRIPTOR)" | "PFN_WSK_RECEIVE_EX_EVENT or NULL" => {
            Size::Words(1)
        }
        "sizeof(WSK_EVENT_CALLBACK_CONTROL)" | "sizeof(WSK_EXTENSION_CONTROL_OUT)" | "sizeof(WSK_INSPECT_ID)" => {
            Size::Words(2)
        }
        "sizeof(WSK_EXTENSION_CONTROL_IN)" => Size::Words(3),
        "sizeof(family SOCKADDR) or 0/NULL to clear" => Size::SockaddrOrNothing,
        "sizeof(SOCKADDR_STORAGE)" => Size::Bytes(128),
        "sizeof(CSADDR_INFO)+2*sizeof(sockaddr)" => Size::BspState,
        other => Size::Bytes(
            other
                .rsplit('=')
                .next()
                .unwrap()
                .parse()
                .unwrap_or_else(|_| panic!("size {other}")),
        ),
    }
}

/// The members of `accept=...` or `reject=...`.
fn lengths(cell: &str, key: &str) -> LengthSet {
    let Some(part) = cell.split(';').find_map(|p| p.strip_prefix(key)) else {
        return LengthSet::NONE;
    };
    let members: Vec<i32> = part
        .split('|')
        .filter_map(|l| l.split('(').next().unwrap().parse().ok())
        .collect();
    LengthSet::of(&members)
}

#[test]
fn set_lengths() {
    column("set_len", |row, cell| {
        assert_eq!(size(cell), row.set_len, "{}", row.name);
        assert_eq!(
            (lengths(cell, "accept="), lengths(cell, "reject=")),
            row.class.set_lengths(),
            "{}",
            row.name
        );
    });
}

#[test]
fn get_lengths() {
    column("get_len", |row, cell| {
        assert_eq!(size(cell), row.get_len, "{}", row.name);
        assert_eq!(
            (lengths(cell, "accept="), lengths(cell, "reject=")),
            row.class.get_lengths(),
            "{}",
            row.name
        );
        assert_eq!(
            cell.contains("short_get_zeroes_buffer"),
            row.class == Class::C,
            "{}",
            row.name
        );
        assert_eq!(
            cell.contains("short_get_leaves_buffer"),
            row.class == Class::D,
            "{}",
            row.name
        );
        assert_eq!(
            cell.contains("short_size_reported=1"),
            row.class == Class::A,
            "{}",
            row.name
        );
    });
}

/// Where no lengths were tested, the class is what is documented of the size.
#[test]
fn classes_by_documentation() {
    column("set_len", |row, cell| {
        let sizes = [row.set_len, row.get_len];
        let no_size = sizes == [Size::Absent; 2]
            || sizes
                .iter()
                .any(|size| matches!(size, Size::Variable | Size::Provider | Size::ZeroOr(_)));
        let class = if cell.contains("accept=") {
            row.class
        } else if row.space == Space::Ioctl || row.families == Families::NotTcpIp || no_size {
            Class::Opaque
        } else if row.kind == Kind::Struct {
            Class::Sized
        } else {
            Class::Dword
        };
        assert_eq!(class, row.class, "{}", row.name);
    });
}

#[test]
fn directions() {
    column("settable", |row, cell| {
        assert_eq!(first(cell) == 'y', row.settable, "{}", row.name);
    });
    column("gettable", |row, cell| {
        assert_eq!(first(cell) == 'y', row.gettable, "{}", row.name);
    });
    column("reserved", |row, cell| {
        assert_eq!(first(cell) == 'y', row.reserved, "{}", row.name);
    });
}

#[test]
fn types() {
    column("types", |row, cell| {
        let named = |word: &str| cell.split([',', ' ', ';']).any(|w| w == word);
        let mut types = TypeSet::empty();
        for (word, ty) in [
            ("stream", TypeSet::STREAM),
            ("dgram", TypeSet::DGRAM),
            ("raw", TypeSet::RAW),
        ] {
            types.set(ty, named(word));
        }
        // Where no type is named, none is excluded.
        if types.is_empty() {
            assert!(cell == "all" || cell.starts_with("per-thread"));
            types = TypeSet::all();
        }
        assert_eq!(types, row.types, "{}", row.name);
    });
}

#[test]
fn families() {
    column("families", |row, cell| {
        let families = if cell.contains("INET6: WSAENOPROTOOPT") {
            Families::InetOnly
        } else if cell.contains("ATM: error") {
            Families::NotAtm
        } else if cell.contains("not applicable on ATM (no error, no effect)") {
            Families::AtmIgnores
        } else if cell.contains("TCP/IP unsupported") {
            Families::NotTcpIp
        } else {
            Families::All
        };
        assert_eq!(families, row.families, "{}", row.name);
    });
}

#[test]
fn timing() {
    column("bind_time", |row, cell| {
        let timing = match cell {
            "n" => Timing::Any,
            "y" => Timing::BeforeBind,
            "y(must precede listen; WSK: precede WskBind)" => Timing::BeforeListen,
            "n(after bind)" => Timing::AfterBind,
            "n(after connect)" | "n(connected)" => Timing::AfterConnect,
            "n(after bind/connect)" => Timing::AfterBindOrConnect,
            "?" => Timing::Unknown,
            other => panic!("timing {other}"),
        };
        assert_eq!(timing, row.timing, "{}", row.name);
    });
}

#[test]
fn inheritance() {
    column("inherits_on_accept", |row, cell| {
        let inherits = match first(cell) {
            'y' => Inherits::Yes,
            'n' => Inherits::No,
            _ => Inherits::Untested,
        };
        assert_eq!(inherits, row.inherits, "{}", row.name);
    });
}

#[test]
fn defaults() {
    column("default", |row, cell| {
        let number = cell.split(' ').next().unwrap();
        let number = number
            .strip_prefix("0x")
            .map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
        let default = match (cell, number) {
            ("l_onoff=0,l_linger=0", _) => Default::Value(0),
            ("-" | "none", _) => Default::None,
            (_, Some(number)) => Default::Value(number),
            _ => Default::Varies,
        };
        let none = |d| matches!(d, Default::None | Default::Varies);
        assert!(
            default == row.default || none(default) && none(row.default),
            "{}: {default:?}",
            row.name
        );
    });
}

#[test]
fn wsk() {
    column("wsk_support", |row, cell| {
        let name = row.name;
        let support = match cell.split([':', ';', '(']).next().unwrap() {
            "documented" => Support::Documented,
            "header-only" => Support::HeaderOnly,
            "undocumented" => Support::Undocumented,
            "n/a" => Support::NotApplicable,
            other => panic!("support {other}"),
        };
        assert_eq!(support, row.wsk.support, "{name}");
        let part = |key: &str| cell.split(';').find_map(|p| p.strip_prefix(key));
        let irp = match part("irp=") {
            Some("required") => Irp::Required,
            Some("NULL") => Irp::Null,
            Some(words) if words.contains("optional") => Irp::Optional,
            None => Irp::Unsaid,
            other => panic!("irp {other:?}"),
        };
        assert_eq!(irp, row.wsk.irp, "{name}");
        assert_eq!(part("outret=") == Some("required"), row.wsk.wants_size, "{name}");
        let list = part("cat=").unwrap_or("");
        let mut categories = CategorySet::empty();
        for (word, category) in [
            ("basic", CategorySet::BASIC),
            ("listen", CategorySet::LISTEN),
            ("connection", CategorySet::CONNECTION),
            ("datagram", CategorySet::DATAGRAM),
            ("all", CategorySet::all()),
        ] {
            let named =
                list.split(['|', ',', '(', ')', ' ']).any(|w| w == word) && !list.contains(&format!("from {word}"));
            categories |= if named { category } else { CategorySet::empty() };
        }
        // "accepted from conditional listener" names the origin, not the category.
        assert_eq!(categories, row.wsk.categories, "{name}");
        if support == Support::Documented && row.space == Space::Socket {
            assert_eq!(row.gettable, cell.contains("set+get"), "{name}");
        }
    });
}

#[test]
fn smallest_sizes() {
    assert_eq!(Size::Words(2).minimum(), Some(2 * size_of::<usize>()));
    assert_eq!(Size::Bytes(3).minimum(), Some(3));
    assert_eq!(Size::ZeroOr(4).minimum(), None);
}

/// A set of lengths is made while compiling; this makes each again, alone and with the one before it.
#[test]
fn sets_of_lengths() {
    let mut all = 0;
    for length in [0, 1, 2, 4, 8, -1] {
        let LengthSet(one) = LengthSet::of(&[length]);
        assert_eq!((one.count_ones(), one & all), (1, 0), "{length}");
        all |= one;
        assert_eq!(LengthSet::of(&[length, 0]), LengthSet(one | 1), "{length}");
    }
    assert_eq!(LengthSet::of(&[0, 1, 2, 4, 8, -1, -1]), LengthSet(all));
    assert_eq!(LengthSet::of(&[3, 5, 16]), LengthSet::NONE);
}

#[test]
fn refusal_of_bad_lengths() {
    column("error_on_bad_len", |row, cell| match row.class {
        Class::A => assert!(cell.starts_with("set:none"), "{}", row.name),
        Class::B => assert!(cell.starts_with("0->WSAEFAULT;-1->WSAENOBUFS"), "{}", row.name),
        Class::C | Class::D | Class::Thread => assert_eq!(cell, "WSAEFAULT", "{}", row.name),
        Class::Dword | Class::Sized | Class::Opaque => {}
    });
}
