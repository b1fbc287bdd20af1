//! One yardstick for training and judging: a judge whose reward model trained the candidate. Its loopholes are where
//! training goes, and it cannot see them; that is no sampling error, so no level of confidence guards against it. Known
//! before anything runs, as far as the stages and paths tell.

use super::draft::Draft;
use super::gates::{Gate, Yardstick};
use super::graph::StageId;
use super::source::Source;
use crate::diagnostic::{Diagnostic, Severity, Span};
use crate::gate::{JudgeReading, Who};
use stages::stage::{Accepts, Gives, Kind, Measure, Part, Work};
use std::collections::{BTreeMap, BTreeSet};

/// A judge whose reward model trained what it judges.
struct SharedYardstick {
    judge: StageId,
    /// The name of the reward, as the judge reads it.
    reward: String,
    span: Span,
    gate: StageId,
}

/// Notes in each gate that its judge's reward model trained the candidate, and reports those judges that no other one stands
/// beside.
pub fn mark(drafts: &[Draft], gates: &mut [Option<Box<Gate>>], mistakes: &mut Vec<Diagnostic>) {
    let mut faults: BTreeMap<(StageId, String), Vec<SharedYardstick>> = BTreeMap::new();
    for (stage, gate) in gates.iter_mut().enumerate() {
        let Some(gate) = gate else { continue };
        let site = YardstickSite { drafts, stage, gate };
        let all = gate.require.iter().chain(&gate.warn).chain(&gate.observe);
        let found = all.enumerate().find_map(|(at, rule)| Some((at, site.lesson(&rule.judge_readings())?)));
        let Some((rule, lesson)) = found else { continue };
        let is_guard = |readings: &[JudgeReading]| site.lesson(readings).is_none() && site.weighs_candidate(readings);
        let is_guarded = gate.require.iter().any(|rule| rule.needs(&is_guard));
        let note = lesson.note(drafts);
        if rule < gate.require.len() && !is_guarded {
            let judge = site.judge(lesson.judge);
            let spec = drafts[stage].spec.gate.as_ref();
            let named = spec.and_then(|spec| Some(spec.judges.get(lesson.judge)?.span));
            let span = named.or(spec.map(|spec| spec.span)).unwrap_or(drafts[stage].spec.name.span);
            let reward = name(drafts, lesson.scores);
            let fault = SharedYardstick { judge, reward: reward.clone(), span, gate: stage };
            faults.entry((judge, reward)).or_default().push(fault);
        }
        gate.yardstick = Some(Yardstick { rule, note });
    }
    // Beside a reward that was not found, it is not known who guards.
    if mistakes.iter().all(|mistake| mistake.level != Severity::Error) {
        mistakes.extend(faults.into_values().filter_map(|faults| warning(drafts, &faults)));
    }
}

fn warning(drafts: &[Draft], faults: &[SharedYardstick]) -> Option<Diagnostic> {
    let SharedYardstick { judge, reward, span, gate } = faults.first()?;
    let stage = |id: StageId| drafts[id].spec.name.value.as_str();
    let (judge_name, gate_name) = (stage(*judge), stage(*gate));
    let others = match faults.len() - 1 {
        0 => String::new(),
        1 => " (and of another gate)".to_owned(),
        more => format!(" (and of {more} other gates)"),
    };
    let message = format!(
        "`{judge_name}` scores by `{reward}`, which trained the candidate of the gate of `{gate_name}`{others}: a better \
         score may be its loophole"
    );
    let second = "no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed";
    let columns = measure(&drafts[*judge]).and_then(|measure| measure.columns.as_ref());
    let [metric, metric_2] = [1, 2].map(|input| columns.map_or_else(String::new, |columns| columns.of_input(input)));
    let help = match judge == gate {
        true => {
            let baseline = baseline(drafts, *judge);
            format!(
                "{second}, add it to `reward`, and require both: `{metric} > {baseline}{metric} and {metric_2} > \
                 {baseline}{metric_2}`"
            )
        }
        false => format!(
            "{second}, let a second stage like `{judge_name}` score by it, `judge: [{judge_name}, second]`, and require both: \
             `{judge_name}.{metric} > {judge_name}.incumbent.{metric} and second.{metric} > second.incumbent.{metric}`"
        ),
    };
    Some(Diagnostic::warning(*span, message).help(help))
}

/// `sft.`, if the stage compares with the model of that stage; else nothing, as for a number to compare with.
fn baseline(drafts: &[Draft], stage: StageId) -> String {
    let draft = &drafts[stage];
    let port = measure(draft).and_then(|measure| Some(measure.comparison?.port));
    let input = port.and_then(|port| draft.inputs.iter().find(|input| input.port == port));
    let baseline = input.and_then(|input| input.sources.first()?.stage());
    baseline.map_or_else(String::new, |stage| format!("{}.", drafts[stage].spec.name.value))
}

fn measure(draft: &Draft) -> Option<&'static Measure> {
    match draft.kind?.work {
        Work::Measure(measure) => Some(measure),
        Work::Run(_) | Work::Ask(_) | Work::Draw(_) | Work::Choose { .. } => None,
    }
}

fn name(drafts: &[Draft], source: &Source) -> String {
    match source {
        Source::Stage { stage, pin } => super::ArtifactName::pinned(&drafts[*stage].spec.name.value, *pin).to_string(),
        Source::File { stage, pin, path } => {
            super::ArtifactName::file(&drafts[*stage].spec.name.value, *pin, path).to_string()
        }
        Source::Path(path) => path.display().to_string(),
    }
}

/// A reward that trained the candidate and scores it.
struct Lesson<'a> {
    /// The index of the judge in the gate's list.
    judge: usize,
    trained: &'a Source,
    scores: &'a Source,
}

impl Lesson<'_> {
    /// Stages are named. A path is not: the sentence is the same wherever the files lie.
    fn note(&self, drafts: &[Draft]) -> String {
        let names = [self.trained, self.scores].map(|source| name(drafts, source));
        let which = match (self.trained, self.scores) {
            (Source::Path(_), _) => String::new(),
            _ if names[0] == names[1] => format!(" (`{}`)", names[0]),
            _ => format!(" (`{}` and `{}`, checkpoints of one stage)", names[0], names[1]),
        };
        format!(
            "the reward that trained the candidate scores it here{which}: a better score may be its loophole; no level \
             helps against that, another judge does"
        )
    }
}

struct YardstickSite<'a> {
    drafts: &'a [Draft<'a>],
    stage: StageId,
    gate: &'a Gate,
}

impl<'a> YardstickSite<'a> {
    /// An eval without judges is its own judge.
    fn judge(&self, index: usize) -> StageId {
        self.gate.judges.get(index).copied().unwrap_or(self.stage)
    }

    fn draft(&self, id: StageId) -> &'a Draft<'a> {
        &self.drafts[id]
    }

    /// The reward behind a number of a judge; `None` for a number that needs none.
    fn reward(&self, reading: &JudgeReading) -> Option<&'a Source> {
        let judge = self.draft(self.judge(reading.judge));
        let (kind, measure) = (judge.kind?, measure(judge)?);
        let port_of = |part: &Part| kind.ports.iter().find(|port| is_reward(port.accepts) && part.reads(port.name));
        let (port, index) = match reading.what {
            None => (port_of(&measure.parts[measure.comparison.as_ref()?.part])?, 0),
            Some(what) => measure.parts.iter().find_map(|part| Some((port_of(part)?, place(part.kind, what)?)))?,
        };
        judge.inputs.iter().find(|input| input.port == port.name)?.sources.get(index)
    }

    fn weighs_candidate(&self, readings: &[JudgeReading]) -> bool {
        readings.iter().any(|reading| *reading.who == Who::Candidate && self.reward(reading).is_some())
    }

    /// The reward that scores the candidate in a comparison with these readings, and that trained it since the models with
    /// which it is compared.
    fn lesson(&self, readings: &[JudgeReading]) -> Option<Lesson<'a>> {
        let of_candidate = readings.iter().filter(|reading| *reading.who == Who::Candidate);
        let scored: Vec<(usize, &Source)> =
            of_candidate.filter_map(|reading| Some((reading.judge, self.reward(reading)?))).collect();
        if scored.is_empty() {
            return None;
        }
        let teachers = self.teachers(readings);
        scored.into_iter().find_map(|(judge, scores)| {
            let trained = teachers.iter().copied().find(|teacher| is_same(teacher, scores))?;
            Some(Lesson { judge, trained, scores })
        })
    }

    /// The sources that taught the candidate what these readings compare: its own stage where it is compared with the
    /// incumbent, all stages since another one where it is compared with that.
    fn teachers(&self, readings: &[JudgeReading]) -> Vec<&'a Source> {
        let named = readings.iter().filter_map(|reading| match reading.who {
            Who::Stage(name) => self.gate.stages.iter().find(|(known, _)| known == name).map(|(_, id)| *id),
            Who::Candidate | Who::Incumbent => None,
        });
        let since: BTreeSet<StageId> = named.collect();
        let by_incumbent = readings.iter().any(|reading| *reading.who == Who::Incumbent);
        let (from, is_last) = match measure(self.draft(self.stage)) {
            None => (vec![self.stage], since.is_empty() && by_incumbent),
            Some(measure) => {
                let input = self.draft(self.stage).inputs.iter().find(|input| input.port == measure.port);
                let sources = input.into_iter().flat_map(|input| &input.sources);
                (sources.filter_map(Source::stage).collect(), false)
            }
        };
        teachers(self.drafts, from, since, is_last)
    }
}

/// The number of stages that are followed back for one comparison: a chain may have a hundred thousand.
const MAX_FOLLOWED: usize = 1_000;

/// The sources that some stages learned from, and those before them, without those of the stages `since`. With `is_last`
/// what their incumbents learned from is left out.
fn teachers<'a>(drafts: &'a [Draft], from: Vec<StageId>, since: BTreeSet<StageId>, is_last: bool) -> Vec<&'a Source> {
    let (mut found, mut seen) = (Vec::new(), since);
    // Each with whether it only made rows: the model that it asked for answers taught nothing by its scores.
    let mut left: Vec<(StageId, bool)> = from.into_iter().map(|stage| (stage, false)).collect();
    while let Some((stage, makes_rows)) = left.pop().filter(|_| seen.len() < MAX_FOLLOWED) {
        if !seen.insert(stage) {
            continue;
        }
        let draft = &drafts[stage];
        let Some(kind) = draft.kind else { continue };
        for input in &draft.inputs {
            let is_incumbent = draft.incumbent.as_ref() == Some(&input.port);
            let accepts = kind.port(&input.port).map_or(Accepts::Any, |port| port.accepts);
            let is_followed = match accepts {
                Accepts::Model => is_incumbent && !is_last,
                Accepts::Any => !(is_incumbent && is_last),
                Accepts::RewardModel | Accepts::Reward | Accepts::Judge | Accepts::Data(_) => true,
                Accepts::Tokenizer | Accepts::Criteria | Accepts::Evaluation | Accepts::ModelAnswers => false,
            };
            for source in input.sources.iter().filter(|_| is_followed) {
                let gives = source.stage().and_then(|stage| drafts[stage].kind).map(|kind| kind.gives);
                // A command may score by whatever it is given.
                if is_reward(accepts) || accepts == Accepts::Any && !matches!(gives, Some(Gives::Model)) {
                    found.push(source);
                }
                let goes_on = match gives {
                    Some(Gives::Any) => !is_reward(accepts),
                    Some(Gives::Model) => !is_reward(accepts) && !makes_rows,
                    Some(Gives::Reward | Gives::Scorer | Gives::Nothing) | None => false,
                };
                let makes_rows = makes_rows || matches!(accepts, Accepts::Data(_));
                left.extend(source.stage().filter(|_| goes_on).map(|stage| (stage, makes_rows)));
            }
        }
    }
    found
}

fn is_reward(accepts: Accepts) -> bool {
    matches!(accepts, Accepts::RewardModel | Accepts::Reward)
}

/// The index of the input behind a metric or field of a part: 1 for `mean_score_2`.
fn place(kind: &Kind, what: &str) -> Option<usize> {
    let of = |name: &str| match what.strip_prefix(name)? {
        "" => Some(0),
        rest => rest.strip_prefix('_')?.parse::<usize>().ok()?.checked_sub(1),
    };
    kind.metrics().find_map(|metric| of(metric.name).or_else(|| of(metric.mean_of?)))
}

/// Whether two sources are one reward: checkpoints of one stage are.
fn is_same(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (Source::Stage { stage: one, .. }, Source::Stage { stage: other, .. }) => one == other,
        (Source::Path(one), Source::Path(other)) => {
            one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        }
        (Source::File { stage: one, path: here, .. }, Source::File { stage: other, path: there, .. }) => {
            one == other && here == there
        }
        _ => false,
    }
}
