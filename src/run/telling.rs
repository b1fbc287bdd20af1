//! The events of a run: they go to the journal first, and then to who listens.

use super::{CODES, Run, now};
use crate::cause::EvalPart;
use crate::event::{Event, Outcome};
use crate::plan::StageId;
use crate::schedule::Request;
use anyhow::Result;

impl Run<'_> {
    /// Counts a stage that has ended, and reports its end with the time.
    pub fn end(&mut self, stage: StageId, outcome: Outcome) -> Result<()> {
        self.foretell_bound(stage, &outcome)?;
        let stage = self.plan.stages[stage].name.clone();
        let code = match &outcome {
            Outcome::Done { .. } | Outcome::Skipped { .. } | Outcome::WouldRun { .. } => 0,
            Outcome::Stopped { .. } | Outcome::Held { .. } | Outcome::Waits { .. } => 3,
            Outcome::Failed { .. } => 1,
            Outcome::Interrupted => 130,
        };
        if code == 1 {
            self.failed.get_or_insert_with(|| stage.clone());
        }
        let at = CODES.iter().position(|known| *known == code);
        self.codes[at.expect("every code is in the table")] += 1;
        self.remaining = self.remaining.saturating_sub(1);
        self.tell(Event::Ended { stage, outcome, at: Some(now()) })
    }

    pub fn tell(&mut self, event: Event) -> Result<()> {
        if let Some(session) = &mut self.session {
            session.journal.append(&event)?;
            // An event must be in the journal before anybody hears of it.
            if matches!(
                event,
                Event::RunStarted { .. } | Event::Started { .. } | Event::Placed { .. } | Event::Noted { .. }
            ) {
                session.journal.flush()?;
            }
        }
        (self.sink)(&event);
        Ok(())
    }

    pub fn write_journal(&mut self) -> Result<()> {
        self.session.as_mut().map_or(Ok(()), |session| session.journal.flush())
    }

    pub fn note(&mut self, request: &Request, message: String) -> Result<()> {
        let (stage, part) = self.name(request);
        self.tell(Event::Noted { stage, part, message })
    }

    pub fn name(&self, request: &Request) -> (String, Option<EvalPart>) {
        (self.plan.stages[request.stage].name.clone(), request.part.clone())
    }

    pub fn named(&self, request: &Request) -> String {
        let stage = &self.plan.stages[request.stage].name;
        request.part.as_ref().map_or_else(|| stage.clone(), |part| format!("{stage}: {part}"))
    }
}
