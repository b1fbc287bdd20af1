//! Reasons why work is done or not done: each is a value with one text. Journals store the texts, which are parsed only
//! here; a text that an older or a newer program wrote stays as it is.

use crate::plan::ArtifactName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The reason why an action is executed or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Cause {
    New,
    Forced,
    /// The previous attempt in the same run failed.
    Retried,
    Resumed,
    /// The action is the same as last time, but its result is gone.
    ResultGone,
    FailedLastTime,
    UnfinishedLastTime,
    Changed(ActionDifference),
    /// A stage that would run and whose output is an input.
    Upstream(String),
    Other(String),
}

/// A value of an action that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionDifference {
    /// `parameters.kl.coef`, `inputs.reward.1`, `version`.
    pub path: String,
    /// As people compare them: JSON, the beginning of a digest, or `absent`.
    pub old: String,
    pub new: String,
}

/// A cause of a stage's work, and the part of its measurement that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct StageCause {
    pub part: Option<EvalPart>,
    pub cause: Cause,
}

/// One part of a measurement: `answers of sft`, `scores of ppo_1@20 by rm_2`, `scores of ppo_1 for eval`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct EvalPart {
    /// The kind of its action.
    pub kind: String,
    /// The measured model; `None` of a part that measures none, as a worklist.
    pub model: Option<ArtifactName>,
    /// The input of the port that takes many; `None` for the first one, which judges.
    pub by: Option<ArtifactName>,
    /// The judge that it is measured for, if the stage has several.
    pub judge: Option<String>,
}

impl EvalPart {
    /// A part that measures no model.
    pub fn of_kind(kind: &str) -> EvalPart {
        EvalPart { kind: kind.to_owned(), model: None, by: None, judge: None }
    }

    /// The part as a journal gives it back, where it must be found again. The name of a file may hold the words that
    /// stand between the names, and its parts are then divided at them.
    pub fn new(kind: &str, model: &ArtifactName, by: Option<&ArtifactName>, judge: Option<&str>) -> EvalPart {
        let (kind, judge) = (kind.to_owned(), judge.map(str::to_owned));
        EvalPart { kind, model: Some(model.clone()), by: by.cloned(), judge }.to_string().into()
    }
}

/// The reason why nothing is done for a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum SkipReason {
    /// The gate of this stage is closed.
    GateClosed(String),
    /// A person has to decide about this stage.
    Undecided(String),
    Failed(String),
    /// This stage waits for labels.
    Unlabelled(String),
    /// This stage failed, and the run begins nothing more.
    NotBegun(String),
    Other(String),
}

impl ActionDifference {
    /// The port concerned, and the index on it if it takes many inputs.
    pub fn input(&self) -> Option<(&str, usize)> {
        let path = self.path.strip_prefix("inputs.")?;
        let numbered = path.rsplit_once('.').and_then(|(port, at)| Some((port, at.parse().ok()?)));
        Some(numbered.unwrap_or((path, 0)))
    }

    fn read(text: &str) -> Option<ActionDifference> {
        const FIELDS: [&str; 6] = ["inputs", "kind", "parameters", "salt", "seed", "version"];
        let (path, values) = text.split_once(": ")?;
        path.split('.').next().filter(|field| FIELDS.contains(field))?;
        let (old, new) = values.split_at(arrow(values)?);
        let new = new.strip_prefix(ARROW)?;
        Some(ActionDifference { path: path.to_owned(), old: old.to_owned(), new: new.to_owned() })
    }
}

const ARROW: &str = " -> ";

/// The position of the arrow between two values; one inside a JSON string does not count.
fn arrow(values: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    values.char_indices().find_map(|(at, letter)| {
        is_quoted ^= letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        (!is_quoted && values[at..].starts_with(ARROW)).then_some(at)
    })
}

/// Joins the causes on one line.
pub fn on_one_line<T: ToString>(causes: &[T]) -> String {
    causes.iter().map(T::to_string).collect::<Vec<_>>().join("; ")
}

/// Texts that contain no value.
const TEXTS: [(Cause, &str); 7] = [
    (Cause::New, "it never ran before"),
    (Cause::Forced, "it is forced"),
    (Cause::Retried, "the attempt before failed"),
    (Cause::Resumed, "it goes on from a checkpoint"),
    (Cause::ResultGone, "its result is no longer in the store"),
    (Cause::FailedLastTime, "it failed last time"),
    (Cause::UnfinishedLastTime, "it was not finished last time"),
];

impl Cause {
    fn read(text: &str) -> Option<Cause> {
        let plain = TEXTS.into_iter().find(|(_, known)| *known == text).map(|(cause, _)| cause);
        let upstream = || quoted(text.strip_suffix(" would run")?).map(Cause::Upstream);
        plain.or_else(upstream).or_else(|| ActionDifference::read(text).map(Cause::Changed))
    }
}

/// The name inside the backticks.
fn quoted(text: &str) -> Option<String> {
    let name = text.strip_prefix('`')?.strip_suffix('`')?;
    (!name.contains('`')).then(|| name.to_owned())
}

impl fmt::Display for Cause {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Cause::Changed(difference) => write!(text, "{difference}"),
            Cause::Upstream(stage) => write!(text, "`{stage}` would run"),
            Cause::Other(other) => text.write_str(other),
            plain => {
                let known = TEXTS.iter().find(|(cause, _)| cause == plain);
                text.write_str(known.expect("every cause without a value is in the table").1)
            }
        }
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Cause {
        Cause::read(&text).unwrap_or(Cause::Other(text))
    }
}

impl From<Cause> for String {
    fn from(cause: Cause) -> String {
        cause.to_string()
    }
}

impl fmt::Display for ActionDifference {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        write!(text, "{}: {}{ARROW}{}", self.path, self.old, self.new)
    }
}

impl fmt::Display for StageCause {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        self.part.iter().try_for_each(|part| write!(text, "{part}: "))?;
        write!(text, "{}", self.cause)
    }
}

impl From<String> for StageCause {
    fn from(text: String) -> StageCause {
        if let Some(cause) = Cause::read(&text) {
            return StageCause { part: None, cause };
        }
        let of_part = text.match_indices(": ").find_map(|(at, colon)| {
            let cause = Cause::read(&text[at + colon.len()..])?;
            Some(StageCause { part: Some(text[..at].to_owned().into()), cause })
        });
        of_part.unwrap_or(StageCause { part: None, cause: Cause::Other(text) })
    }
}

impl From<StageCause> for String {
    fn from(cause: StageCause) -> String {
        cause.to_string()
    }
}

impl fmt::Display for EvalPart {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        let EvalPart { kind, model, by, judge } = self;
        text.write_str(kind)?;
        model.iter().try_for_each(|model| write!(text, "{OF}{model}"))?;
        by.iter().try_for_each(|by| write!(text, "{BY}{by}"))?;
        judge.iter().try_for_each(|judge| write!(text, "{FOR}{judge}"))
    }
}

/// Words between the names of a part.
const OF: &str = " of ";
const BY: &str = " by ";
const FOR: &str = " for ";

impl From<String> for EvalPart {
    fn from(text: String) -> EvalPart {
        let name = |text: &str| ArtifactName::from(text.to_owned());
        let Some((kind, named)) = text.split_once(OF) else {
            return EvalPart { kind: text, model: None, by: None, judge: None };
        };
        let (named, judge) = named.rsplit_once(FOR).map_or((named, None), |(named, judge)| (named, Some(judge)));
        let (model, by) = named.split_once(BY).map_or((named, None), |(model, by)| (model, Some(by)));
        let (model, by, judge) = (Some(name(model)), by.map(name), judge.map(str::to_owned));
        EvalPart { kind: kind.to_owned(), model, by, judge }
    }
}

impl From<EvalPart> for String {
    fn from(part: EvalPart) -> String {
        part.to_string()
    }
}

const NOT_BEGUN: &str = " failed, and nothing more was begun; `--keep-going` would have";

impl fmt::Display for SkipReason {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        match self {
            SkipReason::GateClosed(stage) => write!(text, "the gate of `{stage}` is closed"),
            SkipReason::Undecided(stage) => write!(text, "`{stage}` waits for a person's decision"),
            SkipReason::Failed(stage) => write!(text, "`{stage}` failed"),
            SkipReason::Unlabelled(stage) => write!(text, "`{stage}` waits for labels"),
            SkipReason::NotBegun(failed) => write!(text, "`{failed}`{NOT_BEGUN}"),
            SkipReason::Other(other) => text.write_str(other),
        }
    }
}

impl From<String> for SkipReason {
    fn from(text: String) -> SkipReason {
        let closed = || quoted(text.strip_prefix("the gate of ")?.strip_suffix(" is closed")?);
        let undecided = || quoted(text.strip_suffix(" waits for a person's decision")?);
        let failed = || quoted(text.strip_suffix(" failed")?);
        let unlabelled = || quoted(text.strip_suffix(" waits for labels")?);
        let not_begun = || quoted(text.strip_suffix(NOT_BEGUN)?);
        let known = closed().map(SkipReason::GateClosed);
        let known = known.or_else(|| undecided().map(SkipReason::Undecided));
        let known = known.or_else(|| failed().map(SkipReason::Failed));
        let known = known.or_else(|| unlabelled().map(SkipReason::Unlabelled));
        let known = known.or_else(|| not_begun().map(SkipReason::NotBegun));
        known.unwrap_or(SkipReason::Other(text))
    }
}

impl From<SkipReason> for String {
    fn from(reason: SkipReason) -> String {
        reason.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    /// The texts; checks that each is read back as the value it was written from.
    fn texts<T: Clone + fmt::Debug + PartialEq + From<String> + Into<String>>(values: &[T]) -> String {
        let text = |value: &T| {
            let text: String = value.clone().into();
            assert_eq!(T::from(text.clone()), *value, "{text}");
            text
        };
        values.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    fn changed(path: &str, old: &str, new: &str) -> Cause {
        Cause::Changed(ActionDifference { path: path.to_owned(), old: old.to_owned(), new: new.to_owned() })
    }

    fn causes() -> Vec<Cause> {
        let mut causes = TEXTS.map(|(cause, _)| cause).to_vec();
        causes.extend([
            changed("parameters.kl.coef", "0.05", "0.1"),
            changed("parameters.command", r#""a -> \"b -> c""#, r#""d: it is forced""#),
            changed("inputs.reward.1", "tree:c2074e4346c7", "absent"),
            changed("version", "2", "3"),
            Cause::Upstream("sft".to_owned()),
            Cause::Other("rm_1 would run".to_owned()),
        ]);
        causes
    }

    #[test]
    fn a_cause_is_read_back_from_its_text() {
        expect![[r#"
            it never ran before
            it is forced
            the attempt before failed
            it goes on from a checkpoint
            its result is no longer in the store
            it failed last time
            it was not finished last time
            parameters.kl.coef: 0.05 -> 0.1
            parameters.command: "a -> \"b -> c" -> "d: it is forced"
            inputs.reward.1: tree:c2074e4346c7 -> absent
            version: 2 -> 3
            `sft` would run
            rm_1 would run"#]]
        .assert_eq(&texts(&causes()));
    }

    #[test]
    fn the_part_that_a_cause_is_about_is_read_back_with_it() {
        let names = ["answers of sft", "scores of a: b by rm_2", "scores of ppo_1@20 for eval", "divergence"];
        let parts: Vec<EvalPart> = names.map(|part| part.to_owned().into()).into();
        let known = causes().into_iter().filter(|cause| !matches!(cause, Cause::Other(_)));
        let of_part = |part: &EvalPart| {
            known.clone().map(|cause| StageCause { part: Some(part.clone()), cause }).collect::<Vec<_>>()
        };
        let mut all: Vec<StageCause> = parts.iter().flat_map(of_part).collect();
        all.extend(causes().into_iter().map(|cause| StageCause { part: None, cause }));
        assert!(texts(&all).contains("\nscores of a: b by rm_2: version: 2 -> 3\n"));
        expect![[r#"
            answers of sft
            scores of a: b by rm_2
            scores of ppo_1@20 for eval
            divergence"#]]
        .assert_eq(&texts(&parts));
        let open = ArtifactName::open;
        assert_eq!(
            parts[..3],
            [
                EvalPart::new("answers", &open("sft"), None, None),
                EvalPart::new("scores", &open("a: b"), Some(&open("rm_2")), None),
                EvalPart::new("scores", &ArtifactName::step("ppo_1", 20), None, Some("eval")),
            ]
        );
        // A file with such a name.
        let odd = EvalPart::new("scores", &open("words of it by me for you.txt"), Some(&open("b by c")), None);
        assert_eq!(texts(&[odd]), "scores of words of it by me for you.txt by b by c");
    }

    #[test]
    fn a_reason_to_skip_is_read_back_from_its_text() {
        let stage = || "rm_1".to_owned();
        let reasons = [
            SkipReason::GateClosed(stage()),
            SkipReason::Undecided(stage()),
            SkipReason::Failed(stage()),
            SkipReason::Unlabelled(stage()),
            SkipReason::NotBegun(stage()),
            SkipReason::Other("rm_1 was stopped by its gate".to_owned()),
        ];
        expect![[r#"
            the gate of `rm_1` is closed
            `rm_1` waits for a person's decision
            `rm_1` failed
            `rm_1` waits for labels
            `rm_1` failed, and nothing more was begun; `--keep-going` would have
            rm_1 was stopped by its gate"#]]
        .assert_eq(&texts(&reasons));
    }

    #[test]
    fn a_difference_knows_the_port_it_is_about() {
        let input = |path: &str| match changed(path, "1", "2") {
            Cause::Changed(difference) => difference.input().map(|(port, at)| (port.to_owned(), at)),
            _ => None,
        };
        assert_eq!(input("inputs.policy"), Some(("policy".to_owned(), 0)));
        assert_eq!(input("inputs.reward.1"), Some(("reward".to_owned(), 1)));
        assert_eq!(input("parameters.inputs.x"), None);
    }
}
