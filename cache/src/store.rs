//! Content into the store and out of it as bytes. Knows nothing of records or of who asks.

use crate::{
    content::{Content, format_of},
    digest::{self, Digest},
    place::Damaged,
    tree::{Entry, Tree, is_executable, scan},
    write,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// A directory of content. Cheap to clone; several processes may use the same one.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// What becomes of a file once its hash is known.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Nothing,
    Copy,
    /// The file itself gets a second name in the store.
    Link,
}

impl Store {
    /// `root` is the directory that holds `store/`; both are made if they are not there.
    pub fn open(root: &Path) -> Result<Store> {
        let root = std::path::absolute(root).with_context(|| format!("open store {}", root.display()))?;
        let store = Store { root: root.join("store/v1") };
        for part in ["blobs", "trees", "actions", "verdicts", "tmp"] {
            let directory = store.root.join(part);
            fs::create_dir_all(&directory).with_context(|| format!("create directory {}", directory.display()))?;
        }
        Ok(store)
    }

    /// Takes a copy of a file or directory that belongs to somebody else.
    pub fn capture(&self, path: &Path) -> Result<Content> {
        self.take(path, Keep::Copy).with_context(|| format!("capture {}", path.display()))
    }

    /// The same for what the caller made and will not write to again: its files become read-only and share
    /// their bytes with the store where the file system can do that.
    pub fn adopt(&self, path: &Path) -> Result<Content> {
        self.take(path, Keep::Link).with_context(|| format!("adopt {}", path.display()))
    }

    /// The content that `capture` would give, without writing anything.
    pub fn identify(&self, path: &Path) -> Result<Content> {
        self.take(path, Keep::Nothing).with_context(|| format!("identify {}", path.display()))
    }

    /// Whether every blob is there with the right length. (The length of a single file is not known from its
    /// content; a wrong one is found by its hash when the bytes are asked for.)
    pub fn has(&self, content: &Content) -> bool {
        self.check_present(content).is_ok()
    }

    /// One file of a tree, or with `relative` "" the file itself.
    pub fn read(&self, content: &Content, relative: &str) -> Result<Vec<u8>> {
        let blob = match content {
            Content::File { blob, .. } if relative.is_empty() => *blob,
            Content::File { .. } => bail!("read `{relative}` of {content}: it is a file, not a directory"),
            Content::Tree(digest) => {
                let tree = self.tree(digest)?;
                tree.0.get(relative).with_context(|| format!("read {content}: it has no file `{relative}`"))?.blob
            }
        };
        let damaged = |reason: &str| Damaged::one(content, format!("blob {blob} {reason}"));
        self.read_checked(&self.blob_path(&blob), &blob)?.map_err(|reason| damaged(reason).into())
    }

    /// `has`, with the reason. Hashes the list of files of a tree, but of blobs looks at the length only.
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
            Err(Damaged::one(content, format!("blob {blob} {fault}")).into())
        };
        match content {
            Content::File { blob, .. } => check(blob, None),
            Content::Tree(digest) => {
                self.tree(digest)?.0.values().try_for_each(|entry| check(&entry.blob, Some(entry.size)))
            }
        }
    }

    pub(crate) fn tree(&self, digest: &Digest) -> Result<Tree> {
        match self.read_checked(&self.path("trees", digest, ".json"), digest)? {
            Ok(bytes) => Tree::parse(&bytes).with_context(|| format!("read tree {digest}")),
            Err(reason) => Err(Damaged::one(&Content::Tree(*digest), format!("its list of files {reason}")).into()),
        }
    }

    /// The bytes at `path` if they are those that `digest` names; else what is wrong with them, and damaged ones
    /// are removed. An error of the disk or of permissions is not taken for damage.
    fn read_checked(&self, path: &Path, digest: &Digest) -> Result<Result<Vec<u8>, &'static str>> {
        match fs::read(path) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Ok(bytes)),
            Ok(_) => {
                remove_damaged(path)?;
                Ok(Err("is damaged"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Err("is missing")),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// What is wrong with a blob; a damaged one is removed.
    pub(crate) fn check_blob(&self, blob: &Digest) -> Result<Option<&'static str>> {
        let path = self.blob_path(blob);
        match digest::of_file(&path) {
            Ok((digest, _)) if digest == *blob => Ok(None),
            Ok(_) => {
                remove_damaged(&path)?;
                Ok(Some("is damaged"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some("is missing")),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// The path itself may be a link, since the caller chose it; what lies below may not.
    fn take(&self, path: &Path, keep: Keep) -> Result<Content> {
        let metadata = fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
        if metadata.is_file() {
            let (blob, _) = self.take_file(path, &metadata, keep)?;
            return Ok(Content::File { format: format_of(path), blob });
        }
        ensure!(metadata.is_dir(), "neither a file nor a directory");
        let mut tree = Tree::default();
        for (name, metadata) in scan(path)? {
            let (blob, size) = self.take_file(&path.join(&name), &metadata, keep)?;
            tree.0.insert(name, Entry { blob, size, executable: is_executable(&metadata) });
        }
        let bytes = tree.bytes();
        let digest = Digest::of(&bytes);
        let tree_path = self.path("trees", &digest, ".json");
        if keep != Keep::Nothing && self.read_checked(&tree_path, &digest)?.is_err() {
            write::create(self.draft(&bytes)?, &tree_path)?;
        }
        Ok(Content::Tree(digest))
    }

    fn take_file(&self, file: &Path, metadata: &Metadata, keep: Keep) -> Result<(Digest, u64)> {
        let read = || format!("read {}", file.display());
        let (blob, size) = digest::of_file(file).with_context(read)?;
        if keep == Keep::Nothing || is_present(&self.blob_path(&blob), size)? {
            return Ok((blob, size));
        }
        if keep == Keep::Link && can_be_shared(metadata) && write::link(file, &self.blob_path(&blob))? {
            return Ok((blob, size));
        }
        let mut source = File::open(file).with_context(read)?;
        let copy = write::draft(&self.path_of_drafts(), |copy| {
            reflink_copy::reflink_file(&source, copy).or_else(|_| io::copy(&mut source, copy).map(drop))
        })?;
        // Somebody may have written to the file meanwhile: the copy is what is kept, so it is what is named.
        let (blob, size) = digest::of_file(copy.path()).with_context(|| format!("read {}", copy.path().display()))?;
        write::create(copy, &self.blob_path(&blob))?;
        Ok((blob, size))
    }

    pub(crate) fn draft(&self, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
        write::draft(&self.path_of_drafts(), write::all(bytes))
    }

    pub(crate) fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.path("blobs", blob, "")
    }

    pub(crate) fn path(&self, part: &str, digest: &Digest, suffix: &str) -> PathBuf {
        let hex = digest.to_string();
        self.root.join(part).join(&hex[..2]).join(format!("{}{suffix}", &hex[2..]))
    }

    fn path_of_drafts(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// Whether the file is there and needs no second write. A file of the wrong length cannot be the one its name
/// promises, so it is taken away.
fn is_present(path: &Path, size: u64) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() == size => Ok(true),
        Ok(_) => remove_damaged(path).map(|()| false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn remove_damaged(path: &Path) -> Result<()> {
    tracing::warn!("removing {}: its content is not what its name says", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A file that has a second name already may be changed through it. An executable one cannot share its permission
/// bits with a blob that is also used as plain data.
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
    use crate::sample::{self, write};

    #[test]
    fn a_directory_reads_back_file_by_file() {
        let (home, store) = sample::store();
        let content = store.capture(&sample::model(home.path())).unwrap();
        assert!(store.has(&content));
        assert_eq!(store.read(&content, "model/config.json").unwrap(), b"{}");
        assert_eq!(store.read(&content, "tokenizer/vocab.txt").unwrap(), "ねこ\n".as_bytes());
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
            assert!(store.adopt(&directory).is_err());
            assert!(store.identify(&directory).is_err());
            format!("{:#}", store.capture(&directory).unwrap_err())
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
        assert!(error.downcast_ref::<Damaged>().unwrap().faults[0].ends_with("is damaged"), "{error}");
        assert!(!blob.exists() && !store.has(&content));
        assert!(store.read(&content, "").unwrap_err().to_string().ends_with("is missing"));
    }
}
