//! Numbers of the stages of a `for`. The evidence are the stages: how far they lie apart tells what another seed might give.
//! What other prompts might give is another question, which the items of each of them answer.

use super::super::functions::{MemberNumbers, OfMembers};
use super::super::lexer::Comparison;
use super::super::show;
use super::super::statistics::sample_deviation;
use super::super::tree::Who;
use super::view::{Gap, View};
use stages::stage::Direction;

/// The most numbers that an explanation lists.
const LISTED: usize = 8;

/// The stages of a family as they ended.
pub struct Members {
    /// The metrics of those that did not fail, in the order of the file.
    numbers: Vec<f64>,
    /// Why the others did.
    failed: Vec<String>,
    /// The number of those under whose names their incumbents go on.
    kept: usize,
    direction: Direction,
}

impl Members {
    fn count(&self) -> usize {
        self.numbers.len() + self.failed.len()
    }

    /// The numbers, if none failed.
    pub fn all(&self) -> Result<&[f64], Gap> {
        let Some(first) = self.failed.first() else { return Ok(&self.numbers) };
        let others = match self.failed.len() {
            1 => String::new(),
            many => format!(", and {} more", many - 1),
        };
        Err(Gap::Open(format!("{first}{others}: a stage that failed has no number, and is not left out")))
    }

    /// `5 stages: 0.62 0.7 0.75 0.68 0.7; sd 0.046`.
    fn detail(&self) -> String {
        let numbers = &self.numbers;
        let digits = show::digits(numbers).min(4);
        let mut listed: Vec<String> = numbers.iter().take(LISTED).map(|number| show::number(*number, digits)).collect();
        if numbers.len() > LISTED {
            listed.push("…".to_owned());
        }
        let plural = if self.count() == 1 { "" } else { "s" };
        let mut said = vec![format!("{} stage{plural}: {}", self.count(), listed.join(" "))];
        if numbers.len() > 1 {
            said.push(format!("sd {}", show::number(sample_deviation(numbers), 3)));
        }
        if self.kept > 0 {
            said.push(format!("{} of them kept what was there before", self.kept));
        }
        said.extend(self.failed.iter().take(LISTED).cloned());
        said.join("; ")
    }
}

pub fn members(family: usize, view: View) -> Result<Members, Gap> {
    let family = &view.leaves.families[family];
    let mut members = Members { numbers: Vec::new(), failed: Vec::new(), kept: 0, direction: Direction::Neutral };
    for name in family.members.iter().map(|name| view.name(*name)) {
        let Who::Stage(stage) = &name.who else { continue };
        if let Some(reason) = view.subjects.failed.get(stage) {
            members.failed.push(reason.clone());
            continue;
        }
        match view.metric(name)? {
            value if value.is_finite() => members.numbers.push(value),
            value => return Err(Gap::Error(format!("`{}` is {}", name.label(), show::odd(value)))),
        }
        let subject = view.subjects.stages.get(stage);
        members.kept +=
            usize::from(subject.is_some_and(|subject| !subject.called.is_empty() && subject.called != *stage));
        members.direction = name.meaning.as_ref().map_or(members.direction, |meaning| meaning.direction);
    }
    if members.count() == 0 {
        return Err(Gap::Error(format!("`{}` was not checked", family.typed.label())));
    }
    Ok(members)
}

/// The number of a function across stages, and what it was computed from.
pub fn of_members(
    of: &OfMembers,
    family: usize,
    condition: Option<(Comparison, f64)>,
    view: View,
) -> Result<(f64, String), Gap> {
    let members = members(family, view)?;
    let numbers = if of.asks_condition { &members.numbers } else { members.all()? };
    let value = (of.value)(&MemberNumbers { direction: members.direction, condition, numbers });
    if !value.is_finite() {
        return Err(Gap::Open("a single stage has no spread".to_owned()));
    }
    Ok((value, members.detail()))
}
