//! `gate test`: reads files of gate tests, judges them, and prints the results.

use super::refusal::{Refusal, refused};
use super::terminal;
use crate::cases::{self, Case, Cases, Said, Unmet};
use crate::diagnostic::{self, SourceText};
use anyhow::Result;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Nothing is judged if a file has a mistake: a count of passed tests would look complete.
pub fn test(files: &[PathBuf]) -> Result<u8> {
    let has_color = terminal::stderr_has_color();
    let mut read = Vec::new();
    let mut mistakes = String::new();
    for file in files {
        match cases::read(source(file)?, &|name| std::env::var(name).ok()) {
            Ok(cases) => read.push(cases),
            Err(mistaken) => {
                for (source, found) in mistaken {
                    mistakes += &diagnostic::render(&source, &found, has_color);
                }
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(Refusal(mistakes).into());
    }
    let (mut passed, mut failed) = (0, 0);
    for Cases { source, warnings, cases } in &read {
        terminal::remark(&diagnostic::render(source, warnings, has_color));
        let mut text = if read.len() > 1 { format!("{}:\n", source.path.display()) } else { String::new() };
        for case in cases {
            let said = cases::judge(case);
            let unmet = cases::unmet(&case.expected, &said);
            *(if unmet.is_empty() { &mut passed } else { &mut failed }) += 1;
            text += &told(case, &said, &unmet);
        }
        terminal::say(&text)?;
    }
    terminal::say(&format!("{passed} passed, {failed} failed\n"))?;
    Ok(u8::from(failed > 0))
}

fn source(file: &Path) -> Result<SourceText> {
    let text = std::fs::read_to_string(file).map_err(|error| refused(format!("read {}: {error}", file.display())))?;
    Ok(SourceText { path: file.to_owned(), text, overrides: Vec::new(), rule: None })
}

fn told(case: &Case, said: &Said, unmet: &[Unmet]) -> String {
    if unmet.is_empty() {
        return format!("ok      {}\n", case.name);
    }
    let mut text = format!("FAILED  {}\n", case.name);
    let mut line = |line: String| writeln!(text, "        {line}").expect("a string takes all that is written");
    for Unmet { what, expected, said } in unmet {
        line(format!("{what}: expected {expected}, said {said}"));
    }
    said.select.iter().for_each(|why| line(format!("select: {why}")));
    for rule in &said.rules {
        line(format!("{} {}: {}", rule.role, rule.decision.word(), rule.explanation));
    }
    text
}
