//! `data inspect`: what a data file contains.

use super::refusal::refused;
use super::{model, terminal};
use crate::report::sheet::{Grid, Header, Sheet, Tone, plain};
use anyhow::Result;
use formats::config::Config;
use formats::data::{self, Inspection};
use formats::dialogue::Prompt;
use formats::directory::model_directory;
use formats::tokenizer::Tokenizer;
use std::path::Path;

/// The number of shared prompts that are listed.
const LISTED: usize = 5;

pub fn inspect(file: &Path, model: Option<&str>, heldout: Option<&Path>) -> Result<u8> {
    let tokenizer = match model {
        Some(typed) => {
            let directory = model_directory(&model::directory(typed)?);
            // The directory may hold a tokenizer and no model.
            let bos = if directory.join("config.json").is_file() { Config::load(&directory)?.bos } else { None };
            Some(Tokenizer::load(&directory, bos).map_err(|error| refused(format!("{error:#}")))?)
        }
        None => None,
    };
    let length = |prompt: &Prompt, answer: Option<&str>| match (&tokenizer, answer) {
        (Some(tokenizer), Some(answer)) => Ok(tokenizer.answer(prompt, &tokenizer.prompt(prompt)?, answer)?.ids.len()),
        (Some(tokenizer), None) => Ok(tokenizer.prompt(prompt)?.ids.len()),
        (None, Some(answer)) => Ok(answer.chars().count()),
        (None, None) => Ok(prompt.to_string().chars().count()),
    };
    let read = |path: &Path| data::inspect(path, length).map_err(|error| refused(format!("{error:#}")));
    let found = read(file)?;
    let unit = if tokenizer.is_some() { "tokens" } else { "letters" };
    let mut sheets = vec![described(file, &found, unit)];
    let mut is_good = found.bad == 0;
    if let Some(heldout) = heldout {
        let other = read(heldout)?;
        let shared = other.shared_with(&found);
        sheets.extend([described(heldout, &other, unit), leaks(&shared, heldout, file)]);
        is_good &= other.bad == 0 && shared.is_empty();
    }
    terminal::show(&sheets)?;
    Ok(if is_good { 0 } else { 1 })
}

fn described(file: &Path, found: &Inspection, unit: &str) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.say("file", file.display(), Tone::Plain);
    let formats = found.formats.iter().map(|(format, rows)| match found.formats.len() {
        1 => format.name().to_owned(),
        _ => format!("{} ({rows} rows)", format.name()),
    });
    let formats: Vec<String> = formats.collect();
    let formats = if formats.is_empty() { "no known one".to_owned() } else { formats.join(", ") };
    sheet.say("format", format!("{}: {formats}", found.form), Tone::Plain);
    sheet.say("rows", found.rows, Tone::Plain);
    let repeated = match found.first_repeated {
        Some((again, first)) => format!("{} ({again} is {first} again)", found.repeated_rows),
        None => "0".to_owned(),
    };
    let tone = |count: usize, tone: Tone| if count == 0 { Tone::Plain } else { tone };
    sheet.say("repeated rows", repeated, tone(found.repeated_rows, Tone::Doubtful));
    sheet.say("prompts of several rows", found.repeated_prompts, Tone::Plain);
    sheet.say("bad rows", found.bad, tone(found.bad, Tone::Bad));
    sheet.list("", found.first_bad.iter().map(|(place, why)| format!("{place}: {why}")));
    if let Some((place, why)) = &found.first_uncounted {
        sheet.say("not counted", format!("{} rows; {place}: {why}", found.uncounted), Tone::Doubtful);
    }
    let numbers = ["least", "median", "90 %", "99 %", "most", "sum"].map(Header::number);
    let mut grid = Grid::new([Header::text(unit)].into_iter().chain(numbers));
    for (name, lengths) in [("prompts", &found.prompt_lengths), ("answers", &found.answer_lengths)] {
        if lengths.is_empty() {
            continue;
        }
        let shares = [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| data::percentile(lengths, share).unwrap_or_default());
        let numbers = shares.into_iter().chain([lengths.iter().sum()]);
        grid.add([plain(name)].into_iter().chain(numbers.map(plain)));
    }
    Sheet { grid, ..sheet }
}

fn leaks(shared: &[(data::Place, data::Place)], heldout: &Path, file: &Path) -> Sheet {
    if shared.is_empty() {
        return Sheet::note("no prompt is in both files");
    }
    let are = if shared.len() == 1 { "prompt is" } else { "prompts are" };
    let heading = format!("{} {are} in both files: a measurement there tests memorisation", shared.len());
    let line = |(there, here): &(data::Place, data::Place)| {
        format!("  {} {there} = {} {here}", heldout.display(), file.display())
    };
    let mut lines: Vec<String> = shared.iter().take(LISTED).map(line).collect();
    lines.extend((shared.len() > LISTED).then(|| "  …".to_owned()));
    Sheet { heading, note: lines.join("\n"), ..Sheet::default() }
}
