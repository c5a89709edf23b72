//! How the provider answers: as a test says for the next calls of a function, or by itself.
//!
//! Requests that the script holds are kept here, and go on when a test releases them, when they are cancelled, or when their socket
//! is closed.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use probe_protocol::netio::{Action, RuleFlags};
use probe_protocol::probe::Function;

use crate::engine;
use crate::provider::request::Request;
use crate::provider::socket::{Socket, Task};
use crate::status::{NTSTATUS, STATUS_CANCELLED};
use crate::sync::{self, Mutex};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    /// Answered before the call returns, where the host can.
    pub(crate) inline: bool,
    /// Completed with this status and not performed.
    pub(crate) fail: Option<NTSTATUS>,
    /// Returned, with the IRP left alone.
    pub(crate) refuse: Option<NTSTATUS>,
    hold_start: bool,
    hold_completion: bool,
    delay: Option<u32>,
    deaf: bool,
}

/// A completion that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hold {
    Released,
    For(u32),
}

/// One line of the script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) function: Function,
    pub(crate) skip: u32,
    pub(crate) count: u32,
    pub(crate) action: Action,
    pub(crate) status: NTSTATUS,
    pub(crate) milliseconds: u32,
    pub(crate) flags: RuleFlags,
}

enum Stage {
    Start(Arc<Socket>),
    Completion {
        status: NTSTATUS,
        information: usize,
        due: Option<u64>,
    },
}

struct Held {
    request: Request,
    /// Address of the socket it belongs to.
    socket: usize,
    stage: Stage,
}

static RULES: Mutex<Vec<Rule>> = Mutex::new(Vec::new());
/// Looked at before the lock is taken: most of the time there is no script.
static RULE_COUNT: AtomicUsize = AtomicUsize::new(0);
static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

pub(crate) fn add(rule: Rule) {
    let mut rules = RULES.lock();
    rules.push(rule);
    RULE_COUNT.store(rules.len(), Ordering::Release);
}

pub(crate) fn clear() {
    let mut rules = RULES.lock();
    rules.clear();
    RULE_COUNT.store(0, Ordering::Release);
}

/// What the script says about this call of `function`.
pub(crate) fn plan(function: Function) -> Plan {
    if RULE_COUNT.load(Ordering::Acquire) == 0 {
        return Plan::default();
    }
    let mut rules = RULES.lock();
    let Some(index) = rules.iter().position(|rule| rule.function == function) else {
        return Plan::default();
    };
    let Some(rule) = rules.get_mut(index) else {
        return Plan::default();
    };
    if rule.skip > 0 {
        rule.skip -= 1;
        return Plan::default();
    }
    let plan = rule.plan();
    rule.count = rule.count.saturating_sub(1);
    if rule.count == 0 {
        rules.remove(index);
        RULE_COUNT.store(rules.len(), Ordering::Release);
    }
    plan
}

impl Rule {
    fn plan(&self) -> Plan {
        let inline = self.flags.has(RuleFlags::INLINE);
        let deaf = self.flags.has(RuleFlags::DEAF);
        let plan = Plan {
            inline,
            deaf,
            ..Plan::default()
        };
        match self.action {
            Action::Perform => plan,
            Action::HoldStart => Plan {
                hold_start: true,
                ..plan
            },
            Action::HoldCompletion => Plan {
                hold_completion: true,
                ..plan
            },
            Action::Delay => Plan {
                delay: Some(self.milliseconds),
                ..plan
            },
            Action::Fail => Plan {
                fail: Some(self.status),
                ..plan
            },
            Action::Refuse => Plan {
                refuse: Some(self.status),
                ..plan
            },
        }
    }
}

/// Whether the completion of a request has to wait; asked once for each.
pub(crate) fn hold_completion(plan: &mut Plan) -> Option<Hold> {
    if core::mem::take(&mut plan.hold_completion) {
        return Some(Hold::Released);
    }
    plan.delay.take().map(Hold::For)
}

/// Keeps a request that was to start, if the script says so; else hands it back.
pub(crate) fn hold_start(socket: &Arc<Socket>, mut request: Request) -> Option<Request> {
    if !core::mem::take(&mut request.plan.hold_start) {
        return Some(request);
    }
    let held = Held {
        request,
        socket: Arc::as_ptr(socket).addr(),
        stage: Stage::Start(Arc::clone(socket)),
    };
    HELD.lock().push(held);
    None
}

/// Keeps a finished request until it is due.
pub(crate) fn completed(hold: Hold, request: Request, status: NTSTATUS, information: usize) {
    let due = match hold {
        Hold::Released => None,
        Hold::For(milliseconds) => Some(sync::now().saturating_add(milliseconds.into())),
    };
    let socket = request.socket_address();
    HELD.lock().push(Held {
        request,
        socket,
        stage: Stage::Completion {
            status,
            information,
            due,
        },
    });
    if due.is_some() {
        engine::wake_clock();
    }
}

fn take(wanted: impl Fn(&Held) -> bool) -> Vec<Held> {
    let mut held = HELD.lock();
    let mut taken = Vec::new();
    let mut index = 0;
    while let Some(candidate) = held.get(index) {
        if wanted(candidate) {
            taken.push(held.remove(index));
        } else {
            index += 1;
        }
    }
    taken
}

impl Held {
    fn go_on(self) {
        match self.stage {
            Stage::Start(socket) => socket.post(Task::Request(self.request)),
            Stage::Completion {
                status, information, ..
            } => self.request.complete_now(status, information),
        }
    }

    fn due(&self) -> Option<u64> {
        match self.stage {
            Stage::Completion { due, .. } => due,
            Stage::Start(_) => None,
        }
    }
}

/// Lets what is held go on: of one function, or all.
pub(crate) fn release(function: Option<Function>) -> usize {
    let taken = take(|held| function.is_none_or(|function| held.request.function == function));
    let count = taken.len();
    for held in taken {
        engine::run(alloc::boxed::Box::new(move || held.go_on()));
    }
    count
}

/// Requests held at present.
pub(crate) fn held() -> usize {
    HELD.lock().len()
}

/// `IoCancelIrp` of a request that may be held: one that has not started ends, unless it is deaf.
pub(crate) fn cancel(id: u64) {
    let wanted =
        |held: &Held| held.request.id == id && !held.request.plan.deaf && matches!(held.stage, Stage::Start(_));
    for held in take(wanted) {
        held.request.complete_now(STATUS_CANCELLED, 0);
    }
}

/// The socket is being closed: nothing of it stays held.
pub(crate) fn closing(socket: &Arc<Socket>) {
    let address = Arc::as_ptr(socket).addr();
    for held in take(|held| held.socket == address) {
        match held.stage {
            Stage::Start(_) => held.request.complete_now(STATUS_CANCELLED, 0),
            Stage::Completion {
                status, information, ..
            } => held.request.complete_now(status, information),
        }
    }
}

/// Completes what is due, and says in how many milliseconds the next one will be.
pub(crate) fn tick() -> u32 {
    let now = sync::now();
    for held in take(|held| held.due().is_some_and(|due| due <= now)) {
        held.go_on();
    }
    let next = HELD.lock().iter().filter_map(Held::due).min();
    next.map_or(sync::FOREVER, |due| {
        u32::try_from(due.saturating_sub(now)).unwrap_or(sync::FOREVER - 1)
    })
}
