//! The results that stand on a piece of content, and those it stands on: a graph of actions by the contents that they read
//! and made.

use super::format::{moment, short};
use super::sheet::{Grid, Header, Sheet, Tone, cell, plain};
use crate::cause::EvalPart;
use cache::Content;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An action as the journals know it, with what its record holds.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownAction {
    pub key: String,
    /// The stage that used it last, and in which run.
    pub stage: String,
    pub part: Option<EvalPart>,
    pub kind: String,
    pub run: String,
    pub at: String,
    /// `(port, name as typed in the file, content)`.
    pub inputs: Vec<(String, String, Content)>,
    /// The candidates and the tables of its record; empty if it has none, or the store lost it.
    pub outputs: Vec<Content>,
    /// The files in those outputs that are directories.
    pub files: Vec<Content>,
    pub is_stored: bool,
}

/// A model that was written to a folder: a line of the list of exports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportedFolder {
    /// RFC 3339.
    pub at: String,
    pub stage: String,
    pub run: String,
    pub content: String,
    pub directory: String,
    pub by: String,
}

/// The bytes behind a content: a file read under another name is the same file.
fn bytes(content: &Content) -> &cache::Digest {
    match content {
        Content::Tree(digest) | Content::File { blob: digest, .. } => digest,
    }
}

/// The origin of an exported model: a file in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportOrigin {
    pub content: String,
    pub stage: String,
    pub run: String,
}

/// The graph of all known actions.
pub struct Lineage<'a> {
    actions: &'a [KnownAction],
}

/// An action reached from the start, and by which input.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its index.
    action: usize,
    /// `data (data/sft.jsonl)`.
    through: String,
}

impl<'a> Lineage<'a> {
    pub fn of(actions: &'a [KnownAction]) -> Lineage<'a> {
        Lineage { actions }
    }

    /// Everything that was made from these contents, directly or through others, the nearest first.
    pub fn descendants(&self, start: &[Content]) -> Vec<Link> {
        let mut readers: BTreeMap<&cache::Digest, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, action) in self.actions.iter().enumerate() {
            for (input, (_, _, content)) in action.inputs.iter().enumerate() {
                readers.entry(bytes(content)).or_default().push((at, input));
            }
        }
        let mut reached = Vec::new();
        let mut known = BTreeSet::new();
        let mut open: Vec<&Content> = start.iter().collect();
        while !open.is_empty() {
            let mut next = Vec::new();
            for content in open {
                for (at, input) in readers.get(bytes(content)).into_iter().flatten() {
                    if known.insert(*at) {
                        let (port, name, _) = &self.actions[*at].inputs[*input];
                        reached.push(Link { action: *at, through: through(port, name) });
                        next.extend(self.actions[*at].outputs.iter().chain(&self.actions[*at].files));
                    }
                }
            }
            open = next;
        }
        reached
    }

    /// The actions that made these contents, directly or through others, the nearest first; and the contents that none
    /// made, with their names in the file: what came from outside.
    pub fn ancestors(&self, start: &[Content]) -> (Vec<Link>, Vec<(String, Content)>) {
        let mut makers: BTreeMap<&cache::Digest, Vec<usize>> = BTreeMap::new();
        for (at, action) in self.actions.iter().enumerate() {
            for content in action.outputs.iter().chain(&action.files) {
                makers.entry(bytes(content)).or_default().push(at);
            }
        }
        let (mut reached, mut outside) = (Vec::new(), Vec::new());
        let mut known = BTreeSet::new();
        let mut open: Vec<(&Content, String)> = start.iter().map(|content| (content, String::new())).collect();
        while !open.is_empty() {
            let mut next = Vec::new();
            for (content, name) in open {
                let makers = makers.get(bytes(content));
                // A kept incumbent is the output of a stage before, and of none that kept it.
                let Some(makers) = makers else {
                    if !outside.iter().any(|(other, known): &(String, Content)| known == content && *other == name) {
                        outside.push((name, content.clone()));
                    }
                    continue;
                };
                for at in makers {
                    if known.insert(*at) {
                        reached.push(Link { action: *at, through: name.clone() });
                        next.extend(self.actions[*at].inputs.iter().map(|(_, name, content)| (content, name.clone())));
                    }
                }
            }
            open = next;
        }
        (reached, outside)
    }

    /// The contents that an action and all that follow from it made.
    pub fn made(&self, reached: &[Link]) -> Vec<&Content> {
        reached.iter().flat_map(|reached| &self.actions[reached.action].outputs).collect()
    }

    /// The names of the stages of `run`, in their order of the graph.
    pub fn stages_of(&self, reached: &[Link], run: &str) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for action in reached.iter().map(|reached| &self.actions[reached.action]).filter(|action| action.run == run) {
            if !names.contains(&action.stage.as_str()) {
                names.push(&action.stage);
            }
        }
        names
    }

    /// A row for each action.
    pub fn table(&self, reached: &[Link]) -> Grid {
        let headers = [
            Header::name("stage"),
            Header::name("kind"),
            Header::text("through"),
            Header::name("last used in"),
            Header::name("key"),
            Header::name("result"),
        ];
        let mut grid = Grid::new(headers);
        for Link { action, through } in reached {
            let action = &self.actions[*action];
            let title = match &action.part {
                Some(part) => format!("{}: {part}", action.stage),
                None => action.stage.clone(),
            };
            let (result, tone) = if action.is_stored { ("stored", Tone::Plain) } else { ("gone", Tone::Quiet) };
            grid.add([
                plain(title),
                plain(&action.kind),
                plain(through),
                plain(&action.run),
                plain(action.key.get(..12).unwrap_or(&action.key)),
                cell(result, tone),
            ]);
        }
        grid
    }
}

fn through(port: &str, name: &str) -> String {
    if name.is_empty() { port.to_owned() } else { format!("{port} ({name})") }
}

/// The files, directories and hub models that nothing here made.
pub fn outside(contents: &[(String, Content)]) -> Grid {
    let mut grid = Grid::new([Header::text("from outside"), Header::name("content")]);
    for (name, content) in contents {
        let name = if name.is_empty() { "(not named in a journal that is left)" } else { name };
        grid.add([plain(name), plain(content)]);
    }
    grid
}

/// The folders that hold one of these contents.
pub fn exports(folders: &[ExportedFolder], made: &[String]) -> Grid {
    let headers = ["exported to", "stage", "content", "when", "by"];
    let mut grid = Grid::new(headers.map(Header::name));
    for folder in folders.iter().filter(|folder| made.contains(&folder.content)) {
        let ExportedFolder { at, stage, content, directory, by, .. } = folder;
        grid.add([plain(directory), plain(stage), plain(short(content)), plain(moment(at)), plain(by)]);
    }
    grid
}

/// The sentence below what stands on something: what a run would do without it.
pub fn without(names: &[&str], run: &str) -> Sheet {
    Sheet::note(match names {
        [] => format!("Without it nothing of {run} would run again."),
        names => format!("Without it these stages of {run} would run again: {}.", names.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::page::{Page, print};
    use super::*;
    use cache::Digest;
    use expect_test::expect;

    fn file(name: &str) -> Content {
        Content::File { format: "jsonl".to_owned(), blob: Digest::of(name.as_bytes()) }
    }

    fn tree(name: &str) -> Content {
        Content::Tree(Digest::of(name.as_bytes()))
    }

    fn action(stage: &str, kind: &str, inputs: &[(&str, &str, Content)], outputs: &[Content]) -> KnownAction {
        let inputs =
            inputs.iter().map(|(port, name, content)| ((*port).to_owned(), (*name).to_owned(), content.clone()));
        KnownAction {
            key: Digest::of(stage.as_bytes()).to_string(),
            stage: stage.to_owned(),
            part: None,
            kind: kind.to_owned(),
            run: "20261121T080000-toy".to_owned(),
            at: "2026-11-21T08:00:00Z".to_owned(),
            inputs: inputs.collect(),
            outputs: outputs.to_vec(),
            files: Vec::new(),
            is_stored: stage != "ppo_1",
        }
    }

    fn toy() -> Vec<KnownAction> {
        vec![
            action(
                "sft",
                "sft",
                &[("model", "hub", tree("hub")), ("data", "data/sft.jsonl", file("rows"))],
                &[tree("sft")],
            ),
            action(
                "rm_1",
                "rm",
                &[("model", "sft", tree("sft")), ("data", "data/p.jsonl", file("pairs"))],
                &[tree("rm")],
            ),
            action("ppo_1", "ppo", &[("policy", "sft", tree("sft")), ("reward", "rm_1", tree("rm"))], &[tree("ppo")]),
            action("alone", "sft", &[("data", "data/q.jsonl", file("other"))], &[tree("alone")]),
        ]
    }

    #[test]
    fn what_stands_on_a_file_is_found_through_what_was_made_of_it() {
        let actions = toy();
        let lineage = Lineage::of(&actions);
        let reached = lineage.descendants(&[file("pairs")]);
        let names = lineage.stages_of(&reached, "20261121T080000-toy");
        let sheets = [lineage.table(&reached).into(), without(&names, "20261121T080000-toy")];
        expect![[r#"
            stage  kind  through              last used in         key           result
            ─────────────────────────────────────────────────────────────────────────────
            rm_1   rm    data (data/p.jsonl)  20261121T080000-toy  8d058f47d011  stored
            ppo_1  ppo   reward (rm_1)        20261121T080000-toy  66e9a676ab97  gone

            Without it these stages of 20261121T080000-toy would run again: rm_1, ppo_1.
        "#]]
        .assert_eq(&print(&sheets, Page { width: 100, has_color: false, breaks_words: true }));
        assert_eq!(lineage.descendants(&[file("nobody's")]), []);
    }

    #[test]
    fn a_model_leads_back_to_every_file_it_was_made_of() {
        let actions = toy();
        let (reached, from) = Lineage::of(&actions).ancestors(&[tree("ppo")]);
        let names: Vec<&str> = reached.iter().map(|reached| actions[reached.action].stage.as_str()).collect();
        assert_eq!(names, ["ppo_1", "sft", "rm_1"]);
        let outside: Vec<&str> = from.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(outside, ["hub", "data/sft.jsonl", "data/p.jsonl"]);
    }

    #[test]
    fn a_folder_is_named_where_its_model_was_made() {
        let folder = ExportedFolder {
            at: "2026-11-21T08:00:00Z".to_owned(),
            stage: "ppo_1".to_owned(),
            run: "r".to_owned(),
            content: tree("ppo").to_string(),
            directory: "published/ppo".to_owned(),
            by: "me".to_owned(),
        };
        let made = vec![tree("ppo").to_string()];
        assert_eq!(exports(std::slice::from_ref(&folder), &made).rows.len(), 1);
        assert_eq!(exports(&[folder], &[]).rows.len(), 0);
    }
}
