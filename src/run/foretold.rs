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
use stages::server::Budget;
use stages::stage::{AskedTotals, Call, Foretelling, ForetoldServer, Work, put_back};
use std::fs;

impl Run<'_> {
    /// Tells what an action that would run will ask for: its items are there.
    pub fn foretell(&mut self, request: &Request) -> Result<()> {
        let stage = &self.plan.stages[request.stage];
        let Some((foretelling, server)) = asked(stage).filter(|_| self.options.foretells && request.part.is_none())
        else {
            return Ok(());
        };
        self.foretold.push(request.stage);
        let message = match self.totals(stage, foretelling, request) {
            Ok(totals) => told(&server, &totals),
            Err(error) => format!("would ask {}, and how often is not known: {error:#}", server.name),
        };
        self.note(request, message)
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
        let Some((foretelling, server)) = asked(stage).filter(|(_, server)| is_asked && !server.is_offline) else {
            return Ok(());
        };
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
        let (parameters, who) = (stage.parameters.value(), &server.name);
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
        self.tell(Event::Noted { stage: stage.name.clone(), part: None, message: message + &budget(&server.budget) })
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

fn asked(stage: &Stage) -> Option<(&'static Foretelling, ForetoldServer)> {
    let foretelling = stage.kind.foretells?;
    let mut parameters = stage.parameters.value();
    put_back(&mut parameters, &stage.beside_key);
    Some((foretelling, (foretelling.asked)(&parameters)?))
}

/// The end of a sentence about what will be asked for: what may be spent.
fn budget(budget: &Budget) -> String {
    budget.told().map_or_else(String::new, |most| format!("; its budget is {most}"))
}

fn told(server: &ForetoldServer, totals: &AskedTotals) -> String {
    let ForetoldServer { name, budget: bounds, is_offline } = server;
    let AskedTotals { kept, spent, requests, most, cost } = totals;
    if *requests == 0 {
        return format!("would ask {name} for nothing: all {kept} replies are kept");
    }
    if *is_offline {
        return format!("asks nobody (`offline`), and lacks {requests} replies of {name}: it would fail");
    }
    let kept = if *kept > 0 { format!(" ({kept} more are kept)") } else { String::new() };
    let cost = cost.map_or_else(String::new, |cost| format!(", which costs at most {cost:.2}"));
    let all = spent + requests;
    let left = match bounds.requests {
        Some(most) if all > most => {
            format!(", of which {spent} are spent: the stage will wait for a larger one, of at least {all} requests")
        }
        _ if bounds.told().is_some() && *spent > 0 => format!(", of which {spent} requests are spent"),
        _ => String::new(),
    };
    format!(
        "would ask {name} for {requests} replies{kept}: at most {} tokens read and {} written{cost}; more where a reply cannot be read, \
         or a try fails{}{left}",
        most.prompt_tokens,
        most.completion_tokens,
        budget(bounds)
    )
}
