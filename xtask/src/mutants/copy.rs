//! A copy of the workspace whose core has all its mutants in it, and the programs that test it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{
    PACKAGES,
    weave::{self, Lines, Mutant},
};
use crate::{command, layout::Layout};

/// Each round takes out what does not compile; a compiler stops after a phase with errors.
const ROUNDS: usize = 20;
/// What compiling may take.
const COMPILING: Duration = Duration::from_mins(5);
const SWITCH: &str = include_str!("switch.rs");

pub(super) struct Copy {
    root: PathBuf,
    /// Not in the copy, which is made anew each time.
    target: PathBuf,
    /// For each file: lines, and the mutants on them.
    lines: BTreeMap<String, Lines>,
    /// Functions that became non-const.
    freed: BTreeSet<String>,
    constant: BTreeSet<String>,
    /// Mutants that are not in the copy: only a compiler of their own can say what they come to.
    pub(super) left: BTreeSet<usize>,
}

/// A program of tests, and the folder that cargo would run it in.
pub(super) struct Program {
    pub(super) file: PathBuf,
    pub(super) folder: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    #[serde(rename = "message")]
    diagnostic: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    rendered: Option<String>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: usize,
    is_primary: bool,
}

impl Copy {
    /// To `root`, for `count` mutants.
    pub(super) fn new(layout: &Layout, root: &Path, count: usize) -> Result<Self> {
        copy_sources(layout, root)?;
        let switch = SWITCH.replace("COUNT", &count.to_string());
        fs::write(root.join("crates/core/src/switch.rs"), switch)?;
        Ok(Self {
            root: root.to_path_buf(),
            target: layout.target.join("mutants-built"),
            lines: BTreeMap::new(),
            freed: BTreeSet::new(),
            constant: BTreeSet::new(),
            left: BTreeSet::new(),
        })
    }

    /// Puts every one of `mutants` in that compiles, and returns the programs.
    pub(super) fn build(&mut self, layout: &Layout, mutants: &[Mutant]) -> Result<Vec<Program>> {
        for _ in 0..ROUNDS {
            self.write(layout, mutants)?;
            let messages = cargo(&self.root, &self.target, &PACKAGES, 1)?.context("it takes too long to compile")?;
            let errors: Vec<_> = errors(&messages).collect();
            if errors.is_empty() {
                return programs(messages);
            }
            let before = (self.left.len(), self.constant.len());
            for error in &errors {
                self.learn(error);
            }
            println!(
                "{} errors; {} mutants left out, {} functions stay const",
                errors.len(),
                self.left.len(),
                self.constant.len()
            );
            ensure!(
                before != (self.left.len(), self.constant.len()),
                "of no mutant:\n{}",
                errors[0].rendered.as_deref().unwrap_or(&errors[0].message)
            );
        }
        bail!("it still does not compile after {ROUNDS} rounds")
    }

    fn write(&mut self, layout: &Layout, mutants: &[Mutant]) -> Result<()> {
        let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
        for (number, mutant) in mutants.iter().enumerate() {
            let file = files.entry(&mutant.file).or_default();
            if !self.left.contains(&number) {
                file.push((number, mutant));
            }
        }
        for (file, mutants) in files {
            let source = fs::read_to_string(layout.root.join(file))?;
            let woven = weave::weave(&source, &mutants, &self.constant).with_context(|| file.to_owned())?;
            let mut text = woven.text;
            if file == "crates/core/src/lib.rs" {
                bail!("lib.rs has mutants; the switch has no place");
            }
            text.push('\n');
            let path = self.root.join(file);
            // One that is as it was is not compiled again.
            if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
                fs::write(path, text)?;
            }
            self.lines.insert(file.to_owned(), woven.lines);
            self.left.extend(woven.left);
            self.freed.extend(woven.freed);
        }
        let source = fs::read_to_string(layout.root.join("crates/core/src/lib.rs"))?;
        fs::write(
            self.root.join("crates/core/src/lib.rs"),
            format!("{source}\npub mod switch;\n"),
        )?;
        Ok(())
    }

    /// Whose fault is it?
    fn learn(&mut self, error: &Diagnostic) {
        if let Some((_, name)) = error.message.split_once("cannot call non-const ") {
            let name = last_name(name.split('`').nth(1).unwrap_or_default());
            if self.freed.contains(&name) && self.constant.insert(name) {
                return;
            }
        }
        let (primary, other): (Vec<_>, Vec<_>) = error.spans.iter().partition(|span| span.is_primary);
        for spans in [primary, other] {
            let found: Vec<_> = spans
                .iter()
                .filter_map(|span| self.mutants_at(span))
                .flatten()
                .copied()
                .collect();
            if !found.is_empty() {
                self.left.extend(found);
                return;
            }
        }
    }

    fn mutants_at(&self, span: &Span) -> Option<&Vec<usize>> {
        let lines = self.lines.get(&span.file_name)?;
        let around = lines.iter().filter(|(lines, _)| lines.contains(&span.line_start));
        Some(&around.min_by_key(|(lines, ids)| (ids.len(), lines.len()))?.1)
    }
}

/// What git knows, or could be told, of the workspace.
pub(super) fn copy_sources(layout: &Layout, root: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(&layout.root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    for name in command::output(&mut git)?.split_terminator('\0') {
        let (from, to) = (layout.root.join(name), root.join(name));
        // A file that was deleted is still listed.
        if from.is_file() {
            fs::create_dir_all(to.parent().context("a folder")?)?;
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// The programs of tests of `packages`, or `None` if they do not compile.
pub(super) fn compile(root: &Path, target: &Path, packages: &[&str]) -> Result<Option<Vec<Program>>> {
    let Some(messages) = cargo(root, target, packages, 0)? else {
        return Ok(None);
    };
    if errors(&messages).next().is_some() {
        return Ok(None);
    }
    programs(messages).map(Some)
}

/// The compiler's messages; `None` if it does not come to an end, as where it computes a constant for ever. What is compiled once and run
/// thousands of times is optimised; what the tests rely on of the profile for tests stays.
fn cargo(root: &Path, target: &Path, packages: &[&str], optimised: u8) -> Result<Option<Vec<Message>>> {
    fs::create_dir_all(target)?;
    let output = target.join("messages.json");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(root)
        .args([
            "test",
            "--no-run",
            "--locked",
            "--lib",
            "--tests",
            "--message-format=json",
        ])
        .args(packages.iter().flat_map(|name| ["-p", name]))
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", optimised.to_string())
        .env("RUSTFLAGS", "--cap-lints=allow")
        .stdin(Stdio::null())
        .stdout(fs::File::create(&output)?)
        .stderr(Stdio::null());
    if command::run_limited(&mut cargo, COMPILING)?.timed_out() {
        return Ok(None);
    }
    let text = fs::read_to_string(&output)?;
    let messages = text.lines().map(serde_json::from_str);
    messages.collect::<Result<_, _>>().map(Some).context("cargo's messages")
}

fn errors(messages: &[Message]) -> impl Iterator<Item = &Diagnostic> {
    let diagnostics = messages.iter().filter_map(|message| message.diagnostic.as_ref());
    diagnostics.filter(|message| message.level == "error" && !message.spans.is_empty())
}

/// Of a path as the compiler prints it, `provider` in `trace::provider::<11>`.
fn last_name(path: &str) -> String {
    let mut depth = 0_usize;
    let mut plain = String::new();
    for character in path.chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(character),
            _ => {}
        }
    }
    let names = plain.split("::").filter(|name| !name.is_empty());
    names.last().unwrap_or_default().to_owned()
}

/// In the order of their sources: cargo's is that in which it is done with them, and tests are known by the number of their program.
fn programs(messages: Vec<Message>) -> Result<Vec<Program>> {
    let built = messages
        .into_iter()
        .filter(|message| message.reason == "compiler-artifact");
    let programs: BTreeMap<_, _> = built
        .filter_map(|message| {
            let program = Program {
                file: message.executable?,
                folder: message.manifest_path?.parent()?.to_path_buf(),
            };
            Some((message.target?.src_path, program))
        })
        .collect();
    ensure!(!programs.is_empty(), "no programs of tests");
    Ok(programs.into_values().collect())
}
