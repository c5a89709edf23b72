//! Columns for people: as wide as their contents, unless the line would be longer than a terminal is wide; then the widest texts
//! are cut in the middle. What goes to a file or a pipe is not cut. A list that comes in pages keeps its memory to a page.

use std::io;

use crate::output::{LINE, Output, Style};

const GAP: &str = "  ";
/// To which a column may be cut.
const LEAST: usize = 10;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    number: bool,
    least: usize,
}

impl Column {
    /// Text, cut in the middle if need be.
    #[must_use]
    pub const fn text(title: &'static str) -> Self {
        Self {
            title,
            number: false,
            least: title.len(),
        }
    }

    /// Never narrower than this: for lists that come in pages.
    #[must_use]
    pub const fn at_least(self, least: usize) -> Self {
        Self { least, ..self }
    }

    /// A number: aligned to the right, never cut.
    #[must_use]
    pub const fn number(title: &'static str) -> Self {
        Self {
            title,
            number: true,
            least: title.len(),
        }
    }
}

/// What a row has in a column.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Text in a style.
    #[must_use]
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }

    /// A count that people should look at unless it is 0.
    #[must_use]
    pub fn alarm(count: u64) -> Self {
        Self::styled(count.to_string(), if count == 0 { Style::Plain } else { Style::Bad })
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Plain)
    }
}

/// A table that is printed a page at a time.
#[derive(Debug)]
pub struct Table {
    columns: &'static [Column],
    widths: Vec<usize>,
    headed: bool,
}

impl Table {
    /// With these columns.
    #[must_use]
    pub fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            widths: columns.iter().map(|column| column.least).collect(),
            headed: false,
        }
    }

    /// Prints `rows`, below the titles if they are the first.
    ///
    /// # Errors
    /// Writing failed.
    pub fn page(&mut self, out: &mut Output<'_>, rows: Vec<Vec<Cell>>) -> io::Result<()> {
        let rows = self.fit(rows, out.cut);
        if !std::mem::replace(&mut self.headed, true) {
            let titles = self
                .columns
                .iter()
                .map(|column| Cell::styled(column.title, Style::Head))
                .collect();
            self.row(out, titles)?;
        }
        rows.into_iter().try_for_each(|row| self.row(out, row))
    }

    /// Widens columns to their cells, then cuts cells to columns if the line would be too long.
    fn fit(&mut self, mut rows: Vec<Vec<Cell>>, cut: bool) -> Vec<Vec<Cell>> {
        for row in &mut rows {
            for (cell, width) in row.iter_mut().zip(&mut self.widths) {
                cell.text = printable(&cell.text);
                *width = (*width).max(cell.text.chars().count());
            }
        }
        if !cut {
            return rows;
        }
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        while self.widths.iter().sum::<usize>() + gaps > LINE {
            let texts = self
                .columns
                .iter()
                .zip(&mut self.widths)
                .filter(|(column, _)| !column.number);
            match texts.map(|(_, width)| width).max() {
                Some(width) if *width > LEAST => *width -= 1,
                _ => break,
            }
        }
        for row in &mut rows {
            for (cell, (column, width)) in row.iter_mut().zip(self.columns.iter().zip(&self.widths)) {
                if !column.number {
                    cell.text = shorten(&cell.text, *width);
                }
            }
        }
        rows
    }

    fn row(&self, out: &mut Output<'_>, cells: Vec<Cell>) -> io::Result<()> {
        let mut line = String::new();
        let last = self.columns.len().saturating_sub(1);
        for (index, ((cell, column), width)) in cells.into_iter().zip(self.columns).zip(&self.widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.text.chars().count()));
            let text = out.paint(cell.style, &cell.text);
            line += &match (column.number, index == last) {
                (true, true) => gap + &text,
                (true, false) => gap + &text + GAP,
                (false, true) => text,
                (false, false) => text + &gap + GAP,
            };
        }
        out.line(line.trim_end())
    }
}

/// Keeps the ends of what is longer than `most` characters.
fn shorten(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let front = most.saturating_sub(1).div_ceil(2);
    let back = most.saturating_sub(front + 1);
    text.chars()
        .take(front)
        .chain(['…'])
        .chain(text.chars().skip(length - back))
        .collect()
}

/// Names come from other drivers: they must not steer the terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_line_up_and_long_cells_are_cut() {
        const COLUMNS: &[Column] = &[Column::text("NAME"), Column::number("N"), Column::text("WHAT")];
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Output::new(&mut stdout, &mut stderr);
        let mut table = Table::new(COLUMNS);
        let row = |name: &str, n: &str, what: &str| -> Vec<Cell> { vec![name.into(), n.into(), what.into()] };
        table
            .page(&mut out, vec![row("a", "1", "x"), row("abcdefghij", "1234", "")])
            .unwrap();
        table.page(&mut out, vec![row("b\u{1b}[31m", "7", "y")]).unwrap();
        table
            .page(&mut out, vec![row("c", "8", &"0123456789".repeat(9))])
            .unwrap();
        let text = String::from_utf8(stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "NAME           N  WHAT",
                "a              1  x",
                "abcdefghij  1234",
                "b\u{fffd}[31m         7  y"
            ]
        );
        assert_eq!(lines[4].chars().count(), LINE);
        assert!(lines[4].ends_with("456789") && lines[4].contains('…'));
    }

    #[test]
    fn nothing_is_cut_for_a_pipe() {
        const COLUMNS: &[Column] = &[Column::text("NAME"), Column::text("WHAT")];
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Output::new(&mut stdout, &mut stderr);
        out.cut = false;
        let long = "0123456789".repeat(20);
        let row = vec![long.as_str().into(), "x".into()];
        Table::new(COLUMNS).page(&mut out, vec![row]).unwrap();
        assert!(String::from_utf8(stdout).unwrap().contains(&format!("{long}  x")));
    }

    #[test]
    fn the_ends_are_kept() {
        assert_eq!(shorten("abcdefghij", 10), "abcdefghij");
        assert_eq!(shorten("abcdefghij", 7), "abc…hij");
        assert_eq!(shorten("abcdefghij", 6), "abc…ij");
    }
}
