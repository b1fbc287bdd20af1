//! What a name of a rule means: which artifact, by which yardstick, and whether higher is better.
//! It sees one name at a time and knows no grammar.

use super::Mistake;
use super::functions;
use super::tree::{Leaves, Meaning, Name, Other, Said, Who, Yardstick};
use stages::stage::{Direction, did_you_mean};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What names may mean in the rules of one stage.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The stage's own metrics. Empty for an eval that judges by itself: its metrics are those of the judge.
    pub own: Vec<MetricName>,
    /// In the order of the file.
    pub judges: Vec<JudgeScope>,
    /// Metrics of the incumbent's own record, none for a path; `None` when the stage has no incumbent.
    pub incumbent: Option<Vec<MetricName>>,
    /// Metrics of the other stages' own records; of a pipeline all its gates share them.
    pub stages: Arc<BTreeMap<String, Vec<MetricName>>>,
}

#[derive(Clone, Debug)]
pub struct JudgeScope {
    pub name: String,
    pub metrics: Vec<MetricName>,
    /// Whether it leaves a table of texts, and so answers can be compared one by one.
    pub has_items: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MetricName {
    pub name: String,
    pub direction: Direction,
    /// The field of the per-item table that it is the mean of.
    pub field: Option<String>,
}

impl Scope {
    /// Metrics of another artifact's own record.
    fn record(&self, who: &Who) -> &[MetricName] {
        match who {
            Who::Candidate => &self.own,
            Who::Incumbent => self.incumbent.as_deref().unwrap_or_default(),
            Who::Stage(stage) => self.stages.get(stage).map_or(&[], Vec::as_slice),
        }
    }

    /// What is measured of the artifact by that yardstick.
    pub fn measured(&self, who: &Who, yardstick: Yardstick) -> &[MetricName] {
        match yardstick {
            Yardstick::Own => self.record(who),
            Yardstick::Judge(judge) => self.judges.get(judge).map_or(&[], |judge| &judge.metrics),
        }
    }

    pub fn judge(&self, name: &str) -> Option<usize> {
        self.judges.iter().position(|judge| judge.name == name)
    }

    /// The judge that is meant when none is named.
    fn only_judge(&self, range: &Range<usize>, write: impl Fn(&str) -> String) -> Result<usize, Mistake> {
        match &self.judges[..] {
            [] => Err(Mistake::new(range, "this gate has no judge").help("add `judge: STAGE` to the gate")),
            [_] => Ok(0),
            [first, ..] => Err(Mistake::new(range, "this gate has several judges").help(write(&first.name))),
        }
    }
}

/// `eval.m` names the judge, not a stage that is judged, when `eval` judges.
pub fn find_judges(leaves: &mut Leaves, scope: &Scope) {
    for name in &mut leaves.names {
        if let (Who::Stage(stage), None) = (&name.who, &name.said)
            && scope.judge(stage).is_some()
            && !name.who_range.is_empty()
            && name.like.is_none()
        {
            name.said = Some(Said::By(stage.clone()));
            name.who = Who::Candidate;
            name.who_range = name.range.start..name.range.start;
        }
    }
}

/// `like`: the meaning of the name this one follows (`m` of `m improves over x`).
pub fn resolve(name: &Name, like: Option<Meaning>, scope: &Scope) -> Result<Meaning, Mistake> {
    artifact(&name.who, &name.who_range, scope)?;
    let yardsticks: Vec<Yardstick> = match (&name.said, like) {
        (_, Some(like)) => vec![like.yardstick],
        (Some(Said::Own), _) => vec![Yardstick::Own],
        (Some(Said::Judge), _) => {
            let write = |judge: &str| format!("write `{judge}.{}`", name.metric);
            vec![Yardstick::Judge(scope.only_judge(&name.range, write)?)]
        }
        (Some(Said::By(judge)), _) => vec![Yardstick::Judge(named_judge(judge, &name.range, scope)?)],
        (None, None) => judges_then_own(name, scope),
    };
    let find = |yardstick: &Yardstick| {
        let is_it = |metric: &&MetricName| match name.is_field {
            true => metric.field.as_ref() == Some(&name.metric),
            false => metric.name == name.metric,
        };
        let metric = scope.measured(&name.who, *yardstick).iter().find(is_it)?;
        Some(Meaning { yardstick: *yardstick, direction: metric.direction, field: metric.field.clone() })
    };
    let mut found: Vec<Meaning> = yardsticks.iter().filter_map(find).collect();
    let judges = found.iter().filter(|meaning| meaning.yardstick != Yardstick::Own).count();
    // Of another artifact the judge's word counts before its own record; of the candidate both are as good.
    if judges == 1 && name.who != Who::Candidate {
        found.retain(|meaning| meaning.yardstick != Yardstick::Own);
    }
    match found.len() {
        0 => Err(unknown(name, &yardsticks, scope)),
        1 => Ok(found.remove(0)),
        _ => Err(ambiguous(name, &found, scope)),
    }
}

/// An empty range on the right of `like` has been dealt with: here nothing is said.
fn judges_then_own(name: &Name, scope: &Scope) -> Vec<Yardstick> {
    let judges = (0..scope.judges.len()).map(Yardstick::Judge);
    // An eval that judges by itself has no other record.
    let own =
        (!scope.measured(&name.who, Yardstick::Own).is_empty() || scope.judges.is_empty()).then_some(Yardstick::Own);
    judges.chain(own).collect()
}

fn named_judge(judge: &str, range: &Range<usize>, scope: &Scope) -> Result<usize, Mistake> {
    let names: Vec<&str> = scope.judges.iter().map(|judge| judge.name.as_str()).collect();
    let range = range.start..range.start + judge.len();
    let unknown = || Mistake::new(&range, format!("`{judge}` does not judge this stage"));
    scope.judge(judge).ok_or_else(|| unknown().help(did_you_mean(judge, &names)))
}

/// The judge whose items a comparison of answers is about.
pub fn compared(other: &Other, scope: &Scope) -> Result<usize, Mistake> {
    artifact(&other.who, &other.range, scope)?;
    let function = other.function.name;
    if scope.judges.is_empty() {
        let message = format!("`{function}` compares answers, and no judge asks for any");
        return Err(Mistake::new(&other.range, message).help("add `judge: STAGE` to the gate"));
    }
    let judge = match &other.said {
        None | Some((Said::Own | Said::Judge, _)) => {
            scope.only_judge(&other.range, |judge| format!("write `{judge}.{function}(…)`"))?
        }
        Some((Said::By(judge), range)) => named_judge(judge, range, scope)?,
    };
    if !scope.judges[judge].has_items {
        let name = &scope.judges[judge].name;
        let message = format!("`{function}` compares answers, and `{name}` leaves no table of them");
        return Err(Mistake::new(&other.range, message).help("judge by a stage of kind `eval`"));
    }
    Ok(judge)
}

/// Whether there is such an artifact at all.
fn artifact(who: &Who, range: &Range<usize>, scope: &Scope) -> Result<(), Mistake> {
    match who {
        Who::Candidate => Ok(()),
        Who::Incumbent if scope.incumbent.is_some() => Ok(()),
        Who::Incumbent => Err(Mistake::new(range, "this stage has no incumbent")
            .help("name a stage, or compare with a number: nothing goes into this stage that it could keep")),
        Who::Stage(stage) => {
            if scope.judge(stage).is_some() {
                let mistake = Mistake::new(range, format!("`{stage}` is the judge, not one of the judged"));
                return Err(mistake.help("its measurement of this stage is `judge.METRIC`, or the metric alone"));
            }
            if scope.stages.contains_key(stage) {
                return Ok(());
            }
            if stage == "candidate" {
                let mistake = Mistake::new(range, "the candidate needs no name");
                return Err(mistake.help("write the metric alone, `self.METRIC` or `judge.METRIC`"));
            }
            let mut names: Vec<&str> = scope.stages.keys().map(String::as_str).collect();
            names.extend(super::lexer::OWN_NAMES);
            // One judge alone needs no name.
            names.extend(scope.judges.iter().map(|judge| judge.name.as_str()).filter(|_| scope.judges.len() > 1));
            names.dedup();
            Err(Mistake::new(range, format!("unknown stage `{stage}`")).help(did_you_mean(stage, &names)))
        }
    }
}

fn ambiguous(name: &Name, found: &[Meaning], scope: &Scope) -> Mistake {
    let metric = &name.metric;
    let prefix = |meaning: &Meaning| match (meaning.yardstick, &scope.judges[..]) {
        (Yardstick::Own, _) => "self".to_owned(),
        (Yardstick::Judge(_), [_]) => "judge".to_owned(),
        (Yardstick::Judge(judge), judges) => judges[judge].name.clone(),
    };
    let who = match &name.who {
        Who::Candidate => String::new(),
        Who::Incumbent => "incumbent.".to_owned(),
        Who::Stage(stage) => format!("{stage}."),
    };
    let spellings: Vec<String> = found.iter().map(|meaning| format!("`{}.{who}{metric}`", prefix(meaning))).collect();
    let by = |meaning: &Meaning| match (meaning.yardstick, &scope.judges[..]) {
        (Yardstick::Own, _) => "this stage".to_owned(),
        (Yardstick::Judge(_), [judge]) => format!("its judge `{}`", judge.name),
        (Yardstick::Judge(judge), judges) => format!("`{}`", judges[judge].name),
    };
    // This stage first, as it would be said.
    let mut sides: Vec<String> = found.iter().map(by).collect();
    sides.sort_by_key(|side| side != "this stage");
    let mut spellings = spellings;
    spellings.sort_by_key(|spelling| !spelling.starts_with("`self"));
    Mistake::new(&name.range, format!("`{metric}` is measured by {}", sides.join(" and by ")))
        .help(format!("write {}", spellings.join(" or ")))
}

fn unknown(name: &Name, yardsticks: &[Yardstick], scope: &Scope) -> Mistake {
    let metric = name.metric.as_str();
    let is_own_alone = yardsticks == [Yardstick::Own] && name.said.is_some();
    let judge = match yardsticks {
        [Yardstick::Judge(judge)] if name.said.is_some() => scope.judges.get(*judge),
        _ => None,
    };
    let whose = match (&name.who, judge) {
        (Who::Candidate, Some(judge)) if scope.judges.len() > 1 => format!(" of the judge `{}`", judge.name),
        (Who::Candidate, Some(_)) => " of the judge".to_owned(),
        (Who::Candidate, None) if is_own_alone => " of this stage".to_owned(),
        (Who::Candidate, None) => String::new(),
        (Who::Incumbent, _) => " of the incumbent".to_owned(),
        (Who::Stage(stage), _) => format!(" of `{stage}`"),
    };
    let what = if name.is_field { "field" } else { "metric" };
    let mistake = Mistake::new(&name.metric_range, format!("unknown {what} `{metric}`{whose}"));
    let called = |metric: &MetricName| if name.is_field { metric.field.clone() } else { Some(metric.name.clone()) };
    let is_measured = |yardstick: Yardstick| {
        let mut metrics = scope.measured(&name.who, yardstick).iter();
        metrics.any(|known| called(known).as_deref() == Some(metric))
    };
    if name.who == Who::Candidate && !name.is_field {
        if let (None, Some(function)) = (&name.said, functions::function(metric)) {
            return mistake.help(format!("`{metric}` is a function: `{}`", function.signature));
        }
        if name.said.is_none() && (scope.stages.contains_key(metric)) {
            return mistake.help(format!("`{metric}` is a stage: write `{metric}.` and a metric"));
        }
        if judge.is_some() && is_measured(Yardstick::Own) {
            return mistake.help(format!("this stage measures it itself: write `self.{metric}`"));
        }
        if is_own_alone && is_measured(Yardstick::Judge(0)) {
            return mistake.help(format!("the judge measures it: write `judge.{metric}`"));
        }
    }
    let all = yardsticks.iter().flat_map(|yardstick| scope.measured(&name.who, *yardstick));
    if name.is_field {
        // The mean of a field is the metric people know.
        let field = all.clone().find(|known| known.name == metric).and_then(|known| known.field.clone());
        if let Some(field) = field {
            return mistake.help(format!("the metric `{metric}` is the mean of the field `{field}`"));
        }
    }
    let mut names: Vec<String> = all.filter_map(called).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() && name.is_field {
        return mistake.help("no table of items is known here");
    }
    if names.is_empty() && scope.judges.is_empty() {
        return mistake.help("it has no metrics of its own: name a stage that measures it with `judge:`, or, of kind `exec`, say what its command writes: `metrics: {score: higher}`");
    }
    let small = metric.to_lowercase();
    mistake.help(did_you_mean(&small, &names.iter().map(String::as_str).collect::<Vec<_>>()))
}
