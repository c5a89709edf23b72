//! The changes made to copies of other people's files, each as "this text becomes that", so that a new version in which
//! the text is gone is an error and not a surprise.

use anyhow::{Result, ensure};

/// Part of the key of what is generated with these patches.
pub(super) const REVISION: &str = include_str!("patch.rs");

/// mingw-w64's wdm.h, with the layout and the anonymous unions of the kit's where drivers depend on them.
pub(super) fn wdm_header(text: &str) -> Result<String> {
    replace_all(
        text,
        &[
            (
                "typedef struct _DEVICE_OBJECT {",
                "typedef struct DECLSPEC_ALIGN(16) _DEVICE_OBJECT {",
            ),
            (
                "  PIO_STATUS_BLOCK UserIosb;\n  PKEVENT UserEvent;",
                "  union {\n    PIO_STATUS_BLOCK UserIosb;\n    PVOID IoRingContext;\n  };\n  PKEVENT UserEvent;",
            ),
            (
                "      PVOID UserApcContext;\n    } AsynchronousParameters;",
                "      union {\n        PVOID UserApcContext;\n        struct _IORING_OBJECT *IoRing;\n      };\n    } \
                 AsynchronousParameters;",
            ),
        ],
    )
}

/// wdk-build's manifest and sources, so that they compile where there is no registry to search for a kit: the kit's
/// place comes from `WDKContentRoot`. The list of dependencies stays that of Cargo.lock.
pub(super) const WDK_BUILD: &[(&str, &[(&str, &str)])] = &[
    (
        "Cargo.toml",
        &[("[dependencies.windows]", "[target.'cfg(windows)'.dependencies.windows]")],
    ),
    (
        "src/utils.rs",
        &[
            ("\nuse windows::{", "\n#[cfg(windows)]\nuse windows::{"),
            (
                "    if let Some(path) = read_registry_key_string_value(",
                "    #[cfg(windows)]\n    if let Some(path) = read_registry_key_string_value(",
            ),
            (
                "\nfn read_registry_key_string_value(",
                "\n#[cfg(windows)]\nfn read_registry_key_string_value(",
            ),
            ("    compile_error!(", "    unimplemented!("),
        ],
    ),
    (
        "src/cargo_make.rs",
        &[("std::os::windows::fs::symlink_file(", "std::os::unix::fs::symlink(")],
    ),
];

/// Replaces every occurrence of each text; each must occur. Line ends become plain line feeds.
pub(super) fn replace_all(text: &str, replacements: &[(&str, &str)]) -> Result<String> {
    let mut text = text.replace("\r\n", "\n");
    for (from, to) in replacements {
        ensure!(text.contains(from), "the text to patch is not there: {from:?}");
        text = text.replace(from, to);
    }
    Ok(text)
}
