//! The artifacts of a test, and the evidence that a gate would gather from them.

use crate::event::{ArtifactEvidence, Evidence, JudgeEvidence, Table};
use crate::gate::{Items, Readings, RuleScope};
use crate::plan::ArtifactName;
use crate::schedule::decide::Tables;
use cache::{Content, Digest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All artifacts that a test mentions.
#[derive(Default)]
pub struct Givens {
    /// In step order; a single `candidate` has no step.
    pub candidates: Vec<(Option<u64>, TestArtifact)>,
    pub incumbent: Option<TestArtifact>,
    pub stages: BTreeMap<String, TestArtifact>,
}

#[derive(Default)]
pub struct TestArtifact {
    pub own: Readings,
    /// The readings of the judges that the test mentions, by their index in the gate's list.
    pub judged: BTreeMap<usize, Readings>,
}

impl Givens {
    /// The evidence as a gate sees it. The contents have made-up names, and the items are put into the tables.
    pub fn evidence(self, scope: &RuleScope) -> (Evidence, Tables) {
        let mut tables = Tables::new();
        let mut seen = |artifact: TestArtifact, label: &str, step: Option<u64>| -> ArtifactEvidence {
            artifact.seen(label, step, scope, &mut tables)
        };
        let candidates = self.candidates.into_iter().map(|(step, artifact)| {
            let label = step.map_or_else(|| "the candidate".to_owned(), |step| format!("step {step}"));
            seen(artifact, &label, step)
        });
        let candidates = candidates.collect();
        // A stage has its incumbent whether or not the test mentions it.
        let incumbent =
            scope.incumbent.as_ref().map(|_| seen(self.incumbent.unwrap_or_default(), "the incumbent", None));
        let stages = self.stages.into_iter().map(|(name, artifact)| {
            let seen = seen(artifact, &format!("the stage {name}"), None);
            (name, seen)
        });
        let stages = stages.collect();
        (Evidence { candidates, incumbent, stages, ..Evidence::default() }, tables)
    }
}

impl TestArtifact {
    fn seen(self, label: &str, step: Option<u64>, scope: &RuleScope, tables: &mut Tables) -> ArtifactEvidence {
        let content = |what: &str| Content::File {
            format: "jsonl".to_owned(),
            blob: Digest::of(format!("{label}\n{what}").as_bytes()),
        };
        let mut table = |items: Option<Arc<Items>>, what: &str| {
            let table = Table { content: content(what), file: String::new(), suffix: String::new() };
            items.map(|items| {
                tables.insert(table.clone(), items);
                table
            })
        };
        let own = table(self.own.items, "");
        let judged = self.judged.into_iter().map(|(judge, readings)| {
            let name = scope.judges[judge].name.clone();
            let tables = table(readings.items, &name).into_iter().collect();
            (name, JudgeEvidence { metrics: readings.metrics, tables })
        });
        let judged = judged.collect();
        ArtifactEvidence {
            label: ArtifactName::open(label),
            step,
            content: content(""),
            metrics: self.own.metrics,
            table: own,
            judged,
            among: 1,
        }
    }
}
