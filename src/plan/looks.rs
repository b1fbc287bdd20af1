//! Gates that look at the same items again and again. Known before anything runs: several confident gates on one file of
//! prompts let luck through in the end, unless their rules declare how often they look.

use super::choices;
use super::draft::Draft;
use super::gates::{Gate, UNNAMED_PROMPTS};
use super::graph::StageId;
use super::source::{Input, Source};
use crate::diagnostic::{Diagnostic, Span};
use crate::gate::{DeclaredGrowth, DeclaredLooks, Rule, show_number};
use crate::spec::part_of;
use formats::data::is_data;
use stages::stage::{Accepts, Kind, Work};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A comparison with confidence in a rule.
struct ConfidentRule {
    span: Span,
    looks: Option<DeclaredLooks>,
    growth: Option<DeclaredGrowth>,
    level: f64,
}

/// A stage with a gate, as far as it looks at items.
struct LookingGate {
    stage: StageId,
    /// None if it compares without confidence.
    confident: Vec<ConfidentRule>,
}

/// Reports gates whose rules declare different numbers of looks, proposes a declaration where several gates judge on the
/// same file, and warns where the last gate judges on prompts by which an earlier one has chosen.
pub fn check(drafts: &[Draft], gates: &[Option<Box<Gate>>], mistakes: &mut Vec<Diagnostic>) {
    let mut on_file: BTreeMap<Vec<String>, (String, Vec<LookingGate>)> = BTreeMap::new();
    for (stage, gate) in gates.iter().enumerate() {
        let (Some(gate), Some(kind)) = (gate, drafts[stage].kind) else { continue };
        agree(&rules(&drafts[stage], gate), mistakes);
        let inputs = |judge: StageId| Some(measured(drafts[judge].kind?, &drafts[judge].inputs));
        let inputs = judging(stage, kind, gate).into_iter().filter_map(inputs).flatten();
        let files: BTreeMap<Vec<String>, &Input> =
            inputs.map(|input| (input.sources.iter().map(real).collect(), input)).collect();
        for (file, input) in files {
            let name = || named(std::iter::once(input), |stage| drafts[stage].spec.name.value.clone());
            let (_, looking) = on_file.entry(file).or_insert_with(|| (name(), Vec::new()));
            looking.push(LookingGate { stage, confident: rules(&drafts[stage], gate) });
        }
    }
    for (prompts, looking) in on_file.values() {
        propose(drafts, prompts, looking, mistakes);
        warn_of_the_last(drafts, prompts, looking, mistakes);
    }
}

/// Gives each gate the name of the prompts that it looks at, as people call them: `heldout.jsonl`.
pub fn name_prompts(drafts: &[Draft], gates: &mut [Option<Box<Gate>>]) {
    for (stage, gate) in gates.iter_mut().enumerate() {
        let (Some(gate), Some(kind)) = (gate, drafts[stage].kind) else { continue };
        let inputs = |judge: StageId| Some(measured(drafts[judge].kind?, &drafts[judge].inputs));
        let inputs = judging(stage, kind, gate).into_iter().filter_map(inputs).flatten();
        gate.prompts = named(inputs, |stage| drafts[stage].spec.name.value.clone());
    }
}

fn named<'a>(inputs: impl Iterator<Item = &'a Input>, name: impl Fn(StageId) -> String) -> String {
    let of = |source: &Source| match source {
        Source::Path(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
        Source::Stage { stage, .. } | Source::File { stage, .. } => Some(name(*stage)),
    };
    let names: BTreeSet<String> = inputs.flat_map(|input| &input.sources).filter_map(of).collect();
    if names.is_empty() { UNNAMED_PROMPTS.to_owned() } else { names.into_iter().collect::<Vec<_>>().join(" and ") }
}

/// The stages that measure for a gate: its judges, or the stage itself.
fn judging(stage: StageId, kind: &Kind, gate: &Gate) -> Vec<StageId> {
    let measures = matches!(kind.work, Work::Measure(_)) || kind.is_command();
    if measures && gate.judges.is_empty() { vec![stage] } else { gate.judges.clone() }
}

/// The inputs with the rows on which a stage measures. Of a command nobody knows what it does with its files; those with
/// rows are what it can have measured on.
fn measured<'a>(kind: &'static Kind, inputs: &'a [Input]) -> impl Iterator<Item = &'a Input> {
    let has_rows = |source: &Source| match source {
        Source::Path(path) => path.file_name().is_some_and(|name| is_data(&name.to_string_lossy().to_lowercase())),
        Source::Stage { .. } | Source::File { .. } => false,
    };
    inputs.iter().filter(move |input| match kind.port(&input.port) {
        Some(port) => port.is_measured && matches!(port.accepts, Accepts::Data(_)),
        None => kind.is_command() && input.sources.iter().all(has_rows),
    })
}

/// Alike for sources with the same rows.
fn real(source: &Source) -> String {
    match source {
        Source::Path(path) => path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string(),
        made => format!("{made:?}"),
    }
}

/// The comparisons with confidence of a gate.
fn rules(draft: &Draft, gate: &Gate) -> Vec<ConfidentRule> {
    let Some(spec) = &draft.spec.gate else { return Vec::new() };
    let texts = || spec.require.iter().chain(&spec.warn).chain(&spec.observe);
    let of = |rule: &Rule| {
        let text = texts().find(|text| text.value == rule.text)?;
        let at = |range: &Range<usize>| part_of(text.span, &text.value, range);
        let comparisons = rule.looks().into_iter().zip(rule.growth()).zip(rule.levels());
        let rule =
            move |(((looks, range), (growth, _)), level)| ConfidentRule { span: at(&range), looks, growth, level };
        Some(comparisons.map(rule))
    };
    gate.require.iter().chain(&gate.warn).chain(&gate.observe).filter_map(of).flatten().collect()
}

fn agree(rules: &[ConfidentRule], mistakes: &mut Vec<Diagnostic>) {
    if let Some(first) = rules.iter().find(|rule| rule.looks.is_some())
        && let Some(other) = rules.iter().find(|rule| rule.looks != first.looks)
    {
        let message = "a gate takes one look at its items, and its rules declare different numbers of looks";
        mistakes.push(Diagnostic::error(other.span, message).help("write the same `over …` in each"));
    }
    if let Some(first) = rules.iter().find(|rule| rule.growth.is_some())
        && let Some(other) = rules.iter().find(|rule| rule.growth != first.growth)
    {
        let message = "a gate looks at one state of its items, and its rules declare different growth";
        mistakes.push(Diagnostic::error(other.span, message).help("write the same `up to … items` in each"));
    }
}

fn propose(drafts: &[Draft], prompts: &str, looking: &[LookingGate], mistakes: &mut Vec<Diagnostic>) {
    let gates: Vec<&LookingGate> = looking.iter().filter(|gate| !gate.confident.is_empty()).collect();
    let count = gates.len();
    if count < 2 {
        return;
    }
    let name = |gate: &&LookingGate| format!("`{}`", drafts[gate.stage].spec.name.value);
    let rules = || gates.iter().flat_map(|gate| &gate.confident);
    let undeclared: Vec<&LookingGate> =
        gates.iter().copied().filter(|gate| gate.confident.iter().any(|rule| rule.looks.is_none())).collect();
    let fewest = rules().filter_map(|rule| Some((rule, rule.looks?))).find_map(|(rule, looks)| match looks {
        DeclaredLooks::Exactly(declared) if (declared as usize) < count => Some((rule, declared)),
        DeclaredLooks::Exactly(_) | DeclaredLooks::Open => None,
    });
    if let Some((rule, declared)) = fewest {
        let names: Vec<String> = gates.iter().map(name).collect();
        let message = format!(
            "{count} gates look at {prompts} ({}), and {declared} {} declared: the last ones have nothing left to spend",
            names.join(", "),
            if declared == 1 { "look is" } else { "looks are" }
        );
        let help = format!("write `over {count} looks` in each, or more if they will be tried again");
        mistakes.push(Diagnostic::warning(rule.span, message).help(help));
    } else if let Some(rule) = undeclared.iter().flat_map(|gate| &gate.confident).find(|rule| rule.looks.is_none()) {
        let names: Vec<String> = undeclared.iter().map(name).collect();
        let percent = show_number(100.0 * (1.0 - rule.level), 4);
        let (message, help) = match undeclared.len() == count {
            true => (
                format!(
                    "{count} gates look at {prompts} ({}): where no candidate is better, some false promotion happens in \
                     {:.0} % of such runs",
                    names.join(", "),
                    100.0 * (1.0 - (1.0 - rule.level).powi(count as i32))
                ),
                format!(
                    "write `with {percent}% confidence over {count} looks` in each, or give the last gate fresh prompts"
                ),
            ),
            false => (
                format!(
                    "other gates declare how often they look at {prompts}, and {} does not: it spends a whole level beside \
                     theirs",
                    names.join(" and ")
                ),
                "write the same `over … looks` in each, or give it fresh prompts".to_owned(),
            ),
        };
        mistakes.push(Diagnostic::warning(rule.span, message).help(help));
    }
}

/// A gate that no other gate comes after speaks about what goes out. Where an earlier gate has chosen by the same prompts
/// and asked for no confidence, nothing counts that choice.
fn warn_of_the_last(drafts: &[Draft], prompts: &str, gates: &[LookingGate], mistakes: &mut Vec<Diagnostic>) {
    let takes = |stage: StageId, from: StageId| comes_after(drafts, stage, from);
    for last in gates.iter().filter(|gate| !gate.confident.is_empty()) {
        if gates.iter().any(|gate| takes(gate.stage, last.stage)) {
            continue;
        }
        // The luck of the best of several stages is divided out by whoever measures it.
        let is_counted = |stage: StageId| choices::port(drafts[stage].kind).is_some();
        let earlier = gates
            .iter()
            .find(|gate| gate.confident.is_empty() && takes(last.stage, gate.stage) && !is_counted(gate.stage));
        if let Some(earlier) = earlier {
            let name = &drafts[earlier.stage].spec.name.value;
            let message = format!(
                "the gate of `{name}` has chosen by {prompts} before, without confidence: what this one sees there may be \
                 the luck of that choice"
            );
            let help = "give the last gate fresh prompts";
            mistakes.push(Diagnostic::warning(last.confident[0].span, message).help(help));
        }
    }
}

/// Whether a stage takes, through others or not, what another one makes.
fn comes_after(drafts: &[Draft], stage: StageId, from: StageId) -> bool {
    let (mut seen, mut left) = (BTreeSet::new(), vec![stage]);
    while let Some(at) = left.pop() {
        let sources = drafts[at].inputs.iter().flat_map(|input| &input.sources).filter_map(Source::stage);
        for source in sources {
            if source == from {
                return true;
            }
            if seen.insert(source) {
                left.push(source);
            }
        }
    }
    false
}
