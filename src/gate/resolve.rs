//! The meaning of the names in a rule: which record each is read from, and whether higher is better. One name is
//! resolved at a time.

use super::Mistake;
use super::functions;
use super::tree::{Leaves, Meaning, Name, Other, Qualifier, RecordOrigin, Who};
use stages::kinds::KINDS;
use stages::stage::{Bounds, Direction, Kind, Work, did_you_mean};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The names that the rules of one stage may use.
#[derive(Clone, Debug, Default)]
pub struct RuleScope {
    /// The stage's own metrics. Empty for an eval that judges by itself: its metrics are those of the judge.
    pub own: Vec<MetricName>,
    /// The judges of the gate, in the order of the file.
    pub judges: Vec<JudgeScope>,
    /// The metrics of the incumbent's own record, empty for a path; `None` when the stage has no incumbent.
    pub incumbent: Option<Vec<MetricName>>,
    /// The metrics of the other stages' own records, shared by all gates of a pipeline.
    pub stages: Arc<BTreeMap<String, Vec<MetricName>>>,
    /// The stages that a gate may name as its judge, with what they measure.
    pub measuring: Arc<BTreeMap<String, Vec<MetricName>>>,
    /// The stages of each `for`, by the name that stands for all of them.
    pub families: Arc<BTreeMap<String, Vec<String>>>,
}

#[derive(Clone, Debug)]
pub struct JudgeScope {
    pub name: String,
    pub metrics: Vec<MetricName>,
    /// Whether the judge leaves a table of texts, so that answers can be compared one by one.
    pub has_items: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MetricName {
    pub name: String,
    pub direction: Direction,
    /// The field of the table of items that the metric is the mean of.
    pub field: Option<String>,
    /// The declared bounds of that field.
    pub bounds: Option<Bounds>,
    /// Whether only the rows of the table are meant that have the field as their `subset`: others lack it.
    pub has_own_rows: bool,
}

impl RuleScope {
    /// The metrics of an artifact's own record.
    fn record(&self, who: &Who) -> &[MetricName] {
        match who {
            Who::Candidate => &self.own,
            Who::Incumbent => self.incumbent.as_deref().unwrap_or_default(),
            Who::Stage(stage) => self.stages.get(stage).map_or(&[], Vec::as_slice),
        }
    }

    /// The metrics of the artifact in that record.
    pub fn measured(&self, who: &Who, origin: RecordOrigin) -> &[MetricName] {
        match origin {
            RecordOrigin::Own => self.record(who),
            RecordOrigin::Judge(judge) => self.judges.get(judge).map_or(&[], |judge| &judge.metrics),
        }
    }

    pub fn judge(&self, name: &str) -> Option<usize> {
        self.judges.iter().position(|judge| judge.name == name)
    }

    /// The judge that is meant where none is named.
    fn only_judge(&self, range: &Range<usize>, write: impl Fn(&str) -> String) -> Result<usize, Mistake> {
        match &self.judges[..] {
            [] => Err(Mistake::new(range, "this gate has no judge").help("add `judge: STAGE` to the gate")),
            [_] => Ok(0),
            [first, ..] => Err(Mistake::new(range, "this gate has several judges").help(write(&first.name))),
        }
    }
}

/// Finds names such as `eval.m` that name a judge and not a stage that is judged.
pub fn find_judges(leaves: &mut Leaves, scope: &RuleScope) {
    for name in &mut leaves.names {
        if let (Who::Stage(stage), None) = (&name.who, &name.qualifier)
            && scope.judge(stage).is_some()
            && !name.who_range.is_empty()
            && name.like.is_none()
        {
            name.qualifier = Some(Qualifier::By(stage.clone()));
            name.who = Who::Candidate;
            name.who_range = name.range.start..name.range.start;
        }
    }
}

/// Puts the names of its stages behind every family that is named.
pub fn find_members(leaves: &mut Leaves, scope: &RuleScope) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (at, family) in leaves.families.iter_mut().enumerate() {
        // A rule may be checked twice.
        if !family.members.is_empty() {
            continue;
        }
        let Who::Stage(name) = &family.typed.who else { continue };
        let Some(stages) = scope.families.get(name) else {
            let names: Vec<&str> = scope.families.keys().map(String::as_str).collect();
            let sizes = scope.families.iter().map(|(name, stages)| format!("`{name}` ({} stages)", stages.len()));
            let nearest = stages::stage::nearest(name, &names).map(|near| format!("did you mean `{near}`?"));
            let range = &family.typed.who_range;
            mistakes.push(match scope.stages.contains_key(name) {
                true => Mistake::new(range, format!("`{name}` is a single stage"))
                    .help("name the stages of a `for` by what their names share: `ppo` of `ppo_${seed}`"),
                false if names.is_empty() => Mistake::new(range, format!("no stages are called `{name}`"))
                    .help("stages of a `for` are meant, and the file has none"),
                false => Mistake::new(range, format!("no stages of a `for` are called `{name}`"))
                    .help(nearest.unwrap_or_else(|| format!("there are {}", sizes.collect::<Vec<_>>().join(", ")))),
            });
            continue;
        };
        for stage in stages {
            family.members.push(leaves.names.len());
            leaves.names.push(Name { who: Who::Stage(stage.clone()), family: Some(at), ..family.typed.clone() });
        }
    }
    mistakes
}

/// Finds the meaning of a name. `like` is the meaning of the name that this one follows (`m` of `m improves over x`).
pub fn resolve(name: &Name, like: Option<Meaning>, scope: &RuleScope) -> Result<Meaning, Mistake> {
    artifact(&name.who, &name.who_range, scope)?;
    let origins: Vec<RecordOrigin> = match (&name.qualifier, like) {
        (_, Some(like)) => vec![like.origin],
        (Some(Qualifier::Own), _) => vec![RecordOrigin::Own],
        (Some(Qualifier::Judge), _) => {
            let write = |judge: &str| format!("write `{judge}.{}`", name.metric);
            vec![RecordOrigin::Judge(scope.only_judge(&name.range, write)?)]
        }
        (Some(Qualifier::By(judge)), _) => vec![RecordOrigin::Judge(named_judge(judge, &name.range, scope)?)],
        (None, None) => judges_then_own(name, scope),
    };
    let find = |origin: &RecordOrigin| {
        let is_it = |metric: &&MetricName| match name.is_field {
            true => metric.field.as_ref() == Some(&name.metric),
            false => metric.name == name.metric,
        };
        let metric = scope.measured(&name.who, *origin).iter().find(is_it)?;
        let (direction, field, bounds) = (metric.direction, metric.field.clone(), metric.bounds);
        let subset = field.clone().filter(|_| metric.has_own_rows);
        Some(Meaning { origin: *origin, direction, field, bounds, subset })
    };
    let mut found: Vec<Meaning> = origins.iter().filter_map(find).collect();
    let judges = found.iter().filter(|meaning| meaning.origin != RecordOrigin::Own).count();
    // For another artifact the judge's record counts before its own; for the candidate neither counts more.
    if judges == 1 && name.who != Who::Candidate {
        found.retain(|meaning| meaning.origin != RecordOrigin::Own);
    }
    match found.len() {
        0 => Err(unknown(name, &origins, scope)),
        1 => Ok(found.remove(0)),
        _ => Err(ambiguous(name, &found, scope)),
    }
}

/// The records where a name without a qualifier may be found: those of all judges, then the artifact's own.
fn judges_then_own(name: &Name, scope: &RuleScope) -> Vec<RecordOrigin> {
    let judges = (0..scope.judges.len()).map(RecordOrigin::Judge);
    // An eval that judges by itself has no record of its own.
    let own = (!scope.measured(&name.who, RecordOrigin::Own).is_empty() || scope.judges.is_empty())
        .then_some(RecordOrigin::Own);
    judges.chain(own).collect()
}

fn named_judge(judge: &str, range: &Range<usize>, scope: &RuleScope) -> Result<usize, Mistake> {
    let names: Vec<&str> = scope.judges.iter().map(|judge| judge.name.as_str()).collect();
    let range = range.start..range.start + judge.len();
    let unknown = || Mistake::new(&range, format!("`{judge}` does not judge this stage"));
    scope.judge(judge).ok_or_else(|| unknown().help(did_you_mean(judge, &names)))
}

/// The judge by whose items answers are compared.
pub fn compared(other: &Other, scope: &RuleScope) -> Result<usize, Mistake> {
    artifact(&other.who, &other.range, scope)?;
    let function = other.function.name;
    if scope.judges.is_empty() {
        let message = format!("`{function}` compares answers, and no judge asks for any");
        return Err(Mistake::new(&other.range, message).help("add `judge: STAGE` to the gate"));
    }
    let judge = match &other.qualifier {
        None | Some((Qualifier::Own | Qualifier::Judge, _)) => {
            scope.only_judge(&other.range, |judge| format!("write `{judge}.{function}(…)`"))?
        }
        Some((Qualifier::By(judge), range)) => named_judge(judge, range, scope)?,
    };
    if !scope.judges[judge].has_items {
        let name = &scope.judges[judge].name;
        let message = format!("`{function}` compares answers, and `{name}` leaves no table of them");
        return Err(Mistake::new(&other.range, message).help("judge by a stage of kind `eval`"));
    }
    Ok(judge)
}

/// Refuses an artifact that does not exist.
fn artifact(who: &Who, range: &Range<usize>, scope: &RuleScope) -> Result<(), Mistake> {
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
            // A single judge needs no name.
            names.extend(scope.judges.iter().map(|judge| judge.name.as_str()).filter(|_| scope.judges.len() > 1));
            names.dedup();
            Err(Mistake::new(range, format!("unknown stage `{stage}`")).help(did_you_mean(stage, &names)))
        }
    }
}

fn ambiguous(name: &Name, found: &[Meaning], scope: &RuleScope) -> Mistake {
    let metric = &name.metric;
    let prefix = |meaning: &Meaning| match (meaning.origin, &scope.judges[..]) {
        (RecordOrigin::Own, _) => "self".to_owned(),
        (RecordOrigin::Judge(_), [_]) => "judge".to_owned(),
        (RecordOrigin::Judge(judge), judges) => judges[judge].name.clone(),
    };
    let who = match &name.who {
        Who::Candidate => String::new(),
        Who::Incumbent => "incumbent.".to_owned(),
        Who::Stage(stage) => format!("{stage}."),
    };
    let spellings: Vec<String> = found.iter().map(|meaning| format!("`{}.{who}{metric}`", prefix(meaning))).collect();
    let by = |meaning: &Meaning| match (meaning.origin, &scope.judges[..]) {
        (RecordOrigin::Own, _) => "this stage".to_owned(),
        (RecordOrigin::Judge(_), [judge]) => format!("its judge `{}`", judge.name),
        (RecordOrigin::Judge(judge), judges) => format!("`{}`", judges[judge].name),
    };
    // This stage first, as a person would say it.
    let mut sides: Vec<String> = found.iter().map(by).collect();
    sides.sort_by_key(|side| side != "this stage");
    let mut spellings = spellings;
    spellings.sort_by_key(|spelling| !spelling.starts_with("`self"));
    Mistake::new(&name.range, format!("`{metric}` is measured by {}", sides.join(" and by ")))
        .help(format!("write {}", spellings.join(" or ")))
}

/// Help for a metric that a judge would measure, in a gate without one.
fn without_judge(metric: &str, scope: &RuleScope) -> Option<String> {
    if !scope.judges.is_empty() {
        return None;
    }
    let measures = |metrics: &[MetricName]| metrics.iter().any(|known| known.name == metric);
    if let Some((stage, _)) = scope.measuring.iter().find(|(_, metrics)| measures(metrics)) {
        return Some(format!("`{metric}` is what `{stage}` measures: add `judge: {stage}` to the gate"));
    }
    let kind = measuring_kind(metric)?.name;
    Some(format!("`{metric}` is what a stage of kind `{kind}` measures: add one, and name it as `judge:` of the gate"))
}

/// The kind of stages that measure this of the models of other stages.
pub fn measuring_kind(metric: &str) -> Option<&'static Kind> {
    let measures = |kind: &&&Kind| matches!(kind.work, Work::Measure(_));
    KINDS.iter().filter(measures).copied().find(|kind| kind.metrics().any(|known| known.name == metric))
}

fn unknown(name: &Name, origins: &[RecordOrigin], scope: &RuleScope) -> Mistake {
    let metric = name.metric.as_str();
    let is_own_alone = origins == [RecordOrigin::Own] && name.qualifier.is_some();
    let judge = match origins {
        [RecordOrigin::Judge(judge)] if name.qualifier.is_some() => scope.judges.get(*judge),
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
    let is_measured = |origin: RecordOrigin| {
        let mut metrics = scope.measured(&name.who, origin).iter();
        metrics.any(|known| called(known).as_deref() == Some(metric))
    };
    if name.who == Who::Candidate && !name.is_field {
        if let (None, Some(function)) = (&name.qualifier, functions::function(metric)) {
            return mistake.help(format!("`{metric}` is a function: `{}`", function.signature));
        }
        if name.qualifier.is_none() && (scope.stages.contains_key(metric)) {
            return mistake.help(format!("`{metric}` is a stage: write `{metric}.` and a metric"));
        }
        if judge.is_some() && is_measured(RecordOrigin::Own) {
            return mistake.help(format!("this stage measures it itself: write `self.{metric}`"));
        }
        if is_own_alone && is_measured(RecordOrigin::Judge(0)) {
            return mistake.help(format!("the judge measures it: write `judge.{metric}`"));
        }
    }
    if let Some(help) = without_judge(metric, scope).filter(|_| !name.is_field) {
        return mistake.help(help);
    }
    let all = origins.iter().flat_map(|origin| scope.measured(&name.who, *origin));
    if name.is_field {
        // People know the metric, which is the mean of the field.
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
