//! Finds the LLVM that reads the headers (libclang), makes import libraries (llvm-dlltool) and compiles the client in C (clang).

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Newest first; 15 is the oldest that the headers were tried with.
pub(crate) const VERSIONS: [u32; 8] = [22, 21, 20, 19, 18, 17, 16, 15];

/// An installed LLVM.
#[derive(Debug)]
pub(crate) struct Llvm {
    prefix: PathBuf,
    version: u32,
}

impl Llvm {
    /// The newest complete installation among Debian's `/usr/lib/llvm-<version>`.
    pub(crate) fn find() -> Result<Self> {
        VERSIONS
            .into_iter()
            .map(|version| Self {
                prefix: PathBuf::from(format!("/usr/lib/llvm-{version}")),
                version,
            })
            .find(Self::is_complete)
            .context("no LLVM with clang, libclang and llvm-dlltool found; `cargo xtask setup` installs one")
    }

    fn is_complete(&self) -> bool {
        self.dlltool().is_file()
            && self.clang().is_file()
            && self.resource_dir().is_dir()
            && self.libclang_dir().join("libclang.so").exists()
    }

    pub(crate) fn dlltool(&self) -> PathBuf {
        self.prefix.join("bin/llvm-dlltool")
    }

    pub(crate) fn assembler(&self) -> PathBuf {
        self.prefix.join("bin/llvm-mc")
    }

    pub(crate) fn archiver(&self) -> PathBuf {
        self.prefix.join("bin/llvm-ar")
    }

    /// Another of its programs.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.prefix.join("bin").join(name)
    }

    pub(crate) fn clang(&self) -> PathBuf {
        self.prefix.join("bin/clang")
    }

    pub(crate) fn symbolizer(&self) -> PathBuf {
        self.prefix.join("bin/llvm-symbolizer")
    }

    /// The folder that holds libclang.so.
    pub(crate) fn libclang_dir(&self) -> PathBuf {
        self.prefix.join("lib")
    }

    /// clang's own headers, which libclang does not find when it is loaded from elsewhere.
    pub(crate) fn resource_dir(&self) -> PathBuf {
        // From version 16 on the folder is named after the major version alone.
        let folder = self.prefix.join("lib/clang");
        let exact = folder.join(self.version.to_string());
        if exact.is_dir() {
            exact
        } else {
            folder.join(format!("{}.0.7", self.version))
        }
    }
}
