//! Mutants that are compiled one by one, in as many copies of the sources as are to be tried at a time.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result};

use super::{
    PACKAGES, Verdicts, copy,
    trial::{self, Test},
    weave::Mutant,
};
use crate::layout::Layout;

/// A copy of the sources, and where it is compiled.
struct Bench {
    root: PathBuf,
    target: PathBuf,
}

enum Fate {
    Killed,
    Survived,
    NotCompiled,
}

impl Bench {
    fn new(layout: &Layout, folder: &Path, number: usize) -> Result<Self> {
        let bench = Self {
            root: folder.join(format!("plain-{number}")),
            target: layout.target.join(format!("mutants-alone-{number}")),
        };
        copy::copy_sources(layout, &bench.root)?;
        Ok(bench)
    }

    fn fate(&self, mutant: &Mutant, packages: &[&str], tests: &[Test]) -> Result<Fate> {
        let file = self.root.join(&mutant.file);
        let source = fs::read_to_string(&file)?;
        fs::write(&file, mutant.apply(&source)?)?;
        let fate = match copy::compile(&self.root, &self.target, packages)? {
            None => Fate::NotCompiled,
            Some(programs) if trial::any_notices(&programs, tests)? => Fate::Killed,
            Some(_) => Fate::Survived,
        };
        fs::write(&file, source)?;
        Ok(fate)
    }
}

/// Tries `mutants`, `jobs` at a time.
pub(super) fn each(
    layout: &Layout,
    folder: &Path,
    mutants: &[&Mutant],
    jobs: usize,
    verdicts: &mut Verdicts,
) -> Result<()> {
    if mutants.is_empty() {
        return Ok(());
    }
    let benches: Vec<_> = (0..jobs.max(1))
        .map(|number| Bench::new(layout, folder, number))
        .collect::<Result<_>>()?;
    let first = benches.first().context("a bench")?;
    let mut left = mutants.to_vec();
    // The core's own tests first: to compile the others takes longer.
    for packages in [&PACKAGES[..1], &PACKAGES[1..]] {
        let programs = copy::compile(&first.root, &first.target, packages)?.context("the sources do not compile")?;
        let tests = trial::tests(&programs, folder)?;
        let next = AtomicUsize::new(0);
        let found = Mutex::new((&mut *verdicts, Vec::new()));
        trial::in_parallel(&benches, |bench| {
            loop {
                let number = next.fetch_add(1, Relaxed);
                let Some(&mutant) = left.get(number) else { return Ok(()) };
                let fate = bench.fate(mutant, packages, &tests)?;
                let (verdicts, survived) = &mut *found.lock().expect("no thread panics");
                match fate {
                    Fate::Killed => drop(verdicts.killed.insert(mutant.name.clone())),
                    Fate::Survived => survived.push(mutant),
                    Fate::NotCompiled => verdicts.not_compiled += 1,
                }
                verdicts.write(folder)?;
                if (number + 1).is_multiple_of(100) {
                    println!("{} of {} tried", number + 1, left.len());
                }
            }
        })?;
        left = found.into_inner().expect("no thread panics").1;
    }
    verdicts
        .survived
        .extend(left.into_iter().map(|mutant| mutant.name.clone()));
    Ok(())
}
