//! The verbs of the command line. Each reads its arguments, calls what does the work, and prints the result.

mod answers;
mod arguments;
mod asking;
mod cancel;
mod check;
mod completions;
mod configuration;
mod criteria;
mod curves;
mod data;
mod diff;
mod doctor;
mod draft;
mod exchange;
mod explain;
mod export;
mod fetching;
mod find;
mod gates;
mod gc;
mod graph;
mod init;
mod kinds;
mod label;
mod labelling;
mod lineage;
mod log;
mod looks;
mod model;
mod notify;
mod options;
mod refusal;
mod report;
mod review;
mod run;
mod runs;
mod schema;
mod secrets;
mod shared;
mod status;
mod store;
mod table;
mod tensorboard;
mod terminal;
mod test;
mod ui;
mod watch;
mod web;

use crate::executor::EXECUTORS;
use crate::inheritance::hide_environment;
use crate::report::answers::AnswerChoice;
use crate::run::ExecutionOptions;
use crate::{approvals, progress, worker};
use anyhow::Result;
use arguments::{CacheVerb, CommandLine, DataVerb, GateVerb, GcArguments, ModelVerb, Verb};
use clap::{CommandFactory, Parser};
use export::ExportForm;
use find::RunQuery;
use label::{LabelArguments, LabelPlace};
use refusal::Refusal;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// The number of runs that are listed unasked.
const LISTED: usize = 20;

/// The command line as `clap` knows it: every verb with its arguments and their help.
pub fn command() -> clap::Command {
    CommandLine::command()
}

/// Reads the command line and carries out its verb.
pub fn main() -> ExitCode {
    let code = answer(CommandLine::parse().verb).unwrap_or_else(|error| {
        match error.downcast_ref::<Refusal>() {
            Some(refused) => terminal::remark(&refused.0),
            None => terminal::remark(&format!("error: {error:#}\n")),
        }
        if error.is::<Refusal>() { 2 } else { 1 }
    });
    ExitCode::from(code)
}

fn answer(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Run { asked, how, .. } if how.cancel => cancel::cancel(&asked),
        Verb::Run { asked, selected, disown, device, how, dry_run, json, log, page } => {
            hide_environment();
            let execution = ExecutionOptions {
                executor: EXECUTORS[0],
                device: device.chosen()?,
                jobs: usize::from(how.jobs),
                capacity: run::capacity(how.resources.as_deref())?,
                is_durable: !how.no_fsync,
                keeps_going: how.keep_going,
                secrets: BTreeMap::new(),
                disowns: disown,
                clusters: BTreeMap::new(),
            };
            let to = run::Listeners { json, log, page: page.ui.then_some(page.page) };
            match dry_run {
                true => run::walk(&asked, &selected.filter(), None, &to),
                false => run::walk_with_page(&asked, selected.filter(), execution, &to),
            }
        }
        Verb::Check { file, changes } => check::check(&file, &changes.all()),
        Verb::Plan { asked, selected } => run::walk(&asked, &selected.filter(), None, &run::Listeners::default()),
        Verb::Status { file, which, json } => status::status(file.as_deref(), &which, json),
        Verb::Answers { model, file, against, by, changed, worst, best, format, which } => {
            let choice = AnswerChoice { is_changed_only: changed, worst, best };
            let (against, by) = (against.as_deref(), by.as_deref());
            let asked = answers::AnswersRequest { model: &model, against, by, choice, format };
            answers::answers(&asked, file.as_deref(), &which)
        }
        Verb::Table { eval, file, format, lang, which } => {
            table::table(&table::TableRequest { eval: eval.as_deref(), format, lang }, file.as_deref(), &which)
        }
        Verb::Runs { file, all, json, store } => runs::runs(file.as_deref(), &store, (!all).then_some(LISTED), json),
        Verb::Explain { stage, file, which } => explain::explain(&stage, file.as_deref(), &which),
        Verb::Gate { verb } => gate(&verb),
        Verb::Approve { stage, file, reject, reason, by, store } => {
            progress::log_only(terminal::stderr_has_color());
            let answer = if reject { approvals::Ruling::Reject } else { approvals::Ruling::Approve };
            let decision =
                gates::ApprovalRequest { stage: &stage, answer, reason: &reason, by: gates::who(by)?, from: None };
            let (file, store) = (file.as_deref(), store.chosen());
            let wanted = RunQuery { file, store, stage: Some(&stage), ..RunQuery::default() };
            gates::approve(&decision, &find::run(Path::new("."), wanted)?)
        }
        Verb::Kinds { gates: true, .. } => kinds::list_gates(),
        Verb::Kinds { kind, .. } => kinds::list(kind.as_deref()),
        Verb::Log { stage, file, attempt, part, follow, which } => {
            let asked = log::LogRequest { stage: &stage, part: part.as_deref(), attempt, follows: follow };
            log::log(&asked, file.as_deref(), &which)
        }
        Verb::Curves { stage, file, csv, which } => curves::curves(&stage, file.as_deref(), &which, csv),
        Verb::Report { file, compare, format, out, csv, lang, strict, which } => {
            let compare = compare.as_deref().and_then(|runs| Some([runs.first()?.as_str(), runs.get(1)?]));
            let (out, csv) = (out.as_deref(), csv.as_deref());
            let asked = report::ReportRequest { compare, format, out, csv, lang, is_strict: strict };
            report::report(file.as_deref(), &asked, &which)
        }
        Verb::Diff { old, new, file, json, store } => diff::diff([&old, &new], file.as_deref(), &store, json),
        Verb::Lineage { what, file, row, which } => lineage::lineage(&what, row.as_deref(), file.as_deref(), &which),
        Verb::ExportTensorboard { directory, file, which } => tensorboard::export(&directory, file.as_deref(), &which),
        Verb::Graph { file, format, changes } => graph::graph(&file, &changes, format),
        Verb::Ui(arguments) => ui::ui(&arguments),
        Verb::Watch { file, which } => watch::watch(file.as_deref(), &which),
        Verb::Gc(GcArguments { file, keep_days, dry_run, remote: true, .. }) => {
            shared::collect(keep_days, dry_run, file.as_deref())
        }
        Verb::Gc(GcArguments { file, keep_runs, keep_days, max_size, runs, dry_run, store, remote: false }) => {
            let asked = gc::GcRequest { keep_runs, keep_days, max_size: max_size.as_deref(), runs, dry_run };
            gc::gc(&asked, file.as_deref(), &store)
        }
        Verb::Cache { verb } => match verb {
            CacheVerb::Push { of, verify } => shared::push(&of, verify),
            CacheVerb::Pull { of } => shared::pull(&of),
            CacheVerb::Status { file, stages, store } => shared::status(file.as_deref(), &stages, &store),
            CacheVerb::Verify { file, repair, store } => store::verify(repair, file.as_deref(), &store),
            CacheVerb::Du { file, store } => store::usage(file.as_deref(), &store),
            CacheVerb::Disowned { file, store } => store::disowned(file.as_deref(), &store),
            CacheVerb::Export { stage, file, out, which } => {
                store::export(stage.as_deref(), &out, file.as_deref(), &which)
            }
            CacheVerb::Import { archive, file, store } => store::import(&archive, file.as_deref(), &store),
            CacheVerb::Pin { run, file, store } => store::pin(&run, true, file.as_deref(), &store),
            CacheVerb::Unpin { run, file, store } => store::pin(&run, false, file.as_deref(), &store),
        },
        Verb::Data { verb } => match verb {
            DataVerb::Inspect { file, model, heldout, kind, rows, columns, heldout_columns, join } => {
                data::inspect(&data::Inspect {
                    file: &file,
                    model: model.as_deref(),
                    heldout: heldout.as_deref(),
                    kind: kind.as_deref(),
                    rows,
                    columns: &columns,
                    heldout_columns: &heldout_columns,
                    join: &join,
                })
            }
            DataVerb::Convert { from, to, format, columns, skip_bad_rows } => {
                data::convert(&from, &to, format, &columns, skip_bad_rows)
            }
        },
        Verb::Model { verb: ModelVerb::Inspect { model, device, dtype } } => {
            model::inspect(&model, &device.chosen()?, dtype)
        }
        Verb::Export { stage, directory, file, merge, dtype, which } => {
            export::export(&stage, &directory, &ExportForm { merges: merge, dtype }, file.as_deref(), &which)
        }
        Verb::ImportAdapter { adapter, base, directory } => export::import_adapter(&adapter, &base, &directory),
        Verb::Doctor { store, json } => doctor::doctor(&store.beside(Path::new("")), json),
        Verb::Devices { device, all } => doctor::devices(&device, all),
        Verb::Worker { directory } => Ok(worker::work(&directory)),
        Verb::Label(LabelArguments { asked, stage, person, page, ui: true, .. }) => {
            labelling::serve(LabelPlace::of(&asked), &stage, person, &page)
        }
        Verb::Label(LabelArguments { asked, stage, person: Some(person), page, terminal: true, .. }) => {
            asking::ask(&LabelPlace::of(&asked), &stage, &person, page.language())
        }
        Verb::Label(arguments) => label::label(&arguments),
        Verb::Review(arguments) => review::review(arguments),
        Verb::Criteria { name } => criteria::criteria(name.as_deref()),
        Verb::Schema { config } => schema::print(config),
        Verb::Init { directory, model } => init::init(&directory, model.as_deref()),
        Verb::Completions { shell } => completions::print(shell),
    }
}

fn gate(verb: &GateVerb) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    match verb {
        GateVerb::Show { stage, file, which } => gates::show(stage, &which.find_with(stage, file.as_deref())?),
        GateVerb::WhatIf { stage, rule, file, all_runs, store } => {
            let (file, store) = (file.as_deref(), store.chosen());
            let wanted = RunQuery { file, store, stage: Some(stage), ..RunQuery::default() };
            gates::what_if(stage, rule, *all_runs, &find::run(Path::new("."), wanted)?)
        }
        GateVerb::Test { files } => test::test(files),
    }
}
