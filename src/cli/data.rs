//! `data inspect`: what data contains. `data convert`: data as rows of one format.

use super::refusal::refused;
use super::{model, terminal};
use crate::report::sheet::{Grid, Header, Sheet, Tone, plain};
use anyhow::{Context, Result};
use formats::data::row::Completions;
use formats::data::{self, DataRows, DataSource, Inspection, ReadOptions, RowFilter, RowPlace, RowsToWrite};
use formats::dialogue::Prompt;
use formats::directory::model_directory;
use formats::tokenizer::Tokenizer;
use stages::kinds::{self, KINDS};
use stages::stage::{Accepts, did_you_mean};
use std::io::Write;
use std::path::Path;

/// The number of shared prompts that are listed.
const LISTED: usize = 5;

/// The letters of a prompt, and of an answer, that are shown of a row; the middle of longer ones is left out.
const SHOWN: usize = 600;

/// The question that `data inspect` answers.
pub struct Inspect<'a> {
    pub file: &'a Path,
    pub model: Option<&'a str>,
    pub heldout: Option<&'a Path>,
    pub kind: Option<&'a str>,
    pub rows: Option<usize>,
    pub columns: &'a [String],
}

pub fn inspect(asked: &Inspect) -> Result<u8> {
    let tokenizer = match asked.model {
        Some(typed) => {
            let directory = model_directory(&model::directory(typed)?);
            Some(Tokenizer::load(&directory).map_err(|error| refused(format!("{error:#}")))?)
        }
        None => None,
    };
    let wanted = asked.kind.map(rows_of).transpose()?;
    let length = |prompt: &Prompt, answer: Option<&str>| match (&tokenizer, answer) {
        (Some(tokenizer), Some(answer)) => Ok(tokenizer.answer(prompt, &tokenizer.prompt(prompt)?, answer)?.ids.len()),
        (Some(tokenizer), None) => Ok(tokenizer.prompt(prompt)?.ids.len()),
        (None, Some(answer)) => Ok(answer.chars().count()),
        (None, None) => Ok(prompt.to_string().chars().count()),
    };
    let read = |path: &Path, columns: &[String]| {
        let found = sources(path, columns).and_then(|sources| data::inspect(&sources, wanted, length));
        found.map_err(|error| refused(format!("{error:#}")))
    };
    let found = read(asked.file, asked.columns)?;
    let unit = if tokenizer.is_some() { "tokens" } else { "letters" };
    let mut sheets = vec![described(asked.file, &found, unit)];
    let rows = asked.rows.unwrap_or(if tokenizer.is_some() { 10 } else { 0 });
    sheets.extend((rows > 0).then(|| examples(&found, rows, tokenizer.as_ref())));
    let mut is_good = found.bad == 0 && found.refused.is_none();
    if let Some(heldout) = asked.heldout {
        let other = read(heldout, &[])?;
        let shared = other.shared_with(&found);
        sheets.extend([described(heldout, &other, unit), leaks(&shared, heldout, asked.file)]);
        is_good &= other.bad == 0 && shared.is_empty();
    }
    terminal::show(&sheets)?;
    Ok(if is_good { 0 } else { 1 })
}

/// The rows that a kind asks for on its port for data.
fn rows_of(kind: &str) -> Result<DataRows> {
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let unknown = || refused(format!("there is no kind `{kind}`: {}", did_you_mean(kind, &names)));
    let mut ports = kinds::kind(kind).ok_or_else(unknown)?.ports.iter();
    let rows = ports.find_map(|port| match port.accepts {
        Accepts::Data(rows) => Some(rows),
        _ => None,
    });
    rows.ok_or_else(|| refused(format!("the kind `{kind}` reads no data")))
}

fn sources(path: &Path, columns: &[String]) -> Result<Vec<DataSource>> {
    let column = |typed: &String| {
        let pair = typed.split_once('=').map(|(field, from)| (field.to_owned(), from.to_owned()));
        pair.with_context(|| format!("read `--column {typed}`: it takes FIELD=FROM"))
    };
    let options = ReadOptions { columns: columns.iter().map(column).collect::<Result<_>>()?, ..ReadOptions::default() };
    options.check()?;
    Ok(vec![DataSource { files: data::files(path)?, options }])
}

/// Writes data as JSONL.
pub fn convert(from: &Path, to: &Path, format: RowsToWrite, columns: &[String], may_skip: u64) -> Result<u8> {
    if to.extension().is_none_or(|ending| ending != "jsonl") {
        return Err(refused(format!("{} is to be JSONL: name it so (`….jsonl`)", to.display())));
    }
    let mut filter = RowFilter::new(may_skip);
    let rows = sources(from, columns).and_then(|sources| data::convert(&sources, format, &mut filter));
    let rows = rows.map_err(|error| refused(format!("{error:#}")))?;
    let write = || -> Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create_new(to)?);
        rows.iter().try_for_each(|row| writeln!(file, "{row}"))?;
        Ok(file.flush()?)
    };
    write().with_context(|| format!("write {}", to.display()))?;
    let mut sheet = Sheet::default();
    sheet.say("rows read", filter.rows, Tone::Plain);
    sheet.say("left out", filter.dropped, if filter.dropped == 0 { Tone::Plain } else { Tone::Doubtful });
    sheet.say("rows written", rows.len(), Tone::Plain);
    terminal::show(&[sheet])?;
    Ok(0)
}

/// The first rows as the model sees them, what is learned of them between brackets.
fn examples(found: &Inspection, rows: usize, tokenizer: Option<&Tokenizer>) -> Sheet {
    let mut sheet = Sheet::heading("rows as the model sees them; ⟦what is learned⟧");
    for (place, content) in found.examples.iter().take(rows) {
        let shown = |prompt: &Prompt, answer: &str| match tokenizer {
            Some(tokenizer) => tokenizer.shown(prompt, answer),
            None => Ok([prompt.to_string(), answer.to_owned()]),
        };
        let lines =
            learned(&content.completions).into_iter().map(|(name, answer)| match shown(&content.prompt, answer) {
                Ok([prompt, answer]) => format!("{name}{}⟦{}⟧", line(&prompt), line(&answer)),
                Err(error) => format!("{name}{error:#}"),
            });
        let mut lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            let prompt = tokenizer.map_or_else(
                || Ok(content.prompt.to_string()),
                |tokenizer| tokenizer.shown(&content.prompt, "").map(|[prompt, _]| prompt),
            );
            lines.push(line(&prompt.unwrap_or_else(|error| format!("{error:#}"))));
        }
        sheet.list(&place.to_string(), lines);
    }
    sheet
}

/// The answers of a row, each with what is said of it.
fn learned(completions: &Completions) -> Vec<(String, &String)> {
    let said: Vec<String> = match completions {
        Completions::None => Vec::new(),
        Completions::One(_) => vec![String::new()],
        Completions::Pair { .. } => ["chosen: ", "rejected: "].map(str::to_owned).to_vec(),
        Completions::Voted { votes, .. } => votes.map(|votes| format!("{votes} votes: ")).to_vec(),
        Completions::Ranked(ranked) => ranked.iter().map(|(_, rank)| format!("rank {rank}: ")).collect(),
        Completions::Rated(rated) => rated.iter().map(|(_, rating)| format!("{rating}: ")).collect(),
        Completions::Labelled(_, label) => vec![format!("{label}: ")],
    };
    said.into_iter().zip(completions.answers()).collect()
}

/// A text on one line, without its middle if it is long.
fn line(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let shown: String = match letters.len() > SHOWN {
        true => {
            letters[..SHOWN / 2].iter().chain(&[' ', '…', ' ']).chain(&letters[letters.len() - SHOWN / 2..]).collect()
        }
        false => text.to_owned(),
    };
    shown.replace('\n', "⏎")
}

fn described(file: &Path, found: &Inspection, unit: &str) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.say("file", file.display(), Tone::Plain);
    let formats = found.formats.iter().map(|(format, rows)| match found.formats.len() {
        1 => (*format).to_owned(),
        _ => format!("{format} ({rows} rows)"),
    });
    let formats: Vec<String> = formats.collect();
    let formats = if formats.is_empty() { "no known one".to_owned() } else { formats.join(", ") };
    sheet.say("format", format!("{}: {formats}", found.forms.join(", ")), Tone::Plain);
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
    if let Some(refused) = &found.refused {
        sheet.say("refused", refused, Tone::Bad);
    }
    if found.idle > 0 {
        sheet.say("rows that say nothing", found.idle, Tone::Doubtful);
    }
    if let Some(agreement) = found.votes.agreement() {
        sheet.say("agreement of votes", format!("{agreement:.3} of {} votes", found.votes.all), Tone::Plain);
    }
    let unread = found.unread.iter().map(|(field, rows)| match *rows == found.rows {
        true => field.clone(),
        false => format!("{field} ({rows} rows)"),
    });
    let unread: Vec<String> = unread.collect();
    if !unread.is_empty() {
        sheet.say("fields nobody reads", unread.join(", "), Tone::Doubtful);
    }
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

fn leaks(shared: &[(RowPlace, RowPlace)], heldout: &Path, file: &Path) -> Sheet {
    if shared.is_empty() {
        return Sheet::note("no prompt is in both files");
    }
    let are = if shared.len() == 1 { "prompt is" } else { "prompts are" };
    let heading = format!("{} {are} in both files: a measurement there tests memorisation", shared.len());
    let line =
        |(there, here): &(RowPlace, RowPlace)| format!("  {} {there} = {} {here}", heldout.display(), file.display());
    let mut lines: Vec<String> = shared.iter().take(LISTED).map(line).collect();
    lines.extend((shared.len() > LISTED).then(|| "  …".to_owned()));
    Sheet { heading, note: lines.join("\n"), ..Sheet::default() }
}
