//! `data inspect`: what data contains. `data convert`: data as rows of one format.

use super::refusal::refused;
use super::{fetching, model, terminal};
use crate::hub;
use crate::report::sheet::{Grid, Header, Sheet, Tone, plain};
use anyhow::{Context, Result};
use formats::config::Config;
use formats::data::row::Completions;
use formats::data::{self, DataRows, DataSource, Inspection, ReadOptions, RowFilter, RowPlace, RowsToWrite};
use formats::dialogue::Prompt;
use formats::directory::model_directory;
use formats::tokenizer::Tokenizer;
use stages::kinds::{self, KINDS};
use stages::stage::{Accepts, did_you_mean};
use stages::train::Ends;
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
    pub heldout_columns: &'a [String],
    pub join: &'a str,
}

/// A model, as far as it decides what is seen of a row.
struct ModelView {
    tokenizer: Tokenizer,
    /// `None`: the directory holds no model, so that nobody knows how an answer ends.
    ends: Option<Ends>,
}

impl ModelView {
    fn of(typed: &str) -> Result<ModelView> {
        let directory = model_directory(&model::directory(typed)?);
        let is_model = directory.join("config.json").is_file();
        let config = is_model.then(|| Config::load(&directory)).transpose()?;
        let tokenizer = Tokenizer::load(&directory)?;
        // A model without an end token is told by the stages that need one.
        let ends = config.and_then(|config| Ends::of(&config, &tokenizer, None, true).ok());
        Ok(ModelView { tokenizer, ends })
    }

    /// Ids of a prompt, and those of an answer as it is learned: with its end.
    fn ids(&self, prompt: &Prompt, answer: Option<&str>) -> Result<[Vec<u32>; 2]> {
        let asked = self.tokenizer.prompt(prompt)?;
        let Some(answer) = answer else { return Ok([asked.ids, Vec::new()]) };
        let answer = self.tokenizer.answer(prompt, &asked, answer)?;
        let answer = self.ends.as_ref().map_or_else(|| answer.ids.clone(), |ends| ends.ended(answer.clone()));
        Ok([asked.ids, answer])
    }

    fn shown(&self, prompt: &Prompt, answer: Option<&str>) -> Result<[String; 2]> {
        let [prompt, answer] = self.ids(prompt, answer)?;
        self.tokenizer.shown(&prompt, &answer)
    }
}

pub fn inspect(asked: &Inspect) -> Result<u8> {
    let view = asked.model.map(ModelView::of).transpose().map_err(|error| refused(format!("{error:#}")))?;
    let wanted = asked.kind.map(rows_of).transpose()?;
    let length = |prompt: &Prompt, answer: Option<&str>| match (&view, answer) {
        (Some(view), answer) => {
            let [prompt, answered] = view.ids(prompt, answer)?;
            Ok(if answer.is_some() { answered.len() } else { prompt.len() })
        }
        (None, Some(answer)) => Ok(answer.chars().count()),
        (None, None) => Ok(prompt.to_string().chars().count()),
    };
    let read = |path: &Path, columns: &[String]| {
        let found = sources(path, columns, asked.join).and_then(|sources| data::inspect(&sources, wanted, length));
        found.map_err(|error| refused(format!("{error:#}")))
    };
    let found = read(asked.file, asked.columns)?;
    let unit = if view.is_some() { "tokens" } else { "letters" };
    let mut sheets = vec![described(asked.file, &found, unit)];
    let rows = asked.rows.unwrap_or(if view.is_some() { 10 } else { 0 });
    sheets.extend((rows > 0).then(|| examples(&found, rows, view.as_ref())));
    // A row that the model cannot take is refused by a stage.
    let is_readable = |found: &Inspection| {
        found.bad == 0 && found.refused.is_none() && (asked.kind.is_none() || found.uncounted == 0)
    };
    let mut is_good = is_readable(&found);
    if let Some(heldout) = asked.heldout {
        let other = read(heldout, asked.heldout_columns)?;
        let shared = other.shared_with(&found);
        let is_comparable = [&found, &other].iter().all(|found| found.bad < found.rows);
        let told = match is_comparable {
            true => leaks(&shared, (heldout, &other), (asked.file, &found)),
            false => Sheet::note("the prompts cannot be compared: of one side no row can be read"),
        };
        sheets.extend([described(heldout, &other, unit), told]);
        is_good &= is_readable(&other) && shared.is_empty();
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

fn sources(path: &Path, columns: &[String], join: &str) -> Result<Vec<DataSource>> {
    let column = |typed: &String| {
        let pair = typed.split_once('=').map(|(field, from)| (field.to_owned(), from.to_owned()));
        pair.with_context(|| format!("read `--column {typed}`: it takes FIELD=FROM"))
    };
    let columns = columns.iter().map(column).collect::<Result<_>>()?;
    let options = ReadOptions { columns, join: join.to_owned(), ..ReadOptions::default() };
    options.check()?;
    let files = match path.to_str().filter(|path| hub::is_data(path)) {
        Some(reference) => {
            let found = fetching::data(&hub::Dataset::parse(reference)?, true)?;
            found.context("fetch data: it is not there")?
        }
        None => data::files(path)?,
    };
    Ok(vec![DataSource { files, options }])
}

/// Writes data as JSONL.
pub fn convert(from: &Path, to: &Path, format: RowsToWrite, columns: &[String], may_skip: u64) -> Result<u8> {
    if to.extension().is_none_or(|ending| ending != "jsonl") {
        return Err(refused(format!("{} is to be JSONL: name it so (`….jsonl`)", to.display())));
    }
    let mut filter = RowFilter::new(may_skip);
    let rows = sources(from, columns, "").and_then(|sources| data::convert(&sources, format, &mut filter));
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
fn examples(found: &Inspection, rows: usize, view: Option<&ModelView>) -> Sheet {
    let mut sheet = Sheet::heading("rows as the model sees them; ⟦what is learned⟧");
    for (place, content) in found.examples.iter().take(rows) {
        let shown = |prompt: &Prompt, answer: Option<&str>| match view {
            Some(view) => view.shown(prompt, answer),
            None => Ok([prompt.to_string(), answer.unwrap_or_default().to_owned()]),
        };
        let lines = learned(&content.completions).into_iter().map(|(name, answer)| {
            match shown(&content.prompt, Some(answer)) {
                Ok([prompt, answer]) => format!("{name}{}⟦{}⟧", line(&prompt), line(&answer)),
                Err(error) => format!("{name}{error:#}"),
            }
        });
        let mut lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            let prompt = shown(&content.prompt, None).map(|[prompt, _]| prompt);
            lines.push(line(&prompt.unwrap_or_else(|error| format!("{error:#}"))));
        }
        sheet.list(&found.at(*place), lines);
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
        Some((again, first)) => {
            format!("{} ({} is {} again, `id` aside)", found.repeated_rows, found.at(again), found.at(first))
        }
        None => "0".to_owned(),
    };
    let tone = |count: usize, tone: Tone| if count == 0 { Tone::Plain } else { tone };
    sheet.say("repeated rows", repeated, tone(found.repeated_rows, Tone::Doubtful));
    sheet.say("prompts of several rows", found.repeated_prompts, Tone::Plain);
    sheet.say("bad rows", found.bad, tone(found.bad, Tone::Bad));
    sheet.list("", found.first_bad.iter().map(|(place, why)| format!("{}: {why}", found.at(*place))));
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
        let first = found.at(*place);
        sheet.say("refused by the model", format!("{} rows; {first}: {why}", found.uncounted), Tone::Bad);
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

fn leaks(shared: &[(RowPlace, RowPlace)], heldout: (&Path, &Inspection), file: (&Path, &Inspection)) -> Sheet {
    if shared.is_empty() {
        return Sheet::note("no prompt is in both files");
    }
    let are = if shared.len() == 1 { "prompt is" } else { "prompts are" };
    let heading = format!("{} {are} in both files: a measurement there tests memorisation", shared.len());
    let named = |(path, found): (&Path, &Inspection), place| format!("{} {}", path.display(), found.at(place));
    let line = |(there, here): &(RowPlace, RowPlace)| format!("  {} = {}", named(heldout, *there), named(file, *here));
    let mut lines: Vec<String> = shared.iter().take(LISTED).map(line).collect();
    lines.extend((shared.len() > LISTED).then(|| "  …".to_owned()));
    Sheet { heading, note: lines.join("\n"), ..Sheet::default() }
}
