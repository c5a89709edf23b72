//! The parts that need no image. Images are tested in crates/policy, which can make them.

use super::*;
use layout::{MapEntry, Range};

#[test]
fn fnv_vectors() {
    // From the FNV authors' list.
    assert_eq!(Fnv::of(b""), 0xCBF2_9CE4_8422_2325);
    assert_eq!(Fnv::of(b"a"), 0xAF63_DC4C_8601_EC8C);
    assert_eq!(Fnv::of(b"foobar"), 0x8594_4171_F739_67E8);
}

#[test]
fn image_names() {
    let name = |path: &str| ImageName::from_utf16(&path.encode_utf16().collect::<Vec<_>>());
    assert_eq!(
        name(r"\SystemRoot\System32\drivers\MsQuic.SYS").as_bytes(),
        b"msquic.sys"
    );
    assert_eq!(name("a.sys").as_bytes(), b"a.sys");
    assert_eq!(name("É.sys").as_bytes(), "É.sys".as_bytes());
    assert_eq!(name(r"dir\").as_bytes(), b"");
    assert_eq!(
        ImageName::from_utf16(&[0xD800, 0x41]).as_bytes(),
        "\u{FFFD}a".as_bytes()
    );
    assert_eq!(ImageName::from_str("x/B").as_bytes(), b"b");
    // A name that was cut is longer than any that a policy can have.
    for filler in ["x", "é", "\u{20AC}", "\u{1F600}"] {
        let long = filler.repeat(100);
        assert!(name(&long).as_bytes().len() > ImageName::LONGEST);
        assert_eq!(name(&(long + "\\short")).as_bytes(), b"short");
    }
}

#[test]
fn actions_on_values() {
    let clamp = Action::Clamp { min: 10, max: 20 };
    assert_eq!(
        [9, 10, 15, 20, 21].map(|v| clamp.apply(Some(v))),
        [10, 10, 15, 20, 20].map(Some)
    );
    assert_eq!(clamp.apply(None), None);
    assert_eq!(Action::Force(7).apply(None), Some(7));
    assert_eq!(Action::Deny(crate::NtStatus(0xC000_0022)).apply(Some(3)), Some(3));
    let entry = |low: u64, high: u64, to: u32| MapEntry {
        from: Range {
            low: low.into(),
            high: high.into(),
        },
        to: to.into(),
        ..MapEntry::default()
    };
    let map = [entry(0, 0, 8), entry(5, 9, 1), entry(u64::MAX, u64::MAX, 2)];
    let rewrite = Action::Rewrite(Rewrite(&map));
    assert_eq!(
        [0, 1, 4, 5, 9, 10].map(|v| rewrite.apply(Some(v))),
        [8, 1, 4, 1, 1, 10].map(Some)
    );
    assert_eq!(rewrite.apply(Some(u64::MAX)), Some(2));
}

#[test]
fn counters_have_a_place_each() {
    assert_eq!(RuleRef(0).counter(3), 0);
    assert_eq!(RuleRef(2).counter(3), 2);
    assert_eq!(RuleRef::DEFAULT.counter(3), 3);
}

#[test]
fn errors_have_distinct_codes() {
    let entry = |section, fault| ImageError::Entry {
        section,
        index: 1,
        fault,
    };
    let all = [
        ImageError::Short,
        ImageError::TooLarge,
        ImageError::Magic,
        ImageError::Version { found: 2 },
        ImageError::Size { stated: 2 },
        ImageError::Hash,
        ImageError::Count(Section::Slots),
        ImageError::Count(Section::Text),
        ImageError::Layout,
        entry(Section::Rules, Fault::Value),
        entry(Section::Rules, Fault::Span),
        entry(Section::Header, Fault::Value),
    ];
    for (index, error) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|other| other.code() != error.code()), "{error}");
    }
}

/// The compiler and the driver have one function for this, so no image shows a change of it: older images would.
#[test]
fn homes_of_keys() {
    assert_eq!(slot_home(0, 0, 0, 0, 1), 10_368_889);
    assert_eq!(slot_home(0, 3, 2, 0x1234_5678, 0x9ABC_DEF0), 1_984_125);
    assert_eq!(slot_home(0x0123_4567_89AB_CDEF, 1, 2, 0xFFFF, 0x1002), 3_508_141);
    assert_eq!(slot_home(1 << 63, 0, 1, 6, 0), 15_105_920);
    assert_eq!(slot_home(5, 0xFF, 0xFF, u32::MAX, 7), 10_214_806);
}
