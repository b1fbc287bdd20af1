//! Errors about a file: which one it is is a value, so that a message which names the file already need not repeat it.

use anyhow::Result;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file or directory that cannot be read as what it should be. Its text is `read PATH`; the fault is its source.
#[derive(Debug)]
pub struct Unreadable {
    path: PathBuf,
    /// Words before the path, where a part of it is meant: `the chat template of `.
    before: &'static str,
    /// Words after the path: ` and its other shards`.
    after: &'static str,
    fault: anyhow::Error,
}

impl Unreadable {
    pub fn new(path: &Path, fault: impl Into<anyhow::Error>) -> Unreadable {
        Unreadable { path: path.to_owned(), before: "", after: "", fault: fault.into() }
    }

    pub fn part(self, before: &'static str) -> Unreadable {
        Unreadable { before, ..self }
    }

    pub fn with(self, after: &'static str) -> Unreadable {
        Unreadable { after, ..self }
    }

    fn subject(&self) -> String {
        format!("{}{}{}", self.before, self.path.display(), self.after)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        write!(text, "read {}", self.subject())
    }
}

impl Error for Unreadable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.fault.as_ref())
    }
}

/// The most characters of an error of a library, which may quote what it read.
const QUOTED: usize = 300;

/// The beginning of a text that may be long.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Names the file that an error is about.
pub trait Reading<T> {
    /// # Errors
    /// The same, as the fault of an [`Unreadable`].
    fn reading(self, path: &Path) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> Reading<T> for Result<T, E> {
    fn reading(self, path: &Path) -> Result<T> {
        self.map_err(|fault| Unreadable::new(path, fault).into())
    }
}

/// The file that an error is about.
pub fn path(error: &anyhow::Error) -> Option<&Path> {
    let outermost: &(dyn Error + 'static) = error.as_ref();
    outermost.downcast_ref::<Unreadable>().map(|unreadable| unreadable.path.as_path())
}

/// The fault without the file that it is about.
pub fn fault(error: &anyhow::Error) -> String {
    let outermost: &(dyn Error + 'static) = error.as_ref();
    outermost
        .downcast_ref::<Unreadable>()
        .map_or_else(|| format!("{error:#}"), |unreadable| format!("{:#}", unreadable.fault))
}

/// The fault of an input as a message that begins with its path, or with a path below it, and names that one once.
pub fn message(error: &anyhow::Error, path: &Path) -> String {
    let outermost: &(dyn Error + 'static) = error.as_ref();
    match outermost.downcast_ref::<Unreadable>() {
        Some(unreadable) => {
            let Unreadable { fault, before, .. } = unreadable;
            let is_named = before.is_empty() && unreadable.path.starts_with(path);
            let beginning = if is_named { String::new() } else { format!("{}: ", path.display()) };
            format!("{beginning}{}: {fault:#}", unreadable.subject())
        }
        None => format!("{}: {error:#}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};
    use expect_test::expect;

    #[test]
    fn a_message_about_an_input_names_its_path_once() {
        let bad = |path: &str| Unreadable::new(Path::new(path), anyhow!("it is empty").context("line 3"));
        let errors = [
            bad("model").into(),
            bad("model/config.json").into(),
            bad("models").into(),
            bad("model").part("the chat template of ").into(),
            bad("model/a").with(" and its other shards").into(),
            anyhow::Error::from(bad("model")).context("there are more bad rows"),
            anyhow!("it is no model"),
            Err::<(), _>(anyhow!("no JSON")).context("a row").reading(Path::new("model/a")).unwrap_err(),
        ];
        let told = errors.map(|error| format!("{error:#}\n  {}\n", message(&error, Path::new("model"))));
        expect![[r#"
            read model: line 3: it is empty
              model: line 3: it is empty
            read model/config.json: line 3: it is empty
              model/config.json: line 3: it is empty
            read models: line 3: it is empty
              model: models: line 3: it is empty
            read the chat template of model: line 3: it is empty
              model: the chat template of model: line 3: it is empty
            read model/a and its other shards: line 3: it is empty
              model/a and its other shards: line 3: it is empty
            there are more bad rows: read model: line 3: it is empty
              model: there are more bad rows: read model: line 3: it is empty
            it is no model
              model: it is no model
            read model/a: a row: no JSON
              model/a: a row: no JSON
        "#]]
        .assert_eq(&told.concat());
    }
}
