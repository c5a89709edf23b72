//! All mutants of a file in one text, each behind a switch, so that they are compiled once.
//!
//! A mutant's text is what cargo-mutants would put there; it stands on lines of its own, so that a compiler's error says whose it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use syn::{
    Arm, Expr, ExprBinary, ExprMatch, ExprStruct, ExprUnary, Pat, Signature,
    spanned::Spanned,
    visit::{self, Visit},
};

/// As `cargo mutants --list --json` says it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Mutant {
    pub(super) name: String,
    pub(super) file: String,
    genre: String,
    replacement: String,
    span: Place,
}

#[derive(Clone, Debug, Deserialize)]
struct Place {
    start: Position,
    end: Position,
}

impl Mutant {
    /// `source` with nothing but this in it.
    pub(super) fn apply(&self, source: &str) -> Result<String> {
        let mut text = source.to_owned();
        text.replace_range(self.range(source)?, &self.replacement);
        Ok(text)
    }

    fn range(&self, source: &str) -> Result<Range<usize>> {
        let offset = |position: &Position| -> Option<usize> {
            let line: usize = source.split_inclusive('\n').take(position.line - 1).map(str::len).sum();
            let columns = source.get(line..)?.chars().take(position.column - 1);
            Some(line + columns.map(char::len_utf8).sum::<usize>())
        };
        let range = offset(&self.span.start).zip(offset(&self.span.end));
        let (start, end) = range.with_context(|| self.name.clone())?;
        Ok(start..end)
    }
}

/// Both count from one; columns are characters.
#[derive(Clone, Debug, Deserialize)]
struct Position {
    line: usize,
    column: usize,
}

/// Lines, and the mutants that an error there can be of.
pub(super) type Lines = Vec<(Range<usize>, Vec<usize>)>;

/// A file with its mutants in it.
pub(super) struct Woven {
    pub(super) text: String,
    pub(super) lines: Lines,
    /// Mutants for which there is no place.
    pub(super) left: Vec<usize>,
    /// Functions that were made non-const, since a switch is read when it runs.
    pub(super) freed: BTreeSet<String>,
}

/// Which comes first where two begin together: a function's value is before what it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Value,
    Guard,
    Expression,
}

#[derive(Default)]
struct Site {
    /// What the mutants put in its place.
    variants: Vec<(usize, String)>,
    /// A mutant without the whole arm that this guard is of.
    without_arm: Option<usize>,
    /// There is no guard here yet.
    bare: bool,
}

/// Text to put in, and the mutants that it is of, line by line.
struct Insertion {
    at: usize,
    key: (bool, usize, Rank),
    parts: Vec<(String, Vec<usize>)>,
    opens: Option<Vec<usize>>,
}

/// `source` with the mutants `numbered`; functions named in `constant` stay const.
pub(super) fn weave(source: &str, numbered: &[(usize, &Mutant)], constant: &BTreeSet<String>) -> Result<Woven> {
    let mut places = Places::default();
    places.visit_file(&syn::parse_file(source)?);
    let mut sites: BTreeMap<(usize, usize, Rank), Site> = BTreeMap::new();
    let mut left = Vec::new();
    for &(number, mutant) in numbered {
        let Range { start, end } = mutant.range(source)?;
        let Some((range, rank, bare)) = places.of(&mutant.genre, &(start..end)) else {
            left.push(number);
            continue;
        };
        let site = sites.entry((range.start, range.end, rank)).or_default();
        site.bare = bare;
        if mutant.genre == "MatchArm" {
            site.without_arm = Some(number);
        } else {
            let text = [
                &source[range.start.min(start)..start],
                &mutant.replacement,
                &source[end..range.end.max(end)],
            ];
            site.variants.push((number, text.concat()));
        }
    }
    let mut insertions = Vec::new();
    for ((start, end, rank), site) in &sites {
        insert(&mut insertions, *start..*end, *rank, site);
    }
    insertions.sort_by_key(|insertion| (insertion.at, insertion.key));
    let mut freed = BTreeSet::new();
    let mut source = source.to_owned();
    for (name, range) in &places.constant {
        if !constant.contains(name) {
            freed.insert(name.clone());
            source.replace_range(range.clone(), "     ");
        }
    }
    let (text, lines) = assemble(&source, insertions);
    Ok(Woven {
        text,
        lines,
        left,
        freed,
    })
}

fn insert(insertions: &mut Vec<Insertion>, range: Range<usize>, rank: Rank, site: &Site) {
    let mut ids: Vec<_> = site.variants.iter().map(|(number, _)| *number).collect();
    ids.extend(site.without_arm);
    let on = |number: usize| format!("crate::switch::on({number})");
    let mut parts = Vec::new();
    let mut close = String::new();
    match rank {
        Rank::Value => {
            for (number, text) in &site.variants {
                parts.push((format!("if {} {{ return {text}; }}", on(*number)), vec![*number]));
            }
        }
        Rank::Guard | Rank::Expression => {
            if site.bare {
                parts.push((" if ".to_owned(), Vec::new()));
            } else {
                parts.push(("(".to_owned(), Vec::new()));
            }
            if let Some(number) = site.without_arm {
                let and = if site.bare { "" } else { " &&" };
                parts.push((format!("!{}{and}", on(number)), vec![number]));
            }
            if !site.bare {
                for (number, text) in &site.variants {
                    parts.push((format!("if {} {{ {text}\n}} else", on(*number)), vec![*number]));
                }
                parts.push(("{".to_owned(), Vec::new()));
                "})".clone_into(&mut close);
            }
        }
    }
    let length = range.len();
    insertions.push(Insertion {
        at: range.start,
        key: (true, usize::MAX - length, rank),
        parts,
        opens: (!close.is_empty()).then(|| ids.clone()),
    });
    if !close.is_empty() {
        // Those that began last end first.
        let rank = if rank == Rank::Guard {
            Rank::Expression
        } else {
            Rank::Guard
        };
        insertions.push(Insertion {
            at: range.end,
            key: (false, length, rank),
            parts: vec![(close, ids)],
            opens: None,
        });
    }
}

fn assemble(source: &str, insertions: Vec<Insertion>) -> (String, Lines) {
    let mut text = String::new();
    let mut line = 1;
    let mut lines = Vec::new();
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut done = 0;
    for insertion in insertions {
        let between = &source[done..insertion.at];
        done = insertion.at;
        text.push_str(between);
        line += between.matches('\n').count();
        if let Some(ids) = insertion.opens {
            open.push((line, ids));
        } else if !insertion.key.0
            && let Some((from, ids)) = open.pop()
        {
            lines.push((from..line + 2, ids));
        }
        for (part, ids) in insertion.parts {
            let part = format!("\n{part}\n");
            text.push_str(&part);
            let after = line + part.matches('\n').count();
            // The last of its lines is the next part's.
            lines.push((line + 1..after, ids));
            line = after;
        }
    }
    text.push_str(&source[done..]);
    lines.retain(|(_, ids)| !ids.is_empty());
    (text, lines)
}

/// Where mutants can be.
#[derive(Default)]
struct Places {
    /// Of an operator; and the whole of which it is a part, as far as the precedence of another operator could reach.
    operators: Vec<(Range<usize>, Range<usize>)>,
    structs: Vec<Range<usize>>,
    arms: Vec<ArmPlace>,
    /// The word `const` of functions.
    constant: Vec<(String, Range<usize>)>,
}

struct ArmPlace {
    starts: [usize; 2],
    pattern_end: usize,
    guard: Option<Range<usize>>,
    /// Another arm takes whatever it is.
    spare: bool,
}

impl Places {
    /// The text to replace for a mutant at `span`, and whether it is a guard yet to be written.
    fn of(&self, genre: &str, span: &Range<usize>) -> Option<(Range<usize>, Rank, bool)> {
        match genre {
            "FnValue" => Some((span.clone(), Rank::Value, false)),
            "BinaryOperator" | "UnaryOperator" => {
                let (_, whole) = self.operators.iter().find(|(operator, _)| operator == span)?;
                Some((whole.clone(), Rank::Expression, false))
            }
            "StructField" => {
                let around = self
                    .structs
                    .iter()
                    .filter(|range| range.start <= span.start && span.end <= range.end);
                Some((around.min_by_key(|range| range.len())?.clone(), Rank::Expression, false))
            }
            "MatchArmGuard" => {
                let guards = self.arms.iter().filter_map(|arm| arm.guard.as_ref());
                Some((
                    guards.into_iter().find(|guard| *guard == span)?.clone(),
                    Rank::Guard,
                    false,
                ))
            }
            "MatchArm" => {
                let mut arms = self.arms.iter().filter(|arm| arm.spare);
                let arm = arms.find(|arm| arm.starts.contains(&span.start))?;
                Some(match &arm.guard {
                    Some(guard) => (guard.clone(), Rank::Guard, false),
                    None => (arm.pattern_end..arm.pattern_end, Rank::Guard, true),
                })
            }
            _ => None,
        }
    }

    fn binary(&mut self, node: &ExprBinary, whole: Option<Range<usize>>) {
        // A chain with `let` in it is no value.
        let whole = (!has_let(node)).then(|| whole.unwrap_or_else(|| node.span().byte_range()));
        if let Some(whole) = &whole {
            self.operators.push((node.op.span().byte_range(), whole.clone()));
        }
        for side in [&node.left, &node.right] {
            match &**side {
                Expr::Binary(inner) => self.binary(inner, whole.clone()),
                other => self.visit_expr(other),
            }
        }
    }
}

fn has_let(node: &ExprBinary) -> bool {
    [&node.left, &node.right].into_iter().any(|side| match &**side {
        Expr::Let(_) => true,
        Expr::Binary(inner) => has_let(inner),
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Places {
    fn visit_expr_binary(&mut self, node: &'ast ExprBinary) {
        self.binary(node, None);
    }

    fn visit_expr_unary(&mut self, node: &'ast ExprUnary) {
        self.operators
            .push((node.op.span().byte_range(), node.span().byte_range()));
        visit::visit_expr_unary(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast ExprStruct) {
        self.structs.push(node.span().byte_range());
        visit::visit_expr_struct(self, node);
    }

    fn visit_expr_match(&mut self, node: &'ast ExprMatch) {
        // `None` looks like the name of a variable; those are written small.
        let takes_all = |arm: &Arm| {
            arm.guard.is_none()
                && match &arm.pat {
                    Pat::Wild(_) => true,
                    Pat::Ident(pattern) => pattern.ident.to_string().starts_with(char::is_lowercase),
                    _ => false,
                }
        };
        for (number, arm) in node.arms.iter().enumerate() {
            let pattern = arm.pat.span().byte_range();
            let mut others = node.arms.iter().enumerate().filter(|(other, _)| *other != number);
            self.arms.push(ArmPlace {
                starts: [arm.span().byte_range().start, pattern.start],
                pattern_end: pattern.end,
                guard: arm.guard.as_ref().map(|(_, guard)| guard.span().byte_range()),
                spare: others.any(|(_, other)| takes_all(other)),
            });
        }
        visit::visit_expr_match(self, node);
    }

    fn visit_signature(&mut self, node: &'ast Signature) {
        if let Some(word) = &node.constness {
            self.constant.push((node.ident.to_string(), word.span.byte_range()));
        }
        visit::visit_signature(self, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(genre: &str, replacement: &str, (start, end): (usize, usize)) -> Mutant {
        let position = |column| Position { line: 1, column };
        Mutant {
            name: String::new(),
            file: String::new(),
            genre: genre.to_owned(),
            replacement: replacement.to_owned(),
            span: Place {
                start: position(start),
                end: position(end),
            },
        }
    }

    fn woven(source: &str, mutants: &[Mutant]) -> Woven {
        let numbered: Vec<_> = mutants.iter().enumerate().collect();
        weave(source, &numbered, &BTreeSet::new()).unwrap()
    }

    fn words(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn operators_keep_the_precedence_that_their_text_has() {
        let woven = woven(
            "const fn f() -> u8 { 1 + 2 * 3 }",
            &[mutant("BinaryOperator", "+", (28, 29))],
        );
        assert_eq!(
            words(&woven.text),
            "fn f() -> u8 { ( if crate::switch::on(0) { 1 + 2 + 3 } else { 1 + 2 * 3 }) }"
        );
        assert!(woven.freed.contains("f"));
    }

    #[test]
    fn an_arm_is_taken_out_only_where_another_takes_all() {
        let source = "fn f(x: u8) -> u8 { match x { 1 => 2, 3 if x > 1 => 4, _ => 5 } }";
        let arms = [
            mutant("MatchArm", "", (31, 38)),
            mutant("MatchArm", "", (39, 55)),
            mutant("MatchArm", "", (56, 62)),
        ];
        let woven = woven(source, &arms);
        assert_eq!(
            words(&woven.text),
            "fn f(x: u8) -> u8 { match x { 1 if !crate::switch::on(0) => 2, \
             3 if ( !crate::switch::on(1) && { x > 1 }) => 4, _ => 5 } }"
        );
        assert_eq!(woven.left, [2]);
    }

    #[test]
    fn an_error_is_its_mutants() {
        let value = mutant("FnValue", "0", (18, 19));
        let woven = woven("fn f(x: u8)->u8{ x }", &[value]);
        assert_eq!(
            words(&woven.text),
            "fn f(x: u8)->u8{ if crate::switch::on(0) { return 0; } x }"
        );
        assert_eq!(woven.lines, [(2..3, vec![0])]);
    }
}
