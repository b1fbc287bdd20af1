//! Secrets in what an attempt leaves behind, whoever wrote it: they are gone before anything of it is kept or quoted.

use super::attempt::Attempt;
use anyhow::{Context, Result};
use stages::secret::Secrets;
use stages::work;
use std::fs::{self, DirEntry};
use std::io::{Read, Write};
use std::path::Path;

/// Puts `***` in the place of every secret in the files of an attempt: its books, and what its command left. Inputs are
/// none of its making, and candidates were searched by the worker, which hands over none with a secret.
pub fn scrub(attempt: &Attempt, secrets: &Secrets) -> Result<()> {
    if secrets.is_empty() {
        return Ok(());
    }
    let starts =
        files::found(fs::read_dir(attempt.directory.join(work::STARTS))).context("search starts for secrets")?;
    let starts = starts.into_iter().flatten().filter_map(|start| Some(start.ok()?.path()));
    for directory in [attempt.directory.clone()].into_iter().chain(starts) {
        let left_out = [work::INPUTS, work::CANDIDATES, work::COMMAND, work::GIVEN, work::STARTS];
        below(&directory, &left_out, secrets)?;
        below(&directory.join(work::COMMAND), &[work::INPUTS], secrets)?;
    }
    Ok(())
}

fn below(directory: &Path, left_out: &[&str], secrets: &Secrets) -> Result<()> {
    let read = || format!("search {} for secrets", directory.display());
    for entry in files::found(fs::read_dir(directory)).with_context(read)?.into_iter().flatten() {
        let entry = entry.with_context(read)?;
        if !left_out.iter().any(|name| entry.file_name() == *name) {
            one(&entry, secrets).with_context(|| format!("search {} for secrets", entry.path().display()))?;
        }
    }
    Ok(())
}

fn one(entry: &DirEntry, secrets: &Secrets) -> Result<()> {
    let (path, kind) = (entry.path(), entry.file_type()?);
    if secrets.found_in(entry.file_name().as_encoded_bytes()).is_some() {
        return remove(entry);
    }
    if kind.is_dir() {
        return below(&path, &[], secrets);
    }
    if kind.is_symlink() {
        let target = fs::read_link(&path)?;
        let is_telling = secrets.found_in(target.as_os_str().as_encoded_bytes()).is_some();
        return if is_telling { remove(entry) } else { Ok(()) };
    }
    if !kind.is_file() || secrets.found_in_file(files::inside(&path)?.0)?.is_none() {
        return Ok(());
    }
    let mut redaction = secrets.redaction();
    let (mut file, metadata) = files::inside(&path)?;
    let mut clean = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    let mut chunk = vec![0; 1 << 20];
    while let length @ 1.. = file.read(&mut chunk)? {
        clean.write_all(&redaction.pass(&chunk[..length]))?;
    }
    clean.write_all(&redaction.end())?;
    clean.as_file().set_permissions(metadata.permissions())?;
    clean.persist(path)?;
    Ok(())
}

fn remove(entry: &DirEntry) -> Result<()> {
    if entry.file_type()?.is_dir() {
        fs::remove_dir_all(entry.path())?;
    } else {
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_gone_from_every_file_name_and_link_and_the_rest_stays() {
        let home = tempfile::tempdir().unwrap();
        let secrets = Secrets::read(&["TOKEN".to_owned()], |_| Some("hidden".into())).unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("log.txt", "a hidden line\n");
        write("command/.home/.netrc", "password hidden");
        write("command/hidden/x", "x");
        write("command/in/data", "hidden");
        write("out/0/model", "plain");
        std::os::unix::fs::symlink("https://hidden@host", home.path().join("command/link")).unwrap();
        scrub(&Attempt::at(home.path().to_owned(), 1), &secrets).unwrap();
        let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
        assert_eq!(read("log.txt"), "a *** line\n");
        assert_eq!(read("command/.home/.netrc"), "password ***");
        assert_eq!((read("command/in/data"), read("out/0/model")), ("hidden".to_owned(), "plain".to_owned()));
        assert!(!home.path().join("command/hidden").exists());
        assert!(fs::symlink_metadata(home.path().join("command/link")).is_err());
    }
}
