//! Runs tests with a mutant on: those that come by its place, quick ones first, until one fails.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::copy::Program;
use crate::command;

/// Tests that take no longer run in one process.
const QUICK: Duration = Duration::from_millis(40);
/// What a mutant may take beyond ten times what the tests take without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A test, what it takes, and the places that it comes by.
pub(super) struct Test {
    program: usize,
    name: String,
    took: Duration,
    met: BTreeSet<usize>,
}

/// Every test once, each by itself and without a mutant.
pub(super) fn tests(programs: &[Program], folder: &Path) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for (number, program) in programs.iter().enumerate() {
        let listed = command::output(start(program).args(["--list", "--format=terse"]))?;
        for name in listed.lines().filter_map(|line| line.strip_suffix(": test")) {
            let file = folder.join("met");
            // A test that comes by nothing leaves the file empty; one that is ignored, too.
            fs::write(&file, "")?;
            let begun = Instant::now();
            let passed = run(program, &[name], None, Some(&file), Duration::from_mins(10))?;
            ensure!(passed, "{name} does not pass without a mutant");
            let met = fs::read_to_string(&file)?;
            tests.push(Test {
                program: number,
                name: name.to_owned(),
                took: begun.elapsed(),
                met: met
                    .lines()
                    .map(str::parse)
                    .collect::<Result<_, _>>()
                    .context("numbers")?,
            });
        }
    }
    tests.sort_by_key(|test| test.took);
    Ok(tests)
}

/// Those of `mutants` that no test notices, `jobs` at a time.
pub(super) fn survivors(
    programs: &[Program],
    tests: &[Test],
    mutants: &[usize],
    jobs: usize,
) -> Result<BTreeSet<usize>> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let survived = Mutex::new(BTreeSet::new());
    in_parallel(&vec![(); jobs.max(1)], |()| {
        while let Some(&mutant) = mutants.get(next.fetch_add(1, Relaxed)) {
            if !noticed(programs, tests, mutant)? {
                survived.lock().expect("no thread panics").insert(mutant);
            }
            let done = done.fetch_add(1, Relaxed) + 1;
            if done.is_multiple_of(100) {
                println!("{done} of {} tried", mutants.len());
            }
        }
        Ok(())
    })?;
    Ok(survived.into_inner().expect("no thread panics"))
}

/// Has every worker work, each on a thread of its own.
pub(super) fn in_parallel<W: Sync>(workers: &[W], work: impl Fn(&W) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = workers.iter().map(|worker| scope.spawn(move || work(worker))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no thread panics"))
    })
}

fn noticed(programs: &[Program], tests: &[Test], mutant: usize) -> Result<bool> {
    let meet: Vec<_> = tests.iter().filter(|test| test.met.contains(&mutant)).collect();
    any_fails(programs, &meet, Some(mutant))
}

/// Whether a test notices what the programs were compiled with.
pub(super) fn any_notices(programs: &[Program], tests: &[Test]) -> Result<bool> {
    any_fails(programs, &tests.iter().collect::<Vec<_>>(), None)
}

/// `tests` are sorted by what they take.
fn any_fails(programs: &[Program], tests: &[&Test], mutant: Option<usize>) -> Result<bool> {
    let quick = tests.partition_point(|test| test.took <= QUICK);
    let (quick, slow) = tests.split_at(quick);
    let together = (0..programs.len()).map(|number| {
        let of_program = quick.iter().filter(|test| test.program == number);
        of_program.copied().collect::<Vec<_>>()
    });
    for group in together.chain(slow.iter().map(|test| vec![*test])) {
        let Some(first) = group.first() else { continue };
        let names: Vec<_> = group.iter().map(|test| test.name.as_str()).collect();
        let took: Duration = group.iter().map(|test| test.took).sum();
        if !run(&programs[first.program], &names, mutant, None, took * 10 + PATIENCE)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn start(program: &Program) -> Command {
    let mut command = Command::new(&program.file);
    command.current_dir(&program.folder);
    command.env("CARGO_MANIFEST_DIR", &program.folder);
    command
}

/// Whether the tests named pass in `limit`.
fn run(program: &Program, names: &[&str], mutant: Option<usize>, met: Option<&Path>, limit: Duration) -> Result<bool> {
    let mut command = start(program);
    command.args(["--exact", "--test-threads=1"]).args(names);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A failure need not be made small, nor kept for another time: this mutant will be gone.
    command
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    if let Some(mutant) = mutant {
        command.env("WSKGUARD_MUTANT", mutant.to_string());
    }
    if let Some(met) = met {
        command.env("WSKGUARD_MET", met);
    }
    Ok(command::run_limited(&mut command, limit)?.success())
}
