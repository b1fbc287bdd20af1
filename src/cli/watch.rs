//! `watch`: a run in another process, shown as if it had been started here.

use super::find;
use super::options::RunArgument;
use super::refusal::refused;
use super::terminal;
use crate::live::{TICK, follow};
use crate::progress;
use crate::report::{self, fold};
use anyhow::Result;
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
            "no run is running: {} has ended; `pipeline status --run {}{}` shows it",
            last.name,
            last.name,
            which.store.typed()
        )));
    };
    terminal::remark(&format!("{}\n", report::heading(&found.run)));
    let mut live = follow(&found.journal);
    let mut folding = fold::RunFold::default();
    loop {
        let (events, goes_on) = live.events()?;
        for event in &events {
            progress.show(event);
            folding.add(event);
        }
        if !goes_on {
            break;
        }
        std::thread::sleep(TICK);
    }
    drop(progress);
    let Some(mut run) = folding.run else { return Ok(1) };
    run.options = which.store.typed();
    terminal::show(&report::report(&run, false))?;
    Ok(run.finish.map_or(1, |finish| finish.exit))
}
