//! Files by their paths.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    path::Path,
};

/// Opens a file of the user: the path may be a link.
pub fn regular(path: &Path) -> io::Result<(File, Metadata)> {
    plain(open(path, OpenOptions::new().read(true), false)?)
}

/// Opens a file of our own: a link at the end of the path is an error.
pub fn inside(path: &Path) -> io::Result<(File, Metadata)> {
    plain(open(path, OpenOptions::new().read(true), true)?)
}

/// Reads a file of our own, of at most `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_open(open(path, OpenOptions::new().read(true), true)?, most)
}

/// Reads a file of the user, of at most `most` bytes: the path may be a link.
pub fn read_user(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_open(open(path, OpenOptions::new().read(true), false)?, most)
}

/// Reads a text of our own, of at most `most` bytes.
pub fn text(path: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most)?);
    text.map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

fn read_open(mut file: File, most: u64) -> io::Result<Vec<u8>> {
    // Most records and trees are shorter than this. A shorter file has an end, so its type need not be asked for; and
    // the reader of the bytes checks them.
    let mut buffer = [0; 4096];
    match file.read(&mut buffer) {
        Ok(length) if length > 0 && length < buffer.len() => {
            if length as u64 > most {
                Err(too_large(length as u64, most))
            } else {
                Ok(buffer[..length].to_vec())
            }
        }
        first => {
            let (file, metadata) = plain(file)?;
            rest(file, &metadata, buffer[..first?].to_vec(), most)
        }
    }
}

/// Reads the rest of a plain file behind `bytes`, its beginning, unless the whole has more than `most` bytes. Its length
/// is only a promise: it may grow, and a file with holes takes no disk.
pub fn rest(file: File, metadata: &Metadata, mut bytes: Vec<u8>, most: u64) -> io::Result<Vec<u8>> {
    if metadata.len() > most {
        return Err(too_large(metadata.len(), most));
    }
    let length = usize::try_from(metadata.len()).unwrap_or(0);
    bytes
        .try_reserve_exact(length.saturating_add(1).saturating_sub(bytes.len()))
        .map_err(|_| ErrorKind::OutOfMemory)?;
    let left = most.saturating_sub(bytes.len() as u64).saturating_add(1);
    file.take(left).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(bytes.len() as u64, most)) } else { Ok(bytes) }
}

#[cfg(unix)]
fn open(path: &Path, options: &mut OpenOptions, no_link: bool) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    // Without NONBLOCK, opening a pipe waits for a process at its other end. It changes nothing for a plain file.
    let flags = if no_link { OFlags::NONBLOCK | OFlags::NOFOLLOW } else { OFlags::NONBLOCK };
    match options.custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => Ok(file),
        // The kernel's own message for a link that is not to be followed ("too many levels") would help nobody.
        Err(_) if no_link && fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) => Err(not_a_file()),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn open(path: &Path, options: &mut OpenOptions, no_link: bool) -> io::Result<File> {
    if no_link && !fs::symlink_metadata(path)?.is_file() {
        return Err(not_a_file());
    }
    options.open(path)
}

pub(crate) fn plain(file: File) -> io::Result<(File, Metadata)> {
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(not_a_file()) }
}

/// Opens a file of our own to add to its end, and makes it if it is not there: a link in its place is an error.
pub fn to_append(path: &Path) -> io::Result<File> {
    plain(open(path, OpenOptions::new().create(true).append(true), true)?).map(|(file, _)| file)
}

/// Writes a file of our own anew: another one, or a link, that is in its place is replaced.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    found(fs::remove_file(path))?;
    File::create_new(path)?.write_all(bytes)
}

/// Opens a file that exists only to be locked. It is never truncated and never removed: a lock is the file, not its
/// name.
pub fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    plain(open(path, options.create(true).truncate(false).write(true), true)?).map(|(file, _)| file)
}

/// Makes a directory and those above it, unless they are there. What is made is for its owner alone, unless `is_shared`.
pub fn make_directory(path: &Path, is_shared: bool) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    if !is_shared {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    }
    builder.create(path)
}

/// The answer of a system call about something that may be missing. Only "not found" means that it is, also for what
/// would lie below a file: the disk, a permission or a limit may fail for what is there.
pub fn found<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a path of the user leads to a plain file. The error names the path.
pub fn is_file(path: &Path) -> io::Result<bool> {
    leads_to(path).map(|found| found.is_some_and(|metadata| metadata.is_file()))
}

/// Whether a path of the user leads to a directory. The error names the path.
pub fn is_directory(path: &Path) -> io::Result<bool> {
    leads_to(path).map(|found| found.is_some_and(|metadata| metadata.is_dir()))
}

/// Whether a path of the user leads to anything. The error names the path.
pub fn exists(path: &Path) -> io::Result<bool> {
    leads_to(path).map(|found| found.is_some())
}

fn leads_to(path: &Path) -> io::Result<Option<Metadata>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("read {}: {error}", path.display()));
    found(fs::metadata(path)).map_err(named)
}

/// Whether anything lies at a path, a link that leads nowhere included.
pub fn is_there(path: &Path) -> io::Result<bool> {
    found(fs::symlink_metadata(path)).map(|found| found.is_some())
}

pub fn is_not_a_file(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidInput
}

pub fn is_too_large(error: &io::Error) -> bool {
    error.kind() == ErrorKind::FileTooLarge
}

pub fn not_a_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "not a plain file")
}

fn too_large(length: u64, most: u64) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, format!("it has {length} bytes, and {most} are the most that are read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_larger_than_it_may_be_is_refused_before_memory_is_taken_for_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("sparse");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = read(&path, 1 << 20).unwrap_err();
        assert!(is_too_large(&error), "{error}");
        for length in [0, 1, 4095, 4096, 4097, 10_000] {
            fs::write(&path, vec![7; length]).unwrap();
            assert_eq!(read(&path, length as u64).unwrap().len(), length);
            assert!(length == 0 || is_too_large(&read(&path, length as u64 - 1).unwrap_err()), "{length}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        let home = tempfile::tempdir().unwrap();
        let (link, other) = (home.path().join("link"), home.path().join("other"));
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert!(to_append(&link).is_err() && lock(&link).is_err());
        write(&link, b"ours").unwrap();
        assert_eq!((read(&link, 9).unwrap(), fs::read(&other).unwrap()), (b"ours".to_vec(), b"mine".to_vec()));
        to_append(&link).unwrap().write_all(b" too").unwrap();
        assert_eq!(read(&link, 9).unwrap(), b"ours too");
    }

    #[cfg(unix)]
    #[test]
    fn only_what_is_not_there_is_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        assert!(!is_there(&path).unwrap() && found(read(&path, 9)).unwrap().is_none());
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(is_there(&path).unwrap() && found(read(&path, 9)).is_err());
        assert!(is_there(&home.path().join("n".repeat(300))).is_err());
    }
}
