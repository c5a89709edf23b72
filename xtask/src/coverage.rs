//! `cargo xtask coverage`: which lines of the core its host tests run, and which of the driver the suite runs on the test kernel.
//!
//! The core is built with the compiler's counters. The driver is the very file that is packaged: verifier.sys lays a breakpoint on each of
//! its instructions and takes it away when it is met, and the symbol file says which lines an instruction belongs to, those of
//! inlined calls among them. A line that the optimiser left no instruction of does not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::{
    command,
    layout::Layout,
    session::{Options, Session, wine_path},
    suite,
    wdk::llvm::Llvm,
};

/// Percent of lines that must have run.
const CORE_GOAL: usize = 95;
const DRIVER_GOAL: usize = 85;
const PREFIXES: [&str; 6] = ["lock", "rep", "repe", "repne", "data16", "rex64"];
/// Padding, and what the disassembler can make nothing of.
const NO_CODE: [&str; 2] = ["int3", "<unknown>"];
const LIMIT: std::time::Duration = std::time::Duration::from_mins(20);

#[derive(Args, Debug, Default)]
pub(crate) struct CoverageCommand {
    /// Only the core
    #[arg(long)]
    core: bool,
    /// Only the driver
    #[arg(long, conflicts_with = "core")]
    driver: bool,
}

/// Lines of code, and whether they ran, by file.
type Lines = BTreeMap<String, BTreeMap<usize, bool>>;

/// Measures, prints, and fails below the goals.
pub(crate) fn run_command(layout: &Layout, command: &CoverageCommand) -> Result<()> {
    let mut short = Vec::new();
    if !command.driver {
        let lines = core_lines(layout)?;
        let reached = show("core, by the host tests", &lines, |file| {
            file.starts_with("crates/core/src")
        });
        short.extend((reached < CORE_GOAL).then(|| format!("core: {CORE_GOAL} % wanted")));
    }
    if !command.core {
        let lines = driver_lines(layout)?;
        let reached = show("the driver, in the test kernel", &lines, |file| {
            file.starts_with("src/")
        });
        show("its crates, in the test kernel", &lines, |file| {
            file.starts_with("crates/")
        });
        short.extend((reached < DRIVER_GOAL).then(|| format!("driver: {DRIVER_GOAL} % wanted")));
    }
    ensure!(short.is_empty(), "{}", short.join(", "));
    Ok(())
}

/// Prints a table, and what did not run; the percentage over all files, rounded down.
fn show(title: &str, lines: &Lines, wanted: impl Fn(&str) -> bool) -> usize {
    let (mut all_run, mut all) = (0, 0);
    println!("{title}:");
    for (file, lines) in lines.iter().filter(|(file, _)| wanted(file)) {
        let run = lines.values().filter(|ran| **ran).count();
        all_run += run;
        all += lines.len();
        let missed = ranges(lines);
        let percent = percent(run, lines.len());
        println!(
            "  {percent:>5} {run:>4}/{:<4} {file}{}{missed}",
            lines.len(),
            if missed.is_empty() { "" } else { ": not " }
        );
    }
    println!("  {} of lines: {all_run} of {all}, {title}", percent(all_run, all));
    (100 * all_run).checked_div(all).unwrap_or(0)
}

fn percent(part: usize, whole: usize) -> String {
    let tenths = (1000 * part).checked_div(whole).unwrap_or(0);
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// Lines that did not run, neighbours joined (over lines without code too).
fn ranges(lines: &BTreeMap<usize, bool>) -> String {
    let mut text = String::new();
    let mut open: Option<(usize, usize)> = None;
    let mut close = |open: &mut Option<(usize, usize)>| {
        if let Some((first, last)) = open.take() {
            let separator = if text.is_empty() { "" } else { ", " };
            let range = if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{range}");
        }
    };
    for (&line, &ran) in lines {
        if ran {
            close(&mut open);
        } else {
            open = Some((open.map_or(line, |(first, _)| first), line));
        }
    }
    close(&mut open);
    text
}

/// The core's lines under its own tests, those of the policy compiler, and the vectors.
fn core_lines(layout: &Layout) -> Result<Lines> {
    let folder = layout.target.join("coverage");
    let raw = folder.join("raw");
    if raw.exists() {
        fs::remove_dir_all(&raw)?;
    }
    let mut build = Command::new("cargo");
    build
        .current_dir(&layout.root)
        .args([
            "test",
            "--locked",
            "--no-run",
            "--message-format=json",
            "--lib",
            "--tests",
        ])
        .args([
            "-p",
            "wskguard-core",
            "-p",
            "wskguard-policy",
            "-p",
            "wskguard-vectors",
            "--target-dir",
        ])
        .arg(&folder)
        .env("RUSTFLAGS", "-C instrument-coverage")
        // Build scripts and macros count too, and would write where they run.
        .env("LLVM_PROFILE_FILE", folder.join("build/%p-%m.profraw"));
    let messages = command::output(&mut build)?;
    let mut tests = BTreeSet::new();
    for message in messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        if let (Some(test), Some(true)) = (message["executable"].as_str(), message["profile"]["test"].as_bool()) {
            let manifest = message["manifest_path"].as_str().map(Path::new).and_then(Path::parent);
            tests.insert((PathBuf::from(test), manifest.unwrap_or(&layout.root).to_path_buf()));
        }
    }
    ensure!(!tests.is_empty(), "cargo built no tests");
    for (test, package) in &tests {
        let mut run = Command::new(test);
        run.current_dir(package)
            .arg("--quiet")
            .env("LLVM_PROFILE_FILE", raw.join("%p-%m.profraw"))
            .env("CARGO_MANIFEST_DIR", package);
        command::output(&mut run)?;
    }
    let llvm = Llvm::find()?;
    let profile = folder.join("core.profdata");
    let mut merge = Command::new(llvm.tool("llvm-profdata"));
    merge.args(["merge", "--sparse", "-o"]).arg(&profile);
    for entry in fs::read_dir(&raw)? {
        merge.arg(entry?.path());
    }
    command::run(&mut merge)?;
    let mut export = Command::new(llvm.tool("llvm-cov"));
    export
        .args(["export", "--format=lcov", "--instr-profile"])
        .arg(&profile);
    for (test, _) in &tests {
        export.arg("--object").arg(test);
    }
    lcov(&layout.root, &command::output(&mut export)?)
}

/// Reads lcov's records, without the lines of tests.
fn lcov(root: &Path, text: &str) -> Result<Lines> {
    let mut lines = Lines::new();
    let mut file = None;
    let mut tests_from = usize::MAX;
    for record in text.lines() {
        if let Some(path) = record.strip_prefix("SF:") {
            let path = Path::new(path);
            file = own(root, path).filter(|name| !name.contains("/tests"));
            let source = fs::read_to_string(path).unwrap_or_default();
            tests_from = source
                .lines()
                .position(|line| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test"))
                .unwrap_or(usize::MAX);
        } else if let (Some(file), Some(data)) = (&file, record.strip_prefix("DA:")) {
            let (line, count) = data.split_once(',').context("a record of lcov's is cut off")?;
            let line: usize = line.parse()?;
            if line <= tests_from {
                *lines.entry(file.clone()).or_default().entry(line).or_default() |= count != "0";
            }
        }
    }
    Ok(lines)
}

/// A file of the repository, by its path from the root.
fn own(root: &Path, path: &Path) -> Option<String> {
    let relative = path.strip_prefix(root).ok()?.to_string_lossy().replace('\\', "/");
    (relative.starts_with("src/") || relative.starts_with("crates/")).then_some(relative)
}

/// The driver's lines under the suite.
fn driver_lines(layout: &Layout) -> Result<Lines> {
    let llvm = Llvm::find()?;
    let driver = layout.out().join("wskguard.sys");
    let (base, instructions) = instructions(&llvm, &driver)?;
    let logs = layout.logs()?;
    let (watched, ran) = (logs.join("coverage-watched.txt"), logs.join("coverage-ran.txt"));
    let list: String = instructions
        .iter()
        .fold(String::new(), |list, offset| list + &format!("{offset:x}\n"));
    fs::write(&watched, list)?;
    let session = Session::start(layout, &Options::new(layout))?;
    let arguments = [
        "run".to_owned(),
        format!("--cover={}", wine_path(&watched)),
        format!("--covered={}", wine_path(&ran)),
    ];
    let counts = suite::run_hlk(layout, &session, &arguments, "coverage.log", LIMIT)?;
    ensure!(counts.failed == 0, "{counts}");
    session.forget_log();
    let ran: BTreeSet<u64> = fs::read_to_string(&ran)?
        .lines()
        .map(|line| u64::from_str_radix(line, 16))
        .collect::<Result<_, _>>()?;
    println!("{} of {} instructions have run", ran.len(), instructions.len());
    let mut lines = Lines::new();
    for (offset, places) in instructions.iter().zip(places(&llvm, &driver, base, &instructions)?) {
        for (path, line) in places {
            if let Some(file) = own(&layout.root, Path::new(&path)) {
                *lines.entry(file).or_default().entry(line).or_default() |= ran.contains(offset);
            }
        }
    }
    Ok(lines)
}

/// The image's base, and the offset of each instruction, without the padding between functions.
fn instructions(llvm: &Llvm, driver: &Path) -> Result<(u64, Vec<u64>)> {
    let image = fs::read(driver)?;
    let file = object::read::pe::PeFile64::parse(&*image)?;
    let base = file.nt_headers().optional_header.image_base.get(object::LittleEndian);
    let mut disassembler = Command::new(llvm.tool("llvm-objdump"));
    disassembler.args(["--disassemble", "--no-show-raw-insn"]).arg(driver);
    let text = command::output(&mut disassembler)?;
    let mut offsets = Vec::new();
    let mut prefixed = false;
    for line in text.lines() {
        let Some((address, rest)) = line.split_once(':') else {
            continue;
        };
        let (Ok(address), Some(word)) = (u64::from_str_radix(address.trim(), 16), rest.split_whitespace().next())
        else {
            continue;
        };
        // A prefix stands on a line of its own, and the instruction that it belongs to on the next.
        if !prefixed && !NO_CODE.contains(&word) {
            offsets.push(address.checked_sub(base).context("an address below the image")?);
        }
        prefixed = PREFIXES.contains(&rest.trim());
    }
    ensure!(!offsets.is_empty(), "no code in {}", driver.display());
    Ok((base, offsets))
}

/// File and line of each instruction, and of the calls that it was inlined through.
fn places(llvm: &Llvm, driver: &Path, base: u64, offsets: &[u64]) -> Result<Vec<Vec<(String, usize)>>> {
    let mut symbolizer = Command::new(llvm.symbolizer());
    symbolizer.args(["--output-style=JSON", "--obj"]).arg(driver);
    let mut child = symbolizer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no pipe")?;
    let list: String = offsets
        .iter()
        .fold(String::new(), |list, offset| list + &format!("{:#x}\n", base + offset));
    // It answers as it reads: written from a thread, so that neither waits for the other.
    let writer = std::thread::spawn(move || input.write_all(list.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().ok().context("the thread that writes addresses died")??;
    let text = String::from_utf8(output.stdout)?;
    let mut places = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let answer: Value = serde_json::from_str(line)?;
        let frames = answer["Symbol"].as_array().map_or(&[][..], Vec::as_slice);
        let place = |frame: &Value| {
            let line = usize::try_from(frame["Line"].as_u64()?)
                .ok()
                .filter(|line| *line != 0)?;
            Some((frame["FileName"].as_str()?.to_owned(), line))
        };
        places.push(frames.iter().filter_map(place).collect());
    }
    ensure!(
        places.len() == offsets.len(),
        "{} answers for {} instructions",
        places.len(),
        offsets.len()
    );
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_lines_are_joined() {
        let lines = BTreeMap::from([(1, true), (3, false), (4, false), (9, false), (10, true), (12, false)]);
        assert_eq!(ranges(&lines), "3-9, 12");
    }
}
