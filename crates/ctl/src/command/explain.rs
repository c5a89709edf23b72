//! `policy explain`: what a policy decides about a request that the command line describes.

use std::fs;

use wskguard_core::{
    Category, Family, RequestKind, SOL_SOCKET,
    catalogue::{self, Kind, Space},
    policy::{AddressClass, BindInput, ClientKey, ImageName, MatchInput, ProcessKey, Sharing},
};

use super::{Context, Ending, policy};
use crate::{
    cli::{AddressWord, CategoryWord, ExplainArgs, FamilyWord, RequestWord, SharingWord, number},
    exit::{Exit, Failure},
    host::Access,
};

/// Levels by name. Source: ws2def.h.
const LEVELS: [(&str, u32); 5] = [
    ("SOL_SOCKET", SOL_SOCKET),
    ("IPPROTO_IP", 0),
    ("IPPROTO_TCP", 6),
    ("IPPROTO_UDP", 17),
    ("IPPROTO_IPV6", 41),
];
/// Protocols by name. Source: ws2def.h.
const PROTOCOLS: [(&str, u32); 4] = [("icmp", 1), ("tcp", 6), ("udp", 17), ("icmpv6", 58)];

pub(super) fn run(context: &mut Context<'_, '_>, args: &ExplainArgs) -> Ending {
    let target = Target::of(args)?;
    let client = ImageName::from_str(args.client.as_deref().unwrap_or_default());
    let process = process(args)?;
    let mut input = MatchInput::new(target.request, target.level, target.code, category(args.category));
    input.client = ClientKey::new(client.as_bytes(), [0; 16]);
    input.process = process
        .as_ref()
        .map(|(pid, image)| ProcessKey::new(*pid, image.as_bytes()));
    input.family = match args.family {
        FamilyWord::Inet => Family::INET,
        FamilyWord::Inet6 => Family::INET6,
    };
    input.protocol = protocol(args)?;
    (input.old_value, input.new_value) = (target.value(args.old), target.value(args.new));
    input.bind = BindInput {
        port: args.port,
        address: address(args.address),
        sharing: sharing(args.sharing),
    };

    let image = match &args.file {
        Some(file) if file.extension().is_some_and(|extension| extension == "img") => {
            fs::read(file).map_err(|error| Failure::file("read", file, &error))?
        }
        Some(file) => policy::compile(context, file)?.image,
        None => {
            let in_force = context.open(Access::Read)?.policy_in_force()?;
            policy::in_force(&in_force)?;
            in_force.image
        }
    };
    let explanation = wskguard_policy::explain(&policy::parse(&image)?, &input);
    if context.out.json {
        context.out.document(&explanation)?;
    } else {
        context.out.raw(explanation.render(args.all).as_bytes())?;
    }
    Ok(Exit::Ok)
}

/// What the request is for.
struct Target {
    request: RequestKind,
    level: u32,
    code: u32,
    boolean: bool,
}

impl Target {
    fn of(args: &ExplainArgs) -> Result<Self, Failure> {
        let request = match args.request {
            RequestWord::Set => RequestKind::Set,
            RequestWord::Get => RequestKind::Get,
            RequestWord::Ioctl => RequestKind::Ioctl,
            RequestWord::Bind => RequestKind::Bind,
        };
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let (level, code, boolean) = match (request, args.option.as_deref()) {
            (RequestKind::Bind, None) => (0, 0, false),
            (RequestKind::Bind, Some(_)) => {
                return Err(usage("a bind has no --option".into()).hint("see --sharing and --port"));
            }
            (_, None) => return Err(usage("--option is missing".into())),
            (_, Some(name)) => {
                let row = catalogue::by_name(name);
                let space = if request == RequestKind::Ioctl {
                    Space::Ioctl
                } else {
                    Space::Socket
                };
                match (
                    row.filter(|row| row.space == space),
                    number(name).and_then(|n| u32::try_from(n).ok()),
                ) {
                    (Some(row), _) => (
                        if space == Space::Socket { SOL_SOCKET } else { 0 },
                        row.code,
                        row.kind == Kind::Bool,
                    ),
                    (None, Some(code)) => (level(args)?, code, false),
                    (None, None) => {
                        return Err(usage(format!("no option or ioctl of that request is called {name:?}")));
                    }
                }
            }
        };
        Ok(Self {
            request,
            level,
            code,
            boolean,
        })
    }

    /// A boolean option is on whatever non-zero value turned it on.
    fn value(&self, value: Option<u64>) -> Option<u64> {
        value.map(|value| if self.boolean { u64::from(value != 0) } else { value })
    }
}

fn level(args: &ExplainArgs) -> Result<u32, Failure> {
    let Some(text) = &args.level else { return Ok(SOL_SOCKET) };
    named(&LEVELS, text).ok_or_else(|| Failure::new(Exit::Usage, format!("no level is called {text:?}")))
}

/// By default what a socket of the category has.
fn protocol(args: &ExplainArgs) -> Result<u32, Failure> {
    let default = if args.category == CategoryWord::Datagram {
        "udp"
    } else {
        "tcp"
    };
    let text = args.protocol.as_deref().unwrap_or(default);
    named(&PROTOCOLS, text).ok_or_else(|| Failure::new(Exit::Usage, format!("no protocol is called {text:?}")))
}

fn named(names: &[(&str, u32)], text: &str) -> Option<u32> {
    let found = names
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|&(_, number)| number);
    found.or_else(|| number(text).and_then(|number| u32::try_from(number).ok()))
}

/// Id and image of the owning process.
fn process(args: &ExplainArgs) -> Result<Option<(u64, ImageName)>, Failure> {
    let Some(text) = &args.process else { return Ok(None) };
    let (pid, image) = text.split_once(':').unwrap_or((text, ""));
    let pid = number(pid).ok_or_else(|| Failure::new(Exit::Usage, format!("{pid:?} is not a process id")))?;
    Ok(Some((pid, ImageName::from_str(image))))
}

const fn category(word: CategoryWord) -> Category {
    match word {
        CategoryWord::Basic => Category::Basic,
        CategoryWord::Listen => Category::Listen,
        CategoryWord::Connection => Category::Connection,
        CategoryWord::Datagram => Category::Datagram,
        CategoryWord::Stream => Category::Stream,
    }
}

const fn address(word: AddressWord) -> AddressClass {
    match word {
        AddressWord::Specific => AddressClass::Specific,
        AddressWord::Wildcard => AddressClass::Wildcard,
        AddressWord::Loopback => AddressClass::Loopback,
    }
}

const fn sharing(word: SharingWord) -> Sharing {
    Sharing {
        reuse: matches!(word, SharingWord::Reuse),
        exclusive: matches!(word, SharingWord::Exclusive),
    }
}
