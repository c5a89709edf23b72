//! Makes the WDK root: headers for bindgen, import libraries for the linker.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use object::read::archive::ArchiveFile;

use super::{llvm::Llvm, patch};
use crate::{command, hashing, layout::Layout};

/// The kit whose folder names are copied; wdk-build takes the version from them.
pub(super) const KIT_VERSION: &str = "10.0.26100.0";

const MINGW_INCLUDE: &str = "/usr/share/mingw-w64/include";
const MINGW_LIB: &str = "/usr/x86_64-w64-mingw32/lib";

/// The WDK's folder name for an architecture, and llvm-dlltool's.
const ARCHITECTURES: [(&str, &str); 2] = [("x64", X64), ("ARM64", "arm64")];
const X64: &str = "i386:x86-64";

/// The headers that wdk-sys includes for a WDM driver.
const ENTRY_HEADERS: [&str; 3] = ["ntifs.h", "ntddk.h", "ntstrsafe.h"];

/// Returns the value for `WDKContentRoot`.
pub(super) fn make(layout: &Layout, llvm: &Llvm) -> Result<PathBuf> {
    let root = layout.wdk().join("root");
    let sources = layout.wdk_sources();
    let key = key(&sources, llvm)?;
    hashing::once_per_key(&root, &key, || {
        let include = root.join("Include").join(KIT_VERSION);
        make_headers(&sources, &include).context("headers")?;
        for (arch, machine) in ARCHITECTURES {
            let lib = root.join("Lib").join(KIT_VERSION).join("km").join(arch);
            make_libraries(&sources, &lib, llvm, machine).with_context(|| format!("import libraries for {arch}"))?;
        }
        Ok(())
    })?;
    Ok(root)
}

/// See [`super::folders`].
pub(super) fn folders(layout: &Layout, arch: &str) -> (PathBuf, PathBuf) {
    let root = layout.wdk().join("root");
    (
        root.join("Include").join(KIT_VERSION),
        root.join("Lib").join(KIT_VERSION).join("km").join(arch),
    )
}

/// Changes whenever the root would.
fn key(sources: &Path, llvm: &Llvm) -> Result<String> {
    let mut key = format!("{}\n", llvm.dlltool().display());
    let mut files = fs::read_dir(sources)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.extend([
        PathBuf::from(MINGW_INCLUDE).join("ddk/wdm.h"),
        PathBuf::from(MINGW_LIB).join("libntoskrnl.a"),
    ]);
    files.sort();
    for file in files {
        writeln!(key, "{} {}", hashing::sha256_file(&file)?, file.display())?;
    }
    Ok(key + patch::REVISION)
}

/// `km/crt` is searched first, then `km`, then `shared`: wrappers, driver headers, everything else.
fn make_headers(sources: &Path, include: &Path) -> Result<()> {
    let (km, crt, shared) = (include.join("km"), include.join("km/crt"), include.join("shared"));
    if include.exists() {
        fs::remove_dir_all(include)?;
    }
    fs::create_dir_all(&crt)?;
    link(Path::new(MINGW_INCLUDE), &shared)?;
    for entry in fs::read_dir(Path::new(MINGW_INCLUDE).join("ddk"))? {
        let entry = entry?;
        let copy = km.join(entry.file_name());
        if entry.file_name() == "wdm.h" {
            let text = fs::read_to_string(entry.path())?;
            fs::write(copy, patch::wdm_header(&text)?)?;
        } else {
            link(&entry.path(), &copy)?;
        }
    }
    for name in ["prologue.h", "epilogue.h"] {
        fs::copy(sources.join(name), crt.join(name))?;
    }
    fs::write(crt.join("intrin.h"), "")?;
    for header in ENTRY_HEADERS {
        // The epilogue needs what ntifs.h and all it includes declare, and ntifs.h includes ntddk.h half-way through.
        let epilogue = if header == "ntddk.h" {
            ""
        } else {
            "#include \"epilogue.h\"\n"
        };
        fs::write(
            crt.join(header),
            format!("#include \"prologue.h\"\n#include_next <{header}>\n{epilogue}"),
        )?;
    }
    Ok(())
}

fn make_libraries(sources: &Path, lib: &Path, llvm: &Llvm, machine: &str) -> Result<()> {
    fs::create_dir_all(lib)?;
    let mut ntoskrnl = archive_exports(&Path::new(MINGW_LIB).join("libntoskrnl.a"))?;
    let extra = fs::read_to_string(sources.join("ntoskrnl.extra"))?;
    ntoskrnl.extend(
        extra
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(Export::function),
    );
    let hal = archive_exports(&Path::new(MINGW_LIB).join("libhal.a"))?;
    // What both name is ntoskrnl's.
    let hal = hal.difference(&ntoskrnl).cloned().collect();

    let library = |name: &str, definition: &str| {
        let file = lib.join(name).with_extension("def");
        fs::write(&file, definition)?;
        let import_library = lib.join(name).with_extension("lib");
        let mut dlltool = Command::new(llvm.dlltool());
        dlltool
            .args(["-m", machine, "-d"])
            .arg(&file)
            .arg("-l")
            .arg(import_library);
        command::run(&mut dlltool)
    };
    library("ntoskrnl", &definition("ntoskrnl.exe", &ntoskrnl))?;
    library("hal", &definition("HAL.dll", &hal))?;
    for name in ["netio", "wmilib"] {
        library(name, &fs::read_to_string(sources.join(name).with_extension("def"))?)?;
    }
    // rustc emits neither /GS cookies nor calls of the ARM64 support routines: these are linked and contribute nothing,
    // but for what control flow guard needs.
    for name in ["BufferOverflowFastFailK", "arm64rt"] {
        library(name, &format!("LIBRARY {name}.sys\nEXPORTS\n    unused_{name}\n"))?;
    }
    if machine == X64 {
        make_guard(sources, lib, llvm)?;
    }
    Ok(())
}

/// Replaces BufferOverflowFastFailK.lib by the assembled guard.s.
fn make_guard(sources: &Path, lib: &Path, llvm: &Llvm) -> Result<()> {
    let object = lib.join("guard.obj");
    let mut assembler = Command::new(llvm.assembler());
    assembler.args(["--filetype=obj", "-triple", "x86_64-pc-windows-msvc", "-o"]);
    command::run(assembler.arg(&object).arg(sources.join("guard.s")))?;
    let library = lib.join("BufferOverflowFastFailK.lib");
    fs::remove_file(&library)?;
    let mut librarian = Command::new(llvm.archiver());
    command::run(librarian.arg("rcsD").arg(&library).arg(&object))
}

/// One name of an import library.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Export {
    name: String,
    is_data: bool,
}

impl Export {
    fn function(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_data: false,
        }
    }
}

/// The names of an import archive: a function has a thunk besides its `__imp_` pointer, data has the pointer only.
fn archive_exports(archive: &Path) -> Result<BTreeSet<Export>> {
    let bytes = fs::read(archive).with_context(|| archive.display().to_string())?;
    let parsed = ArchiveFile::parse(&*bytes)?;
    let symbols = parsed.symbols()?.context("the archive has no symbol table")?;
    let names = symbols
        .map(|symbol| Ok(String::from_utf8(symbol?.name().to_vec())?))
        .collect::<Result<BTreeSet<_>>>()?;
    let exports = names
        .iter()
        .filter_map(|name| name.strip_prefix("__imp_"))
        .map(|name| Export {
            name: name.to_owned(),
            is_data: !names.contains(name),
        })
        .collect::<BTreeSet<_>>();
    ensure!(!exports.is_empty(), "{} names no import", archive.display());
    Ok(exports)
}

fn definition(library: &str, exports: &BTreeSet<Export>) -> String {
    let mut text = format!("LIBRARY {library}\nEXPORTS\n");
    for export in exports {
        let kind = if export.is_data { " DATA" } else { "" };
        text.extend(["    ", &export.name, kind, "\n"]);
    }
    text
}

#[cfg(unix)]
fn link(original: &Path, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(original, link).with_context(|| link.display().to_string())
}

#[cfg(not(unix))]
fn link(_original: &Path, _link: &Path) -> Result<()> {
    anyhow::bail!("the stand-in for the WDK is for machines that cannot have the real one")
}
