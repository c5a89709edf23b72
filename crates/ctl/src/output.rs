//! Where a command's results go: data to stdout, as text for people or as JSON; hints and warnings to stderr.

use std::io::{self, Write};

use serde::Serialize;

/// Characters of a line that fits any terminal.
pub const LINE: usize = 100;

/// How a piece of text stands out, where colours are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    #[default]
    Plain,
    /// A title.
    Head,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// Less important.
    Dim,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Head => "1",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
        }
    }
}

/// The two streams, and how to write to them.
pub struct Output<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    /// JSON instead of text.
    pub json: bool,
    /// Colours on stdout.
    pub color: bool,
    /// Tables are cut to a terminal's width. A file or a program gets all of them.
    pub cut: bool,
    /// Colours on stderr.
    pub color_stderr: bool,
}

impl<'a> Output<'a> {
    /// Text without colours.
    pub fn new(stdout: &'a mut dyn Write, stderr: &'a mut dyn Write) -> Self {
        Self {
            stdout,
            stderr,
            json: false,
            color: false,
            cut: true,
            color_stderr: false,
        }
    }

    /// `text` in `style`, for stdout.
    #[must_use]
    pub fn paint(&self, style: Style, text: &str) -> String {
        paint(self.color, style, text)
    }

    /// One line of data.
    ///
    /// # Errors
    /// Writing failed.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.stdout, "{line}")
    }

    /// One of a column of named values.
    ///
    /// # Errors
    /// Writing failed.
    pub fn field(&mut self, width: usize, name: &str, style: Style, value: &str) -> io::Result<()> {
        let line = format!(
            "{}  {}",
            self.paint(Style::Head, &format!("{name:<width$}")),
            self.paint(style, value)
        );
        self.line(&line)
    }

    /// Data as it is.
    ///
    /// # Errors
    /// Writing failed.
    pub fn raw(&mut self, data: &[u8]) -> io::Result<()> {
        self.stdout.write_all(data)
    }

    /// A whole result as JSON, for reading.
    ///
    /// # Errors
    /// Writing failed.
    pub fn document<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *self.stdout, value)?;
        self.line("")
    }

    /// One element of a list or stream as JSON, in one line.
    ///
    /// # Errors
    /// Writing failed.
    pub fn element<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer(&mut *self.stdout, value)?;
        self.line("")
    }

    /// What was printed reaches the reader now: before a wait.
    ///
    /// # Errors
    /// Writing failed.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }

    /// What may help. Lost if stderr is gone.
    pub fn hint(&mut self, hint: &str) {
        self.say("hint", Style::Good, hint);
    }

    /// What should be known although the command goes on.
    pub fn warn(&mut self, warning: &str) {
        self.say("warning", Style::Warn, warning);
    }

    /// How something long is going.
    pub fn progress(&mut self, line: &str) {
        self.catch_up();
        let _ = writeln!(self.stderr, "{}", paint(self.color_stderr, Style::Dim, line));
    }

    /// Why the command failed.
    pub fn error(&mut self, message: &str) {
        self.say("error", Style::Bad, message);
    }

    /// Text to stderr as it is.
    pub fn complain(&mut self, text: &str) {
        self.catch_up();
        let _ = write!(self.stderr, "{text}");
    }

    /// What was printed before comes before what is said now, where both go to one place. If stdout is gone, its next line says so.
    fn catch_up(&mut self) {
        let _ = self.stdout.flush();
    }

    fn say(&mut self, word: &str, style: Style, text: &str) {
        self.catch_up();
        let indent = word.len() + 2;
        let text = wrap(text, LINE.saturating_sub(indent)).join(&format!("\n{}", " ".repeat(indent)));
        let _ = writeln!(self.stderr, "{}: {text}", paint(self.color_stderr, style, word));
    }
}

/// Lines of at most `width` characters, where words allow.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.is_empty() || used + 1 + length <= width => {
                used += length + usize::from(!line.is_empty());
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => {
                used = length;
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

/// `1 rule`, `3 rules`.
#[must_use]
pub fn count<N: Into<u64>>(number: N, noun: &str) -> String {
    match number.into() {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

fn paint(color: bool, style: Style, text: &str) -> String {
    if color && style != Style::Plain && !text.is_empty() {
        format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_wrapped_under_their_word() {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        Output::new(&mut stdout, &mut stderr).hint(&"0123456789 ".repeat(12));
        let expected = format!(
            "hint: {}\n      {}\n",
            ["0123456789"; 8].join(" "),
            ["0123456789"; 4].join(" ") + " "
        );
        assert_eq!(String::from_utf8(stderr).unwrap(), expected);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("longer-than-a-line a b", 4), ["longer-than-a-line", "a b"]);
    }

    #[test]
    fn colours_only_where_wanted() {
        assert_eq!(paint(true, Style::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(paint(false, Style::Bad, "x"), "x");
        assert_eq!(paint(true, Style::Plain, "x"), "x");
    }
}
