//! `run` and `plan`: one walk over the pipeline, with and without executing stages.

use super::check::understand_whole;
use super::notify::Notifier;
use super::options::FileArguments;
use super::refusal::refused;
use super::tensorboard::TensorboardLog;
use super::ui::stop::{self, Stop};
use super::ui::{self, DecisionPageArguments};
use super::{configuration, find, gates, looks, secrets, terminal};
use crate::canonical::Canonical;
use crate::event::{Event, Outcome};
use crate::executor::slurm::ready;
use crate::failure::Failure;
use crate::plan::selection::{self, Selection};
use crate::plan::{Plan, Resources, Stage};
use crate::report;
use crate::report::fold;
use crate::report::sheet::Sheet;
use crate::run::{ExecutionOptions, gpus, slots};
use crate::spec::limits;
use crate::{approvals, labels, progress, run};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C, SIGTERM and SIGHUP. The run then asks its workers to stop and waits for them; a second signal ends it
/// at once.
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The listeners to a run beside the person at the terminal.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Whether stdout gets the events, and nothing else.
    pub json: bool,
    /// The folder that gets curves for TensorBoard.
    pub log: Option<PathBuf>,
    /// The page that shows the run, if it has one.
    pub page: Option<DecisionPageArguments>,
}

/// Runs the pipeline beside its page: what waits for people goes on when one has decided there, and the page stays until Ctrl-C.
pub fn walk_with_page(
    asked: &FileArguments,
    mut selected: selection::Filter,
    mut execution: ExecutionOptions,
    to: &Listeners,
) -> Result<u8> {
    let Some(page) = &to.page else { return walk(asked, &selected, Some(&mut execution), to) };
    listen_for_interrupts()?;
    let mut served = None;
    loop {
        // What is wrong is said before a page is opened.
        let plan = understand_whole(&asked.file, &asked.changes.all(), true)?;
        if served.is_none() {
            let root = asked.store.beside(&asked.file);
            served = Some(ui::serve(Some(&asked.file), root, Stop::Here(&IS_INTERRUPTED), page)?);
        }
        let exit = carry_out(plan, asked, &selected, Some(&mut execution), to)?;
        // It was done once, and a decision asks for no other result.
        selected.force.clear();
        execution.disowns = None;
        if !IS_INTERRUPTED.load(Ordering::SeqCst) {
            terminal::remark(
                "the page stays until Ctrl-C; the run goes on when somebody has decided, or labelled enough\n",
            );
        }
        if !served.as_mut().is_some_and(|page| page.wait_for_people(&IS_INTERRUPTED)) {
            return Ok(exit);
        }
    }
}

/// Runs the pipeline, or without `execution` says what would run.
pub fn walk(
    asked: &FileArguments,
    selected: &selection::Filter,
    execution: Option<&mut ExecutionOptions>,
    to: &Listeners,
) -> Result<u8> {
    let plan = understand_whole(&asked.file, &asked.changes.all(), execution.is_some())?;
    carry_out(plan, asked, selected, execution, to)
}

fn carry_out(
    plan: Plan,
    asked: &FileArguments,
    selected: &selection::Filter,
    mut execution: Option<&mut ExecutionOptions>,
    to: &Listeners,
) -> Result<u8> {
    let json = to.json;
    let selection = selection::select(&plan, selected).map_err(refused)?;
    if let Some(execution) = execution.as_deref() {
        let is_counted = execution.capacity.gpu.is_some() || !slots::asks_for_several(&plan);
        let counted = (!is_counted).then(|| gpus::resolve(&execution.device, None)).transpose();
        let counted = counted.map_err(|error| refused(format!("{error:#}")))?.map(|found| found.gpus.len() as u64);
        let capacity = Resources { gpu: execution.capacity.gpu.or(counted), ..execution.capacity };
        if let Some(reason) = slots::too_large(&plan, capacity) {
            return Err(refused(reason));
        }
    }
    if let Some(execution) = execution.as_deref_mut() {
        execution.clusters = clusters(&plan)?;
        let is_elsewhere = |stage: &Stage| stage.executor.is_some();
        stop::note_places(!plan.stages.iter().all(is_elsewhere), plan.stages.iter().any(is_elsewhere));
    }
    let approvals = approvals::read(&approvals::path(&asked.file)).map_err(|error| refused(format!("{error:#}")))?;
    let mut progress = if execution.is_some() {
        listen_for_interrupts()?;
        Some(progress::open(terminal::stderr_has_color(), terminal::progress_interval()))
    } else {
        progress::log_only(terminal::stderr_has_color());
        None
    };
    let options = run::Options {
        file: asked.file.clone(),
        overrides: asked.changes.all(),
        store: asked.store.beside(&asked.file),
        decisions: approvals::decisions(&approvals),
        looks: asked.looks(),
        labels: labels::folder(&asked.file),
        foretells: execution.is_none(),
        remote: configuration::open(&plan.settings)?,
    };
    if execution.is_some() && !selection.typed().is_empty() {
        refuse_missing(&plan, &selection, &options)?;
    }
    if let Some(execution) = &mut execution {
        secrets::check(&plan, &selection, &options, &execution.secrets)?;
        configuration::keep_keys();
        execution.secrets.extend(secrets::take(&plan));
        if options.remote.as_ref().is_some_and(|remote| remote.settings().is_bucket()) {
            configuration::hide_keys();
        }
    }
    let execution = execution.as_deref();
    // It is started by the person who runs this, and has the same environment.
    let mut notifier =
        execution.and_then(|execution| Notifier::open(&plan.notify, &asked.file, execution.secrets.clone()));
    let curves = to.log.as_deref().map(TensorboardLog::open).transpose();
    let mut curves = curves.map_err(|error| refused(format!("{error:#}")))?;
    let mut folding = fold::RunFold::default();
    let nothing = Canonical::from(serde_json::Value::Null);
    let mut sink = |event: &Event| {
        if let Some(progress) = &mut progress {
            progress.show(event);
        }
        if json && !print_json(event) {
            // Stdout was closed, as by `| head`: the run stops, and finished stages stay cached.
            IS_INTERRUPTED.store(true, Ordering::SeqCst);
        }
        if let Some(notifier) = &mut notifier {
            notifier.hear(event);
        }
        if let Some(curves) = &mut curves {
            curves.hear(event);
        }
        match event {
            // The report does not show actions; those of thousands of stages would take a tenth of the memory.
            Event::Hit { stage, part, key, .. } => {
                let (stage, part, key) = (stage.clone(), part.clone(), key.clone());
                folding.add(&Event::Hit { stage, part, key, action: nothing.clone() });
            }
            // Nor does it show progress.
            Event::Progressed { .. } => {}
            event => folding.add(event),
        }
    };
    let exit = match execution {
        None => run::look(&plan, &selection, &options, &mut sink).map_err(configuration::without_place)?,
        Some(execution) => run::run(&plan, &selection, &options, execution, &IS_INTERRUPTED, &mut sink)
            .map_err(configuration::without_place)?,
    };
    drop(progress);
    if let Some(notifier) = notifier {
        notifier.end();
    }
    if let Some(mut run) = folding.run.filter(|_| !json) {
        let mut changes = Vec::new();
        run.options = asked.store.typed();
        if execution.is_none() {
            let would_run = run.stages.iter().filter(|stage| stage.would_run());
            run.lasted = find::lasted(&options.store, &plan.name, would_run.map(|stage| stage.head.name.as_str()))?;
            let before = find::runs(&options.store, &plan.name)?.next();
            changes = before.map(|before| report::gate::changes(&before, &run)).unwrap_or_default();
        }
        let mut sheets = report::report(&run, false);
        if !changes.is_empty() {
            let (heading, note) = ("since the last run:".to_owned(), changes.join("\n"));
            sheets.push(Sheet { heading, note, ..Sheet::default() });
        }
        let ahead = if execution.is_none() { looks::ahead(&plan, &run, &options)? } else { Vec::new() };
        if !ahead.is_empty() {
            let (heading, note) = ("looks at prompts:".to_owned(), ahead.join("\n"));
            sheets.push(Sheet { heading, note, ..Sheet::default() });
        }
        terminal::show(&sheets)?;
        gates::lapsed(&run, &approvals).iter().for_each(|note| terminal::remark(note));
        std::mem::forget(run);
    }
    // The process ends here, and dropping a large plan and run first would take a tenth of its time.
    std::mem::forget(plan);
    Ok(exit)
}

/// The clusters that stages name, as far as they are known. One that cannot be used is told before anything is submitted.
fn clusters(plan: &Plan) -> Result<BTreeMap<String, ready::Cluster>> {
    let named: BTreeSet<&String> = plan.stages.iter().filter_map(|stage| stage.executor.as_ref()).collect();
    let known = named.into_iter().filter_map(|name| Some((name, plan.settings.executors.get(name)?)));
    let looked = known.map(|(name, settings)| Ok((name.clone(), ready::look(name, settings)?)));
    looked.collect::<Result<_>>().map_err(|error| refused(format!("{error:#}")))
}

/// Refuses a run of some stages that need others which are left out and not done: nothing is executed for a result that
/// cannot be had.
fn refuse_missing(plan: &Plan, selection: &Selection, options: &run::Options) -> Result<()> {
    let mut missing = Vec::new();
    run::look(plan, selection, options, &mut |event| {
        if let Event::Ended { stage, outcome: Outcome::Failed { cause: Failure::LeftOut }, .. } = event {
            missing.push(stage.clone());
        }
    })?;
    match missing.is_empty() {
        true => Ok(()),
        false => Err(refused(format!("`{}`: {}; nothing was run", missing.join("`, `"), Failure::LeftOut))),
    }
}

/// Listens from the first call on.
fn listen_for_interrupts() -> Result<()> {
    static IS_LISTENING: AtomicBool = AtomicBool::new(false);
    if IS_LISTENING.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        // The workers are killed with this process.
        if IS_INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        stop::tell_interrupted();
    })
    .context("listen for Ctrl-C")
}

/// The resources that running stages may use together.
pub fn capacity(typed: Option<&str>) -> Result<Resources> {
    let known = slots::of_this_machine();
    typed
        .map_or(Ok(known), |typed| limits::capacity(typed, known))
        .map_err(|error| refused(format!("--resources {error}")))
}

/// Prints an event; false if stdout was closed.
fn print_json(event: &Event) -> bool {
    let line = serde_json::to_string(event).expect("an event is plain data");
    terminal::say_json(&format!("{line}\n")).is_ok_and(|is_read| is_read)
}
