//! Files as they were published. A pointer, a web page, nothing or half of a download in the place of one is told as what
//! it is, with the way out.

use crate::unreadable::Reading;
use anyhow::{Result, anyhow, ensure};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

/// Other things in the place of files, by their first bytes in any case of letters: what each is, and the way out.
const IN_PLACE: [(&str, &str); 8] = [
    ("version https://git-lfs.github.com/spec/", "it is a Git LFS pointer, not the file: `git lfs pull` fetches it"),
    ("<!doctype html", PAGE),
    ("<html", PAGE),
    ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>", ANSWER),
    ("<?xml version='1.0' encoding='UTF-8'?><Error>", ANSWER),
    ("Entry not found", ANSWER),
    ("Repository not found", ANSWER),
    ("Invalid username or password.", ANSWER),
];
const PAGE: &str = "it is a web page, not the file: the address leads to a page about the file (of the hub, take the one \
                    with `/resolve/` in the place of `/blob/`)";
const ANSWER: &str =
    "it is the answer of a server that did not give the file; fetch it again, with the rights it asks for";

/// Says what another thing in the place of a file is, by its first bytes.
pub(crate) fn in_place(start: &[u8]) -> Option<&'static str> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let is_one =
        |first: &str| start.get(..first.len()).is_some_and(|start| start.eq_ignore_ascii_case(first.as_bytes()));
    IN_PLACE.iter().find(|(first, _)| is_one(first)).map(|(_, what)| *what)
}

/// The bytes of a file.
///
/// # Errors
/// It cannot be read, is empty, or something else stands in its place.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|error| not_there(path, error));
    let bytes = bytes.reading(path)?;
    refuse(&bytes, path)?;
    Ok(bytes)
}

/// An open file.
///
/// # Errors
/// It is not there, or its download has not ended.
pub(crate) fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| not_there(path, error))?;
    refuse_unfinished(path)?;
    Ok(file)
}

/// The fault of a file that cannot be opened.
fn not_there(path: &Path, error: io::Error) -> anyhow::Error {
    let other = if error.kind() == ErrorKind::NotFound { unfinished(path) } else { None };
    match other {
        Some(other) => anyhow!("it is not there, and `{other}` is a download that has not ended"),
        None => error.into(),
    }
}

/// The text of a file.
///
/// # Errors
/// As [`read`]; or it is not UTF-8.
pub(crate) fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| not_utf8(error.as_bytes(), path, error.utf8_error())).reading(path)
}

/// The fault of bytes that are no text.
pub(crate) fn not_utf8(bytes: &[u8], path: &Path, error: Utf8Error) -> anyhow::Error {
    match error.error_len() {
        None => cut(path, " within a character", bytes.len(), None),
        Some(_) => anyhow!("it is not UTF-8, from byte {} on; save it as UTF-8", error.valid_up_to() + 1),
    }
}

/// # Errors
/// The file is empty, or something else stands in its place.
pub(crate) fn refuse(bytes: &[u8], path: &Path) -> Result<()> {
    if let Some(what) = in_place(bytes) {
        return Err(anyhow!(what)).reading(path);
    }
    if bytes.is_empty() {
        return Err(empty(path)).reading(path);
    }
    refuse_unfinished(path).reading(path)
}

/// Refuses a file that aria2 has not filled: it makes a file in its whole length first, and takes its own file beside it away
/// at the end.
fn refuse_unfinished(path: &Path) -> Result<()> {
    let mut control = path.as_os_str().to_owned();
    control.push(".aria2");
    let control = Path::new(&control);
    ensure!(
        !files::is_there(control)?,
        "its download has not ended: `{}` lies beside it; go on with it",
        control.display()
    );
    Ok(())
}

/// The fault of a file without content.
pub(crate) fn empty(path: &Path) -> anyhow::Error {
    anyhow!("it is empty: it was not downloaded or written{}; fetch it again", beside(path))
}

/// The fault of a file that ends before its end. `place`: where; empty or with a space in front.
pub(crate) fn cut(path: &Path, place: &str, bytes: usize, expected: Option<usize>) -> anyhow::Error {
    let expected = expected.map_or_else(String::new, |expected| format!(", and should have {expected}"));
    anyhow!(
        "it is cut{place}: it has {bytes} bytes{expected}; it was not downloaded to its end{}; fetch it again",
        beside(path)
    )
}

/// Words on an unfinished download beside a file.
pub(crate) fn beside(path: &Path) -> String {
    unfinished(path).map_or_else(String::new, |other| format!(" (`{other}` is a download that has not ended)"))
}

/// Endings of the files of downloads that have not ended: of the hub's tools, browsers and aria2.
const UNFINISHED: [&str; 6] = ["incomplete", "part", "partial", "crdownload", "download", "aria2"];

/// The name that a file of an unfinished download will have. `None`: it is none.
pub(crate) fn finished_name(name: &str) -> Option<&str> {
    let (finished, ending) = name.rsplit_once('.')?;
    UNFINISHED.contains(&ending).then_some(finished)
}

/// The name of a file of an unfinished download: one of this file, else any one where the hub's tools keep them.
pub(crate) fn unfinished(path: &Path) -> Option<String> {
    let folder = path.parent()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    let files = |folder: PathBuf| -> Vec<String> {
        let entries =
            fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_one = |name: &String| finished_name(name).is_some();
        let mut files: Vec<String> = entries.filter(is_one).collect();
        files.sort();
        files
    };
    let here = files(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() });
    let of_hub = || {
        let places = [".cache/huggingface/download", "../../blobs"].map(|place| (place, files(folder.join(place))));
        places.into_iter().find_map(|(place, files)| Some(format!("{place}/{}", files.first()?)))
    };
    // Chrome names its own by a number.
    let is_own = |other: &&String| other.starts_with(&name) || other.ends_with(".crdownload");
    here.iter().find(is_own).cloned().or_else(of_hub)
}
