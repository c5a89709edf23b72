//! What a terminal shows, as a picture in docs/pictures. A test keeps the two the same.

use std::{env, fs, path::Path};

/// Compares; with `WSKGUARD_PICTURES` in the environment it is drawn anew.
pub(crate) fn same(name: &str, shown: &str) {
    let picture = anstyle_svg::Term::new().render_svg(shown);
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/pictures")
        .join(name)
        .with_extension("svg");
    if env::var_os("WSKGUARD_PICTURES").is_some() {
        fs::write(&file, &picture).unwrap();
    }
    let drawn = fs::read_to_string(&file).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        drawn == picture,
        "{}: WSKGUARD_PICTURES=1 draws it anew",
        file.display()
    );
}
