//! The cost of looks at items before they are taken: for `plan` and `gate what-if`.

use crate::event::Verdict;
use crate::gate::DeclaredLooks;
use crate::ledger;
use crate::plan::{Plan, Stage};
use crate::report::fold::RunState;
use crate::report::format::{moment, short};
use crate::run::Options;
use crate::schedule::decide;
use anyhow::Result;
use cache::{Content, Store};

/// One line for each stage that would run and whose gate has looked at items before.
///
/// # Errors
/// The ledger or the store cannot be read.
pub fn ahead(plan: &Plan, run: &RunState, options: &Options) -> Result<Vec<String>> {
    let Some(folder) = &options.looks else { return Ok(Vec::new()) };
    let would_look = |stage: &Stage| {
        let looks = stage.gate.as_ref().is_some_and(|gate| decide::looks(gate));
        looks && run.stage(&stage.name).is_some_and(|stage| stage.would_run())
    };
    let asked: Vec<&Stage> = plan.stages.iter().filter(|stage| would_look(stage)).collect();
    if asked.is_empty() || !folder.exists() {
        return Ok(Vec::new());
    }
    let ledger = ledger::file::read(folder)?;
    let store = Store::open(&options.store)?;
    let line = |stage: &Stage| {
        let gate = stage.gate.as_ref()?;
        let last = ledger.looks_of(&stage.name).last()?;
        let of = match decide::declared(gate) {
            Some(DeclaredLooks::Exactly(count)) => format!(" of {count}"),
            _ => String::new(),
        };
        let (taken, prompts) = (ledger.taken_with(last), &gate.prompts);
        let cost = format!("costs a look: {taken}{of} at {prompts} taken so far");
        let is_here = last.content.parse::<Content>().is_ok_and(|content| store.has(&content));
        let candidate = format!("{} ({}, {})", last.candidate, short(&last.content), moment(&last.at));
        Some(match is_here {
            true => format!("{}: another candidate than {candidate} {cost}", stage.name),
            false => format!(
                "{}: {candidate} has its look, and is not in this store. Made again on the same class of device it is the same \
                 and costs nothing; on another class it is another candidate, which {cost}",
                stage.name
            ),
        })
    };
    Ok(asked.into_iter().filter_map(line).collect())
}

/// The cost of the look that a run would take for this verdict.
pub fn cost(plan: &Plan, stage: &str, verdict: &Verdict) -> Option<String> {
    let look = verdict.look.as_ref()?;
    let gate = plan.stages.iter().find(|known| known.name == stage)?.gate.as_ref()?;
    let note = decide::terms(gate, look).note;
    Some(if look.is_known {
        format!("A run with this rule costs no look: its claim stands in the ledger ({note}).")
    } else if look.is_spent() {
        format!("A run with this rule has no look left: {note}.")
    } else {
        format!(
            "A run with this rule takes a look ({note}); this command takes none. A rule that is chosen after looking is \
             a look as well: the one that seems best passes by luck more often than its level says."
        )
    })
}
