//! What a name of a rule means: which artifact, by which yardstick, and whether higher is better.
//! It sees one name at a time and knows no grammar.

use super::Mistake;
use super::functions;
use super::tree::{Meaning, Name, Who, Yardstick};
use stages::stage::{Direction, did_you_mean};
use std::collections::BTreeMap;

/// What names may mean in the rules of one stage.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The stage's own metrics. Empty for an eval that judges by itself: its metrics are those of `judge`.
    pub own: Vec<MetricName>,
    pub judge: Option<JudgeScope>,
    /// Metrics of the incumbent's own record, none for a path; `None` when the stage has no incumbent.
    pub incumbent: Option<Vec<MetricName>>,
    /// Metrics of the other stages' own records.
    pub stages: BTreeMap<String, Vec<MetricName>>,
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
}

fn find(metrics: &[MetricName], name: &str, yardstick: Yardstick) -> Option<Meaning> {
    let metric = metrics.iter().find(|metric| metric.name == name)?;
    Some(Meaning { yardstick, direction: metric.direction })
}

impl Scope {
    fn judged(&self) -> &[MetricName] {
        self.judge.as_ref().map_or(&[], |judge| &judge.metrics)
    }

    /// Metrics of another artifact's own record.
    fn record(&self, who: &Who) -> &[MetricName] {
        match who {
            Who::Candidate => &self.own,
            Who::Incumbent => self.incumbent.as_deref().unwrap_or_default(),
            Who::Stage(stage) => self.stages.get(stage).map_or(&[], Vec::as_slice),
        }
    }
}

/// `like`: the meaning of the name this one follows (`m` of `m improves over x`).
pub fn resolve(name: &Name, like: Option<Meaning>, scope: &Scope) -> Result<Meaning, Mistake> {
    artifact(&name.who, &name.range, scope)?;
    let metric = name.metric.as_str();
    let own = || find(scope.record(&name.who), metric, Yardstick::Own);
    let judged = || find(scope.judged(), metric, Yardstick::Judge);
    let found = match (&name.who, name.said.or(like.map(|meaning| meaning.yardstick))) {
        (_, Some(Yardstick::Own)) => own(),
        (_, Some(Yardstick::Judge)) if scope.judge.is_none() => {
            return Err(Mistake::new(&name.range, "this gate has no judge").help("add `judge: STAGE` to the gate"));
        }
        (_, Some(Yardstick::Judge)) => judged(),
        (Who::Candidate, None) if own().is_some() && judged().is_some() => {
            let judge = scope.judge.as_ref().map_or("judge", |judge| &judge.name);
            let message = format!("`{metric}` is measured by this stage and by its judge `{judge}`");
            let help = format!("write `self.{metric}` or `judge.{metric}`");
            return Err(Mistake::new(&name.range, message).help(help));
        }
        (_, None) => judged().or_else(own),
    };
    found.ok_or_else(|| unknown(name, like, scope))
}

/// Whether there is such an artifact at all.
pub fn artifact(who: &Who, range: &std::ops::Range<usize>, scope: &Scope) -> Result<(), Mistake> {
    match who {
        Who::Candidate => Ok(()),
        Who::Incumbent if scope.incumbent.is_some() => Ok(()),
        Who::Incumbent => Err(Mistake::new(range, "this stage has no incumbent")
            .help("name a stage, or compare with a number: nothing goes into this stage that it could keep")),
        Who::Stage(stage) => {
            let range = range.start..range.start + stage.len();
            if scope.judge.as_ref().is_some_and(|judge| judge.name == *stage) {
                let mistake = Mistake::new(&range, format!("`{stage}` is the judge, not one of the judged"));
                return Err(mistake.help("its measurement of this stage is `judge.METRIC`, or the metric alone"));
            }
            if scope.stages.contains_key(stage) {
                return Ok(());
            }
            let mut names: Vec<&str> = scope.stages.keys().map(String::as_str).collect();
            names.extend(super::lexer::OWN_NAMES);
            Err(Mistake::new(&range, format!("unknown stage `{stage}`")).help(did_you_mean(stage, &names)))
        }
    }
}

fn unknown(name: &Name, like: Option<Meaning>, scope: &Scope) -> Mistake {
    let metric = name.metric.as_str();
    let yardstick = name.said.or(like.map(|meaning| meaning.yardstick));
    let whose = match (&name.who, yardstick) {
        (Who::Candidate, Some(Yardstick::Own)) => " of this stage".to_owned(),
        (Who::Candidate, Some(Yardstick::Judge)) => " of the judge".to_owned(),
        (Who::Candidate, None) => String::new(),
        (Who::Incumbent, _) => " of the incumbent".to_owned(),
        (Who::Stage(stage), _) => format!(" of `{stage}`"),
    };
    let mistake = Mistake::new(&name.metric_range, format!("unknown metric `{metric}`{whose}"));
    let is_elsewhere = |metrics: &[MetricName]| metrics.iter().any(|known| known.name == metric);
    if name.who == Who::Candidate {
        if let (None, Some(function)) = (name.said, functions::function(metric)) {
            return mistake.help(format!("`{metric}` is a function: `{}`", function.signature));
        }
        if name.said.is_none() && (scope.stages.contains_key(metric)) {
            return mistake.help(format!("`{metric}` is a stage: write `{metric}.` and a metric"));
        }
        if yardstick == Some(Yardstick::Judge) && is_elsewhere(&scope.own) {
            return mistake.help(format!("this stage measures it itself: write `self.{metric}`"));
        }
        if yardstick == Some(Yardstick::Own) && is_elsewhere(scope.judged()) {
            return mistake.help(format!("the judge measures it: write `judge.{metric}`"));
        }
    }
    let mut names: Vec<&str> = Vec::new();
    if yardstick != Some(Yardstick::Judge) {
        names.extend(scope.record(&name.who).iter().map(|metric| metric.name.as_str()));
    }
    if yardstick != Some(Yardstick::Own) {
        names.extend(scope.judged().iter().map(|metric| metric.name.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    if names.is_empty() && scope.judge.is_none() {
        return mistake.help("it has no metrics of its own: name a stage that measures it with `judge:`");
    }
    mistake.help(did_you_mean(metric, &names))
}
