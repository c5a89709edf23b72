//! `--filter`: which audit records are wanted.

use std::str::FromStr;

use crate::audit::Record;

/// Help for the option.
pub const HELP: &str = "\
Only these records: KEY=VALUE[,VALUE...] or KEY!=VALUE[,VALUE...]; all given must hold.
Keys: kind, request, option, client (image or number), endpoint, process, category,
family, port, action, rule (name or index), status, reason, flag. Case does not matter.
For example: action=denied,clamped  option=SO_REUSEADDR  client!=probe.sys";

/// What a key stands for.
const KEYS: [&str; 14] = [
    "kind", "request", "option", "client", "endpoint", "process", "category", "family", "port", "action", "rule",
    "status", "reason", "flag",
];

/// One condition on a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    key: &'static str,
    values: Vec<String>,
    wanted: bool,
}

impl Filter {
    /// Whether `record` is wanted.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let found = fields(self.key, record);
        let any = found
            .iter()
            .any(|field| self.values.iter().any(|value| value.eq_ignore_ascii_case(field)));
        any == self.wanted
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, values) = text.split_once('=').ok_or("expected KEY=VALUE")?;
        let (name, wanted) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
        let key = KEYS.iter().copied().find(|known| *known == name);
        let key = key.ok_or_else(|| format!("no key {name:?}; there are {}", KEYS.join(", ")))?;
        Ok(Self {
            key,
            values: values.split(',').map(str::to_owned).collect(),
            wanted,
        })
    }
}

/// What a record has under a key.
fn fields(key: &str, record: &Record) -> Vec<String> {
    match key {
        "kind" => vec![record.kind.clone()],
        "request" => vec![record.request.clone()],
        "option" => vec![record.option.clone()],
        "client" => vec![record.image.clone(), record.client.to_string()],
        "endpoint" => record.endpoint.clone().into_iter().collect(),
        "process" => record.process.map(|id| id.to_string()).into_iter().collect(),
        "category" => vec![record.category.clone()],
        "family" => vec![record.family.clone()],
        "port" => vec![record.port.to_string()],
        "action" => vec![record.action.clone()],
        "rule" => record
            .rule
            .clone()
            .into_iter()
            .chain(record.rule_index.map(|index| index.to_string()))
            .collect(),
        "status" => vec![record.status.clone()],
        "reason" => vec![record.reason.clone()],
        "flag" => record.flags.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(filter: &str) -> bool {
        let record = Record {
            option: "SO_REUSEADDR".into(),
            image: "probe.sys".into(),
            client: 3,
            rule: Some("no-reuse".into()),
            rule_index: Some(0),
            flags: vec!["verbose".into(), "at-dispatch".into()],
            ..Record::default()
        };
        filter.parse::<Filter>().unwrap().matches(&record)
    }

    #[test]
    fn values_are_alternatives_and_case_does_not_matter() {
        assert!(holds("option=so_reuseaddr") && holds("option=SO_RCVBUF,SO_REUSEADDR") && !holds("option=SO_RCVBUF"));
        assert!(holds("client=probe.sys") && holds("client=3") && !holds("client=4"));
        assert!(holds("rule=no-reuse") && holds("rule=0") && holds("flag=at-dispatch"));
        assert!(!holds("client!=PROBE.SYS") && holds("client!=other.sys") && holds("endpoint!=0x1"));
    }

    #[test]
    fn every_key_is_known_and_others_are_not() {
        for key in KEYS {
            assert!(HELP.contains(key), "{key}");
            assert!(format!("{key}=x").parse::<Filter>().is_ok());
        }
        assert!(
            "colour=red"
                .parse::<Filter>()
                .unwrap_err()
                .contains("no key \"colour\"")
        );
        assert!("option".parse::<Filter>().is_err());
    }
}
