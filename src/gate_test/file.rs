//! Text → [`TestFile`], with every mistake of the file and of the pipeline that it names.

use super::artifact::ArtifactReader;
use super::expectation::{self, Expectation};
use super::givens::{Givens, TestArtifact};
use super::under_test::{self, GateUnderTest, Pipeline};
use super::versus::{self, Matchup};
use crate::diagnostic::{Diagnostic, Severity, SourceText, Span};
use crate::event::Evidence;
use crate::gate::{RecordOrigin, Who};
use crate::plan;
use crate::schedule::decide::{self, Tables};
use crate::spec::node::{Map, Node, Value};
use crate::spec::{self, expect, yaml};
use stages::kinds::KINDS;
use stages::stage::did_you_mean;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const KEYS: &[&str] = &["pipeline", "tests"];
const KEYS_OF_TEST: &[&str] =
    &["name", "stage", "gate", "kind", "metrics", "candidate", "candidates", "incumbent", "stages", "expect"];

/// A file of tests without mistakes.
pub struct TestFile {
    pub source: SourceText,
    pub warnings: Vec<Diagnostic>,
    /// In the order of the file, at least one.
    pub cases: Vec<Case>,
}

pub struct Case {
    pub name: String,
    pub(super) tested: Arc<GateUnderTest>,
    /// Its contents and tables are made up: they have names and lie nowhere.
    pub(super) evidence: Evidence,
    pub(super) tables: Tables,
    pub expected: Expectation,
}

/// The mistakes of the file of tests, and those of the pipeline it tests.
pub type MistakesBySource = Vec<(SourceText, Vec<Diagnostic>)>;

/// Reads a test file. `environment` looks up a variable of the environment, for the pipeline.
pub fn read(source: SourceText, environment: &dyn Fn(&str) -> Option<String>) -> Result<TestFile, MistakesBySource> {
    let mut mistakes = Vec::new();
    let directory = source.path.parent().unwrap_or(Path::new("")).to_owned();
    let root = yaml::parse_measurements(&source.text, &mut mistakes);
    let mut of_pipeline = None;
    let mut cases = Vec::new();
    if let Some(root) = &root
        && let Some(map) = expect::map(root, "a file of tests: a mapping with `tests`", &mut mistakes)
    {
        let keys: Map = map.iter().filter(|(key, _)| !key.value.starts_with("x-")).cloned().collect();
        expect::known_keys(&keys, "a file of tests", KEYS, &mut mistakes);
        let pipeline = match root.get("pipeline") {
            None => Pipeline::None,
            Some(named) => match pipeline(named, &directory, environment, &mut mistakes) {
                Ok(pipeline) => pipeline,
                Err(mistaken) => {
                    of_pipeline = mistaken;
                    Pipeline::Mistaken
                }
            },
        };
        let file = File { directory: &directory, pipeline: &pipeline };
        cases = file.tests(root, map, &mut mistakes);
    }
    let is_mistaken = of_pipeline.is_some() || mistakes.iter().any(|mistake| mistake.level == Severity::Error);
    match is_mistaken {
        false => Ok(TestFile { source, warnings: mistakes, cases }),
        true => {
            let own = Some((source, mistakes)).filter(|(_, mistakes)| !mistakes.is_empty());
            Err(of_pipeline.into_iter().chain(own).collect())
        }
    }
}

/// Reads the pipeline. Its mistakes are returned as its own; a mistake in its name is one of the test file, and then
/// `None` is returned.
fn pipeline(
    named: &Node,
    directory: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Vec<Diagnostic>,
) -> Result<Pipeline, Option<(SourceText, Vec<Diagnostic>)>> {
    let name = expect::text(named, mistakes).ok_or(None)?;
    let path = directory.join(&name.value);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let message = format!("read {}: {error}", path.display());
        mistakes.push(Diagnostic::error(name.span, message).help("the path is relative to this file"));
        None
    })?;
    let source = SourceText { path, text, overrides: Vec::new(), rule: None };
    let directory = source.path.parent().unwrap_or(Path::new(""));
    // The warnings of the pipeline are shown when it is run.
    match spec::read(&source, environment).and_then(|spec| plan::resolve(spec, directory, KINDS)) {
        Ok(plan) => Ok(Pipeline::of(plan)),
        Err(mistaken) => Err(Some((source, mistaken))),
    }
}

struct File<'a> {
    directory: &'a Path,
    pipeline: &'a Pipeline,
}

impl File<'_> {
    fn tests(&self, root: &Node, map: &Map, mistakes: &mut Vec<Diagnostic>) -> Vec<Case> {
        let help = "tests: [{name: …, stage: ppo_1, candidate: {…}, expect: pass}]";
        let Some(tests) = root.get("tests") else {
            mistakes.push(Diagnostic::error(root.span, "there are no tests").help(help));
            return Vec::new();
        };
        let Value::List(tests) = &tests.value else {
            expect::wrong(tests, "a list of tests", mistakes);
            return Vec::new();
        };
        if tests.is_empty() {
            let span = map.iter().find(|(key, _)| key.value == "tests").map_or(root.span, |(key, _)| key.span);
            mistakes.push(Diagnostic::error(span, "there are no tests").help(help));
        }
        let mut names: BTreeMap<String, Span> = BTreeMap::new();
        let mut cases = Vec::new();
        for test in tests {
            let name = test.get("name").and_then(|name| expect::text(name, mistakes));
            if let Some(name) = &name
                && names.insert(name.value.clone(), name.span).is_some()
            {
                mistakes.push(Diagnostic::error(name.span, format!("another test is called `{}`", name.value)));
            }
            cases.extend(self.test(test, name.map(|name| name.value), mistakes));
        }
        cases
    }

    /// Reads a test; `None` after a mistake, which has been reported.
    fn test(&self, test: &Node, name: Option<String>, mistakes: &mut Vec<Diagnostic>) -> Option<Case> {
        let map = expect::map(test, "a test: a mapping with `name`, `stage` and `expect`", mistakes)?;
        expect::known_keys(map, "a test", KEYS_OF_TEST, mistakes);
        let span = map.first().map_or(test.span, |(key, _)| key.span);
        if test.get("name").is_none() {
            mistakes.push(Diagnostic::error(span, "this test has no `name`").help("name: no change is not promoted"));
        }
        let expected = match map.iter().find(|(key, _)| key.value == "expect") {
            Some((key, node)) => expectation::read(key.span, node, mistakes),
            None => {
                let help = "expect: pass, or fail, unsure or error";
                mistakes.push(Diagnostic::error(span, "this test has no `expect`").help(help));
                Expectation::default()
            }
        };
        let (tested, at) = under_test::read(test, map, span, self.pipeline, mistakes)?;
        let givens = self.givens(&tested, map, at, mistakes);
        check(&expected, &tested, &givens, mistakes);
        let (evidence, tables) = givens.evidence(&tested.gate.scope);
        Some(Case { name: name?, tested, evidence, tables, expected })
    }

    /// Reads the measurements. `at` is where the test names its gate.
    fn givens(&self, tested: &GateUnderTest, map: &Map, at: Span, mistakes: &mut Vec<Diagnostic>) -> Givens {
        let (scope, named) = (&tested.gate.scope, tested.stages());
        let mut compared = Vec::new();
        let mut givens = Givens::default();
        let read = |who: Who, node: &Node, versus: Option<&mut Vec<Matchup>>, mistakes: &mut Vec<Diagnostic>| {
            let is_own_judge = tested.is_eval && who == Who::Candidate;
            ArtifactReader { scope, who, is_own_judge, versus, directory: self.directory }.read(node, mistakes)
        };
        for (key, node) in map {
            match key.value.as_str() {
                "candidate" => {
                    let candidate = read(Who::Candidate, node, Some(&mut compared), mistakes);
                    givens.candidates.push((None, candidate));
                }
                "candidates" => {
                    if !givens.candidates.is_empty() || map.iter().any(|(key, _)| key.value == "candidate") {
                        let message = "this test has a `candidate` and `candidates`";
                        mistakes.push(Diagnostic::error(key.span, message).help("leave one of the two out"));
                        continue;
                    }
                    let read = |node: &Node, mistakes: &mut Vec<Diagnostic>| read(Who::Candidate, node, None, mistakes);
                    givens.candidates = checkpoints(node, read, mistakes);
                }
                "incumbent" if scope.incumbent.is_none() => {
                    let help = "nothing goes into this stage that it could keep";
                    mistakes.push(Diagnostic::error(key.span, "this stage has no incumbent").help(help));
                }
                "incumbent" => givens.incumbent = Some(read(Who::Incumbent, node, None, mistakes)),
                "stages" => {
                    let what = "a mapping such as `{sft: {heldout_loss: 2.1}}`";
                    for (stage, node) in expect::map(node, what, mistakes).into_iter().flatten() {
                        if named.contains(&stage.value) {
                            let artifact = read(Who::Stage(stage.value.clone()), node, None, mistakes);
                            givens.stages.insert(stage.value.clone(), artifact);
                        } else {
                            let names: Vec<&str> = named.iter().map(String::as_str).collect();
                            let message = format!("no rule of this gate names `{}`", stage.value);
                            let help = match names.is_empty() {
                                true => "its rules name no stages: leave it out".to_owned(),
                                false => did_you_mean(&stage.value, &names),
                            };
                            mistakes.push(Diagnostic::error(stage.span, message).help(help));
                        }
                    }
                }
                _ => {}
            }
        }
        versus::make(&compared, scope, &named, &mut givens, mistakes);
        check_made_up(&compared, tested, mistakes);
        let is_given = |key: &str| map.iter().any(|(name, _)| name.value == key);
        if !is_given("candidate") && !is_given("candidates") {
            let help = "candidate: {accuracy: 0.7}, or `candidates` by step: {50: {…}, 100: {…}}";
            mistakes.push(Diagnostic::error(at, "this test has no candidate").help(help));
        }
        let mut lacks = |message: String, help: String| mistakes.push(Diagnostic::error(at, message).help(help));
        if tested.names_incumbent() && givens.incumbent.is_none() && scope.incumbent.is_some() {
            let message = "the rules name the incumbent, and this test says nothing of it".to_owned();
            lacks(message, "add `incumbent: {…}`; `incumbent: {}` where nothing was measured".to_owned());
        }
        for stage in named.iter().filter(|stage| !givens.stages.contains_key(*stage) && !is_mentioned(map, stage)) {
            let message = format!("the rules name `{stage}`, and this test says nothing of it");
            lacks(message, format!("add `stages: {{{stage}: {{…}}}}`; `{{}}` where nothing was measured"));
        }
        givens
    }
}

/// Whether the test mentions a stage, even by mistake.
fn is_mentioned(map: &Map, stage: &str) -> bool {
    map.iter().any(|(key, node)| key.value == "stages" && node.get(stage).is_some())
}

/// Reads checkpoints by step; the result is in step order.
fn checkpoints(
    node: &Node,
    read: impl Fn(&Node, &mut Vec<Diagnostic>) -> TestArtifact,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<(Option<u64>, TestArtifact)> {
    let what = "checkpoints by step, such as `{50: {accuracy: 0.7}, 100: {accuracy: 0.8}}`";
    let mut found: BTreeMap<u64, TestArtifact> = BTreeMap::new();
    let map = expect::map(node, what, mistakes);
    if map.is_some_and(Vec::is_empty) {
        mistakes.push(Diagnostic::error(node.span, format!("expected {what}, found none")));
    }
    for (key, node) in map.into_iter().flatten() {
        let Ok(step) = key.value.parse::<u64>() else {
            let message = format!("expected a step, found `{}`", key.value);
            mistakes.push(Diagnostic::error(key.span, message).help(what));
            continue;
        };
        if found.insert(step, read(node, mistakes)).is_some() {
            mistakes.push(Diagnostic::error(key.span, format!("step {step} is there already")));
        }
    }
    found.into_iter().map(|(step, artifact)| (Some(step), artifact)).collect()
}

/// Refuses `versus` where a rule needs real scores: made-up scores say who wins, and nothing about the noise of a mean.
fn check_made_up(compared: &[Matchup], tested: &GateUnderTest, mistakes: &mut Vec<Diagnostic>) {
    for matchup in compared {
        let field = (RecordOrigin::Judge(matchup.judge), versus::FIELD);
        let asks = decide::rules(&tested.gate).find(|(_, rule)| rule.decided_by().contains(&field));
        if let Some((_, rule)) = asks {
            let message = format!("`versus` makes up who wins, and `{}` asks for the scores themselves", rule.text);
            mistakes.push(Diagnostic::error(matchup.other.span, message).help("give the `items`"));
        }
    }
}

/// Refuses expectations that the gate cannot fulfil at all.
fn check(expected: &Expectation, tested: &GateUnderTest, givens: &Givens, mistakes: &mut Vec<Diagnostic>) {
    if let Some(step) = &expected.step {
        let steps: Vec<u64> = givens.candidates.iter().filter_map(|(step, _)| *step).collect();
        if !steps.contains(&step.value) {
            let message = format!("no candidate has step {}", step.value);
            let help = match steps.is_empty() {
                true => "`step` is for `candidates`, which have one each".to_owned(),
                false => {
                    format!("there are: {}", steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
                }
            };
            mistakes.push(Diagnostic::error(step.span, message).help(help));
        }
    }
    if let Some(rules) = &expected.rules {
        let (expected, there_are) = (rules.value.len(), tested.gate.require.len());
        if expected != there_are {
            let message = format!("`rules` are those of `require`: expected {expected}, the gate has {there_are}");
            mistakes.push(Diagnostic::error(rules.span, message).help("one word for each, in order"));
        }
    }
}
