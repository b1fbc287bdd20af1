//! `data inspect`: what a data file holds. Knows how it is told, not how it is read.

use super::{model, refused, terminal};
use crate::report::explain::Facts;
use crate::report::page::{self, Tone, cell};
use anyhow::Result;
use formats::config::Config;
use formats::data::{self, Inspection};
use formats::dialogue::Prompt;
use formats::directory::model_directory;
use formats::tokenizer::Tokenizer;
use std::path::Path;

/// Prompts in both files that are told one by one.
const TOLD: usize = 5;

pub fn inspect(file: &Path, model: Option<&str>, heldout: Option<&Path>) -> Result<u8> {
    let tokenizer = match model {
        Some(typed) => {
            let directory = model_directory(&model::directory(typed)?);
            // A tokenizer alone will do.
            let bos = if directory.join("config.json").is_file() { Config::load(&directory)?.bos } else { None };
            Some(Tokenizer::load(&directory, bos).map_err(|error| refused(format!("{error:#}")))?)
        }
        None => None,
    };
    let length = |prompt: &Prompt, answer: Option<&str>| match (&tokenizer, answer) {
        (Some(tokenizer), Some(answer)) => Ok(tokenizer.completion(prompt, answer)?.len()),
        (Some(tokenizer), None) => Ok(tokenizer.prompt(prompt)?.len()),
        (None, Some(answer)) => Ok(answer.chars().count()),
        (None, None) => Ok(prompt.to_string().chars().count()),
    };
    let read = |path: &Path| data::inspect(path, length).map_err(|error| refused(format!("{error:#}")));
    let found = read(file)?;
    let unit = if tokenizer.is_some() { "tokens" } else { "letters" };
    let mut text = described(file, &found, unit);
    let mut is_good = found.bad == 0;
    if let Some(heldout) = heldout {
        let other = read(heldout)?;
        let shared = other.shared_with(&found);
        text += &format!("\n{}\n{}", described(heldout, &other, unit), leaks(&shared, heldout, file));
        is_good &= other.bad == 0 && shared.is_empty();
    }
    terminal::say(&text)?;
    Ok(if is_good { 0 } else { 1 })
}

fn described(file: &Path, found: &Inspection, unit: &str) -> String {
    let page = terminal::page();
    let mut facts = Facts::new(page);
    facts.say("file", file.display(), Tone::Plain);
    let formats = found.formats.iter().map(|(format, rows)| match found.formats.len() {
        1 => format.name().to_owned(),
        _ => format!("{} ({rows} rows)", format.name()),
    });
    let formats: Vec<String> = formats.collect();
    let formats = if formats.is_empty() { "no known one".to_owned() } else { formats.join(", ") };
    facts.say("format", format!("{}: {formats}", found.form), Tone::Plain);
    facts.say("rows", found.rows, Tone::Plain);
    let repeated = match found.first_repeated {
        Some((again, first)) => format!("{} ({again} is {first} again)", found.repeated_rows),
        None => "0".to_owned(),
    };
    let tone = |count: usize, tone: Tone| if count == 0 { Tone::Plain } else { tone };
    facts.say("repeated rows", repeated, tone(found.repeated_rows, Tone::Doubtful));
    facts.say("prompts of several rows", found.repeated_prompts, Tone::Plain);
    facts.say("bad rows", found.bad, tone(found.bad, Tone::Bad));
    facts.list("", found.first_bad.iter().map(|(place, why)| format!("{place}: {why}")));
    if let Some((place, why)) = &found.first_uncounted {
        facts.say("not counted", format!("{} rows; {place}: {why}", found.uncounted), Tone::Doubtful);
    }
    let mut table = page::table(page, &[unit, "least", "median", "90 %", "99 %", "most", "sum"]);
    for (name, lengths) in [("prompts", &found.prompt_lengths), ("answers", &found.answer_lengths)] {
        if lengths.is_empty() {
            continue;
        }
        let shares = [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| data::percentile(lengths, share).unwrap_or_default());
        let numbers = shares.into_iter().chain([lengths.iter().sum()]);
        table.add_row(
            std::iter::once(name.to_owned()).chain(numbers.map(|n| n.to_string())).map(|text| cell(text, Tone::Plain)),
        );
    }
    page::align_right(&mut table, 1..7);
    format!("{}\n{}", facts.print(), page::print(table))
}

fn leaks(shared: &[(data::Place, data::Place)], heldout: &Path, file: &Path) -> String {
    if shared.is_empty() {
        return "no prompt is in both files\n".to_owned();
    }
    let are = if shared.len() == 1 { "prompt is" } else { "prompts are" };
    let mut text = format!("{} {are} in both files: what is measured there is memory\n", shared.len());
    for (there, here) in shared.iter().take(TOLD) {
        text += &format!("  {} {there} = {} {here}\n", heldout.display(), file.display());
    }
    if shared.len() > TOLD {
        text += "  …\n";
    }
    text
}
