//! What holds of every policy, every request and every sequence of bytes.

mod common;

use common::parts::seal;
use common::{applies, config, matches, policy, request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use wskguard_core::policy::{Fallback, Image, InitialOption, MatchInput, RuleRef};
use wskguard_policy::{compile, decode, encode, explain, show};

fn rule_ref(index: usize) -> RuleRef {
    RuleRef(u32::try_from(index).unwrap())
}

/// The index of the first rule that matches, by looking at each alone.
fn first_by_mismatch(image: &Image<'_>, input: &MatchInput<'_>) -> RuleRef {
    let found = (0..image.rule_count()).find(|&index| image.mismatch(index, input).is_none());
    found.map_or(RuleRef::DEFAULT, rule_ref)
}

/// What holds of any image that was accepted.
fn holds_of_accepted(image: &Image<'_>, input: &MatchInput<'_>) -> Result<(), TestCaseError> {
    let decision = image.evaluate(input);
    prop_assert_eq!(decision.rule, first_by_mismatch(image, input));
    let interest = image.interest(input.request, input.level, input.code, input.category);
    if !interest.decide {
        prop_assert_eq!(decision.rule, RuleRef::DEFAULT);
        prop_assert!(!decision.action.is_final() && !decision.records(false));
    }
    if decision.verbose || decision.action.is_substitution() {
        prop_assert!(interest.complete);
    }
    prop_assert!(decision.rule.counter(image.rule_count()) <= image.rule_count());
    let _ = decision.action.apply(input.new_value);
    prop_assert!(image.initial_options(input).count() <= 64);
    Ok(())
}

proptest! {
    #![proptest_config(config(1000))]

    /// The evaluator, with its index, decides as the rules read one by one would.
    #[test]
    fn evaluation_is_the_first_match(policy in policy(), requests in vec(request(), 1..20)) {
        let (bytes, hash) = encode(&policy).unwrap();
        let image = Image::parse(&bytes).unwrap();
        prop_assert_eq!(image.hash(), hash);
        for input in &requests {
            let expected = policy.rules.iter().position(|rule| matches(rule, input));
            let decision = image.evaluate(input);
            prop_assert_eq!(decision.rule, expected.map_or(RuleRef::DEFAULT, rule_ref));
            prop_assert_eq!(decision.verbose, expected.is_some_and(|index| policy.rules[index].audit));
            if expected.is_none() {
                prop_assert_eq!(decision.action.is_final(), policy.settings.fallback == Fallback::Deny);
            }
            holds_of_accepted(&image, input)?;
            let initial: Vec<_> = image.initial_options(input).map(|InitialOption { index, .. }| index).collect();
            let naive: Vec<_> = (0..policy.initial.len()).filter(|&i| applies(&policy.initial[i], input)).collect();
            prop_assert_eq!(initial, naive);
            let explained = explain(&image, input);
            prop_assert_eq!(explained.rule.map(|rule| rule as usize), expected);
            prop_assert_eq!(explained.passed.len(), expected.unwrap_or(policy.rules.len()));
        }
    }

    /// Model to image to model, and image to text to image, lose nothing.
    #[test]
    fn there_and_back(policy in policy()) {
        let (bytes, _) = encode(&policy).unwrap();
        let image = Image::parse(&bytes).unwrap();
        prop_assert_eq!(&decode(&image), &policy);
        let text = show(&image);
        let compiled = compile("shown", &text);
        prop_assert!(compiled.is_ok(), "{}\n{}", compiled.unwrap_err(), text);
        let compiled = compiled.unwrap();
        prop_assert!(compiled.image == bytes, "{}", text);
    }

    /// Whatever is done to an image: it is refused, or it is an image, with all that holds of one. The hash is made right, so the
    /// structure alone must stand.
    #[test]
    fn altered_images(policy in policy(), edits in vec((any::<Index>(), any::<u8>(), 0..4u8), 1..6), input in request()) {
        let (mut bytes, _) = encode(&policy).unwrap();
        for (place, byte, what) in edits {
            let place = place.index(bytes.len());
            match what {
                0 => bytes[place] = byte,
                1 => bytes[place] ^= 1 << (byte % 8),
                2 => bytes.truncate(place.max(bytes.len().saturating_sub(usize::from(byte)))),
                _ => bytes.insert(place, byte),
            }
            if bytes.is_empty() { return Ok(()); }
        }
        seal(&mut bytes);
        if let Ok(image) = Image::parse(&bytes) {
            holds_of_accepted(&image, &input)?;
            let _ = (show(&image), explain(&image, &input).render(true));
        }
    }

    /// Without the right hash, no change gets through.
    #[test]
    fn the_hash_covers_everything(policy in policy(), place in any::<Index>(), bit in 0..8u8) {
        let (mut bytes, _) = encode(&policy).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(Image::parse(&bytes).is_err());
    }

    #[test]
    fn any_bytes(mut bytes in vec(any::<u8>(), 0..400), input in request()) {
        prop_assert!(Image::parse(&bytes).is_err());
        if bytes.len() >= 24 {
            bytes[..12].copy_from_slice(b"WSKGPOL\0\x01\0\0\0");
            seal(&mut bytes);
            if let Ok(image) = Image::parse(&bytes) {
                holds_of_accepted(&image, &input)?;
            }
        }
    }

    /// The compiler answers any text, and what it answers can be printed.
    #[test]
    fn any_text(text in any::<String>()) {
        if let Err(diagnostics) = compile("text", &text) {
            prop_assert!(diagnostics.has_errors());
            let _ = (diagnostics.to_string(), diagnostics.render(true), diagnostics.short());
        }
    }

    /// The same for text that is nearly a policy.
    #[test]
    fn altered_text(policy in policy(), edits in vec((any::<Index>(), any::<char>(), any::<bool>()), 1..4)) {
        let (bytes, _) = encode(&policy).unwrap();
        let mut text: Vec<char> = show(&Image::parse(&bytes).unwrap()).chars().collect();
        for (place, c, replace) in edits {
            let place = place.index(text.len());
            if replace { text[place] = c } else { text.remove(place); }
        }
        match compile("text", &text.into_iter().collect::<String>()) {
            Ok(compiled) => prop_assert!(Image::parse(&compiled.image).is_ok()),
            Err(diagnostics) => prop_assert!(!diagnostics.render(true).is_empty()),
        }
    }
}
