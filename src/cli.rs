//! The verbs. What is asked is read here and handed on; what comes back is printed here. Knows nothing of how it is
//! done.

mod find;
mod gates;
mod kinds;
mod terminal;
mod test;

use crate::diagnostic::{self, Source};
use crate::event::Event;
use crate::plan::Plan;
use crate::report::{self, explain, fold};
use crate::{approvals, plan, progress, run, spec, worker};
use anyhow::{Context, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use find::{Found, Wanted};
use stages::io::DeviceChoice;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// One file describes the training; one command runs it; nothing runs twice.
#[derive(Parser)]
#[command(name = "pipeline", version, about, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 all done, 1 a stage failed or a gate erred, 2 the file or the command is wrong,
            3 stopped or held by a gate, 130 interrupted.
Environment: PIPELINE_STORE (as --store), RUST_LOG (what is logged to stderr), NO_COLOR.";

#[derive(Subcommand)]
enum Verb {
    /// Run what is not done yet; running again goes on where a run ended
    Run {
        #[command(flatten)]
        asked: Asked,
        /// Where to compute; `auto` takes a real GPU, else the CPU
        #[arg(long, default_value = "auto", value_parser = device())]
        device: DeviceChoice,
        /// Stages that may run at the same time
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        jobs: u16,
        /// Only say what would run, and why: the same as `plan`
        #[arg(long)]
        dry_run: bool,
        /// Print the events of the run on stdout, one JSON object a line, and nothing else there
        #[arg(long)]
        json: bool,
    },
    /// Find every mistake in a pipeline file
    Check {
        file: PathBuf,
        #[command(flatten)]
        changes: Changes,
    },
    /// Say what would run, and why
    Plan {
        #[command(flatten)]
        asked: Asked,
    },
    /// Show the last run: of FILE, or the last there is in this directory or one below it
    Status {
        file: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Show all that the last run knows of a stage: key, inputs, why it ran, candidates, verdict
    Explain {
        stage: String,
        file: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Look at gates by themselves; nothing is run
    Gate {
        #[command(subcommand)]
        verb: GateVerb,
    },
    /// Decide where a gate holds (`on_fail: hold`): the candidate goes on, or with `--reject` it does not
    Approve {
        stage: String,
        file: Option<PathBuf>,
        /// Reject the candidate: the incumbent goes on if there is one, else the stage stops
        #[arg(long)]
        reject: bool,
        /// What was looked at, and why it was decided so
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who decides; default: GIT_AUTHOR_NAME, else USER
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// List the kinds of stages; with KIND, its ports, parameters and metrics
    Kinds {
        kind: Option<String>,
        /// The rule language of gates instead: its grammar and functions
        #[arg(long, conflicts_with = "kind")]
        gates: bool,
    },
    /// Do the action that lies in a work directory
    #[command(hide = true)]
    Worker { directory: PathBuf },
}

#[derive(Subcommand)]
enum GateVerb {
    /// Show what the gate of a stage decided, with every number it saw
    Show {
        stage: String,
        file: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Judge what is stored by another rule, in the place of all that the gate requires
    WhatIf {
        stage: String,
        /// As in the file: `mean_score > incumbent.mean_score with 95% confidence`
        rule: String,
        file: Option<PathBuf>,
        /// Also what it would have said in every earlier run
        #[arg(long)]
        all_runs: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Test the rules of gates: FILE says what was measured, and what the gates have to say of it
    Test {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Args)]
struct Asked {
    /// The pipeline file
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    store: StoreArgument,
}

#[derive(Args)]
struct Changes {
    /// Change a value of the file: `ppo_1.with.lr=1e-5`, `vars.steps=20`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
struct Which {
    /// An earlier run: its name in `runs/`, or how that begins (`20261122T09`)
    #[arg(long = "run", value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    store: StoreArgument,
}

impl Which {
    fn find(&self, file: Option<&Path>) -> Result<Found> {
        find::run(Path::new("."), Wanted { file, store: self.store.chosen(), run: self.run.as_deref() })
    }
}

#[derive(Args)]
struct StoreArgument {
    /// Where results are kept; default: PIPELINE_STORE, else `.pipeline` beside the pipeline file
    #[arg(long = "store", value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreArgument {
    fn chosen(&self) -> Option<PathBuf> {
        let of_environment = || std::env::var_os("PIPELINE_STORE").filter(|store| !store.is_empty()).map(PathBuf::from);
        self.store.clone().or_else(of_environment)
    }

    /// As it was typed.
    fn typed(&self) -> String {
        self.store.as_ref().map_or_else(String::new, |store| format!(" --store {}", store.display()))
    }

    fn beside(&self, file: &Path) -> PathBuf {
        self.chosen().unwrap_or_else(|| file.with_file_name(".pipeline"))
    }
}

fn device() -> impl TypedValueParser<Value = DeviceChoice> {
    PossibleValuesParser::new(["auto", "wgpu", "cpu"]).map(|name| match name.as_str() {
        "wgpu" => DeviceChoice::Wgpu,
        "cpu" => DeviceChoice::Cpu,
        _ => DeviceChoice::Auto,
    })
}

/// What was asked for cannot be done as it was asked: exit code 2. Printed as it is.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn refused(text: String) -> anyhow::Error {
    Refused(format!("error: {text}\n")).into()
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let code = answer(Arguments::parse().verb).unwrap_or_else(|error| {
        match error.downcast_ref::<Refused>() {
            Some(refused) => terminal::remark(&refused.0),
            None => terminal::remark(&format!("error: {error:#}\n")),
        }
        if error.is::<Refused>() { 2 } else { 1 }
    });
    ExitCode::from(code)
}

fn answer(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Run { asked, device, jobs, dry_run, json } => {
            let how = How { device, jobs: usize::from(jobs), dry_run, json };
            walk(&asked, &how)
        }
        Verb::Check { file, changes } => check(&file, &changes.set),
        Verb::Gate { verb } => gate(&verb),
        Verb::Plan { asked } => walk(&asked, &How { device: DeviceChoice::Auto, jobs: 1, dry_run: true, json: false }),
        Verb::Status { file, which } => status(file.as_deref(), &which),
        Verb::Explain { stage, file, which } => explain_stage(&stage, file.as_deref(), &which),
        Verb::Approve { stage, file, reject, reason, by, store } => {
            progress::log_only(terminal::stderr_has_color());
            let answer = if reject { approvals::Answer::Reject } else { approvals::Answer::Approve };
            let unnamed = || refused("a decision needs a name: `--by NAME`, or set GIT_AUTHOR_NAME".to_owned());
            let by = by.or_else(user).ok_or_else(unnamed)?;
            let decision = gates::Decision { stage: &stage, answer, reason: &reason, by };
            let wanted = Wanted { file: file.as_deref(), store: store.chosen(), run: None };
            gates::approve(&decision, &find::run(Path::new("."), wanted)?)
        }
        Verb::Kinds { gates: true, .. } => {
            terminal::say(&kinds::gates(terminal::page()))?;
            Ok(0)
        }
        Verb::Kinds { kind, .. } => list_kinds(kind.as_deref()),
        Verb::Worker { directory } => Ok(worker::work(&directory)),
    }
}

fn gate(verb: &GateVerb) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    match verb {
        GateVerb::Show { stage, file, which } => gates::show(stage, &which.find(file.as_deref())?),
        GateVerb::WhatIf { stage, rule, file, all_runs, store } => {
            let wanted = Wanted { file: file.as_deref(), store: store.chosen(), run: None };
            gates::what_if(stage, rule, *all_runs, &find::run(Path::new("."), wanted)?)
        }
        GateVerb::Test { files } => test::test(files),
    }
}

/// Who types.
fn user() -> Option<String> {
    let names = ["GIT_AUTHOR_NAME", "USER", "USERNAME"].map(|name| std::env::var(name).ok());
    names.into_iter().flatten().find(|name| !name.trim().is_empty())
}

/// The plan of a file, its warnings printed; all its mistakes at once when it has any. `required` stands in the place
/// of all that the gate of a stage requires.
fn understand(file: &Path, set: &[String], required: Option<(&str, &str)>) -> Result<Plan> {
    let text = std::fs::read_to_string(file).map_err(|error| refused(format!("read {}: {error}", file.display())))?;
    let rule = required.map(|(_, rule)| rule.to_owned());
    let source = Source { path: file.to_owned(), text, overrides: set.to_owned(), rule };
    let has_color = terminal::stderr_has_color();
    let mistaken = |mistakes: &[diagnostic::Diagnostic]| Refused(diagnostic::render(&source, mistakes, has_color));
    let mut spec = spec::read(&source, &|name| std::env::var(name).ok()).map_err(|mistakes| mistaken(&mistakes))?;
    if let Some((stage, _)) = required {
        spec::require(&mut spec, stage, &source);
    }
    let plan = plan::resolve(&spec, file.parent().unwrap_or(Path::new(""))).map_err(|mistakes| mistaken(&mistakes))?;
    if !plan.warnings.is_empty() {
        terminal::remark(&diagnostic::render(&source, &plan.warnings, has_color));
    }
    Ok(plan)
}

fn check(file: &Path, set: &[String]) -> Result<u8> {
    let plan = understand(file, set, None)?;
    let gates = plan.stages.iter().filter(|stage| stage.gate.is_some()).count();
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (stages, gates) = (count(plan.stages.len(), "stage"), count(gates, "gate"));
    terminal::say(&format!("{}: no mistakes; {stages}, {gates}\n", file.display()))?;
    Ok(0)
}

/// Set by Ctrl-C. The run ends its workers and comes back; a second Ctrl-C does not wait for it.
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

struct How {
    device: DeviceChoice,
    jobs: usize,
    dry_run: bool,
    json: bool,
}

/// `run` and `plan`: the same walk, with and without the work.
fn walk(asked: &Asked, how: &How) -> Result<u8> {
    let plan = understand(&asked.file, &asked.changes.set, None)?;
    let approvals = approvals::read(&approvals::path(&asked.file)).map_err(|error| refused(format!("{error:#}")))?;
    let mut progress = if how.dry_run {
        progress::log_only(terminal::stderr_has_color());
        None
    } else {
        listen_for_interrupts()?;
        Some(progress::open(terminal::stderr_has_color()))
    };
    let options = run::Options {
        file: asked.file.clone(),
        overrides: asked.changes.set.clone(),
        store: asked.store.beside(&asked.file),
        device: how.device,
        jobs: how.jobs,
        decisions: approvals::decisions(&approvals),
    };
    let mut events = Vec::new();
    let mut sink = |event: &Event| {
        if let Some(progress) = &mut progress {
            progress.show(event);
        }
        if how.json && !print_json(event) {
            // Nobody reads any more: `| head`. What is done is kept.
            IS_INTERRUPTED.store(true, Ordering::SeqCst);
        }
        // The report tells how an action ended, not its course.
        if !matches!(event, Event::Progressed { .. }) {
            events.push(event.clone());
        }
    };
    let exit = match how.dry_run {
        true => run::look(&plan, &options, &mut sink)?,
        false => run::run(&plan, &options, &IS_INTERRUPTED, &mut sink)?,
    };
    drop(progress);
    if let Some(mut run) = fold::fold(&events).filter(|_| !how.json) {
        let mut changes = Vec::new();
        run.options = asked.store.typed();
        if how.dry_run {
            let would_run = run.stages.iter().filter(|stage| report::would_run(stage));
            run.lasted = find::lasted(&options.store, &plan.name, would_run.map(|stage| stage.head.name.as_str()))?;
            let before = find::runs(&options.store, &plan.name)?.next();
            changes = before.map(|before| report::gate::changes(&before, &run)).unwrap_or_default();
        }
        terminal::say(&report::report(&run, false, terminal::page()))?;
        if !changes.is_empty() {
            terminal::say(&format!("\nsince the last run:\n{}\n", changes.join("\n")))?;
        }
        gates::lapsed(&run, &approvals).iter().for_each(|note| terminal::remark(note));
    }
    Ok(exit)
}

fn listen_for_interrupts() -> Result<()> {
    ctrlc::set_handler(|| {
        if IS_INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .context("listen for Ctrl-C")
}

/// Whether somebody still reads.
fn print_json(event: &Event) -> bool {
    let line = serde_json::to_string(event).expect("an event is plain data");
    terminal::say(&format!("{line}\n")).is_ok_and(|is_read| is_read)
}

fn status(file: Option<&Path>, which: &Which) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let Found { mut run, is_alive, .. } = which.find(file)?;
    run.options = which.store.typed();
    terminal::say(&format!("{}\n{}", report::heading(&run), report::report(&run, is_alive, terminal::page())))?;
    Ok(0)
}

fn explain_stage(name: &str, file: Option<&Path>, which: &Which) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let found = which.find(file)?;
    let run = &found.run;
    let stage = gates::stage_of(&found, name)?;
    let executed = |key: &str| find::execution(&found, key);
    let checkpoints = stage.actions.iter().find(|action| action.part.is_none());
    let checkpoints = checkpoints.and_then(|action| find::checkpoints(&found, &action.key));
    let text = explain::explain(run, stage, executed, checkpoints.as_deref(), terminal::page());
    terminal::say(&format!("{}\n{text}", report::heading(run)))?;
    Ok(0)
}

fn list_kinds(kind: Option<&str>) -> Result<u8> {
    let page = terminal::page();
    let text = match kind {
        None => kinds::table(page),
        Some(name) => match stages::kinds::kind(name) {
            Some(kind) => kinds::describe(kind, page),
            None => {
                let names: Vec<&str> = stages::kinds::KINDS.iter().map(|kind| kind.name).collect();
                return Err(refused(format!(
                    "there is no kind `{name}`: {}",
                    stages::stage::did_you_mean(name, &names)
                )));
            }
        },
    };
    terminal::say(&text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn refusal(line: &str) -> (ErrorKind, i32) {
        let error = Arguments::try_parse_from(line.split(' ')).err().unwrap();
        (error.kind(), error.exit_code())
    }

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_is_refused_with_exit_code_2() {
        assert_eq!(refusal("pipeline rnu a.yaml"), (ErrorKind::InvalidSubcommand, 2));
        assert_eq!(refusal("pipeline run"), (ErrorKind::MissingRequiredArgument, 2));
        assert_eq!(refusal("pipeline run a.yaml --device gpu"), (ErrorKind::InvalidValue, 2));
        assert_eq!(refusal("pipeline run a.yaml --jobs 0"), (ErrorKind::ValueValidation, 2));
    }

    #[test]
    fn set_may_be_repeated_and_its_values_may_look_like_options() {
        let line = ["pipeline", "run", "a.yaml", "--set", "a.with.lr=-1e-5", "--set", "vars.text=a b"];
        let Verb::Run { asked, .. } = Arguments::try_parse_from(line).ok().unwrap().verb else { panic!("no run") };
        assert_eq!(asked.changes.set, ["a.with.lr=-1e-5", "vars.text=a b"]);
    }
}
