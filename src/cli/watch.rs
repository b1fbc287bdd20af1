//! `watch`: a run in another process, shown as if it had been started here.

use super::find;
use super::follow::{TICK, follow};
use super::options::RunArgument;
use super::refusal::refused;
use super::terminal;
use crate::cause::EvalPart;
use crate::event::Event;
use crate::progress;
use crate::report::{self, fold};
use crate::tail::{Tail, tail};
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// Returns the exit code of the run; 1 if it dies before its end.
pub fn watch(file: Option<&Path>, which: &RunArgument) -> Result<u8> {
    let mut progress = progress::open(terminal::stderr_has_color(), terminal::progress_interval());
    let living = match which.run {
        Some(_) => Some(which.find(file)?).filter(|found| found.is_alive),
        None => find::living(Path::new("."), &which.wanted(file))?,
    };
    let Some(found) = living else {
        // If there is no run at all, the refusal says so.
        let last = which.find(file)?.run;
        return Err(refused(format!(
            "no run goes on: {} is over; `pipeline status --run {}{}` shows it",
            last.name,
            last.name,
            which.store.typed()
        )));
    };
    terminal::remark(&format!("{}\n", report::heading(&found.run)));
    let mut journal = follow(&found.journal);
    let mut events = Vec::new();
    // Progress is not in the journal: each attempt writes it to a file of its own.
    let mut running: BTreeMap<(String, Option<EvalPart>), Tail> = BTreeMap::new();
    loop {
        let (new, goes_on) = journal.events()?;
        for event in new {
            progress.show(&event);
            match &event {
                Event::Started { stage, part, log, .. } => {
                    let events = tail(&Path::new(log).with_file_name("events.jsonl"));
                    running.insert((stage.clone(), part.clone()), events);
                }
                Event::Finished { stage, part, .. } | Event::Failed { stage, part, .. } => {
                    running.remove(&(stage.clone(), part.clone()));
                }
                _ => {}
            }
            events.push(event);
        }
        for ((stage, part), tail) in &mut running {
            let Some(stages::io::Progress { done, total, unit, message }) = tail.progress()? else { continue };
            let (stage, part) = (stage.clone(), part.clone());
            progress.show(&Event::Progressed { stage, part, done, total, unit, message });
        }
        if !goes_on {
            break;
        }
        std::thread::sleep(TICK);
    }
    drop(progress);
    let Some(mut run) = fold::fold(&events) else { return Ok(1) };
    run.options = which.store.typed();
    terminal::show(&report::report(&run, false))?;
    Ok(run.finish.map_or(1, |finish| finish.exit))
}
