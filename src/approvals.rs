//! `….approvals.jsonl` next to the pipeline file: people's decisions at gates that hold, one JSON object per line,
//! meant for version control. A decision is bound to its question: when the candidate, the measurements or the rule change,
//! the question is another one and the decision no longer applies.

use crate::event::HumanDecision;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// For the reader; only the question identifies the decision.
    pub stage: String,
    pub decision: Ruling,
    pub reason: String,
    pub by: String,
    /// RFC 3339.
    pub at: String,
    /// The candidate, `step 150` or a name, with its content.
    pub candidate: String,
    /// The explanations of the rules, for the reader.
    pub rules: Vec<String>,
    /// Digest of candidate, measurements and rules.
    pub question: String,
    /// Where it was decided: none for the command line, `page 127.0.0.1` for a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    Approve,
    Reject,
}

/// The file of a pipeline's approvals: `pipelines/rlhf.yaml` → `pipelines/rlhf.approvals.jsonl`.
pub fn path(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("approvals.jsonl")
}

/// The approvals in the order of the file; none if there is no file.
pub fn read(path: &Path) -> Result<Vec<Approval>> {
    let bytes = files::found(files::read_user(path, MOST)).with_context(|| format!("read {}", path.display()))?;
    let text = String::from_utf8(bytes.unwrap_or_default()).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let approval = |(number, line): (usize, &str)| {
        let at =
            || format!("read {}: line {}: no decision as `pipeline approve` writes them", path.display(), number + 1);
        serde_json::from_str(line).with_context(at)
    };
    lines.map(approval).collect()
}

/// The decision for each question; the last one counts.
pub fn decisions(approvals: &[Approval]) -> BTreeMap<String, HumanDecision> {
    let decided = |approval: &Approval| HumanDecision {
        is_approved: approval.decision == Ruling::Approve,
        by: approval.by.clone(),
        at: approval.at.clone(),
        reason: approval.reason.clone(),
    };
    approvals.iter().map(|approval| (approval.question.clone(), decided(approval))).collect()
}

/// The most bytes of the file.
const MOST: u64 = 256 << 20;

/// Appends a line. If the file does not end with a line break, as after some editors, one is added first.
pub fn append(path: &Path, approval: &Approval) -> Result<()> {
    let bytes = files::found(files::read_user(path, MOST)).with_context(|| format!("read {}", path.display()))?;
    let is_open = bytes.is_some_and(|bytes| bytes.last().is_some_and(|byte| *byte != b'\n'));
    let mut line = if is_open { b"\n".to_vec() } else { Vec::new() };
    serde_json::to_writer(&mut line, approval).context("write a decision")?;
    line.push(b'\n');
    let write = || -> std::io::Result<()> {
        let mut file = File::options().create(true).append(true).open(path)?;
        file.write_all(&line)?;
        file.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fs;

    fn approval(decision: Ruling, question: &str) -> Approval {
        let text = |text: &str| text.to_owned();
        Approval {
            stage: text("ppo_1"),
            decision,
            reason: text("read twenty answers: kinder, not longer"),
            by: text("aoi"),
            at: text("2026-11-22T03:00:00Z"),
            candidate: text("step 30, tree:0123456789ab"),
            rules: vec![text("unsure: mean_score 0.62 is not surely > incumbent.mean_score 0.6")],
            question: text(question),
            from: None,
        }
    }

    #[test]
    fn the_lines_are_a_promise_to_those_who_keep_them() {
        let place = tempfile::tempdir().unwrap();
        let path = path(&place.path().join("rlhf.yaml"));
        assert_eq!(path.file_name().unwrap(), "rlhf.approvals.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        append(&path, &approval(Ruling::Approve, "q1")).unwrap();
        expect![[r#"
            {"stage":"ppo_1","decision":"approve","reason":"read twenty answers: kinder, not longer","by":"aoi","at":"2026-11-22T03:00:00Z","candidate":"step 30, tree:0123456789ab","rules":["unsure: mean_score 0.62 is not surely > incumbent.mean_score 0.6"],"question":"q1"}
        "#]]
        .assert_eq(&fs::read_to_string(&path).unwrap());
        assert_eq!(read(&path).unwrap(), [approval(Ruling::Approve, "q1")]);
    }

    #[test]
    fn the_last_decision_of_a_question_counts() {
        let all = [approval(Ruling::Approve, "q1"), approval(Ruling::Reject, "q2"), approval(Ruling::Reject, "q1")];
        let decisions = decisions(&all);
        assert_eq!(decisions.len(), 2);
        assert!(!decisions["q1"].is_approved);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.approvals.jsonl");
        fs::write(&path, "<<<<<<< HEAD").unwrap();
        append(&path, &approval(Ruling::Approve, "q1")).unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("line 1: no decision as `pipeline approve` writes them"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
