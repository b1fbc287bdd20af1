//! The ways in which a run is told to stop.

use super::super::terminal;
use std::sync::atomic::{AtomicBool, Ordering};

/// The place of the run that a page can stop.
#[derive(Clone, Copy)]
pub enum Stop {
    /// It is in this process: the flag that Ctrl-C sets.
    Here(&'static AtomicBool),
    /// It is in another one, which gets a signal.
    Elsewhere,
}

/// Whether stages of the run of this process are here, and whether some are on clusters.
static IS_HERE: AtomicBool = AtomicBool::new(true);
static IS_ELSEWHERE: AtomicBool = AtomicBool::new(false);

/// Notes where the stages of a run are, for what is said when it is told to stop.
pub fn note_places(is_here: bool, is_elsewhere: bool) {
    IS_HERE.store(is_here, Ordering::SeqCst);
    IS_ELSEWHERE.store(is_elsewhere, Ordering::SeqCst);
}

/// Says that the run was told to stop.
pub fn tell_interrupted() {
    terminal::remark(&interrupted(IS_HERE.load(Ordering::SeqCst), IS_ELSEWHERE.load(Ordering::SeqCst)));
}

fn interrupted(is_here: bool, is_elsewhere: bool) -> String {
    let here = "stages that run here write a checkpoint or wait for what they have asked a server for, and stop; a second interrupt ends them at once";
    let elsewhere = "jobs on clusters go on, and the next run takes their results (`pipeline run --cancel` ends them)";
    let told: Vec<&str> =
        [(is_elsewhere, elsewhere), (is_here, here)].iter().filter(|(is, _)| *is).map(|(_, told)| *told).collect();
    format!("\ninterrupted: {}\n", told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn only_what_is_true_of_the_places_of_a_run_is_said() {
        let told = [(true, false), (true, true), (false, true)].map(|(here, elsewhere)| interrupted(here, elsewhere));
        expect![[r"

            interrupted: stages that run here write a checkpoint or wait for what they have asked a server for, and stop; a second interrupt ends them at once

            interrupted: jobs on clusters go on, and the next run takes their results (`pipeline run --cancel` ends them); stages that run here write a checkpoint or wait for what they have asked a server for, and stop; a second interrupt ends them at once

            interrupted: jobs on clusters go on, and the next run takes their results (`pipeline run --cancel` ends them)
        "]]
        .assert_eq(&told.concat());
    }
}
