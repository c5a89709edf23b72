//! What is wrong with a policy text, and where.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy does not compile.
    Error,
    /// It compiles, but probably does not say what was meant.
    Warning,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The token, as byte offsets into the text.
    pub span: Range<usize>,
    /// What was expected there.
    pub label: String,
    /// Another place that matters.
    pub related: Option<(Range<usize>, String)>,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span,
            label: String::new(),
            related: None,
            help: None,
        }
    }

    /// A warning at `span`.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// With what was expected.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..self
        }
    }

    /// With how to mend it.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// With how to mend it, where there is a way.
    #[must_use]
    pub fn maybe_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    /// With another place that matters.
    #[must_use]
    pub fn related(self, span: Range<usize>, label: impl Into<String>) -> Self {
        Self {
            related: Some((span, label.into())),
            ..self
        }
    }
}

/// All findings about one text. `Display` prints them as the Rust compiler would, without colour.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    source: String,
    text: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn new(source: &str, text: &str) -> Self {
        Self {
            source: source.to_owned(),
            text: text.to_owned(),
            list: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// In the order of the text.
    pub(crate) fn sort(&mut self) {
        self.list
            .sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.severity));
    }

    /// Whether the policy cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The findings.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Line and column (characters), from 1, of a byte offset.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.rsplit('\n').next().unwrap_or("");
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// One finding a line, `file:line:column: severity: message`, for tools.
    #[must_use]
    pub fn short(&self) -> String {
        let line = |diagnostic: &Diagnostic| {
            let (line, column) = self.position(diagnostic.span.start);
            let severity = if diagnostic.severity == Severity::Error {
                "error"
            } else {
                "warning"
            };
            format!("{}:{line}:{column}: {severity}: {}\n", self.source, diagnostic.message)
        };
        self.list.iter().map(line).collect()
    }

    /// As the Rust compiler would print them.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let reports: Vec<_> = self
            .list
            .iter()
            .map(|diagnostic| renderer.render(&[self.group(diagnostic)]))
            .collect();
        reports.join("\n\n")
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut primary = AnnotationKind::Primary.span(self.clip(&diagnostic.span));
        if !diagnostic.label.is_empty() {
            primary = primary.label(diagnostic.label.as_str());
        }
        let mut snippet = Snippet::source(self.text.as_str())
            .path(self.source.as_str())
            .annotation(primary);
        if let Some((span, label)) = &diagnostic.related {
            snippet = snippet.annotation(AnnotationKind::Context.span(self.clip(span)).label(label.as_str()));
        }
        let group = level.primary_title(diagnostic.message.as_str()).element(snippet);
        match &diagnostic.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }

    fn clip(&self, span: &Range<usize>) -> Range<usize> {
        let end = span.end.min(self.text.len());
        span.start.min(end)..end
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
