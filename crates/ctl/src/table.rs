//! Columns for people: widths from the contents, bounded, so that no line is longer than a terminal is wide; a list that comes
//! in pages keeps its memory to a page, and its columns only widen.

use std::io;

use crate::output::{Output, Style};

/// Characters of a line.
const LINE: usize = 100;
const GAP: &str = "  ";

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
    most: usize,
}

impl Column {
    /// Text, at most `most` characters of it; in the last column, more if the line has room.
    #[must_use]
    pub const fn text(title: &'static str, most: usize) -> Self {
        Self {
            title,
            right: false,
            most,
        }
    }

    /// A number: aligned to the right, never cut.
    #[must_use]
    pub const fn number(title: &'static str) -> Self {
        Self {
            title,
            right: true,
            most: usize::MAX,
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
            widths: columns.iter().map(|column| column.title.len()).collect(),
            headed: false,
        }
    }

    /// Prints `rows`, below the titles if they are the first.
    ///
    /// # Errors
    /// Writing failed.
    pub fn page(&mut self, out: &mut Output<'_>, rows: Vec<Vec<Cell>>) -> io::Result<()> {
        let rows: Vec<Vec<Cell>> = rows.into_iter().map(|row| self.fit(row)).collect();
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

    /// Cuts cells to their columns and widens columns to their cells. The last one gets what is left of the line.
    fn fit(&mut self, row: Vec<Cell>) -> Vec<Cell> {
        let last = self.columns.len().saturating_sub(1);
        let mut used = 0;
        let columns = self.columns.iter().zip(&mut self.widths);
        let fitted = row
            .into_iter()
            .zip(columns)
            .enumerate()
            .map(|(index, (mut cell, (column, width)))| {
                let most = if index == last {
                    column.most.max(LINE.saturating_sub(used))
                } else {
                    column.most
                };
                cell.text = shorten(&printable(&cell.text), most);
                *width = (*width).max(cell.text.chars().count());
                used += *width + GAP.len();
                cell
            });
        fitted.collect()
    }

    fn row(&self, out: &mut Output<'_>, cells: Vec<Cell>) -> io::Result<()> {
        let mut line = String::new();
        let last = self.columns.len().saturating_sub(1);
        for (index, ((cell, column), width)) in cells.into_iter().zip(self.columns).zip(&self.widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.text.chars().count()));
            let text = out.paint(cell.style, &cell.text);
            line += &match (column.right, index == last) {
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
        const COLUMNS: &[Column] = &[Column::text("NAME", 8), Column::number("N"), Column::text("WHAT", 20)];
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Output::new(&mut stdout, &mut stderr);
        let mut table = Table::new(COLUMNS);
        let row = |name: &str, n: &str, what: &str| -> Vec<Cell> { vec![name.into(), n.into(), what.into()] };
        table
            .page(&mut out, vec![row("a", "1", "x"), row("abcdefghij", "1234", "")])
            .unwrap();
        table.page(&mut out, vec![row("b\u{1b}[31m", "7", "y")]).unwrap();
        let expected = "NAME         N  WHAT\na            1  x\nabcd…hij  1234\nb\u{fffd}[31m       7  y\n";
        assert_eq!(String::from_utf8(stdout).unwrap(), expected);
    }
}
