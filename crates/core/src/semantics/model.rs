//! Every interleaving of two requests on one endpoint. Run with `RUSTFLAGS="--cfg loom" cargo test -p wskguard-core --release --lib`.

use loom::sync::Arc;
use loom::thread;

use super::{Change, Flag, Op, SharedOptions};

/// Commits `op`; a refusal is as good.
fn commit(shared: &SharedOptions, op: Op) {
    let _ = shared.commit(Change::new(op, true));
}

fn race(
    first: impl Fn(&SharedOptions) + Send + 'static,
    second: impl Fn(&SharedOptions),
    check: impl Fn(&SharedOptions),
) {
    let shared = Arc::new(SharedOptions::default());
    let other = Arc::clone(&shared);
    let thread = thread::spawn(move || first(&other));
    second(&shared);
    thread.join().unwrap();
    check(&shared);
}

/// Both were decided on a state in which neither was on.
#[test]
fn exclusive_options_never_both() {
    loom::model(|| {
        let set = |flag| move |shared: &SharedOptions| commit(shared, Op::Flag(flag, true));
        race(set(Flag::ReuseAddr), set(Flag::ExclusiveAddrUse), |shared| {
            let state = shared.load();
            assert!(state.flag(Flag::ReuseAddr) ^ state.flag(Flag::ExclusiveAddrUse));
        });
    });
}

/// One request is refused by the provider and taken back while the other comes in.
#[test]
fn undo_never_breaks_the_exclusion() {
    loom::model(|| {
        race(
            |shared| {
                if let Ok(undo) = shared.commit(Change::new(Op::Flag(Flag::ReuseAddr, true), true)) {
                    shared.undo(undo);
                }
            },
            |shared| commit(shared, Op::Flag(Flag::ExclusiveAddrUse, true)),
            |shared| assert!(!shared.load().flag(Flag::ReuseAddr)),
        );
    });
}

/// The structure is never a mixture of two sets.
#[test]
fn linger_is_set_whole() {
    loom::model(|| {
        let linger = |onoff, seconds| move |shared: &SharedOptions| commit(shared, Op::Linger { onoff, seconds });
        race(linger(1, 5), linger(2, 9), |shared| {
            assert!(matches!(shared.load().linger(), (1, 5) | (2, 9)))
        });
        race(
            linger(1, 5),
            |shared| commit(shared, Op::DontLinger(true)),
            |shared| assert!(matches!(shared.load().linger(), (0 | 1, 5))),
        );
    });
}
