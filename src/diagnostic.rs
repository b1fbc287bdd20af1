//! A mistake in the user's file: its place, what is wrong, and what to do about it. Knows text and positions only.

use annotate_snippets::{AnnotationKind, Group, Level as Title, Renderer, Snippet, renderer::DecorStyle};
use std::collections::HashSet;
use std::path::PathBuf;

/// All that the user typed: the pipeline file, then the `--set` arguments.
///
/// A mistake in a `--set` argument needs a place too, so a [`Span`] beyond the text of the file points into the
/// arguments, as if each were one more line of the file.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// As the user typed it.
    pub path: PathBuf,
    pub text: String,
    /// `--set` arguments: `ppo_1.with.lr=1e-5`.
    pub overrides: Vec<String>,
    /// The rule of `gate what-if`, as the last line.
    pub rule: Option<String>,
}

/// Byte offsets into [`SourceText::text`] and, beyond its end, into the overrides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    Error,
    Warning,
    /// Nothing is wrong; something may be added.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// `None`: the mistake concerns the whole file.
    pub span: Option<Span>,
    pub level: Severity,
    pub message: String,
    pub help: Option<String>,
    /// The place of the mistake, where it lies in a file that the pipeline file names at `span`.
    pub beneath: Option<NamedFileLine>,
}

/// A line of a file that the pipeline file names, and the bytes of it that are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedFileLine {
    pub path: PathBuf,
    /// From 1.
    pub number: usize,
    pub text: String,
    pub span: Span,
}

impl NamedFileLine {
    /// The line of a text in which a span begins.
    pub fn of(path: PathBuf, text: &str, span: Span) -> NamedFileLine {
        let shown = one_line(text, span);
        let start = text[..shown.start].rfind('\n').map_or(0, |end| end + 1);
        let end = text[shown.start..].find('\n').map_or(text.len(), |length| shown.start + length);
        let number = text[..start].matches('\n').count() + 1;
        NamedFileLine {
            path,
            number,
            text: text[start..end].to_owned(),
            span: Span::new(shown.start - start, shown.end - start),
        }
    }
}

impl SourceText {
    /// The offset, as in spans, at which the text of override `index` begins.
    pub fn override_start(&self, index: usize) -> usize {
        self.text.len() + 1 + self.overrides[..index].iter().map(|text| text.len() + 1).sum::<usize>()
    }
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }
}

impl Diagnostic {
    pub fn error(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { span: Some(span), level: Severity::Error, message: message.into(), help: None, beneath: None }
    }

    pub fn warning(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { level: Severity::Warning, ..Diagnostic::error(span, message) }
    }

    pub fn note(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { level: Severity::Note, ..Diagnostic::error(span, message) }
    }

    pub fn help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }
}

/// The number of mistakes that are shown; the first usually explain the others.
pub const MAX_SHOWN: usize = 100;

/// Each mistake as `error: … --> rlhf.yaml:12:9`, with the line, a caret and the help, in the order of the file. Equal
/// mistakes are shown once: several stages may use one anchor.
pub fn render(source: &SourceText, diagnostics: &[Diagnostic], color: bool) -> String {
    let mut seen = HashSet::new();
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().filter(|diagnostic| seen.insert(*diagnostic)).collect();
    sorted.sort_by_key(|diagnostic| diagnostic.span);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut rendered = String::new();
    for diagnostic in sorted.iter().take(MAX_SHOWN) {
        rendered.push_str(&render_one(source, diagnostic, &renderer));
        rendered.push_str("\n\n");
    }
    if let Some(more) = sorted.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
        let errors = sorted[MAX_SHOWN..].iter().filter(|diagnostic| diagnostic.level == Severity::Error).count();
        rendered.push_str(&format!("… and {more} more, {errors} of them errors\n\n"));
    }
    rendered
}

fn render_one(source: &SourceText, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let title = match diagnostic.level {
        Severity::Error => Title::ERROR,
        Severity::Warning => Title::WARNING,
        Severity::Note => Title::NOTE,
    };
    let path = source.path.display().to_string();
    let mut group = Group::with_title(title.primary_title(diagnostic.message.as_str()));
    if let Some(NamedFileLine { path, number, text, span }) = &diagnostic.beneath {
        let line = Snippet::source(text.as_str()).line_start(*number).path(path.display().to_string());
        group = group.element(line.annotation(AnnotationKind::Primary.span(span.start..span.end)));
    }
    if let Some(span) = diagnostic.span {
        let (path, text, span) = place(source, &path, span);
        let shown = one_line(text, span);
        // Only the line: the renderer would scan the whole text for every mistake.
        let before = &text[..shown.start];
        // No line begins after the last line break.
        let before = if before.len() == text.len() { before.strip_suffix('\n').unwrap_or(before) } else { before };
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line_end = text[shown.start..].find('\n').map_or(text.len(), |length| shown.start + length + 1);
        let number = text[..line_start].matches('\n').count() + 1;
        let kind = if diagnostic.beneath.is_some() { AnnotationKind::Context } else { AnnotationKind::Primary };
        let caret = kind.span(shown.start - line_start..shown.end - line_start);
        let line = Snippet::source(&text[line_start..line_end]).line_start(number).path(path);
        group = group.element(line.annotation(caret));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Title::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// Name and text that a span lies in, and the span within it.
fn place<'a>(source: &'a SourceText, path: &'a str, span: Span) -> (&'a str, &'a str, Span) {
    let rule_start = source.override_start(source.overrides.len());
    if let Some(rule) = source.rule.as_ref().filter(|_| span.start >= rule_start) {
        return ("RULE", rule, Span::new(span.start - rule_start, span.end.saturating_sub(rule_start)));
    }
    for index in (0..source.overrides.len()).rev() {
        let start = source.override_start(index);
        if span.start >= start {
            let within = Span::new(span.start - start, span.end.saturating_sub(start));
            return ("--set", &source.overrides[index], within);
        }
    }
    (path, &source.text, span)
}

/// The first line of a span; the rest would push the help off the screen.
fn one_line(text: &str, span: Span) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let end = text.floor_char_boundary(span.end.clamp(start, line_end));
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(overrides: &[&str], diagnostics: &[Diagnostic], expected: Expect) {
        let source = SourceText {
            path: PathBuf::from("rlhf.yaml"),
            text: "name: 日本語 # é\nseed: x\nlast: 'two\n  lines'\n".to_owned(),
            overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
            rule: None,
        };
        expected.assert_eq(&render(&source, diagnostics, false));
    }

    #[test]
    fn diagnostics_are_shown_in_the_order_of_the_file_with_columns_in_characters() {
        check(
            &[],
            &[
                Diagnostic::error(Span::new(27, 28), "expected a whole number").help("seed: 7"),
                Diagnostic::warning(Span::new(6, 15), "a name in Japanese"),
                Diagnostic::error(Span::new(27, 28), "expected a whole number").help("seed: 7"),
            ],
            expect![[r#"
                warning: a name in Japanese
                 --> rlhf.yaml:1:7
                  |
                1 | name: 日本語 # é
                  |       ^^^^^^

                error: expected a whole number
                 --> rlhf.yaml:2:7
                  |
                2 | seed: x
                  |       ^
                  |
                  = help: seed: 7

            "#]],
        );
    }

    #[test]
    fn a_span_of_several_lines_marks_the_first_and_one_past_the_end_does_not_panic() {
        check(
            &[],
            &[
                Diagnostic::error(Span::new(35, 48), "two lines"),
                Diagnostic::error(Span::new(49, 900), "the end"),
                Diagnostic {
                    span: None,
                    level: Severity::Error,
                    message: "nowhere".to_owned(),
                    help: None,
                    beneath: None,
                },
            ],
            expect![[r#"
                error: nowhere

                error: two lines
                 --> rlhf.yaml:3:7
                  |
                3 | last: 'two
                  |       ^^^^

                error: the end
                 --> rlhf.yaml:4:10
                  |
                4 |   lines'
                  |         ^

            "#]],
        );
    }

    #[test]
    fn a_span_behind_the_file_points_into_the_set_arguments() {
        check(
            &["seed=1", "vars.steps=many"],
            &[Diagnostic::error(Span::new(49 + 1 + 7 + 11, 49 + 1 + 7 + 15), "expected a whole number")],
            expect![[r#"
                error: expected a whole number
                 --> --set:1:12
                  |
                1 | vars.steps=many
                  |            ^^^^

            "#]],
        );
    }
}
