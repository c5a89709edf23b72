//! Tests on the documents: links lead somewhere, every page is reached from the README, and every shell command that a
//! reader is shown works. A block of commands is marked ```` ```sh run ````; others may not be called `sh`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{command, layout::Layout, report::Report};

const LIMIT: Duration = Duration::from_mins(10);

/// Commands that need not be run once more, and which part of `cargo xtask test` runs what they would.
const COVERED: [(&str, &str); 6] = [
    ("cargo xtask test", "this is it"),
    ("cargo xtask hlk", "the suite"),
    ("cargo xtask check", "the checks of the drivers' files"),
    ("cargo xtask package --test", "the package"),
    ("cargo test", "the host tests"),
    ("cargo xtask docs", "the documents"),
];

/// Tests the documents. Commands that `cargo xtask test` runs in any case are left to it.
pub(crate) fn test(layout: &Layout, report: &mut Report) {
    let pages = match pages(&layout.root) {
        Ok(pages) => pages,
        Err(error) => return report.test("the documents can be read", || Err(error)),
    };
    report.test("links in the documents lead somewhere", || {
        check_links(&layout.root, &pages)
    });
    report.test("every document is reached from the README", || check_reached(&pages));
    let commands = match commands(&pages) {
        Ok(commands) => commands,
        Err(error) => return report.test("the documents' blocks are marked", || Err(error)),
    };
    report.test("what is left to other tests is in the documents", || {
        let idle = COVERED
            .iter()
            .filter(|(command, _)| !commands.contains_key(*command))
            .collect::<Vec<_>>();
        ensure!(idle.is_empty(), "no document has {idle:?}");
        Ok(())
    });
    for (command, place) in commands {
        match COVERED.iter().find(|(covered, _)| *covered == command) {
            Some((_, by)) => println!("  ({place}: {command}: {by})"),
            None => report.test(&format!("{place}: {command}"), || run(layout, &command)),
        }
    }
}

fn run(layout: &Layout, line: &str) -> Result<()> {
    let log = layout.logs()?.join("docs.log");
    let mut shell = Command::new("sh");
    shell.current_dir(&layout.root).args(["-euc", line]);
    let finished = command::run_logged(&mut shell, &log, LIMIT)?;
    if finished.success() {
        return Ok(());
    }
    let how = if finished.timed_out() { "did not end" } else { "failed" };
    bail!("it {how}:\n{}", fs::read_to_string(&log).unwrap_or_default())
}

/// A document.
#[derive(Debug)]
struct Page {
    /// From the root, with slashes.
    name: String,
    text: String,
}

/// The README first.
fn pages(root: &Path) -> Result<Vec<Page>> {
    let mut files = Vec::new();
    for folder in [root.to_path_buf(), root.join("docs")] {
        let mut here = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            here.push(entry?.path());
        }
        here.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        here.sort_by_key(|path| (!path.ends_with("README.md"), path.clone()));
        files.extend(here);
    }
    let page = |path: PathBuf| {
        let name = path.strip_prefix(root)?.display().to_string().replace('\\', "/");
        Ok(Page {
            name,
            text: fs::read_to_string(&path)?,
        })
    };
    files.into_iter().map(page).collect()
}

/// Each command of a `sh run` block, with the first place that has it.
fn commands(pages: &[Page]) -> Result<BTreeMap<String, String>> {
    let mut commands = BTreeMap::new();
    for page in pages {
        let mut block = None;
        for (index, line) in page.text.lines().enumerate() {
            let place = format!("{}:{}", page.name, index + 1);
            if let Some(info) = line.strip_prefix("```") {
                ensure!(
                    block.is_some() || info != "sh",
                    "{place}: is this block run or not? Call it `sh run`, or `text`"
                );
                block = if block.is_some() { None } else { Some(info.trim()) };
            } else if block == Some("sh run") && !line.trim().is_empty() && !line.starts_with('#') {
                commands.entry(line.trim().to_owned()).or_insert(place);
            }
        }
        ensure!(block.is_none(), "{}: a block has no end", page.name);
    }
    Ok(commands)
}

/// The targets of a page's links to other files.
fn links(page: &Page) -> impl Iterator<Item = &str> {
    page.text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

fn check_links(root: &Path, pages: &[Page]) -> Result<()> {
    for page in pages {
        let folder = root.join(&page.name);
        let folder = folder.parent().unwrap_or(root);
        for link in links(page) {
            ensure!(
                folder.join(link).exists(),
                "{} links to {link}, which is not there",
                page.name
            );
        }
    }
    Ok(())
}

fn check_reached(pages: &[Page]) -> Result<()> {
    let readme = pages.first().context("no page")?;
    ensure!(readme.name == "README.md", "no README.md");
    let linked = links(readme).collect::<BTreeSet<_>>();
    for page in pages.iter().skip(1) {
        ensure!(
            linked.contains(page.name.as_str()),
            "the README has no link to {}",
            page.name
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page {
            name: "README.md".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn commands_are_those_of_marked_blocks() {
        let text = "```sh run\n# why\ncargo a\n\ncargo b --c\n```\ncargo no\n```text\ncargo no\n```\n";
        let commands = commands(&[page(text)]).unwrap();
        assert_eq!(commands.keys().collect::<Vec<_>>(), ["cargo a", "cargo b --c"]);
        assert_eq!(commands["cargo b --c"], "README.md:5");
        assert!(
            super::commands(&[page("```sh\ncargo a\n```\n")]).is_err(),
            "neither run nor not"
        );
        assert!(super::commands(&[page("```sh run\ncargo a\n")]).is_err(), "no end");
    }

    #[test]
    fn links_to_files_are_found() {
        let page = page("[a](docs/A.md#part), [b](https://example.org/x), [c](#here), [d](LICENSE)");
        assert_eq!(links(&page).collect::<Vec<_>>(), ["docs/A.md", "LICENSE"]);
        assert!(check_links(Path::new("/nowhere"), &[page]).is_err());
    }

    #[test]
    fn a_page_that_nobody_links_to_is_found() {
        let other = || Page {
            name: "docs/A.md".to_owned(),
            text: String::new(),
        };
        assert!(check_reached(&[page("[a](docs/A.md)"), other()]).is_ok());
        assert!(check_reached(&[page(""), other()]).is_err());
    }
}
