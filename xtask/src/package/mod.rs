//! `cargo xtask package`: the folder that is taken to a Windows machine. What is in it, and how each part comes there.

mod authenticode;
#[cfg(test)]
mod scripts;
mod sign;
mod test;
#[cfg(test)]
mod tracing;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::sign::Signer;
pub(crate) use self::test::test;
use crate::{build, hashing, inf, layout::Layout, report::Report, session, setup};

/// Signed in the package.
const SIGNED: [&str; 2] = ["wskguard.sys", "wskguardctl.exe"];
const CERTIFICATE: &str = "wskguard-test.cer";
const SUMS: &str = "SHA256SUMS";
/// Folders and files of the repository that go along as they are.
const SOURCES: [&str; 4] = ["policies", "scripts", "LICENSE-APACHE", "LICENSE-MIT"];

#[derive(Args, Debug, Default)]
pub(crate) struct PackageCommand {
    /// The folder to make; what it holds is replaced (default: target/package)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Instead, test the package: build everything, install it on the test kernel, remove it
    #[arg(long, conflicts_with = "out")]
    test: bool,
}

/// Builds what the package needs, makes it, and says what it is.
pub(crate) fn run(layout: &Layout, command: &PackageCommand) -> Result<()> {
    setup::run()?;
    // All that the tests build: building fewer crates together can give them other features, and other bytes.
    build::run(layout, &build::Options::default())?;
    if command.test {
        let mut report = Report::default();
        test(layout, &mut report);
        return report.close();
    }
    let package = Package::make(
        layout,
        command.out.clone().unwrap_or_else(|| layout.target.join("package")),
    )?;
    println!("{}", package.folder.display());
    for line in fs::read_to_string(package.file(SUMS))?.lines() {
        println!("  {line}");
    }
    println!("wskguard.sys is what was built, and a test signature: without signatures both have the SHA-256");
    println!("  {}", package.driver);
    println!("Signed with a key made for this package and thrown away; {CERTIFICATE} is its certificate.");
    println!(
        "The catalog needs Windows: `inf2cat /driver:. /os:10_X64`, then sign wskguard.cat (scripts/sign.ps1 does both)."
    );
    Ok(())
}

/// A package on disk.
#[derive(Debug)]
struct Package {
    folder: PathBuf,
    /// SHA-256 of the driver without its signature.
    driver: String,
}

impl Package {
    /// Makes the package in `folder` out of what `build` made.
    fn make(layout: &Layout, folder: PathBuf) -> Result<Self> {
        empty(&folder)?;
        let inf = inf::stamp(layout, "amd64")?;
        fs::write(folder.join("wskguard.inf"), &inf)?;
        fs::copy(layout.out().join("wskguard.pdb"), folder.join("wskguard.pdb")).context("wskguard.pdb")?;
        for name in SOURCES {
            copy(&layout.root.join(name), &folder.join(name))?;
        }
        copy_shim(layout, &folder.join("shim"))?;
        let key = Signer::make(&layout.target.join(format!("package-key-{}", std::process::id())))?;
        let certificate = folder.join(CERTIFICATE);
        fs::copy(key.certificate(), &certificate)?;
        for name in SIGNED {
            let (built, signed) = (layout.out().join(name), folder.join(name));
            key.sign(&built, &signed).with_context(|| format!("signing {name}"))?;
            let digest = sign::verify(&signed, &certificate).with_context(|| format!("verifying {name}"))?;
            let (built, signed) = (fs::read(built)?, fs::read(signed)?);
            authenticode::ensure_same(&built, &signed).with_context(|| name.to_owned())?;
            ensure!(
                digest == hashing::hexadecimal(&authenticode::sha256(&built)?),
                "{name}: another digest"
            );
        }
        let driver = hashing::hexadecimal(&authenticode::sha256(&fs::read(folder.join("wskguard.sys"))?)?);
        fs::write(folder.join(SUMS), sums(&folder)?)?;
        Ok(Self { folder, driver })
    }

    /// Checks the signature of `file`; an error unless it is this package's.
    fn verify(&self, file: &Path) -> Result<String> {
        sign::verify(file, &self.file(CERTIFICATE))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The link libraries for clients, and their header.
fn copy_shim(layout: &Layout, to: &Path) -> Result<()> {
    let is_shim = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem.starts_with("wskguard-shim-") && path.extension().is_some_and(|extension| extension == "lib")
    };
    let built = fs::read_dir(layout.out())?.collect::<Result<Vec<_>, _>>()?;
    let libraries = built.iter().map(fs::DirEntry::path).filter(is_shim).collect::<Vec<_>>();
    ensure!(!libraries.is_empty(), "the build has made no shim");
    copy(&layout.root.join("crates/shim/include"), to)?;
    for library in libraries {
        copy(&library, &to.join(library.file_name().context("a file has a name")?))?;
    }
    Ok(())
}

/// Makes `folder`, or clears it: only if a package was made there before, so that a slip of the pen removes nothing else.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        let is_package = folder.join(SUMS).is_file() || fs::read_dir(folder)?.next().is_none();
        ensure!(is_package, "{} is there and is no package", folder.display());
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).with_context(|| from.display().to_string()).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The hashes of all files below `folder`, as sha256sum writes and checks them.
fn sums(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    session::list_files(folder, &mut files)?;
    files.sort();
    let lines = files.iter().map(|file| {
        let name = file.strip_prefix(folder)?.display().to_string().replace('\\', "/");
        Ok(format!("{}  {name}\n", hashing::sha256_file(file)?))
    });
    lines.collect()
}
