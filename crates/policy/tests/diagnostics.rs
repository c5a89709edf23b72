//! What the compiler says, and where: each text has one fault, marked by what the diagnostic must point at.

use wskguard_policy::{Severity, compile};

/// A rule that is right, to be spoilt.
const HEAD: &str = "schema = 1\nname = \"x\"\n";
const SET: &str = "[[rule]]\nname = \"r\"\nrequest = \"set\"\n";

/// (text, token, message, label and help together)
#[rustfmt::skip]
const ERRORS: &[(&str, &str, &str, &str)] = &[
    // The head.
    ("schema = 2\nname = \"x\"", "2", "unknown schema", "`schema = 1`"),
    ("name = \"x\"", "", "`schema` is missing", "expected `schema = 1`"),
    ("schema = 1", "", "a policy needs `name`", "a string"),
    ("schema = 1\nname = \"\"", "\"\"", "`name` is empty", ""),
    ("schema = 1\nname = x", "x", "this is not TOML", ""),
    ("schema = 1\nname = \"x\"\nname = \"y\"", "name", "this is not TOML", ""),
    ("HEAD mod = 1", "mod", "a policy has no key `mod`", "did you mean `mode`?"),
    ("HEAD zzz = 1", "zzz", "a policy has no key `zzz`", "`schema`, `name`"),
    ("HEAD mode = \"enforced\"", "\"enforced\"", "unknown word `enforced`", "did you mean `enforce`?"),
    ("HEAD mode = true", "true", "unexpected boolean", "`enforce` or `audit`"),
    ("HEAD semantics = \"lax\"", "\"lax\"", "unknown word `lax`", "`off`, `audit`, `compat` or `strict`"),
    ("HEAD linger-max = -1", "-1", "values are unsigned", "4294967295"),
    ("HEAD keepalive-failure = [\"STATUS_SUCCESS\"]", "\"STATUS_SUCCESS\"", "not an error status", "0xC0000000"),
    ("HEAD rule = 1", "1", "unexpected integer", "`[[rule]]`"),
    ("HEAD [rule]\nname = \"r\"", "[rule]", "unexpected table", "`[[rule]]`"),
    // Rules.
    ("HEAD [[rule]]\nrequest = \"set\"\naction = \"allow\"", "[[rule]]", "a rule needs `name`", ""),
    ("HEAD [[rule]]\nname = \"r\"\naction = \"allow\"", "[[rule]]", "a rule needs `request`", "`set`, `get`, `ioctl` or `bind`"),
    ("HEAD SET", "[[rule]]", "a rule needs `action`", "`deny`"),
    ("HEAD SET optoin = 1\naction = \"deny\"", "optoin", "a rule has no key `optoin`", "did you mean `option`?"),
    ("HEAD SET action = \"dney\"", "\"dney\"", "unknown word `dney`", "did you mean `deny`?"),
    ("HEAD SET action = \"deny\"\nSET action = \"allow\"", "2:\"r\"", "two rules are named `r`", "another name"),
    // Options.
    ("HEAD SET option = \"SO_REUSEADR\"\naction = \"deny\"", "\"SO_REUSEADR\"", "unknown option", "did you mean `SO_REUSEADDR`?"),
    ("HEAD SET option = \"SIO_WSK_REGISTER_EXTENSION\"\naction = \"deny\"", "\"SIO_WSK_REGISTER_EXTENSION\"", "unknown option", ""),
    ("HEAD SET option = 4\naction = \"deny\"", "4", "an option number needs a `level`", "SOL_SOCKET"),
    ("HEAD SET option = true\naction = \"deny\"", "true", "unexpected boolean", "an option name"),
    ("HEAD SET option = 4294967296\nlevel = 6\naction = \"deny\"", "4294967296", "unexpected integer", "an option name"),
    ("HEAD SET option = \"SO_LINGER\"\nlevel = \"IPPROTO_TCP\"\naction = \"deny\"", "\"IPPROTO_TCP\"", "another level", "SOL_SOCKET"),
    ("HEAD SET level = \"SOL_SOCKETS\"\naction = \"deny\"", "\"SOL_SOCKETS\"", "unknown level", "did you mean `SOL_SOCKET`?"),
    // Keys of other requests.
    ("HEAD SET option = \"SO_REUSEADDR\"\nport = 80\naction = \"deny\"", "port", "a `set` rule has no `port`", "`request = \"bind\"`, with `sharing"),
    ("HEAD SET sharing = \"reuse\"\naction = \"deny\"", "sharing", "a `set` rule has no `sharing`", "`bind`"),
    ("HEAD SET code = 1\naction = \"deny\"", "code", "a `set` rule has no `code`", "`option`"),
    ("HEAD BIND option = \"SO_REUSEADDR\"\naction = \"deny\"", "option", "a `bind` rule has no `option`", "`sharing`"),
    ("HEAD GET new = 1\naction = \"deny\"", "new", "a `get` rule has no `new`", "`old`"),
    ("HEAD IOCTL option = 1\nlevel = 2\naction = \"deny\"", "option", "an `ioctl` rule has no `option`", "`code`"),
    // Values.
    ("HEAD SET new = -1\naction = \"deny\"", "-1", "values are unsigned", "4294967295"),
    ("HEAD SET new = \"5..=1\"\naction = \"deny\"", "\"5..=1\"", "`5..=1` is not a range", "empty"),
    ("HEAD SET new = \"1..5\"\naction = \"deny\"", "\"1..5\"", "`1..5` is not a range", "`..=`"),
    ("HEAD SET new = \"many\"\naction = \"deny\"", "\"many\"", "`many` is not a range", "a number or a range"),
    ("HEAD SET new = []\naction = \"deny\"", "[]", "an empty list", "leave the key out"),
    ("HEAD SET new = [1, 2.5]\naction = \"deny\"", "2.5", "unexpected float", "a number"),
    ("HEAD SET option = \"SO_WSK_SECURITY\"\nnew = 1\naction = \"deny\"", "new", "the value of SO_WSK_SECURITY is not a number", ""),
    ("HEAD BIND port = 65536\naction = \"deny\"", "65536", "the number is too large", "65535"),
    ("HEAD BIND port = \"ephemral\"\naction = \"deny\"", "\"ephemral\"", "unknown word", "did you mean `ephemeral`?"),
    ("HEAD SET family = \"inet4\"\naction = \"deny\"", "\"inet4\"", "unknown word", "did you mean `inet`?"),
    ("HEAD SET category = [\"listen\", \"strem\"]\naction = \"deny\"", "\"strem\"", "unknown word `strem`", "did you mean `stream`?"),
    // Clients and processes.
    ("HEAD SET client = 'C:\\a.sys'\naction = \"deny\"", "'C:\\a.sys'", "a path", "file name"),
    ("HEAD SET client = \"\"\naction = \"deny\"", "\"\"", "not a file name", ""),
    ("HEAD SET client = \"{1}\"\naction = \"deny\"", "\"{1}\"", "not a module id", "GUID"),
    ("HEAD SET client = 4\naction = \"deny\"", "4", "unexpected integer", "file name of a driver"),
    ("HEAD SET process = -4\naction = \"deny\"", "-4", "unexpected integer", "a process id"),
    // Actions.
    ("HEAD SET action = \"deny\"\nstatus = \"STATUS_ACCES_DENIED\"", "\"STATUS_ACCES_DENIED\"", "unknown error status", "did you mean `STATUS_ACCESS_DENIED`?"),
    ("HEAD SET action = \"deny\"\nstatus = \"WSAEACCES\"", "\"WSAEACCES\"", "is a Winsock error", "NTSTATUS"),
    ("HEAD SET action = \"deny\"\nstatus = 0", "0", "not an error status", "succeed"),
    ("HEAD SET action = \"allow\"\nstatus = 1", "status", "`allow` takes no `status`", "`deny`"),
    ("HEAD SET action = \"rewrite\"\nvalue = 1\nmap = { \"0\" = 1 }", "value", "`rewrite` takes no `value`", "`action = \"force\"`"),
    ("HEAD SET action = \"clamp\"", "\"clamp\"", "`clamp` needs `min`, `max` or both", ""),
    ("HEAD SET action = \"clamp\"\nmin = 2\nmax = 1", "2", "`min` is above `max`", "at most 1"),
    ("HEAD SET action = \"force\"", "[[rule]]", "a rule needs `value`", "`force`"),
    ("HEAD SET action = \"force\"\nvalue = 4294967296", "4294967296", "unexpected integer", "0 to 4294967295"),
    ("HEAD SET action = \"rewrite\"", "[[rule]]", "a rule needs `map`", ""),
    ("HEAD SET action = \"rewrite\"\nmap = {}", "{}", "the map is empty", ""),
    ("HEAD SET action = \"rewrite\"\nmap = { x = 1 }", "x", "`x` is not a range", ""),
    ("HEAD SET action = \"rewrite\"\nmap = { \">1\" = 1, \"5\" = 2 }", "\"5\"", "two answers for one value", "overlaps"),
    ("HEAD BIND action = \"clamp\"\nmax = 1", "\"clamp\"", "a `bind` rule cannot `clamp`", "`set` or `get`"),
    ("HEAD GET action = \"succeed\"", "\"succeed\"", "a `get` rule cannot `succeed`", "`action = \"force\"`"),
    ("HEAD SET action = \"exclusive\"", "\"exclusive\"", "a `set` rule cannot `exclusive`", "`bind`"),
    ("HEAD SET action = \"deny\"\naudit = 1", "1", "unexpected integer", "`true` or `false`"),
    // Initial options.
    ("HEAD [[initial]]\nvalue = 1", "[[initial]]", "an initial option needs `option`", ""),
    ("HEAD [[initial]]\noption = \"SO_KEEPALIVE\"", "[[initial]]", "an initial option needs `value`", ""),
    ("HEAD [[initial]]\noption = \"SO_KEEPALIVE\"\nvalue = 1\nport = 1", "port", "an initial option has no key `port`", ""),
    ("HEAD [[initial]]\noption = \"SO_WSK_SECURITY\"\nvalue = 1", "value", "the value of SO_WSK_SECURITY is not a number", ""),
    ("HEAD [[initial]]\nlevel = 6\nvalue = 1", "[[initial]]", "an initial option needs `option`", ""),
];

#[rustfmt::skip]
const WARNINGS: &[(&str, &str, &str, &str)] = &[
    ("HEAD SET action = \"allow\"\n[[rule]]\nname = \"s\"\nrequest = \"set\"\noption = \"SO_KEEPALIVE\"\naction = \"deny\"", "\"s\"", "`s` never decides", "by `r`"),
    ("HEAD SET option = \"SO_KEEPALIVE\"\nnew = 2\naction = \"deny\"", "2", "SO_KEEPALIVE is a boolean", "never matches"),
    ("HEAD SET option = \"SO_KEEPALIVE\"\naction = \"force\"\nvalue = 2", "2", "SO_KEEPALIVE is a boolean", "`0` or `1`"),
    ("HEAD SET option = 1\nlevel = \"IPPROTO_TCP\"\nnew = 1\naction = \"deny\"", "new", "`new` has no effect here", "SOL_SOCKET"),
    ("HEAD SET level = \"IPPROTO_TCP\"\naction = \"clamp\"\nmax = 1", "max", "`max` has no effect here", "SOL_SOCKET"),
    ("HEAD SET option = \"SO_MAX_MSG_SIZE\"\nold = 1\naction = \"deny\"", "old", "`old` has no effect here", "no record"),
    ("HEAD SET option = \"SO_TYPE\"\naction = \"force\"\nvalue = 2", "\"force\"", "SO_TYPE cannot be set", ""),
];

fn expand(text: &str) -> String {
    let other = |request: &str| SET.replace("\"set\"", request);
    text.replace("HEAD ", HEAD)
        .replace("HEAD", HEAD)
        .replace("BIND ", &other("\"bind\""))
        .replace("IOCTL ", &other("\"ioctl\""))
        .replace("GET ", &other("\"get\""))
        .replace("SET ", SET)
        .replace("SET", SET)
}

/// Where `token` stands as a value or key of its own; `2:` asks for the second such place.
fn place(text: &str, token: &str) -> Option<usize> {
    let (nth, token) = token.strip_prefix("2:").map_or((0, token), |token| (1, token));
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
    let quoted = !word(token.chars().next());
    let alone = |&(start, _): &(usize, &str)| {
        quoted || (!word(text[..start].chars().next_back()) && !word(text[start + token.len()..].chars().next()))
    };
    text.match_indices(token).filter(alone).map(|(start, _)| start).nth(nth)
}

fn check(cases: &[(&str, &str, &str, &str)], severity: Severity) {
    let mut wrong = Vec::new();
    for (template, token, message, rest) in cases {
        let text = expand(template);
        let diagnostics = match compile("policy.toml", &text) {
            Ok(compiled) => compiled.warnings,
            Err(diagnostics) => diagnostics,
        };
        let found = diagnostics.list().iter().any(|diagnostic| {
            let said = format!("{} {}", diagnostic.label, diagnostic.help.as_deref().unwrap_or(""));
            let length = token.trim_start_matches("2:").len();
            // Of several places where the token stands, the one that is pointed at.
            let points = token.is_empty()
                || (text.get(diagnostic.span.start..diagnostic.span.start + length)
                    == Some(token.trim_start_matches("2:"))
                    && (!token.starts_with("2:") || place(&text, token) == Some(diagnostic.span.start)));
            diagnostic.severity == severity && diagnostic.message.contains(message) && said.contains(rest) && points
        });
        if !found {
            wrong.push(format!(
                "{text}\nexpected at {token}: {message} … {rest}\ngot:\n{diagnostics}\n"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n----\n"));
}

#[test]
fn errors() {
    check(ERRORS, Severity::Error);
}

#[test]
fn warnings() {
    check(WARNINGS, Severity::Warning);
}

#[test]
fn one_run_reports_everything_in_the_order_of_the_text() {
    let text = "schema = 1\nname = \"x\"\nmod = 1\n\n[[rule]]\nname = \"a\"\nrequest = \"sat\"\noption = \"SO_LINGR\"\naction = \"deny\"\n";
    let diagnostics = compile("bad.toml", text).unwrap_err();
    assert_eq!(
        diagnostics.short(),
        "\
bad.toml:3:1: error: a policy has no key `mod`
bad.toml:7:11: error: unknown word `sat`
bad.toml:8:10: error: unknown option `SO_LINGR`
"
    );
}

#[test]
fn rendering() {
    let text = expand("HEAD SET option = \"SO_REUSEADDR\"\nport = 80\naction = \"deny\"\n");
    let diagnostics = compile("bad.toml", &text).unwrap_err();
    assert_eq!(
        diagnostics.to_string(),
        "\
error: a `set` rule has no `port`
 --> bad.toml:7:1
  |
5 | request = \"set\"
  |           ----- because of this
6 | option = \"SO_REUSEADDR\"
7 | port = 80
  | ^^^^ belongs to `bind` rules
  |
  = help: options are set before the bind, when no address is known: use `request = \"bind\"`, with `sharing = \"reuse\"` for SO_REUSEADDR"
    );
    assert!(diagnostics.render(true).contains('\u{1b}'));
}
