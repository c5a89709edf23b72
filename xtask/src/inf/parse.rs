//! An INF file as sections of lines, with its strings filled in.

use std::collections::BTreeMap;

/// One line of a section: `key = value, value, …`, or values alone.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Counted from 1, as InfVerif does.
    pub(super) number: usize,
    pub(super) key: Option<String>,
    pub(super) values: Vec<String>,
}

impl Line {
    /// The value at `index`; empty if there is none.
    pub(super) fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", String::as_str)
    }

    /// Whether the line is `key = …`. INF files do not tell cases apart.
    pub(super) fn is(&self, key: &str) -> bool {
        self.key.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(key))
    }
}

/// A section. One name may head several parts of a file; they are one section.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) lines: Vec<Line>,
}

impl Section {
    /// The lines `key = …`.
    pub(super) fn lines_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.is(key))
    }

    /// The first value of the first line `key = …`.
    pub(super) fn value_of(&self, key: &str) -> Option<&str> {
        self.lines.iter().find(|line| line.is(key)).map(|line| line.value(0))
    }
}

/// A string token that [Strings] does not define: the line, and the name.
pub(super) type Undefined = (usize, String);

/// A parsed INF.
#[derive(Debug)]
pub(super) struct Inf {
    pub(super) sections: Vec<Section>,
    pub(super) undefined: Vec<Undefined>,
    /// Lines that are neither in a section nor begin one.
    pub(super) stray: Vec<usize>,
}

impl Inf {
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| section.name.eq_ignore_ascii_case(name))
    }

    pub(super) fn parse(text: &str) -> Self {
        let (mut sections, stray) = sections(text);
        let strings = strings(&sections);
        let mut undefined = Vec::new();
        for section in sections
            .iter_mut()
            .filter(|section| !section.name.eq_ignore_ascii_case("Strings"))
        {
            for line in &mut section.lines {
                let number = line.number;
                for text in line.values.iter_mut().chain(&mut line.key) {
                    *text = fill_in(text, &strings, |name| undefined.push((number, name.to_owned())));
                }
            }
        }
        Self {
            sections,
            undefined,
            stray,
        }
    }
}

fn sections(text: &str) -> (Vec<Section>, Vec<usize>) {
    let mut sections: Vec<Section> = Vec::new();
    let (mut current, mut stray) = (None, Vec::new());
    for (number, line) in logical_lines(text) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let known = sections
                .iter()
                .position(|section| section.name.eq_ignore_ascii_case(name));
            current = Some(known.unwrap_or_else(|| {
                sections.push(Section {
                    name: name.to_owned(),
                    number,
                    lines: Vec::new(),
                });
                sections.len() - 1
            }));
        } else if let Some(section) = current.and_then(|index| sections.get_mut(index)) {
            section.lines.push(parse_line(number, &line));
        } else {
            stray.push(number);
        }
    }
    (sections, stray)
}

/// Lines without comments and with continuations joined, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line).trim();
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        if let Some(part) = line.strip_suffix('\\') {
            joined += part;
            open = Some((number, joined));
            continue;
        }
        joined += line;
        if !joined.is_empty() {
            lines.push((number, joined));
        }
    }
    lines.extend(open);
    lines
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let end = line.find(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    end.map_or(line, |end| &line[..end])
}

fn parse_line(number: usize, line: &str) -> Line {
    let (key, rest) = match split_outside_quotes(line, '=').as_slice() {
        [only] => (None, (*only).to_owned()),
        [key, ..] => (Some(unquoted(key)), line[key.len() + 1..].to_owned()),
        [] => (None, String::new()),
    };
    let values = split_outside_quotes(&rest, ',').into_iter().map(unquoted).collect();
    Line { number, key, values }
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// [Strings] and its translations, by name in lower case.
fn strings(sections: &[Section]) -> BTreeMap<String, String> {
    let lines = sections
        .iter()
        .filter(|section| {
            section
                .name
                .split('.')
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("Strings"))
        })
        .flat_map(|section| &section.lines);
    lines
        .filter_map(|line| Some((line.key.as_ref()?.to_lowercase(), line.values.join(","))))
        .collect()
}

/// `text` with its %tokens% filled in. A number is a folder's (DIRID) and stays; %% is a percent sign.
fn fill_in(text: &str, strings: &BTreeMap<String, String>, mut undefined: impl FnMut(&str)) -> String {
    let mut filled = String::new();
    let mut parts = text.split('%');
    filled += parts.next().unwrap_or_default();
    while let Some(token) = parts.next() {
        match strings.get(&token.to_lowercase()) {
            _ if token.is_empty() => filled.push('%'),
            _ if token.bytes().all(|byte| byte.is_ascii_digit()) => filled.extend(["%", token, "%"]),
            Some(string) => filled += string,
            None => undefined(token),
        }
        filled += parts.next().unwrap_or_default();
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_quotes_continuations_and_tokens_are_read() {
        let inf = Inf::parse(
            "[A] ; c\nKey = one, \"two ; three\", %t%\\x ; c\n%13%\\f.sys\nlong = a, \\\n b\n[Strings]\nt = \"text\"\n[a]\nlast = %no%\n",
        );
        let a = inf.section("a").unwrap();
        assert_eq!(a.lines[0].values, ["one", "two ; three", "text\\x"]);
        assert_eq!(a.lines[1].values, ["%13%\\f.sys"]);
        assert_eq!(
            (a.lines[2].number, a.lines[2].values.as_slice()),
            (4, ["a".to_owned(), "b".to_owned()].as_slice())
        );
        assert_eq!(a.value_of("LAST"), Some(""), "both parts of a section are one");
        assert_eq!(inf.undefined, [(9, "no".to_owned())]);
    }
}
