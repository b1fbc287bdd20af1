//! Labels in and out: judgements of other tools, and files for them.

use super::refusal::refused;
use super::terminal;
use crate::labels::book::{LabelBook, Receipt, SaidLabel};
use crate::labels::chain;
use anyhow::{Context, Result};
use clap::ValueEnum;
use formats::data::{self, RowFilter};
use formats::dialogue::Prompt;
use stages::people::exports;
use stages::people::form::Form;
use stages::people::label::LabelEntry;
use stages::people::likeness::of_ranks;
use stages::people::sitting::Task;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// The form in which labels are written for other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LabelsForm {
    Pairs,
    Rankings,
    Kto,
    Csv,
}

/// The mark by which Excel knows that a table is UTF-8.
const BOM: &str = "\u{feff}";

/// Writes the labels that count to a file.
pub fn export(book: &LabelBook, form: LabelsForm, file: &Path) -> Result<u8> {
    let (worklist, labels) = (&book.worklist, book.counted().map_err(|error| refused(format!("{error:#}")))?);
    let rows = match form {
        LabelsForm::Pairs => exports::pair_rows(worklist, &labels),
        LabelsForm::Rankings => exports::ranking_rows(worklist, &labels),
        LabelsForm::Kto => exports::kto_rows(worklist, &labels),
        LabelsForm::Csv => {
            let table = exports::table(worklist, &labels);
            let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
            table.iter().try_for_each(|line| writer.write_record(line)).context("write the table")?;
            let text = writer.into_inner().context("write the table")?;
            return write(file, &[BOM.as_bytes(), &text].concat(), table.len() - 1);
        }
    };
    let Some(rows) = rows else {
        let taken = worklist.asked.form.name();
        return Err(refused(format!(
            "this stage takes {taken}, of which such rows cannot be made; `--export csv` has all"
        )));
    };
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    write(file, lines.as_bytes(), rows.len())
}

/// Writes a file that is there as a whole or not at all.
fn write(file: &Path, bytes: &[u8], rows: usize) -> Result<u8> {
    let at = || format!("write {}", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder).with_context(at)?;
    draft.write_all(bytes).and_then(|()| draft.as_file().sync_all()).with_context(at)?;
    draft.persist(file).with_context(at)?;
    terminal::say(&format!("{}: {rows} rows\n", file.display()))?;
    Ok(0)
}

/// Takes the judgements of rows whose answers are those of items. The same file again changes nothing.
pub fn import(book: &mut LabelBook, file: &Path, by: &str) -> Result<u8> {
    let form = book.worklist.asked.form;
    if !matches!(form, Form::Pairs | Form::Ranking) {
        return Err(refused(format!("rows of other tools compare answers, and this stage takes {}", form.name())));
    }
    let rows = data::answered(&[file.to_owned().into()], &mut RowFilter::default());
    let rows = rows.map_err(|error| refused(format!("{error:#}")))?;
    let mut places: BTreeMap<Prompt, Vec<usize>> = BTreeMap::new();
    for (place, item) in book.worklist.items.iter().enumerate() {
        places.entry(item.prompt.clone()).or_default().push(place);
    }
    let (count, mut written, mut known, mut unused) = (rows.len(), 0, 0, 0);
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    for row in rows {
        let ranks: BTreeMap<&str, f64> =
            row.answers.iter().map(String::as_str).zip(row.ranks.iter().flatten().copied()).collect();
        let mut is_used = false;
        for place in places.get(&row.prompt).into_iter().flatten() {
            let item = &book.worklist.items[*place];
            let of_item: Option<Vec<f64>> =
                item.answers.iter().map(|answer| ranks.get(answer.as_str()).copied()).collect();
            let Some(of_item) = of_item else { continue };
            is_used = true;
            // Several judgements of one item are those of several people, of whom the rows say no more.
            let time = times.entry(*place).or_default();
            *time += 1;
            let by = if *time == 1 { by.to_owned() } else { format!("{by}.{time}") };
            let judgement = of_ranks(form, &of_item);
            let name = format!("{} {by} {judgement:?}", item.digest);
            let client = format!("import-{}", chain::hash(name.as_bytes()));
            let said = SaidLabel { by, judgement, seconds: 0.0, client, note: None };
            let label = book.label(Task { item: *place, round: 0, order: Vec::new() }, said);
            match book.write(LabelEntry::Label(label)).map_err(|error| refused(format!("{error:#}")))? {
                Receipt::Written => written += 1,
                Receipt::Known => known += 1,
            }
        }
        unused += usize::from(!is_used);
    }
    let known = if known > 0 { format!(", {known} were there already") } else { String::new() };
    terminal::say(&format!("{written} labels of {count} rows{known}; {unused} rows judge no item of the worklist\n"))?;
    Ok(0)
}
