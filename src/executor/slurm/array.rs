//! Arrays: jobs that ask for the same are submitted by one call, as tasks of one job.
//!
//! A task is known by the name of its array and its number, `pl-…_3`, as its id is `12_3`: so it has a name that no other
//! attempt has, like a job of its own, and is found by it after a doubt. Tasks that nobody knows are submitted again as an array of
//! the same name with their numbers alone.
//!
//! ```text
//! work/arrays/<name>/<number>    a link to the attempt, by which Slurm finds the directory of a task
//! work/arrays/<name>/script.sh   what is submitted: goes there, and becomes the script of the attempt
//! ```

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The folder of all arrays, in that of all work.
const ARRAYS: &str = "arrays";
/// The script of an array, in its directory.
pub const SCRIPT: &str = "script.sh";

/// The name of a task.
pub fn task(array: &str, number: usize) -> String {
    format!("{array}_{number}")
}

/// The array and the number of a task; `None` for the name of a job of its own.
pub fn parts(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('_').filter(|(_, number)| number.parse::<u32>().is_ok())
}

/// The name that Slurm has for a job: that of its array, if it is a task.
pub fn submitted_name(name: &str) -> &str {
    parts(name).map_or(name, |(array, _)| array)
}

/// The id of a job that was submitted by its name.
pub fn id(submitted: &str, name: &str) -> String {
    parts(name).map_or_else(|| submitted.to_owned(), |(_, number)| format!("{submitted}_{number}"))
}

/// The directory of an array, of which this is an attempt.
pub fn folder(attempt: &Path, array: &str) -> Option<PathBuf> {
    let work = attempt.parent()?.parent()?;
    Some(work.join(ARRAYS).join(array))
}

/// Makes the directory of an array, with links to these attempts.
pub fn make(folder: &Path, attempts: &[(&str, &Path)], script: &[u8]) -> Result<()> {
    let create = || format!("create {}", folder.display());
    fs::create_dir_all(folder).with_context(create)?;
    // A link would carry what is written out of the store.
    for ours in folder.ancestors().take(2) {
        let is_ours = fs::symlink_metadata(ours).with_context(create)?.is_dir();
        ensure!(is_ours, "{}: a link is in the place of {}; take it away", create(), ours.display());
    }
    for (number, attempt) in attempts {
        let link = folder.join(number);
        let made = symlink(attempt, &link);
        let made = made.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) });
        made.with_context(|| format!("write {}", link.display()))?;
    }
    fs::write(folder.join(SCRIPT), script).with_context(create)
}

/// Removes the link to an attempt, and the directory with the last one.
pub fn forget(attempt: &Path, name: &str) -> Result<()> {
    let Some((folder, number)) = parts(name).and_then(|(array, number)| Some((folder(attempt, array)?, number))) else {
        return Ok(());
    };
    let removed = files::found(fs::remove_file(folder.join(number)));
    removed.with_context(|| format!("remove a link in {}", folder.display()))?;
    sweep_one(&folder)
}

/// Removes what links to attempts that are gone.
pub fn sweep(work: &Path) -> Result<()> {
    let read = || format!("read {}", work.join(ARRAYS).display());
    for folder in files::found(fs::read_dir(work.join(ARRAYS))).with_context(read)?.into_iter().flatten() {
        let folder = folder.with_context(read)?.path();
        for link in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let is_link = link.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link && !files::exists(&link.path()).unwrap_or(true) {
                fs::remove_file(link.path()).with_context(|| format!("remove {}", link.path().display()))?;
            }
        }
        sweep_one(&folder)?;
    }
    Ok(())
}

/// Removes the directory of an array that has no link any more.
fn sweep_one(folder: &Path) -> Result<()> {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    if entries.all(|entry| entry.file_name() == SCRIPT) {
        let removed = files::found(fs::remove_dir_all(folder));
        removed.with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

/// The numbers that a text such as `3-5,8%2` names.
pub fn numbers(text: &str) -> Vec<u32> {
    let of_part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        // No array is larger, whatever a text says.
        let last = last.parse::<u32>().ok().filter(|last| *last < 1 << 20)?;
        Some(first.parse::<u32>().ok()?..=last)
    };
    text.split('%').next().unwrap_or_default().split(',').filter_map(of_part).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_its_array_and_its_number_as_its_id_is() {
        let name = task("pl-0badcafe0badcafe-2-000000ab", 7);
        assert_eq!(name, "pl-0badcafe0badcafe-2-000000ab_7");
        assert_eq!(parts(&name), Some(("pl-0badcafe0badcafe-2-000000ab", "7")));
        assert_eq!((submitted_name(&name), &*id("12", &name)), ("pl-0badcafe0badcafe-2-000000ab", "12_7"));
        let alone = "pl-0badcafe0badcafe-2-000000ab";
        assert_eq!((parts(alone), submitted_name(alone), &*id("12", alone)), (None, alone, "12"));
    }

    #[test]
    fn numbers_are_read_as_slurm_writes_them() {
        assert_eq!(numbers("3-5,8%2"), [3, 4, 5, 8]);
        assert_eq!(numbers("7"), [7]);
        assert!(numbers("").is_empty() && numbers("0-99999999999").is_empty() && numbers("5-3").is_empty());
    }

    #[test]
    fn the_directory_of_an_array_is_there_as_long_as_one_of_its_attempts() {
        let directory = tempfile::tempdir().unwrap();
        let attempts = ["a/1", "b/1", "c/1"].map(|name| directory.path().join(name));
        attempts.iter().for_each(|attempt| fs::create_dir_all(attempt).unwrap());
        let folder = folder(&attempts[0], "pl-a").unwrap();
        let members: Vec<(&str, &Path)> =
            ["0", "1", "2"].into_iter().zip(attempts.iter().map(|path| &**path)).collect();
        make(&folder, &members, b"").unwrap();
        // Those that are submitted again have their links already.
        make(&folder, &members[1..], b"").unwrap();
        assert!(folder.join("2").join("../../c/1").is_dir());
        forget(&attempts[0], "pl-a_0").unwrap();
        forget(&attempts[0], "pl-a_0").unwrap();
        fs::remove_dir_all(&attempts[1]).unwrap();
        sweep(directory.path()).unwrap();
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.len() == 2 && left.contains(&"2".into()), "{left:?}");
        forget(&attempts[2], "pl-a_2").unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_carries_nothing_away() {
        let directory = tempfile::tempdir().unwrap();
        let away = tempfile::tempdir().unwrap();
        symlink(away.path(), directory.path().join(ARRAYS)).unwrap();
        let attempt = directory.path().join("a/1");
        let error = make(&folder(&attempt, "pl-a").unwrap(), &[("0", &attempt)], b"").unwrap_err();
        assert!(format!("{error:#}").contains("a link is in the place of"), "{error:#}");
        assert_eq!(fs::read_dir(away.path().join("pl-a")).map_or(0, Iterator::count), 0);
    }
}
