//! The store itself: content goes in and comes out as bytes.

use crate::{
    content::{Content, Damage, format_of},
    digest::{self, Digest},
    open,
    remote::Remote,
    stats::{self, Stat, Stats},
    tree::{Entry, Links, Tree, is_executable, scan},
    write,
};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::SystemTime,
};

/// Reading a larger file a second time takes longer than waiting for a tick of the file system's clock.
const LARGE: u64 = 64 << 20;

const PARTS: [&str; 6] = ["blobs", "trees", "actions", "verdicts", "claims", "tmp"];

/// A store. Cheap to clone; several processes may use the same directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Path>,
    pub(crate) is_durable: bool,
    pub(crate) stats: Arc<Stats>,
    /// The disk has reported that it cannot share bytes between files.
    pub(crate) no_reflink: Arc<AtomicBool>,
    /// Where records and content are found that this store lacks.
    pub(crate) remote: Option<Arc<Remote>>,
    /// Set by another thread: what waits, and what reads large files, is given up.
    interrupt: Option<&'static AtomicBool>,
}

/// The treatment of a file once its hash is known.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Nothing,
    Copy,
    /// The file itself gets a second name in the store.
    Link,
}

impl Keep {
    fn open(self, file: &Path) -> io::Result<(File, Metadata)> {
        if self == Keep::Link { open::inside(file) } else { open::regular(file) }
    }
}

impl Store {
    /// Opens the store in `root`, the directory that holds `store/`; both are made if missing. A store that cannot be
    /// written to still serves lookups and reads.
    pub fn open(root: &Path) -> Result<Store> {
        let root = std::path::absolute(root).with_context(|| format!("open store {}", root.display()))?;
        let is_shared = is_shared(&root)?;
        let root = root.join("store/v1");
        for part in PARTS {
            let directory = root.join(part);
            make_directory(&directory, is_shared)
                .with_context(|| format!("create directory {}", directory.display()))?;
        }
        let stats = Arc::new(Stats::new(&root));
        Ok(Store {
            root: root.into(),
            is_durable: true,
            stats,
            no_reflink: Arc::default(),
            remote: None,
            interrupt: None,
        })
    }

    /// The same store, but nothing waits for the disk: after a loss of power (not a crash of the process) the last
    /// writes may be lost. The order of writing stays, and what was lost is a miss.
    pub fn without_fsync(self) -> Store {
        Store { is_durable: false, ..self }
    }

    /// The same store, for work that is given up once the flag is set: waiting for locks, and reading large files. The
    /// error is one of which [`is_interruption`] is true.
    pub fn interruptible(&self, flag: &'static AtomicBool) -> Store {
        Store { interrupt: Some(flag), ..self.clone() }
    }

    pub(crate) fn patient(&self) -> Store {
        Store { interrupt: None, ..self.clone() }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Writes what was learnt about files, so that the next process need not read them again. Only this call writes it:
    /// a process that only looks leaves nothing behind. A failure costs time, not correctness, so the caller does not
    /// see it.
    pub fn save_stats(&self) {
        if let Err(error) = self.stats.save() {
            tracing::debug!("the stat records were not saved: {error:#}");
        }
    }

    /// Copies a file or directory that belongs to somebody else into the store.
    pub fn capture(&self, path: &Path) -> Result<Content> {
        self.take(path, Keep::Copy).with_context(|| format!("capture {}", path.display()))
    }

    /// Takes in what the caller made and will not write to again: its files become read-only and share their bytes with
    /// the store where the file system can do that.
    pub fn adopt(&self, path: &Path) -> Result<Content> {
        self.take(path, Keep::Link).with_context(|| format!("adopt {}", path.display()))
    }

    /// The content that `capture` would return, without writing anything.
    pub fn identify(&self, path: &Path) -> Result<Content> {
        self.take(path, Keep::Nothing).with_context(|| format!("identify {}", path.display()))
    }

    /// Whether a path still holds this content. A file untouched since it was last read is not read again. The format
    /// of a file is not compared: it is in the name, not in the bytes.
    pub fn unchanged(&self, path: &Path, content: &Content) -> Result<bool> {
        if let Err(error) = fs::metadata(path)
            && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        {
            return Ok(false);
        }
        Ok(match (self.identify(path)?, content) {
            (Content::File { blob: now, .. }, Content::File { blob, .. }) => now == *blob,
            (now, content) => now == *content,
        })
    }

    /// Whether every blob exists with the right length. (The length of a single file is not known from its content; its
    /// hash is checked when the bytes are read.)
    pub fn has(&self, content: &Content) -> bool {
        self.check_present(content).is_ok()
    }

    /// Reads one file of a tree or, with `relative` "", the file itself.
    ///
    /// # Errors
    /// It is not there, or is damaged.
    pub fn read(&self, content: &Content, relative: &str) -> Result<Vec<u8>> {
        let blob = self.blob_of(content, relative)?;
        self.bring_blob(content, &blob);
        self.read_blob(&blob)?.map_err(|reason| damaged_blob(content, &blob, reason).into())
    }

    /// One file of the content, to be read piece by piece: it has been hashed.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn open_file(&self, content: &Content, relative: &str) -> Result<File> {
        let blob = self.blob_of(content, relative)?;
        self.bring_blob(content, &blob);
        if let Some(reason) = self.check_blob(&blob)? {
            return Err(damaged_blob(content, &blob, reason).into());
        }
        let path = self.blob_path(&blob);
        Ok(open::inside(&path).with_context(|| format!("read {}", path.display()))?.0)
    }

    fn blob_of(&self, content: &Content, relative: &str) -> Result<Digest> {
        match content {
            Content::File { blob, .. } if relative.is_empty() => Ok(*blob),
            Content::File { .. } => bail!("read `{relative}` of {content}: it is a file, not a directory"),
            Content::Tree(digest) => {
                let tree = self.tree(digest)?;
                let entry = tree.files.get(relative);
                Ok(entry.with_context(|| format!("read {content}: it has no file `{relative}`"))?.blob)
            }
        }
    }

    /// The content of one file of a tree: the same as if that file had been captured alone.
    ///
    /// # Errors
    /// The list of files cannot be read, or the file is not in it.
    pub fn file(&self, content: &Content, relative: &str) -> Result<Content> {
        let Content::Tree(digest) = content else { bail!("find `{relative}`: {content} is a file, not a directory") };
        let tree = self.tree(digest)?;
        match tree.files.get(relative) {
            Some(entry) => Ok(Content::File { format: format_of(Path::new(relative)), blob: entry.blob }),
            None => {
                const SHOWN: usize = 8;
                let names: Vec<String> = tree.files.keys().take(SHOWN).map(|name| format!("`{name}`")).collect();
                let more = if tree.files.len() > SHOWN { ", …" } else { "" };
                bail!("there is no file `{relative}`; there are {}{more}", names.join(", "))
            }
        }
    }

    /// Like `has`, but reads every blob that was touched since it was last read. Damaged ones are removed.
    pub fn is_sound(&self, content: &Content) -> Result<bool> {
        let mut is_sound = self.check_present(content).is_ok();
        let blobs = match content {
            Content::File { blob, .. } => vec![*blob],
            Content::Tree(digest) => {
                self.tree(digest).map(|tree| tree.files.values().map(|entry| entry.blob).collect())?
            }
        };
        for blob in blobs {
            is_sound &= self.check_blob(&blob)?.is_none();
        }
        Ok(is_sound)
    }

    /// Whether a blob is here, with this length if one is told.
    pub(crate) fn is_blob_here(&self, blob: &Digest, size: Option<u64>) -> bool {
        fs::symlink_metadata(self.blob_path(blob))
            .is_ok_and(|metadata| metadata.is_file() && size.is_none_or(|size| size == metadata.len()))
    }

    /// Like `has`, with the reason. Hashes the list of files of a tree, but only compares the lengths of blobs.
    pub(crate) fn check_present(&self, content: &Content) -> Result<()> {
        let check = |blob: &Digest, size: Option<u64>| {
            let fault = match fs::symlink_metadata(self.blob_path(blob)) {
                Ok(metadata) if !metadata.is_file() => "is not a file".to_owned(),
                Ok(metadata) => match size {
                    Some(size) if size != metadata.len() => format!("has {} bytes instead of {size}", metadata.len()),
                    _ => return Ok(()),
                },
                Err(error) if error.kind() == ErrorKind::NotFound => "is missing".to_owned(),
                Err(error) => return Err(error).with_context(|| format!("read blob {blob}")),
            };
            Err(Damage::one(content, format!("blob {blob} {fault}")).into())
        };
        match content {
            Content::File { blob, .. } => check(blob, None),
            Content::Tree(digest) => {
                self.tree_here(digest)?.files.values().try_for_each(|entry| check(&entry.blob, Some(entry.size)))
            }
        }
    }

    /// The files of a directory, without their names; none of a file.
    pub fn files(&self, content: &Content) -> Result<Vec<Content>> {
        let Content::Tree(digest) = content else { return Ok(Vec::new()) };
        let files = self.tree(digest)?.files.into_values();
        Ok(files.map(|entry| Content::File { format: String::new(), blob: entry.blob }).collect())
    }

    /// The list of files of a tree. One that is not here may come from the remote.
    pub(crate) fn tree(&self, digest: &Digest) -> Result<Tree> {
        match self.tree_here(digest) {
            Err(error) if self.remote.is_some() && error.is::<Damage>() => self.bring_tree(digest, error),
            tree => tree,
        }
    }

    pub(crate) fn tree_here(&self, digest: &Digest) -> Result<Tree> {
        match self.read_checked(&self.path("trees", digest, ".json"), digest)? {
            Ok(bytes) => Tree::parse(&bytes).with_context(|| format!("read tree {digest}")),
            Err(reason) => Err(Damage::one(&Content::Tree(*digest), format!("its list of files {reason}")).into()),
        }
    }

    /// Reads a file that `digest` names; otherwise returns what is wrong with it, and removes it if it is damaged. An
    /// error of the disk or of permissions is not taken for damage.
    fn read_checked(&self, path: &Path, digest: &Digest) -> Result<Result<Vec<u8>, &'static str>> {
        match open::read(path) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Ok(bytes)),
            Ok(_) => {
                remove_where_possible(path)?;
                Ok(Err("is damaged"))
            }
            Err(error) if open::is_foreign(&error) => {
                remove_where_possible(path)?;
                Ok(Err("is not a plain file"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Err("is missing")),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// The same for a blob, which may be larger than what the store writes itself: a large one is hashed before memory is
    /// taken for it.
    fn read_blob(&self, blob: &Digest) -> Result<Result<Vec<u8>, &'static str>> {
        let path = self.blob_path(blob);
        let read = || format!("read {}", path.display());
        match files::found(fs::symlink_metadata(&path)).with_context(read)? {
            Some(metadata) if metadata.len() > LARGE => match self.check_blob(blob)? {
                Some(reason) => Ok(Err(reason)),
                None => Ok(Ok(files::read(&path, metadata.len()).with_context(read)?)),
            },
            _ => self.read_checked(&path, blob),
        }
    }

    /// Returns what is wrong with a blob. A damaged one is removed.
    pub(crate) fn check_blob(&self, blob: &Digest) -> Result<Option<&'static str>> {
        let path = self.blob_path(blob);
        match self.known(&path) {
            Some(digest) if digest == *blob => return Ok(None),
            _ => {}
        }
        match open::inside(&path).and_then(|(file, metadata)| self.read_digest(&file, &metadata)) {
            Ok((digest, _)) if digest == *blob => Ok(None),
            Ok(_) => {
                remove_where_possible(&path)?;
                Ok(Some("is damaged"))
            }
            Err(error) if open::is_foreign(&error) => {
                remove_where_possible(&path)?;
                Ok(Some("is not a plain file"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some("is missing")),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// The content of a file of the store, if it was not touched since it was last read.
    fn known(&self, path: &Path) -> Option<Digest> {
        self.stats.known(&Stat::of(&fs::symlink_metadata(path).ok()?)?)
    }

    /// Reads and hashes a file, and remembers its content if nobody wrote to it meanwhile.
    pub(crate) fn read_digest(&self, file: &File, before: &Metadata) -> io::Result<(Digest, u64)> {
        let tick = stats::tick_of(file);
        // Otherwise a large file that was just written would have to be read again.
        if before.len() > LARGE
            && tick < stats::LONGEST_TICK
            && let Some(stat) = Stat::of(before)
        {
            thread::sleep(tick.saturating_sub(stat.age()));
        }
        let began = SystemTime::now();
        let (digest, size) = digest::of_file(file, &|| self.is_interrupted())?;
        if let Some(stat) = Stat::of(before)
            && Stat::of(&file.metadata()?) == Some(stat)
        {
            self.stats.learn(&stat, digest, began, tick);
        }
        Ok((digest, size))
    }

    /// Runs `act`, which gives a file of the store, or one being adopted, another name and leaves its bytes as they
    /// are; what is known about the file stays known.
    pub(crate) fn keep_known<T>(&self, file: &Path, act: impl FnOnce() -> T) -> T {
        let stat = || Stat::of(&fs::symlink_metadata(file).ok()?);
        let before = stat();
        let done = act();
        if let (Some(before), Some(after)) = (before, stat()) {
            self.stats.carry(&before, &after);
        }
        done
    }

    /// The same after another name of the file was removed.
    pub(crate) fn still_known(&self, before: &Metadata, after: &Metadata) {
        if let (Some(before), Some(after)) = (Stat::of(before), Stat::of(after)) {
            self.stats.carry(&before, &after);
        }
    }

    #[cfg(test)]
    pub fn know_for_test(&self, path: &Path) {
        let (stat, bytes) = (Stat::of(&fs::symlink_metadata(path).unwrap()).unwrap(), fs::read(path).unwrap());
        let later = SystemTime::now() + stats::LONGEST_TICK * 2;
        self.stats.learn(&stat, Digest::of(&bytes), later, stats::LONGEST_TICK);
    }

    #[cfg(test)]
    pub fn is_known_for_test(&self, path: &Path) -> bool {
        self.known(path).is_some()
    }

    /// Reads a path and keeps it as asked. The path of somebody else's file may be a link, since a person chose it; what
    /// a stage made is a link nowhere.
    fn take(&self, path: &Path, keep: Keep) -> Result<Content> {
        let metadata = if keep == Keep::Link { fs::symlink_metadata(path) } else { fs::metadata(path) };
        let metadata = metadata.with_context(|| format!("read {}", path.display()))?;
        if metadata.is_file() {
            let (blob, _) = self.take_file(path, &metadata, keep)?;
            return Ok(Content::File { format: format_of(path), blob });
        }
        ensure!(metadata.is_dir(), "neither a file nor a directory");
        let mut tree = Tree::default();
        let links = if keep == Keep::Link { Links::Refused } else { Links::Followed };
        let found = scan(path, links)?;
        for (name, metadata) in found.files {
            let (blob, size) = self.take_file(&path.join(&name), &metadata, keep)?;
            tree.files.insert(name, Entry { blob, size, executable: is_executable(&metadata) });
        }
        tree.empty = found.empty;
        let bytes = tree.bytes();
        let digest = Digest::of(&bytes);
        if keep != Keep::Nothing {
            self.keep_tree(&digest, &bytes)?;
        }
        Ok(Content::Tree(digest))
    }

    pub(crate) fn keep_tree(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.path("trees", digest, ".json");
        if self.read_checked(&path, digest)?.is_err() {
            write::create(self.draft(bytes)?, &path, self.is_durable)?;
        }
        Ok(())
    }

    fn take_file(&self, file: &Path, metadata: &Metadata, keep: Keep) -> Result<(Digest, u64)> {
        let read = || format!("read {}", file.display());
        let known = Stat::of(metadata).and_then(|stat| self.stats.known(&stat));
        let (blob, size) = match known {
            Some(blob) => (blob, metadata.len()),
            None => keep.open(file).and_then(|(open, now)| self.read_digest(&open, &now)).with_context(read)?,
        };
        let path = self.blob_path(&blob);
        if keep == Keep::Nothing || is_present(&path, size)? {
            return Ok((blob, size));
        }
        let link = || write::link(file, &path, self.is_durable);
        if keep == Keep::Link && can_be_shared(metadata) && self.keep_known(file, link)? {
            return Ok((blob, size));
        }
        let (mut source, _) = keep.open(file).with_context(read)?;
        let copy = write::draft(&self.path_of_drafts(), |copy| {
            reflink_copy::reflink_file(&source, copy).or_else(|_| io::copy(&mut source, copy).map(drop))
        })?;
        // Somebody may have written to the file meanwhile: the copy is kept, so the copy is hashed.
        let copied = File::open(copy.path()).and_then(|copy| digest::of_file(&copy, &|| self.is_interrupted()));
        let (blob, size) = copied.with_context(|| format!("read {}", copy.path().display()))?;
        write::create(copy, &self.blob_path(&blob), self.is_durable)?;
        Ok((blob, size))
    }

    pub(crate) fn draft(&self, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
        write::draft(&self.path_of_drafts(), write::all(bytes))
    }

    /// The directory that holds the parts.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn part(&self, part: &str) -> PathBuf {
        self.root.join(part)
    }

    pub(crate) fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.path("blobs", blob, "")
    }

    pub(crate) fn path(&self, part: &str, digest: &Digest, suffix: &str) -> PathBuf {
        let hex = digest.hex();
        let hex = str::from_utf8(&hex).expect("hex digits are ASCII");
        let mut path = OsString::with_capacity(self.root.as_os_str().len() + 100);
        path.push(self.root.as_os_str());
        for piece in ["/", part, "/", &hex[..2], "/", &hex[2..], suffix] {
            path.push(piece);
        }
        path.into()
    }

    pub(crate) fn path_of_drafts(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// The file beside `store/` that says who may read it.
const SETTINGS: &str = "store.json";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    shared: bool,
}

fn damaged_blob(content: &Content, blob: &Digest, reason: &str) -> Damage {
    Damage::one(content, format!("blob {blob} {reason}"))
}

/// Whether what is made in `root`, which holds the store, is for other users as well: where its `store.json` says
/// `{"shared": true}`. Otherwise inputs that nobody else may read would be open to all in the store.
pub fn is_shared(root: &Path) -> Result<bool> {
    const MOST: u64 = 64 << 10;
    let path = root.join(SETTINGS);
    let read = || format!("read {}", path.display());
    let Some(bytes) = files::found(files::read_user(&path, MOST)).with_context(read)? else { return Ok(false) };
    Ok(serde_json::from_slice::<Settings>(&bytes).with_context(read)?.shared)
}

/// Makes a directory of the store. A link in its place would carry everything that is written out of the root.
fn make_directory(directory: &Path, is_shared: bool) -> io::Result<()> {
    match files::make_directory(directory, is_shared) {
        // A read-only store of an older version lacks a part that this one knows.
        Err(error) if open::is_read_only(&error) && directory.parent().is_some_and(Path::is_dir) => return Ok(()),
        made => made?,
    }
    match fs::symlink_metadata(directory)?.is_dir() {
        true => Ok(()),
        false => Err(io::Error::new(ErrorKind::NotADirectory, "a link is in its place; take it away")),
    }
}

/// Whether the file exists and need not be written. A file of the wrong length cannot be what its name promises, so it
/// is removed.
fn is_present(path: &Path, size: u64) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() == size => Ok(true),
        Ok(_) => remove_damaged(path).map(|()| false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Removes a damaged file for a caller that only reads: a read-only disk must not hide what is wrong with the file.
fn remove_where_possible(path: &Path) -> Result<()> {
    match remove_damaged(path) {
        Err(error) if error.downcast_ref().is_some_and(open::is_read_only) => Ok(()),
        outcome => outcome,
    }
}

fn remove_damaged(path: &Path) -> Result<()> {
    write::check_parent(path)?;
    tracing::warn!("removing {}: its content is not what its name says", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether the store may share the bytes of a file. A file with a second name may be changed through it, and an
/// executable file cannot share its permission bits with a blob that is also used as plain data.
#[cfg(unix)]
fn can_be_shared(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.nlink() == 1 && !is_executable(metadata)
}

#[cfg(not(unix))]
fn can_be_shared(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::tests::files_read,
        sample::{self, write},
    };

    #[test]
    fn a_directory_reads_back_file_by_file() {
        let (home, store) = sample::store();
        let content = store.capture(&sample::model(home.path())).unwrap();
        assert!(store.has(&content));
        assert_eq!(store.read(&content, "model/config.json").unwrap(), b"{}");
        assert_eq!(store.read(&content, "tokenizer/vocab.txt").unwrap(), "ねこ\n".as_bytes());
        let open = store.open_file(&content, "tokenizer/vocab.txt").unwrap();
        assert_eq!(std::io::read_to_string(open).unwrap(), "ねこ\n");
        let error = store.read(&content, "model/none").unwrap_err().to_string();
        assert!(error.ends_with("it has no file `model/none`"), "{error}");
        assert!(store.read(&content, "../model/config.json").is_err());
    }

    #[test]
    fn the_same_content_is_the_same_id_whatever_its_name_or_time() {
        let (home, store) = sample::store();
        let one = write(home.path(), "one.jsonl", "{}\n");
        let other = write(home.path(), "elsewhere/other.JSONL", "{}\n");
        let old = std::time::SystemTime::UNIX_EPOCH;
        File::options().write(true).open(&other).unwrap().set_modified(old).unwrap();
        assert_eq!(store.capture(&one).unwrap(), store.capture(&other).unwrap());
        assert_eq!(store.read(&store.capture(&one).unwrap(), "").unwrap(), b"{}\n");
        let (first, second) = (sample::model(&home.path().join("a")), sample::model(&home.path().join("b")));
        assert_eq!(store.capture(&first).unwrap(), store.capture(&second).unwrap());
    }

    #[test]
    fn the_format_is_part_of_the_id_of_a_file() {
        let (home, store) = sample::store();
        let ids = ["a.txt", "a.jsonl", "a"].map(|name| store.capture(&write(home.path(), name, "x")).unwrap());
        let blob = Digest::of(b"x");
        assert_eq!(
            ids.map(|id| id.to_string()),
            [format!("file.txt:{blob}"), format!("file.jsonl:{blob}"), format!("file:{blob}")]
        );
    }

    #[test]
    fn a_renamed_file_inside_a_directory_is_another_directory() {
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        let before = store.identify(&directory).unwrap();
        fs::rename(directory.join("run.sh"), directory.join("walk.sh")).unwrap();
        assert_ne!(store.identify(&directory).unwrap(), before);
    }

    #[test]
    fn capture_adopt_and_identify_agree_and_identify_writes_nothing() {
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        let content = store.identify(&directory).unwrap();
        assert!(!store.has(&content));
        assert_eq!(sample::files(home.path().join(".pipeline")), Vec::<PathBuf>::new());
        assert_eq!(store.capture(&directory).unwrap(), content);
        // A second store, so that adopting has something to do; twice, since the first makes files read-only.
        let second = Store::open(&home.path().join("second")).unwrap();
        assert_eq!(second.adopt(&directory).unwrap(), content);
        assert_eq!(second.adopt(&directory).unwrap(), content);
        assert!(store.has(&content) && second.has(&content));
    }

    #[cfg(unix)]
    #[test]
    fn adopting_shares_the_bytes_of_plain_files_nobody_else_can_write_to() {
        use std::os::unix::fs::MetadataExt;
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        let elsewhere = home.path().join("elsewhere");
        fs::hard_link(directory.join("tokenizer/vocab.txt"), &elsewhere).unwrap();
        store.adopt(&directory).unwrap();
        let names = |file: &str| fs::metadata(directory.join(file)).unwrap().nlink();
        assert_eq!(names("model/model.safetensors"), 2);
        assert_eq!(names("tokenizer/vocab.txt"), 2, "the name elsewhere is the only other one");
        assert_eq!(names("run.sh"), 1);
        assert!(!fs::metadata(elsewhere).unwrap().permissions().readonly());
    }

    #[cfg(unix)]
    #[test]
    fn links_and_sockets_inside_a_directory_are_refused() {
        let (home, store) = sample::store();
        let secret = write(home.path(), "secret", "x");
        let refused = |name: &str, make: &dyn Fn(&Path)| {
            let directory = sample::model(&home.path().join(name));
            make(&directory.join("model/odd"));
            if name != "file" {
                assert!(store.capture(&directory).is_err());
                assert!(store.identify(&directory).is_err());
            }
            format!("{:#}", store.adopt(&directory).unwrap_err())
        };
        let link = |to: &'static str| move |at: &Path| std::os::unix::fs::symlink(to, at).unwrap();
        let to_file = refused("file", &|at| std::os::unix::fs::symlink(&secret, at).unwrap());
        let to_directory = refused("directory", &link("../tokenizer"));
        let to_nothing = refused("nothing", &link("nowhere"));
        let socket = refused("socket", &|at| drop(std::os::unix::net::UnixListener::bind(at).unwrap()));
        for error in [to_file, to_directory, to_nothing] {
            assert!(error.contains("model/odd: a symbolic link; put what it points to in its place"), "{error}");
        }
        assert!(socket.ends_with("model/odd: neither a file nor a directory"), "{socket}");
    }

    /// Links to files, as in the cache of a hub: the content is that of the files, and files are stored.
    #[cfg(unix)]
    #[test]
    fn a_directory_of_links_to_files_is_the_directory_of_the_files() {
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        let links = home.path().join("links");
        for (name, _) in scan(&directory, Links::Refused).unwrap().files {
            fs::create_dir_all(links.join(&name).parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(directory.join(&name), links.join(&name)).unwrap();
        }
        let content = store.identify(&directory).unwrap();
        assert_eq!(store.identify(&links).unwrap(), content);
        assert_eq!(store.capture(&links).unwrap(), content);
        let placed = home.path().join("placed");
        store.place(&content, &placed).unwrap();
        assert!(scan(&placed, Links::Refused).is_ok());
        // A write to the file behind a link is seen.
        let (name, _) = scan(&directory, Links::Refused).unwrap().files.pop_first().unwrap();
        fs::write(directory.join(name), "something else").unwrap();
        assert_ne!(store.identify(&links).unwrap(), content);
    }

    #[cfg(unix)]
    #[test]
    fn the_path_that_was_asked_for_may_be_a_link() {
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert_eq!(store.capture(&link).unwrap(), store.capture(&directory).unwrap());
    }

    #[test]
    fn what_is_already_there_is_not_written_again() {
        let (home, store) = sample::store();
        let content = store.capture(&sample::model(home.path())).unwrap();
        let steps = || {
            let before = crate::write::tests::steps_taken();
            assert_eq!(store.capture(&home.path().join("model")).unwrap(), content);
            crate::write::tests::steps_taken() - before
        };
        assert_eq!(steps(), 0);
    }

    #[test]
    fn a_truncated_blob_is_written_again_by_the_next_capture() {
        let (home, store) = sample::store();
        let file = write(home.path(), "a.txt", "four");
        let content = store.capture(&file).unwrap();
        sample::overwrite(&store.blob_path(&Digest::of(b"four")), b"fo");
        assert_eq!(store.capture(&file).unwrap(), content);
        assert_eq!(store.read(&content, "").unwrap(), b"four");
    }

    #[test]
    fn bytes_that_are_not_what_their_name_says_are_never_read() {
        let (home, store) = sample::store();
        let content = store.capture(&write(home.path(), "a.txt", "four")).unwrap();
        let blob = store.blob_path(&Digest::of(b"four"));
        sample::overwrite(&blob, b"five");
        let error = store.read(&content, "").unwrap_err();
        assert!(error.downcast_ref::<Damage>().unwrap().faults[0].ends_with("is damaged"), "{error}");
        assert!(!blob.exists() && !store.has(&content));
        assert!(store.read(&content, "").unwrap_err().to_string().ends_with("is missing"));
    }

    #[cfg(unix)]
    #[test]
    fn what_nobody_touched_is_not_read_again_by_this_process_or_the_next() {
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        let content = store.identify(&directory).unwrap();
        let read_by = |store: &Store| files_read(|| assert_eq!(store.identify(&directory).unwrap(), content));
        assert_eq!(read_by(&store), 4, "what was just written may be written again within the tick of its time");
        sample::wait_for_tick(&directory);
        assert_eq!(read_by(&store), 4);
        assert_eq!(read_by(&store), 0);
        store.save_stats();
        assert_eq!(read_by(&Store::open(&home.path().join(".pipeline")).unwrap()), 0);
        assert_eq!(read_by(&Store::open(&home.path().join("second")).unwrap()), 4);
        // Without stat records, and with damaged ones, the store works as it did before there were any.
        let stats = home.path().join(".pipeline/store/v1/stats");
        sample::overwrite(&stats, b"stats 1\n and nothing else");
        assert_eq!(read_by(&Store::open(&home.path().join(".pipeline")).unwrap()), 4);
    }

    #[cfg(unix)]
    #[test]
    fn an_edit_that_keeps_the_size_and_the_time_is_seen() {
        let (home, store) = sample::store();
        let file = write(home.path(), "a.txt", "four");
        sample::wait_for_tick(&file);
        let content = store.identify(&file).unwrap();
        assert_eq!(files_read(|| assert!(store.unchanged(&file, &content).unwrap())), 0);
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        let mut open = File::options().write(true).open(&file).unwrap();
        io::Write::write_all(&mut open, b"five").unwrap();
        open.set_modified(time).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), time);
        assert!(!store.unchanged(&file, &content).unwrap());
        let now = store.identify(&file).unwrap();
        assert_eq!(now, Content::File { format: "txt".to_owned(), blob: Digest::of(b"five") });
    }

    #[test]
    fn a_path_is_unchanged_as_long_as_it_holds_the_content() {
        let (home, store) = sample::store();
        let file = write(home.path(), "a.jsonl", "{}");
        let directory = sample::model(home.path());
        let (one, all) = (store.identify(&file).unwrap(), store.identify(&directory).unwrap());
        let unchanged = |path: &Path, content: &Content| store.unchanged(path, content).unwrap();
        assert!(unchanged(&file, &one) && unchanged(&directory, &all));
        assert!(unchanged(&write(home.path(), "a.other", "{}"), &one));
        assert!(!unchanged(&file, &all) && !unchanged(&directory, &one));
        fs::write(&file, "[]").unwrap();
        write(&directory, "new.txt", "");
        assert!(!unchanged(&file, &one) && !unchanged(&directory, &all));
        fs::remove_dir_all(&directory).unwrap();
        assert!(!unchanged(&directory, &all) && !unchanged(&file.join("below"), &all));
    }

    #[cfg(unix)]
    #[test]
    fn an_adopted_checkpoint_is_read_once_however_often_it_is_placed() {
        let (home, store) = sample::store();
        let directory = sample::model(home.path());
        // The executable file would be copied, and the copy read: it is not part of this test.
        fs::remove_file(directory.join("run.sh")).unwrap();
        sample::wait_for_tick(&directory);
        let mut content = None;
        assert_eq!(files_read(|| content = Some(store.adopt(&directory).unwrap())), 3);
        let content = content.unwrap();
        let place = |store: &Store, name: &str| files_read(|| store.place(&content, &home.path().join(name)).unwrap());
        assert_eq!(place(&store, "one"), 0);
        assert_eq!(place(&store, "two"), 0, "placing by a link changes the stat, but not what is known");
        store.save_stats();
        let next = Store::open(&home.path().join(".pipeline")).unwrap();
        assert_eq!(place(&next, "three"), 0);
        assert_eq!(files_read(|| assert!(next.unchanged(&directory, &content).unwrap())), 0);

        // Damage that keeps size and time.
        let weights = directory.join("model/model.safetensors");
        let blob = store.blob_path(&Digest::of(&fs::read(&weights).unwrap()));
        let time = fs::metadata(&blob).unwrap().modified().unwrap();
        sample::overwrite(&blob, "Weights ".repeat(20_000).as_bytes());
        File::open(&blob).unwrap().set_modified(time).unwrap();
        let error = next.place(&content, &home.path().join("four")).unwrap_err();
        assert!(error.to_string().ends_with("(model/model.safetensors) is damaged"), "{error:#}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_a_part_of_the_store_is_refused() {
        for part in PARTS {
            let (home, store) = sample::store();
            drop(store);
            let outside = home.path().join("outside");
            fs::create_dir(&outside).unwrap();
            let directory = home.path().join(".pipeline/store/v1").join(part);
            fs::remove_dir_all(&directory).unwrap();
            std::os::unix::fs::symlink(&outside, &directory).unwrap();
            let error = format!("{:#}", Store::open(&home.path().join(".pipeline")).unwrap_err());
            assert!(error.ends_with(&format!("{part}: a link is in its place; take it away")), "{error}");
        }
    }
}
