//! The shim: its two static libraries with their header, and the client driver in C that is linked with them.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};

use crate::{
    build::DRIVER_TARGET,
    command,
    image::Image,
    layout::Layout,
    report::Report,
    wdk::{self, Wdk},
};

/// What `--only` calls all this.
pub(crate) const NAME: &str = "shim";
/// The header's name in the out folder.
const HEADER: &str = "wskguard_shim.h";
/// The functions that the shim takes the place of.
const FUNCTIONS: [&str; 5] = [
    "WskRegister",
    "WskDeregister",
    "WskCaptureProviderNPI",
    "WskReleaseProviderNPI",
    "WskQueryProviderCharacteristics",
];

/// What a client gets without wskguard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fail {
    Open,
    Closed,
}

impl Fail {
    const ALL: [Self; 2] = [Self::Open, Self::Closed];

    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    fn features(self) -> &'static str {
        match self {
            Self::Open => "static-library,fail-open",
            Self::Closed => "static-library",
        }
    }

    fn library(self, layout: &Layout) -> PathBuf {
        layout.out().join(format!("wskguard-shim-{}.lib", self.name()))
    }

    fn sentinel(self) -> String {
        format!("/INCLUDE:wskguard_shim_fail_{}", self.name())
    }

    fn client(self, layout: &Layout) -> PathBuf {
        layout.out().join(format!("cclient-{}.sys", self.name()))
    }
}

/// The libraries, the header and, where clang is at hand, the client drivers, in the out folder.
pub(crate) fn build(layout: &Layout, wdk: &Wdk) -> Result<()> {
    for fail in Fail::ALL {
        let mut cargo = wdk.cargo();
        cargo.args([
            "rustc",
            "--locked",
            "--release",
            "--target",
            DRIVER_TARGET,
            "--target-dir",
        ]);
        cargo.arg(&layout.target);
        cargo.args(["--package", "wskguard-shim", "--crate-type", "staticlib"]);
        cargo.args(["--features", fail.features()]);
        command::run(&mut cargo)?;
        let built = layout.target.join(DRIVER_TARGET).join("release/wskguard_shim.lib");
        copy(&built, &fail.library(layout))?;
    }
    copy(
        &layout.root.join("crates/shim/include").join(HEADER),
        &layout.out().join(HEADER),
    )?;
    if cfg!(windows) {
        // Microsoft's compiler and linker are started by its own build tools.
        return Ok(());
    }
    let tools = Tools::find(layout)?;
    tools.compile(layout)?;
    for fail in Fail::ALL {
        let (library, sentinel) = (fail.library(layout), fail.sentinel());
        let line = [library.into(), sentinel.into(), tools.netio()];
        let linked = tools.link(layout, &fail.client(layout), &line)?;
        ensure!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
    }
    Ok(())
}

/// What the link line decides. Left out on Windows, where nothing is linked here.
pub(crate) fn test(layout: &Layout, report: &mut Report) {
    if cfg!(windows) {
        return;
    }
    for fail in Fail::ALL {
        let client = fail.client(layout);
        report.test(
            &format!("shim: cclient-{}.sys registers with the shim", fail.name()),
            || ensure_on_shim(&client),
        );
    }
    report.test("shim: client.sys registers with the shim", || {
        ensure_on_shim(&layout.out().join("client.sys"))
    });
    report.test(
        "shim: with its sentinel it is linked although netio.lib stands first",
        || {
            let trial = Trial::link(layout, |tools| {
                vec![
                    tools.netio(),
                    Fail::Open.library(layout).into(),
                    Fail::Open.sentinel().into(),
                ]
            })?;
            trial.ensure_linked()?;
            ensure_on_shim(&trial.image)
        },
    );
    report.test(
        "shim: without its sentinel it is left out when netio.lib stands first",
        || {
            let trial = Trial::link(layout, |tools| vec![tools.netio(), Fail::Open.library(layout).into()])?;
            trial.ensure_linked()?;
            let found = registration_imports(&trial.image)?;
            ensure!(found.len() == FUNCTIONS.len(), "imported from netio.sys: {found:?}");
            ensure!(ensure_on_shim(&trial.image).is_err(), "nobody would notice");
            Ok(())
        },
    );
    report.test(
        "shim: a line with the sentinel and without the library is an error",
        || {
            let trial = Trial::link(layout, |tools| vec![tools.netio(), Fail::Open.sentinel().into()])?;
            trial.ensure_undefined("wskguard_shim_fail_open")
        },
    );
    report.test("shim: the library for fail-closed does not do for fail-open", || {
        let trial = Trial::link(layout, |tools| {
            vec![
                Fail::Closed.library(layout).into(),
                Fail::Open.sentinel().into(),
                tools.netio(),
            ]
        })?;
        trial.ensure_undefined("wskguard_shim_fail_open")
    });
}

/// Which of the functions a driver imports.
fn registration_imports(driver: &Path) -> Result<Vec<String>> {
    let imports = Image::read(driver)?.imports;
    let names = imports.into_values().flatten();
    Ok(names.filter(|name| FUNCTIONS.contains(&name.as_str())).collect())
}

fn ensure_on_shim(driver: &Path) -> Result<()> {
    let found = registration_imports(driver)?;
    ensure!(found.is_empty(), "{} imports {}", driver.display(), found.join(", "));
    let attaches = Image::read(driver)?
        .imports
        .into_values()
        .flatten()
        .any(|name| name == "NmrRegisterClient");
    ensure!(attaches, "{} does not come to NMR either", driver.display());
    Ok(())
}

/// A link of the C client that may fail.
struct Trial {
    image: PathBuf,
    output: Output,
}

impl Trial {
    fn link(layout: &Layout, line: impl FnOnce(&Tools) -> Vec<OsString>) -> Result<Self> {
        let tools = Tools::find(layout)?;
        let image = layout.target.join("shim/trial.sys");
        if image.exists() {
            fs::remove_file(&image)?;
        }
        let output = tools.link(layout, &image, &line(&tools))?;
        Ok(Self { image, output })
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    fn ensure_linked(&self) -> Result<()> {
        ensure!(self.output.status.success(), "{}", self.said());
        Ok(())
    }

    fn ensure_undefined(&self, symbol: &str) -> Result<()> {
        ensure!(!self.output.status.success(), "the linker was content");
        ensure!(
            self.said().contains(&format!("undefined symbol: {symbol}")),
            "{}",
            self.said()
        );
        Ok(())
    }
}

/// clang and lld, and where the WDK's parts are.
struct Tools {
    clang: PathBuf,
    lld: PathBuf,
    headers: PathBuf,
    libraries: PathBuf,
}

impl Tools {
    fn find(layout: &Layout) -> Result<Self> {
        let sysroot = command::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let host = command::output(Command::new("rustc").arg("-vV"))?;
        let host = host.lines().find_map(|line| line.strip_prefix("host: "));
        let lld = Path::new(sysroot.trim())
            .join("lib/rustlib")
            .join(host.context("rustc names no host")?)
            .join("bin/rust-lld");
        let (headers, libraries) = wdk::folders(layout, "x64");
        Ok(Self {
            clang: wdk::llvm::Llvm::find()?.clang(),
            lld,
            headers,
            libraries,
        })
    }

    fn netio(&self) -> OsString {
        self.libraries.join("netio.lib").into()
    }

    fn object(layout: &Layout) -> PathBuf {
        layout.target.join("shim/client.obj")
    }

    fn compile(&self, layout: &Layout) -> Result<()> {
        let object = Self::object(layout);
        fs::create_dir_all(object.parent().context("it is in a folder")?)?;
        let mut clang = Command::new(&self.clang);
        clang.args(["--target=x86_64-pc-windows-msvc", "-c", "-O2", "-fno-stack-protector"]);
        clang.args(["-Xclang", "-cfguard"]);
        clang.args(["-Wall", "-Wextra", "-Werror", "-D_AMD64_", "-DAMD64"]);
        for folder in ["km/crt", "km", "shared"] {
            clang.arg("-isystem").arg(self.headers.join(folder));
        }
        clang.arg(layout.root.join("testkernel/client/c/client.c"));
        command::run(clang.arg("-o").arg(object))
    }

    /// Links the C client with `line` in this order.
    fn link(&self, layout: &Layout, image: &Path, line: &[OsString]) -> Result<Output> {
        let mut lld = Command::new(&self.lld);
        lld.args(["-flavor", "link", "/NOLOGO", "/DRIVER", "/SUBSYSTEM:NATIVE,10.0"]);
        lld.args([
            "/ENTRY:DriverEntry",
            "/NODEFAULTLIB",
            "/DYNAMICBASE",
            "/NXCOMPAT",
            "/INTEGRITYCHECK",
        ]);
        lld.args([
            "/GUARD:CF",
            "/CETCOMPAT",
            "/RELEASE",
            "/Brepro",
            "/OPT:REF",
            "/DEBUG:NONE",
        ]);
        lld.arg(format!("/OUT:{}", image.display()));
        lld.arg(Self::object(layout)).args(line);
        // The last is where control flow guard's parts are.
        for library in ["ntoskrnl.lib", "BufferOverflowFastFailK.lib"] {
            lld.arg(self.libraries.join(library));
        }
        lld.output().with_context(|| command::describe(&lld))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("{} to {}", from.display(), to.display()))
        .map(drop)
}
