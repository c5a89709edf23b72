//! The files for tracing and event forwarding say what the driver does. Windows' own tools have not read them yet.

use std::fs;

use roxmltree::{Document, Node};
use wskguard_core::trace::{Level, PROVIDER_ID, keywords};

fn text(name: &str) -> String {
    fs::read_to_string(format!("{}/../scripts/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The provider's id as these files write it.
fn provider() -> String {
    let (first, second, third, rest) = PROVIDER_ID;
    let rest = format!("{:016x}", u64::from_be_bytes(rest));
    let (fourth, last) = rest.split_at(4);
    format!("{first:08x}-{second:04x}-{third:04x}-{fourth}-{last}")
}

const ALL: u64 = keywords::DECISION | keywords::DRIVER | keywords::LIFE;

fn all<'a>(document: &'a Document<'a>, tag: &'static str) -> Vec<Node<'a, 'a>> {
    let nodes = document.descendants().filter(|node| node.has_tag_name(tag));
    nodes.collect()
}

fn values(nodes: &[Node<'_, '_>], name: &str) -> Vec<String> {
    nodes
        .iter()
        .map(|node| node.attribute(name).unwrap().to_owned())
        .collect()
}

#[test]
fn the_recorder_profile_asks_for_this_provider() {
    let text = text("wskguard.wprp");
    let profile = Document::parse(&text).unwrap();
    let providers = all(&profile, "EventProvider");
    assert_eq!(values(&providers, "Name"), [provider(), provider()]);
    assert_eq!(
        values(&providers, "Level"),
        [Level::Informational, Level::Warning].map(|level| (level as u8).to_string())
    );
    assert_eq!(values(&providers, "NonPagedMemory"), ["true", "true"]);
    let keywords = values(&all(&profile, "Keyword"), "Value");
    assert_eq!(keywords, [format!("{ALL:#x}"), format!("{ALL:#x}")]);
    // What is named is there.
    for (named, tag) in [
        ("EventProviderId", "EventProvider"),
        ("EventCollectorId", "EventCollector"),
    ] {
        let there = values(&all(&profile, tag), "Id");
        assert!(
            values(&all(&profile, named), "Value")
                .iter()
                .all(|id| there.contains(id))
        );
    }
    for profile in all(&profile, "Profile") {
        let of = |name| profile.attribute(name).unwrap();
        assert_eq!(
            of("Id"),
            format!("{}.{}.{}", of("Name"), of("DetailLevel"), of("LoggingMode"))
        );
    }
}

#[test]
fn the_session_at_start_asks_for_this_provider() {
    let text = text("autologger.reg");
    assert!(
        text.contains(&format!("\\Autologger\\wskguard\\{{{}}}]", provider())),
        "{text}"
    );
    assert!(text.contains(&format!("\"EnableLevel\"=dword:{:08x}", Level::Warning as u8)));
    let bytes: Vec<_> = ALL.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&format!("\"MatchAnyKeyword\"=hex(b):{}", bytes.join(","))));
}

#[test]
fn the_subscription_and_its_query_are_xml() {
    let text = text("wef-subscription.xml");
    let subscription = Document::parse(&text).unwrap();
    let query = subscription.descendants().find(|node| {
        node.has_tag_name((
            "http://schemas.microsoft.com/2006/03/windows/events/subscription",
            "Query",
        ))
    });
    let query = query.unwrap().text().unwrap();
    let query = Document::parse(query.trim()).unwrap();
    assert_eq!(all(&query, "Select").len(), 2);
}
