//! All label files of a pipeline, and the labels that count for a worklist: labels are bound to items, so that those
//! made for an earlier worklist count wherever their item is still the same.

use super::chain::{self, ChainFault, ChainLine, LabelFile};
use anyhow::{Context, Result, anyhow, bail};
use stages::people::label::{Correction, EffectiveLabels, Freeze, Label, LabelEntry};
use stages::people::worklist::Worklist;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The most bytes of a file.
const MOST: u64 = 1 << 30;

/// The files by their names below the folder: `<worklist>/<person>-<session>.jsonl`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelFolder {
    pub files: BTreeMap<String, LabelFile>,
    /// The inode of each: version control puts another file in the place of one that it changes.
    inodes: BTreeMap<String, u64>,
}

/// The change of label files since they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Only lines have been added: by file, the number of those that were there.
    Lines(BTreeMap<String, usize>),
    /// A file is gone or is another one.
    Anew,
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
        found.refresh(folder)?;
        Ok(found)
    }

    /// Reads what files have grown by, and those that are new.
    ///
    /// # Errors
    /// As [`LabelFolder::read`].
    pub fn refresh(&mut self, folder: &Path) -> Result<Growth> {
        let (names, mut lines, mut is_anew) = (names(folder)?, BTreeMap::new(), false);
        self.files.retain(|name, _| {
            let is_there = names.binary_search(name).is_ok();
            is_anew |= !is_there;
            is_there
        });
        for name in names {
            let metadata = std::fs::metadata(folder.join(&name)).with_context(|| format!("read {name}"))?;
            let is_same = self.inodes.get(&name) == Some(&metadata.ino());
            // Until it has been read, it is not known: what is damaged is read as a whole the next time.
            let known = self.files.remove(&name);
            let file = match known {
                Some(known) if is_same && known.length == metadata.len() => known,
                Some(mut known) if is_same && known.length < metadata.len() => {
                    let before = known.lines.len();
                    is_anew |= read_on(folder, &name, &mut known)?;
                    lines.insert(name.clone(), before);
                    known
                }
                known => {
                    is_anew |= known.is_some();
                    lines.insert(name.clone(), 0);
                    read_file(folder, &name)?
                }
            };
            self.inodes.insert(name.clone(), metadata.ino());
            self.files.insert(name, file);
        }
        Ok(if is_anew { Growth::Anew } else { Growth::Lines(lines) })
    }

    /// Takes in a file that was opened to be written.
    pub fn insert(&mut self, name: String, file: LabelFile, inode: u64) {
        self.inodes.insert(name.clone(), inode);
        self.files.insert(name, file);
    }

    /// Sentences about lines that were cut off.
    pub fn notes(&self) -> Vec<String> {
        let torn = self.files.iter().flat_map(|(name, file)| file.torn.iter().map(move |line| (name, line)));
        torn.map(|(name, line)| format!("{name}: line {line} was cut off and is skipped")).collect()
    }

    /// Sentences about labels of a worklist's items that do not count, since another criteria sheet was read for them.
    pub fn notes_of_sheets(&self, worklist: &Worklist) -> Vec<String> {
        let mut others: BTreeMap<&str, usize> = BTreeMap::new();
        for line in self.lines() {
            if let LabelEntry::Label(label) = &line.entry
                && worklist.place(&label.item).is_some()
                && !worklist.takes_sheet(&label.criteria)
            {
                *others.entry(&label.criteria).or_default() += 1;
            }
        }
        let has_sheet = worklist.asked.criteria.is_some();
        let told = |(digest, labels): (&str, usize)| {
            let by = if digest.is_empty() {
                "without a criteria sheet".to_owned()
            } else {
                format!("by the criteria sheet {digest}")
            };
            let way = match has_sheet {
                true => format!(
                    "where they still hold, `compatible_with: [\"{digest}\"]` in the sheet that is there keeps them"
                ),
                false => "they count again with that sheet".to_owned(),
            };
            format!("{labels} labels of these items were made {by}, and do not count; {way}")
        };
        others.into_iter().map(told).collect()
    }

    /// Where every file ends.
    pub fn heads(&self) -> BTreeMap<String, String> {
        let ends = self.files.iter().filter(|(_, file)| !file.lines.is_empty());
        ends.map(|(name, file)| (name.clone(), file.last.clone())).collect()
    }

    /// The lines of all files.
    pub fn lines(&self) -> impl Iterator<Item = &ChainLine> {
        self.files.values().flat_map(|file| &file.lines)
    }

    /// All labels of the items of a worklist.
    pub fn labels(&self, worklist: &Worklist) -> EffectiveLabels {
        effective(self.lines(), worklist)
    }

    /// The labels of one item.
    pub fn labels_of(&self, item: &str, worklist: &Worklist) -> EffectiveLabels {
        let is_of = |line: &&ChainLine| match &line.entry {
            LabelEntry::Label(label) => label.item == item,
            LabelEntry::Correction(_) | LabelEntry::Withdrawal(_) => true,
            LabelEntry::Close(_) | LabelEntry::Adopt(_) => false,
        };
        effective(self.lines().filter(is_of), worklist)
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
    chain::read(&bytes, worklist).map_err(|fault| damaged(&path, &fault))
}

/// Reads what a file has grown by. Returns whether a line that had counted does so no longer.
fn read_on(folder: &Path, name: &str, file: &mut LabelFile) -> Result<bool> {
    let path = folder.join(name);
    let read = || -> Result<Vec<u8>> {
        let (mut grown, _) = files::regular(&path)?;
        grown.seek(SeekFrom::Start(file.ended))?;
        let mut bytes = Vec::new();
        grown.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().with_context(|| format!("read {}", path.display()))?;
    file.read_on(&bytes).map_err(|fault| damaged(&path, &fault))
}

/// The error of a line that is not as it was written.
pub fn damaged(path: &Path, fault: &ChainFault) -> anyhow::Error {
    anyhow!("read {}: line {}: {}", path.display(), fault.line, fault.reason)
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
