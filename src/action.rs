//! The content of a key: one call of a kind, with every input as a content id. Also the record it leaves, the places of
//! its inputs in a work directory, and the difference of two actions. Pure: no stage names, gates or processes.

use crate::canonical::Canonical;
use crate::cause::ActionDifference;
use anyhow::{Context, Result};
use cache::Content;
use formats::data::{DataSource, ReadOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One call of a kind. Not in the key: stage names, gates, devices, time-outs (see the table in ARCHITECTURE.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub kind: String,
    pub version: u32,
    pub parameters: Canonical,
    /// Only for kinds that draw random numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    pub inputs: BTreeMap<String, ActionInput>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// A port that takes many inputs keeps the order of the file, and is a list even with one input. Data that is one file,
/// read without options, is one input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ActionInput {
    One(Content),
    Many(Vec<Content>),
    /// Data that is read with options.
    Rows(Vec<RowsInput>),
}

/// Files that are read alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsInput {
    pub files: Vec<Content>,
    #[serde(default)]
    pub options: ReadOptions,
}

impl ActionInput {
    /// The contents, in their order.
    pub fn contents(&self) -> Vec<&Content> {
        match self {
            ActionInput::One(content) => vec![content],
            ActionInput::Many(contents) => contents.iter().collect(),
            ActionInput::Rows(rows) => rows.iter().flat_map(|rows| &rows.files).collect(),
        }
    }
}

impl Action {
    /// The same text as that of the whole action, put together from the texts of its fields; the longest, that of the
    /// parameters, is known already.
    pub fn written(&self) -> Result<Canonical> {
        let Action { kind, version, parameters, seed, inputs, salt } = self;
        let mut fields = Canonical::object();
        fields.add("inputs", inputs)?;
        fields.add("kind", kind)?;
        fields.take("parameters", parameters);
        if let Some(salt) = salt {
            fields.add("salt", salt)?;
        }
        if let Some(seed) = seed {
            fields.add("seed", seed)?;
        }
        fields.add("version", version)?;
        Ok(fields.end())
    }

    /// The files and directories behind each port, in a work directory, and how they are read.
    pub fn sources(&self, directory: &Path) -> BTreeMap<String, Vec<DataSource>> {
        let mut sources = BTreeMap::<String, Vec<DataSource>>::new();
        let mut paths = self.placements().into_iter().map(|(_, path, _)| directory.join(path));
        for (port, input) in &self.inputs {
            let mut read = |files: usize, options: &ReadOptions| {
                let files = paths.by_ref().take(files).collect();
                sources.entry(port.clone()).or_default().push(DataSource { files, options: options.clone() });
            };
            match input {
                ActionInput::Rows(rows) => rows.iter().for_each(|rows| read(rows.files.len(), &rows.options)),
                _ => (0..input.contents().len()).for_each(|_| read(1, &ReadOptions::default())),
            }
        }
        sources
    }

    pub fn read(written: &Canonical) -> Result<Action> {
        serde_json::from_str(written.text()).context("read an action")
    }

    /// `(port, path under the work directory, content)` of every input, ports by name, a list in its order.
    pub fn placements(&self) -> Vec<(&str, PathBuf, &Content)> {
        let mut placements = Vec::new();
        for (port, input) in &self.inputs {
            let at = Path::new(stages::work::INPUTS).join(port);
            match input {
                ActionInput::One(content) => placements.push((port.as_str(), with_format(at, content), content)),
                ActionInput::Many(_) | ActionInput::Rows(_) => {
                    for (n, content) in input.contents().into_iter().enumerate() {
                        placements.push((port, with_format(at.join(n.to_string()), content), content));
                    }
                }
            }
        }
        placements
    }
}

fn with_format(path: PathBuf, content: &Content) -> PathBuf {
    match content {
        Content::File { format, .. } if !format.is_empty() => {
            let mut path = path.into_os_string();
            path.push(".");
            path.push(format);
            path.into()
        }
        _ => path,
    }
}

/// The result of an action. Its telemetry (seconds, device class) is stored beside it, outside every comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// In step order, at least one.
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    pub step: u64,
    pub content: Content,
    /// `None` stands for a number that is not finite.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Per-item tables.
    #[serde(default)]
    pub tables: BTreeMap<String, Content>,
}

impl Record {
    pub fn last(&self) -> &Candidate {
        self.candidates.last().expect("a record without a candidate is never committed nor read")
    }

    /// `extras` are stored beside the record and are not part of it.
    pub fn to_store(&self, telemetry: Value, extras: Vec<Content>) -> Result<cache::Record> {
        let contents = self.candidates.iter().flat_map(|candidate| {
            std::iter::once(&candidate.content).chain(candidate.tables.values()).cloned().collect::<Vec<_>>()
        });
        let result = serde_json::to_value(self).context("write the record")?;
        Ok(cache::Record { result, telemetry, contents: contents.collect(), extras })
    }

    pub fn from_store(stored: &cache::Record) -> Result<Record> {
        Record::deserialize(&stored.result).context("read the record")?.checked()
    }

    /// Refuses a record without a candidate, which is useless.
    pub fn checked(mut self) -> Result<Record> {
        anyhow::ensure!(!self.candidates.is_empty(), "read the record: it has no candidate");
        // A list that was read has capacity for four, and thousands of records may be held.
        self.candidates.shrink_to_fit();
        Ok(self)
    }
}

/// The values that changed between two actions; none if the keys are equal.
pub fn differences(old: &Canonical, new: &Canonical) -> Vec<ActionDifference> {
    let mut differences = Vec::new();
    compare("", Some(&old.value()), Some(&new.value()), &mut differences);
    differences
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, differences: &mut Vec<ActionDifference>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&inner, old.get(name), new.get(name), differences);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for n in 0..old.len().max(new.len()) {
                compare(&format!("{path}.{n}"), old.get(n), new.get(n), differences);
            }
        }
        (old, new) => differences.push(ActionDifference { path: path.to_owned(), old: shown(old), new: shown(new) }),
    }
}

/// Content ids are shortened to what a person compares.
fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "absent".to_owned() };
    let content = value.as_str().and_then(|text| text.parse::<Content>().ok());
    match content {
        Some(Content::Tree(digest)) => format!("tree:{}", digest.short()),
        Some(Content::File { format, blob }) if format.is_empty() => format!("file:{}", blob.short()),
        Some(Content::File { format, blob }) => format!("file.{format}:{}", blob.short()),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache::Digest;
    use expect_test::expect;
    use serde_json::json;

    fn ppo() -> Action {
        Action {
            kind: "ppo".to_owned(),
            version: 3,
            parameters: json!({"steps": 200, "kl": {"coef": 0.05}}).into(),
            seed: Some(7),
            inputs: BTreeMap::from([
                ("policy".to_owned(), ActionInput::One(Content::Tree(Digest::of(b"sft")))),
                (
                    "prompts".to_owned(),
                    ActionInput::One(Content::File { format: "jsonl".to_owned(), blob: Digest::of(b"prompts") }),
                ),
                (
                    "reward".to_owned(),
                    ActionInput::Many(vec![
                        Content::Tree(Digest::of(b"rm_1")),
                        Content::File { format: "txt".to_owned(), blob: Digest::of(b"words") },
                    ]),
                ),
            ]),
            salt: None,
        }
    }

    fn key(action: &Action) -> Digest {
        action.written().unwrap().digest()
    }

    #[test]
    fn the_hashed_bytes_are_a_versioned_promise() {
        expect![[r#"{"inputs":{"policy":"tree:c2074e4346c7ed7820496c80b31055be8472f1cdb9a11cbc236604aeac915e06","prompts":"file.jsonl:44761766e183c1ca4d07fc7b2a9902f9ff11cd13bd8bfd071dbe5756bd961b0e","reward":["tree:8d058f47d011a35c7817aeeeb4e28c6e099f1462980afdeb7244065e0755b21e","file.txt:073acf80c9f552574db02fad710110d3b1cb06724ee70e3bfb8bb33a5d803ea1"]},"kind":"ppo","parameters":{"kl":{"coef":0.05},"steps":200},"seed":7,"version":3}"#]]
            .assert_eq(ppo().written().unwrap().text());
        expect!["3c6149c274a259e1c0262c35ecaac2d6b91f572dcdad805cfd7699269bb93fd4"].assert_eq(&key(&ppo()).to_string());
    }

    #[test]
    fn the_order_in_which_parameters_were_written_does_not_change_the_key() {
        let mut other = ppo();
        other.parameters = json!({"kl": {"coef": 5e-2}, "steps": 200}).into();
        assert_eq!(key(&ppo()), key(&other));
    }

    #[test]
    fn everything_an_action_holds_is_in_its_key() {
        let changes: [fn(&mut Action); 8] = [
            |action| action.kind = "dpo".to_owned(),
            |action| action.version = 4,
            |action| action.parameters = json!({"steps": 201, "kl": {"coef": 0.05}}).into(),
            |action| action.seed = Some(8),
            |action| action.seed = None,
            |action| action.salt = Some("2026".to_owned()),
            |action| drop(action.inputs.remove("reward")),
            |action| {
                let Some(ActionInput::Many(rewards)) = action.inputs.get_mut("reward") else { return };
                rewards.reverse();
            },
        ];
        let mut keys = std::collections::BTreeSet::from([key(&ppo())]);
        for change in changes {
            let mut action = ppo();
            change(&mut action);
            assert!(keys.insert(key(&action)), "{action:?}");
        }
    }

    /// Keys of one file without options are those of before there were options.
    #[test]
    fn how_data_is_read_is_in_the_key_and_reaches_the_worker() {
        let file = |name: &[u8]| Content::File { format: "csv".to_owned(), blob: Digest::of(name) };
        let columns = [("prompt".to_owned(), "question".to_owned())].into();
        let options = ReadOptions { columns, weight: 0.5, ..ReadOptions::default() };
        let rows = vec![
            RowsInput { files: vec![file(b"a"), file(b"b")], options: options.clone() },
            RowsInput { files: vec![file(b"c")], options: ReadOptions::default() },
        ];
        let mut action = ppo();
        action.inputs.insert("prompts".to_owned(), ActionInput::Rows(rows));
        assert_ne!(key(&action), key(&ppo()));
        let written = action.written().unwrap();
        assert!(written.text().contains(r#""options":{"columns":{"prompt":"question"},"weight":0.5}"#), "{written:?}");
        assert!(written.text().contains(r#""options":{}"#), "defaults are not written: {written:?}");
        assert_eq!(Action::read(&written).unwrap(), action);
        let sources = action.sources(Path::new("work")).remove("prompts").unwrap();
        let paths = ["0", "1", "2"].map(|n| PathBuf::from(format!("work/in/prompts/{n}.csv")));
        assert_eq!(sources[0], DataSource { files: paths[..2].to_vec(), options });
        assert_eq!(sources[1], DataSource { files: paths[2..].to_vec(), options: ReadOptions::default() });
    }

    #[test]
    fn an_action_is_written_as_all_its_values_are() {
        let long = Action { seed: Some(1 << 53), salt: Some("a \"salt\"\u{1}\u{10ffff}".to_owned()), ..ppo() };
        let empty = Action { inputs: BTreeMap::new(), seed: None, parameters: Value::Null.into(), ..ppo() };
        let odd = json!({"b": [1e21, -0.0, 1e-7, 0.1], "\u{fb33}": {}, "\u{1f600}": "é\n"});
        for action in [ppo(), long, empty, Action { parameters: odd.into(), ..ppo() }] {
            let written = action.written().unwrap();
            assert_eq!(written, Canonical::of(&serde_json::to_value(&action).unwrap()).unwrap());
            assert_eq!(Action::read(&written).unwrap(), action);
        }
    }

    #[test]
    fn a_written_action_stays_what_it_is_on_its_way_through_a_journal() {
        let written = ppo().written().unwrap();
        let line = serde_json::to_string(&BTreeMap::from([("action", &written)])).unwrap();
        assert_eq!(line, format!(r#"{{"action":{}}}"#, written.text()));
        let read: BTreeMap<String, Canonical> = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["action"], Action::read(&read["action"]).unwrap()), (&written, ppo()));
    }

    #[test]
    fn the_work_directory_shows_ports_and_formats_but_no_names() {
        let action = ppo();
        let paths: Vec<String> =
            action.placements().iter().map(|(port, path, _)| format!("{port}: {}", path.display())).collect();
        expect![[r#"
            policy: in/policy
            prompts: in/prompts.jsonl
            reward: in/reward/0
            reward: in/reward/1.txt"#]]
        .assert_eq(&paths.join("\n"));
    }

    #[test]
    fn a_difference_names_each_value_that_changed() {
        let mut new = ppo();
        new.parameters = json!({"steps": 200, "kl": {"coef": 0.1, "target": 6.5}}).into();
        new.seed = None;
        new.inputs.insert("policy".to_owned(), ActionInput::One(Content::Tree(Digest::of(b"ppo_1"))));
        let value = |action: &Action| action.written().unwrap();
        expect![[r#"
            inputs.policy: tree:c2074e4346c7 -> tree:66e9a676ab97
            parameters.kl.coef: 0.05 -> 0.1
            parameters.kl.target: absent -> 6.5
            seed: 7 -> absent"#]]
        .assert_eq(
            &differences(&value(&ppo()), &value(&new))
                .iter()
                .map(ActionDifference::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        );
        assert_eq!(differences(&value(&ppo()), &value(&ppo())), []);
        if let Some(ActionInput::Many(rewards)) = new.inputs.get_mut("reward") {
            rewards.truncate(1);
        }
        let differences = differences(&value(&ppo()), &value(&new));
        let inputs: Vec<_> = differences.iter().map(ActionDifference::input).collect();
        assert_eq!(inputs, [Some(("policy", 0)), Some(("reward", 1)), None, None, None]);
    }

    #[test]
    fn a_record_comes_back_from_the_store_as_it_went() {
        let record = Record {
            candidates: vec![Candidate {
                step: 200,
                content: Content::Tree(Digest::of(b"ppo_1")),
                metrics: BTreeMap::from([("kl".to_owned(), Some(4.25)), ("reward".to_owned(), None)]),
                tables: BTreeMap::from([(
                    "items".to_owned(),
                    Content::File { format: "jsonl".to_owned(), blob: Digest::of(b"items") },
                )]),
            }],
        };
        let stored = record.to_store(json!({"seconds": 3.5}), Vec::new()).unwrap();
        assert_eq!(stored.contents.len(), 2);
        assert_eq!(Record::from_store(&stored).unwrap(), record);
        assert!(
            Record::from_store(&Record { candidates: Vec::new() }.to_store(Value::Null, Vec::new()).unwrap()).is_err()
        );
    }
}
