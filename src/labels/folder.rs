//! All label files of a pipeline, and the labels that count for a worklist: labels are bound to items, so that those
//! made for an earlier worklist count wherever their item is still the same.

use super::chain::{self, ChainLine, LabelFile};
use anyhow::{Context, Result, anyhow, bail};
use stages::people::label::{Correction, EffectiveLabels, Freeze, Label, LabelEntry};
use stages::people::worklist::Worklist;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// The most bytes of a file.
const MOST: u64 = 1 << 30;

/// The files by their names below the folder: `<worklist>/<person>-<session>.jsonl`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelFolder {
    pub files: BTreeMap<String, LabelFile>,
}

/// The labels of a worklist that count, and those that are there beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelStanding {
    /// Those that count: the frozen ones once enough were there, until then all.
    pub effective: EffectiveLabels,
    pub is_closed: bool,
    /// Whether there are later ones, which `--adopt` takes in, and how many items they are about.
    pub later: usize,
}

impl LabelFolder {
    /// Everything in the folder; nothing if there is none.
    ///
    /// # Errors
    /// A file cannot be read, or its chain is broken: file and line are named.
    pub fn read(folder: &Path) -> Result<LabelFolder> {
        let mut found = LabelFolder::default();
        for name in names(folder)? {
            let file = read_file(folder, &name)?;
            found.files.insert(name, file);
        }
        Ok(found)
    }

    /// Reads again the files that have grown or that are new.
    ///
    /// # Errors
    /// As [`LabelFolder::read`].
    pub fn refresh(&mut self, folder: &Path) -> Result<bool> {
        let (names, mut is_changed) = (names(folder)?, false);
        self.files.retain(|name, _| names.contains(name));
        for name in names {
            let length = std::fs::metadata(folder.join(&name)).with_context(|| format!("read {name}"))?.len();
            if self.files.get(&name).is_none_or(|known| known.length != length) {
                self.files.insert(name.clone(), read_file(folder, &name)?);
                is_changed = true;
            }
        }
        Ok(is_changed)
    }

    /// Sentences about lines that were cut off.
    pub fn notes(&self) -> Vec<String> {
        let torn = self.files.iter().flat_map(|(name, file)| file.torn.iter().map(move |line| (name, line)));
        torn.map(|(name, line)| format!("{name}: line {line} was cut off and is skipped")).collect()
    }

    /// Where every file ends.
    pub fn heads(&self) -> BTreeMap<String, String> {
        let ends = self.files.iter().filter(|(_, file)| !file.lines.is_empty());
        ends.map(|(name, file)| (name.clone(), file.last.clone())).collect()
    }

    /// The client ids of everything.
    pub fn clients(&self) -> BTreeSet<String> {
        let lines = self.files.values().flat_map(|file| &file.lines);
        lines.filter_map(|line| line.entry.client().map(str::to_owned)).collect()
    }

    /// All labels of the items of a worklist.
    pub fn labels(&self, worklist: &Worklist) -> EffectiveLabels {
        effective(self.files.values().flat_map(|file| &file.lines), worklist)
    }

    /// The labels of a worklist that count.
    ///
    /// # Errors
    /// Labels that were frozen are gone.
    pub fn standing(&self, worklist: &Worklist) -> Result<LabelStanding> {
        let all = self.labels(worklist);
        let Some(freeze) = self.last_freeze(worklist) else {
            return Ok(LabelStanding { effective: all, is_closed: false, later: 0 });
        };
        let frozen = self.frozen(freeze, worklist)?;
        let differs = |label: &&Label| frozen.of(&label.item, &label.by, label.round) != Some(label);
        let gone = frozen.iter().filter(|label| all.of(&label.item, &label.by, label.round).is_none());
        let later = all.iter().filter(differs).count() + gone.count();
        Ok(LabelStanding { effective: frozen, is_closed: true, later })
    }

    /// The freeze that no other one was made after. Of two branches that were merged, each may have one: then the later one.
    fn last_freeze(&self, worklist: &Worklist) -> Option<&Freeze> {
        let mut freezes: Vec<(&String, usize, &Freeze)> = Vec::new();
        for (name, file) in &self.files {
            for (at, line) in file.lines.iter().enumerate() {
                if let LabelEntry::Close(freeze) | LabelEntry::Adopt(freeze) = &line.entry
                    && freeze.worklist == worklist.digest
                {
                    freezes.push((name, at, freeze));
                }
            }
        }
        let knows = |later: &Freeze, name: &String, at: usize| {
            let head = later.heads.get(name);
            head.is_some_and(|head| self.files[name].lines[at..].iter().any(|line| line.hash == *head))
        };
        let is_last = |(name, at, _): &(&String, usize, &Freeze)| {
            !freezes.iter().any(|(other, line, later)| (other, line) != (name, at) && knows(later, name, *at))
        };
        let last = freezes.iter().filter(|freeze| is_last(freeze));
        last.max_by_key(|(name, at, freeze)| (&freeze.at, *name, *at)).map(|(_, _, freeze)| *freeze)
    }

    fn frozen(&self, freeze: &Freeze, worklist: &Worklist) -> Result<EffectiveLabels> {
        let mut lines = Vec::new();
        for (name, head) in &freeze.heads {
            let known = self.files.get(name).map_or(&[][..], |file| &file.lines);
            let Some(last) = known.iter().position(|line| line.hash == *head) else {
                bail!(
                    "{name}: labels that were counted at {} are gone or changed; take the folder from version control \
                     again",
                    freeze.at
                );
            };
            lines.extend(&known[..=last]);
        }
        Ok(effective(lines.into_iter(), worklist))
    }
}

/// The names of all files, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for worklist in listed(folder)? {
        for file in listed(&folder.join(&worklist))? {
            if file.ends_with(".jsonl") {
                names.push(format!("{worklist}/{file}"));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// The names in a folder; none if there is no folder, or something else has its name.
fn listed(folder: &Path) -> Result<Vec<String>> {
    let at = || format!("read {}", folder.display());
    if !files::is_directory(folder).with_context(at)? {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).with_context(at)?;
    entries.map(|entry| Ok(entry.with_context(at)?.file_name().to_string_lossy().into_owned())).collect()
}

fn read_file(folder: &Path, name: &str) -> Result<LabelFile> {
    let path = folder.join(name);
    let bytes = files::read_user(&path, MOST).with_context(|| format!("read {}", path.display()))?;
    let worklist = name.split('/').next().unwrap_or_default();
    chain::read(&bytes, worklist)
        .map_err(|fault| anyhow!("read {}: line {}: {}", path.display(), fault.line, fault.reason))
}

/// The labels that lines leave: corrections and withdrawals name labels by their client ids, wherever those stand.
fn effective<'a>(lines: impl Iterator<Item = &'a ChainLine>, worklist: &Worklist) -> EffectiveLabels {
    let mut labels: HashMap<&str, Label> = HashMap::new();
    let mut corrections: Vec<&Correction> = Vec::new();
    let mut withdrawn = BTreeSet::new();
    for line in lines {
        match &line.entry {
            LabelEntry::Label(label) => drop(labels.entry(&label.client).or_insert_with(|| label.clone())),
            LabelEntry::Correction(correction) => corrections.push(correction),
            LabelEntry::Withdrawal(withdrawal) => drop(withdrawn.insert((&*withdrawal.of, &*withdrawal.by))),
            LabelEntry::Close(_) | LabelEntry::Adopt(_) => {}
        }
    }
    corrections.sort_by_key(|correction| (&correction.at, &correction.client));
    for correction in corrections {
        if let Some(label) = labels.get_mut(correction.of.as_str()).filter(|label| label.by == correction.by) {
            let before = std::mem::replace(&mut label.judgement, correction.judgement.clone());
            if correction.after_hint {
                label.before_hint.get_or_insert(before);
            }
            label.at.clone_from(&correction.at);
        }
    }
    let mut effective = EffectiveLabels::default();
    let kept = labels.into_values().filter(|label| !withdrawn.contains(&(&*label.client, &*label.by)));
    kept.filter(|label| worklist.takes(label)).for_each(|label| effective.add(label));
    effective
}
