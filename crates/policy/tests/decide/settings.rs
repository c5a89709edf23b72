//! What a policy says beside its rules.

use wskguard_core::NtStatus;
use wskguard_core::status::nt;

use super::*;

#[test]
fn keep_alive_failures_are_those_listed() {
    let listed = policy("keepalive-failure = ['STATUS_IO_TIMEOUT', 'STATUS_CONNECTION_RESET']");
    let listed = Image::parse(&listed).unwrap();
    for (status, counts) in [
        (nt::IO_TIMEOUT, true),
        (nt::CONNECTION_RESET, true),
        (nt::CONNECTION_ABORTED, false),
        (NtStatus::SUCCESS, false),
        // One below, one above.
        (NtStatus(nt::IO_TIMEOUT.0 - 1), false),
        (NtStatus(nt::IO_TIMEOUT.0 + 1), false),
    ] {
        assert_eq!(listed.is_keepalive_failure(status), counts, "{status:?}");
    }
    let plain = policy("");
    let plain = Image::parse(&plain).unwrap();
    assert!(plain.is_keepalive_failure(nt::IO_TIMEOUT) && !plain.is_keepalive_failure(nt::CONNECTION_RESET));
    let none = policy("keepalive-failure = []");
    assert!(!Image::parse(&none).unwrap().is_keepalive_failure(nt::IO_TIMEOUT));
}

#[test]
fn names_and_descriptions_are_kept() {
    let bytes = policy(
        "description = 'of the whole'\n[[rule]]\nname = 'r'\ndescription = 'of the rule'\nrequest = 'get'\naction = 'allow'",
    );
    let image = Image::parse(&bytes).unwrap();
    assert_eq!((image.name(), image.description()), ("test", "of the whole"));
    let rule = image.rule(0).unwrap();
    assert_eq!((rule.name(), rule.description()), ("r", "of the rule"));
    assert!(image.rule(1).is_none());
}

#[test]
fn why_an_image_is_refused_is_said() {
    let mut bytes = policy("");
    let altered = bytes.len() - 1;
    bytes[altered] ^= 1;
    let error = Image::parse(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "hash mismatch: the image was altered");
    let short = Image::parse(&bytes[..8]).unwrap_err();
    assert_eq!(short.to_string(), "shorter than the header of an image");
    assert_eq!((error.code(), short.code()), ((6, 0), (1, 0)));
}
