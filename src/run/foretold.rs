//! Requests that stages will send to a server, told by a plan before the first: from their items, where these are there, else a
//! bound from the stage that makes them.

use super::{Run, begin, inputs};
use crate::action::Action;
use crate::event::{Event, Outcome};
use crate::plan::{Source, Stage, StageId};
use crate::schedule::Request;
use anyhow::{Context, Result};
use formats::data::{self, RowFilter};
use stages::io::{Host, Io};
use stages::stage::{AskedTotals, Call, Foretelling, Work, put_back};
use std::fs;

impl Run<'_> {
    /// Tells what an action that would run will ask for: its items are there.
    pub fn foretell(&mut self, request: &Request) -> Result<()> {
        let stage = &self.plan.stages[request.stage];
        let Some(AskedServer { foretelling, who, budget }) =
            asked(stage).filter(|_| self.options.foretells && request.part.is_none())
        else {
            return Ok(());
        };
        self.foretold.push(request.stage);
        let message = match self.totals(stage, foretelling, request) {
            Ok(AskedTotals { kept, requests: 0, .. }) => {
                return self.note(request, format!("would ask {who} for nothing: all {kept} replies are kept"));
            }
            Ok(totals) => told(&who, &totals),
            Err(error) => format!("would ask {who}, and how often is not known: {error:#}"),
        };
        self.note(request, message + &budget)
    }

    fn totals(&self, stage: &Stage, foretelling: &Foretelling, request: &Request) -> Result<AskedTotals> {
        let place = tempfile::tempdir().context("make a directory for its items")?;
        let action = Action::read(&request.action.action)?;
        for (_, path, content) in action.placements().into_iter().filter(|(port, ..)| *port == foretelling.items) {
            let target = place.path().join(path);
            // A look brings nothing into the store.
            match self.contents.iter().find(|(_, known)| *known == content) {
                Some((path, _)) => {
                    target.parent().map_or(Ok(()), fs::create_dir_all)?;
                    fs::copy(path, &target).map(drop).with_context(|| format!("read {}", path.display()))?;
                }
                None => inputs::place(self.store, content, &target, self.contents)?,
            }
        }
        let host = Host {
            replies: Some(begin::replies(&self.options.store)?),
            skip_bad_rows: self.plan.skip_bad_rows,
            ..Host::default()
        };
        let mut parameters = action.parameters.value();
        put_back(&mut parameters, &stage.beside_key);
        let call = Call { parameters, seed: action.seed.unwrap_or_default() };
        (foretelling.all)(&call, &Io::open(place.path(), action.sources(place.path()), host)?)
    }

    /// Tells the most that a stage will ask for whose items are still to be made.
    pub fn foretell_bound(&mut self, id: StageId, outcome: &Outcome) -> Result<()> {
        let stage = &self.plan.stages[id];
        let would_run = matches!(outcome, Outcome::WouldRun { .. });
        let is_asked = self.options.foretells && would_run && !self.foretold.contains(&id);
        let Some(AskedServer { foretelling, who, budget }) = asked(stage).filter(|_| is_asked) else { return Ok(()) };
        let input = stage.inputs.iter().find(|input| input.port == foretelling.items);
        let makers: Vec<&Stage> = input
            .into_iter()
            .flat_map(|input| &input.sources)
            .filter_map(Source::stage)
            .map(|maker| &self.plan.stages[maker])
            .collect();
        let names: Vec<String> = makers.iter().map(|maker| format!("`{}`", maker.name)).collect();
        let names = names.join(", ");
        let bound = match &makers[..] {
            [maker] => self.most_made(maker),
            _ => None,
        };
        let parameters = stage.parameters.value();
        let message = match bound {
            Some((rows, answers)) => {
                let most = rows as u64 * (foretelling.of_row)(&parameters, answers);
                format!(
                    "would ask {who} for at most {most} replies ({rows} prompts, {answers} answers each); how many of them are kept, \
                     and what the others may cost, is known once {names} has run"
                )
            }
            None => format!("would ask {who}; for how many replies is known once {names} has run"),
        };
        self.tell(Event::Noted { stage: stage.name.clone(), part: None, message: message + &budget })
    }

    /// The rows that a stage makes which draws answers, and the most answers in each, if its prompts are there.
    fn most_made(&self, maker: &Stage) -> Option<(usize, usize)> {
        let Work::Draw(draw) = &maker.kind.work else { return None };
        let of = |port: &str| maker.inputs.iter().find(|input| input.port == port);
        let draws = maker.parameters.value()[draw.count].as_u64()? as usize;
        let prompts = of(draw.prompts)?;
        if prompts.sources.iter().any(|source| source.stage().is_some()) {
            return None;
        }
        let rows = data::prompts(&prompts.files(), &mut RowFilter::new(self.plan.skip_bad_rows)).ok()?;
        Some((rows.len(), draws * of(draw.port)?.sources.len()))
    }
}

/// The one whom a stage asks.
struct AskedServer {
    foretelling: &'static Foretelling,
    who: String,
    /// The end of the sentence: what may be spent.
    budget: String,
}

fn asked(stage: &Stage) -> Option<AskedServer> {
    let foretelling = stage.kind.foretells?;
    let mut parameters = stage.parameters.value();
    put_back(&mut parameters, &stage.beside_key);
    let who = (foretelling.asked)(&parameters)?;
    let budget = (foretelling.budget)(&parameters);
    let budget =
        budget.map_or_else(String::new, |most| format!("; its budget is {most}, and when it is spent the stage waits"));
    Some(AskedServer { foretelling, who, budget })
}

fn told(asked: &str, totals: &AskedTotals) -> String {
    let AskedTotals { kept, requests, most, cost } = totals;
    let kept = if *kept > 0 { format!(" ({kept} more are kept)") } else { String::new() };
    let cost = cost.map_or_else(String::new, |cost| format!(", which costs at most {cost:.2}"));
    format!(
        "would ask {asked} for {requests} replies{kept}: at most {} tokens read and {} written{cost}; more where a reply cannot be read, \
         or a try fails",
        most.prompt_tokens, most.completion_tokens
    )
}
