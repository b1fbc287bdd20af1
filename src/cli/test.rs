//! `gate test`: reads files of gate tests, judges them, and prints the results.

use super::refusal::{Refusal, refused};
use super::terminal;
use crate::diagnostic::{self, SourceText};
use crate::gate_test::{self, Case, CaseResult, Mismatch, TestFile};
use anyhow::Result;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Nothing is judged if a file has a mistake: a count of passed tests would look complete.
pub fn test(files: &[PathBuf]) -> Result<u8> {
    let has_color = terminal::stderr_has_color();
    let mut read = Vec::new();
    let mut mistakes = String::new();
    for file in files {
        match gate_test::read(source(file)?, &|name| std::env::var(name).ok()) {
            Ok(tests) => read.push(tests),
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
    for TestFile { source, warnings, cases } in &read {
        terminal::remark(&diagnostic::render(source, warnings, has_color));
        let mut text = if read.len() > 1 { format!("{}:\n", source.path.display()) } else { String::new() };
        for case in cases {
            let result = gate_test::judge(case);
            let mismatches = gate_test::mismatches(&case.expected, &result);
            *(if mismatches.is_empty() { &mut passed } else { &mut failed }) += 1;
            text += &told(case, &result, &mismatches);
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

fn told(case: &Case, result: &CaseResult, mismatches: &[Mismatch]) -> String {
    if mismatches.is_empty() {
        return format!("ok      {}\n", case.name);
    }
    let mut text = format!("FAILED  {}\n", case.name);
    let mut line = |line: String| writeln!(text, "        {line}").expect("a string takes all that is written");
    for Mismatch { what, expected, said } in mismatches {
        line(format!("{what}: expected {expected}, said {said}"));
    }
    result.select.iter().for_each(|why| line(format!("select: {why}")));
    for rule in &result.rules {
        line(format!("{} {}: {}", rule.role, rule.decision.word(), rule.explanation));
    }
    text
}
