//! Binds, what a new endpoint is given, and whose life is recorded.

use wskguard_core::Mode;
use wskguard_core::decide::{BindOutcome, BindVerdict, Done};
use wskguard_core::policy::{AddressClass, BindInput, RuleRef, Sharing};
use wskguard_core::semantics::Flag;
use wskguard_core::status::{Reason, Refusal, nt, wsa};

use super::*;

const RULES: &str = "[[rule]]\nname = 'no-sharing'\nrequest = 'bind'\nport = '1..=1023'\nsharing = 'reuse'\naction = 'deny'\nstatus = 'STATUS_SHARING_VIOLATION'\n\
    [[rule]]\nname = 'alone'\nrequest = 'bind'\nport = '1..'\naddress = 'wildcard'\naction = 'exclusive'";

fn asks(port: u16, address: AddressClass, reuse: bool, exclusive: bool) -> BindInput {
    BindInput {
        port,
        address,
        sharing: Sharing { reuse, exclusive },
    }
}

fn decided(bytes: &[u8], bind: BindInput) -> BindVerdict {
    let image = Image::parse(bytes).unwrap();
    decide::bind(Some(&image), &subject(&OptionState::default()), bind)
}

fn told(verdict: &BindVerdict) -> (BindOutcome, Done, Option<RuleRef>, bool, bool) {
    (
        verdict.outcome,
        verdict.done,
        verdict.rule,
        verdict.enforced,
        verdict.record,
    )
}

#[test]
fn a_bind_is_forwarded_refused_or_made_exclusive() {
    let bytes = policy(RULES);
    let refusal = Refusal {
        status: nt::SHARING_VIOLATION,
        wsa: wsa::EADDRINUSE,
        reason: Reason::Policy,
    };
    let shared = decided(&bytes, asks(80, AddressClass::Specific, true, false));
    let denied = (BindOutcome::Refuse(refusal), Done::Denied, Some(RuleRef(0)), true, true);
    assert_eq!((told(&shared), shared.refusal), (denied, Some(refusal)));

    let wild = decided(&bytes, asks(80, AddressClass::Wildcard, false, false));
    let made = (
        BindOutcome::Exclusive,
        Done::MadeExclusive,
        Some(RuleRef(1)),
        true,
        true,
    );
    assert_eq!((told(&wild), wild.refusal), (made, None));

    // It is exclusive already: nothing to do, and the rule still gets its hit.
    let already = decided(&bytes, asks(80, AddressClass::Wildcard, false, true));
    assert_eq!((already.outcome, already.done), (BindOutcome::Forward, Done::Forwarded));
    assert_eq!(already.rule, Some(RuleRef(1)));

    let ephemeral = decided(&bytes, asks(0, AddressClass::Wildcard, true, false));
    let untouched = (
        BindOutcome::Forward,
        Done::Forwarded,
        Some(RuleRef::DEFAULT),
        true,
        false,
    );
    assert_eq!((told(&ephemeral), ephemeral.refusal), (untouched, None));
}

#[test]
fn audited_only_a_bind_goes_down_and_is_told() {
    let bytes = policy(&format!("mode = 'audit'\nsemantics = 'strict'\n{RULES}"));
    let shared = decided(&bytes, asks(80, AddressClass::Specific, true, false));
    let forwarded = (BindOutcome::Forward, Done::Forwarded, Some(RuleRef(0)), false, true);
    assert_eq!(told(&shared), forwarded);
    assert_eq!(
        shared.refusal.map(|r| (r.status, r.reason)),
        Some((nt::SHARING_VIOLATION, Reason::Policy))
    );
    assert_eq!(shared.mode, Mode::Audit);
    let wild = decided(&bytes, asks(80, AddressClass::Wildcard, false, false));
    assert_eq!(
        (wild.outcome, wild.enforced, wild.refusal),
        (BindOutcome::Forward, false, None)
    );
}

#[test]
fn the_default_and_no_policy() {
    let any = asks(80, AddressClass::Loopback, false, false);
    let deny = decided(&policy("default = 'deny'"), any);
    assert_eq!(deny.refusal.map(|r| r.status), Some(nt::ACCESS_DENIED));
    assert_eq!((deny.done, deny.rule), (Done::Denied, Some(RuleRef::DEFAULT)));

    let state = OptionState::default();
    let none = decide::bind(None, &subject(&state), any);
    assert_eq!(told(&none), (BindOutcome::Forward, Done::Forwarded, None, true, false));
    let verbose = self::state(&[Op::Flag(Flag::Debug, true)]);
    assert!(decide::bind(None, &subject(&verbose), any).record);
    assert!(decided(&policy("audit = 'all'"), any).record);
    assert!(!decided(&policy("audit = 'marked'\ndefault = 'deny'"), any).record);
}

#[test]
fn rules_about_options_say_nothing_about_binds() {
    let bytes = policy("[[rule]]\nname = 'r'\nrequest = ['set', 'get', 'ioctl']\naction = 'deny'");
    let verdict = decided(&bytes, asks(80, AddressClass::Specific, true, false));
    assert_eq!(verdict.rule, Some(RuleRef::DEFAULT));
}

#[test]
fn a_new_endpoint_is_given_all_that_match_in_order() {
    let initial = "[[initial]]\noption = 'SO_RCVBUF'\nvalue = 1000\n\
        [[initial]]\ncategory = 'listen'\noption = 'SO_EXCLUSIVEADDRUSE'\nvalue = 1\n\
        [[initial]]\ncategory = ['listen', 'connection']\nlevel = 6\noption = 1\nvalue = 1\n\
        [[initial]]\nclient = 'a.sys'\noption = 'SO_KEEPALIVE'\nvalue = 1";
    let given = |bytes: &[u8], category, client| {
        let facts = EndpointFacts { category, ..FACTS };
        let state = OptionState::default();
        let subject = Asker {
            facts: &facts,
            client: ClientKey::new(client, [0; 16]),
            ..subject(&state)
        };
        let mut all = Vec::new();
        decide::initial(&Image::parse(bytes).unwrap(), &subject, |option| {
            all.push((option.index, option.level, option.code, option.value));
        });
        all
    };
    let bytes = policy(initial);
    let buffer = (0, SOL_SOCKET, SO_RCVBUF, 1000);
    let exclusive = (1, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);
    let nodelay = (2, 6, 1, 1);
    let alive = (3, SOL_SOCKET, SO_KEEPALIVE, 1);
    assert_eq!(given(&bytes, Category::Listen, b"b.sys"), [buffer, exclusive, nodelay]);
    assert_eq!(given(&bytes, Category::Connection, b"a.sys"), [buffer, nodelay, alive]);
    assert_eq!(given(&bytes, Category::Datagram, b""), [buffer]);
    let audit = policy(&format!("mode = 'audit'\n{initial}"));
    assert_eq!(given(&audit, Category::Listen, b"a.sys"), []);
}

#[test]
fn whose_life_is_recorded() {
    let quiet = OptionState::default();
    let verbose = state(&[Op::Flag(Flag::Debug, true)]);
    let (changes, all) = (policy("audit = 'changes'"), policy("audit = 'all'"));
    let (changes, all) = (Image::parse(&changes).unwrap(), Image::parse(&all).unwrap());
    assert!(!decide::records_life(None, &quiet) && decide::records_life(None, &verbose));
    assert!(!decide::records_life(Some(&changes), &quiet) && decide::records_life(Some(&changes), &verbose));
    assert!(decide::records_life(Some(&all), &quiet));
}

#[test]
fn actions_have_stable_numbers_and_names() {
    for (index, (done, name)) in Done::ALL.into_iter().enumerate() {
        assert_eq!(done as usize, index);
        assert!(Done::ALL[..index].iter().all(|(_, other)| *other != name));
    }
}
