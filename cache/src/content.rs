//! The identity of an input or an artifact, by its bytes.

use crate::digest::{Digest, Text};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, marker::PhantomData, path::Path, str::FromStr};

/// Identifies a directory or a file by its bytes. Written as `tree:<hex>`, `file:<hex>` or `file.jsonl:<hex>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    Tree(Digest),
    /// `format` is the lower-case extension, empty when there is none: it says how the bytes are parsed. The name is
    /// not part of the identity.
    File {
        format: String,
        blob: Digest,
    },
}

/// Endings of compressed files.
const PACKED: [&str; 2] = ["gz", "zst"];

/// Endings of text that no reader can tell apart by its bytes.
const TOLD_BY_NAME: [&str; 5] = ["csv", "tsv", "tab", "txt", "text"];

/// The extension in lower case. An extension with other characters than letters, digits, `_` and `-` names no format
/// that is ever parsed, and counts as empty. Compressed text keeps what its name alone says: `csv-gz` for `rows.csv.gz`.
/// Other compressed files keep the last extension alone, so that their ids stay those of all stores so far.
pub(crate) fn format_of(path: &Path) -> String {
    let format = extension_of(path);
    if PACKED.contains(&format.as_str()) {
        let inner = path.file_stem().map(|stem| extension_of(Path::new(stem))).unwrap_or_default();
        if TOLD_BY_NAME.contains(&inner.as_str()) {
            return format!("{inner}-{format}");
        }
    }
    if is_format(&format) { format } else { String::new() }
}

fn extension_of(path: &Path) -> String {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// A format becomes part of file names, so it must not hold a separator.
fn is_format(format: &str) -> bool {
    format.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-')
}

impl fmt::Display for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Content::Tree(digest) => write!(formatter, "tree:{digest}"),
            Content::File { format, blob } if format.is_empty() => write!(formatter, "file:{blob}"),
            Content::File { format, blob } => write!(formatter, "file.{format}:{blob}"),
        }
    }
}

impl FromStr for Content {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Content> {
        let context = || format!("read content `{text}`");
        let (sort, hex) = text.split_once(':').with_context(context)?;
        let digest = hex.parse().with_context(context)?;
        match sort.split_once('.') {
            None if sort == "tree" => Ok(Content::Tree(digest)),
            None if sort == "file" => Ok(Content::File { format: String::new(), blob: digest }),
            Some(("file", format)) if !format.is_empty() && is_format(format) => {
                Ok(Content::File { format: format.to_owned(), blob: digest })
            }
            _ => bail!("read content `{text}`: expected `tree:`, `file:` or `file.<format>:`"),
        }
    }
}

/// Content that cannot be restored. The damaged files are removed, so that the next lookup of a record that needs them
/// is a miss. Find it in an error with `error.downcast_ref::<Damage>()`.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    pub content: Content,
    /// Every fault as a sentence.
    pub faults: Vec<String>,
}

impl Damage {
    pub(crate) fn one(content: &Content, fault: String) -> Damage {
        Damage { content: content.clone(), faults: vec![fault] }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "restore {}: {}", self.content, self.faults.join(", "))
    }
}

impl std::error::Error for Damage {}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_reads_back_as_it_was_written() {
        let hex = Digest::of(b"x").to_string();
        for text in [format!("tree:{hex}"), format!("file:{hex}"), format!("file.jsonl:{hex}")] {
            let content: Content = text.parse().unwrap();
            assert_eq!(content.to_string(), text);
            let json = serde_json::to_string(&content).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Content>(&json).unwrap(), content);
        }
    }

    #[test]
    fn a_content_that_could_leave_its_directory_is_refused() {
        let hex = Digest::of(b"x").to_string();
        for sort in ["", "blob", "file.", "file.a/b", "file.a.b", "file.JSONL", "file.é", "tree.json"] {
            assert!(format!("{sort}:{hex}").parse::<Content>().is_err(), "{sort}");
        }
    }

    #[test]
    fn the_format_is_the_lower_case_extension_and_of_compressed_text_that_of_the_text() {
        for (path, format) in [
            ("data/a.jsonl", "jsonl"),
            ("a.JSONL", "jsonl"),
            ("a.tar.gz", "gz"),
            ("a.jsonl.gz", "gz"),
            ("a.jsonl.zst", "zst"),
            ("data/a.CSV.gz", "csv-gz"),
            ("a.tsv.zst", "tsv-zst"),
            ("a.txt.GZ", "txt-gz"),
            ("csv.gz", "gz"),
            (".csv.gz", "gz"),
            ("a", ""),
            (".hidden", ""),
            ("a.", ""),
            ("a.what is this?", ""),
        ] {
            assert_eq!(format_of(Path::new(path)), format, "{path}");
        }
    }
}
