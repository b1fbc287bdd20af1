//! Opens plain files and nothing else. A pipe would block its reader for ever, a device has no end, and a link in
//! the store may lead out of it.

use anyhow::{Context, Result};
use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    path::Path,
};

/// Opens a file of the user: the path may be a link.
pub fn regular(path: &Path) -> io::Result<(File, Metadata)> {
    checked(path, OpenOptions::new().read(true), false)
}

/// Opens a file of the store: a link is an error.
pub fn inside(path: &Path) -> io::Result<(File, Metadata)> {
    checked(path, OpenOptions::new().read(true), true)
}

/// Reads a file of the store.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path, OpenOptions::new().read(true), true)?;
    // Most records and trees are shorter than this. A shorter file has an end, so its type need not be asked for; and
    // the reader of the bytes checks them.
    let mut buffer = [0; 4096];
    match file.read(&mut buffer) {
        Ok(length) if length > 0 && length < buffer.len() => Ok(buffer[..length].to_vec()),
        first => {
            let (mut file, metadata) = plain(file)?;
            let length = usize::try_from(metadata.len()).unwrap_or(0);
            let mut bytes = Vec::with_capacity(length.saturating_add(1));
            bytes.extend(&buffer[..first?]);
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        }
    }
}

fn checked(path: &Path, options: &mut OpenOptions, no_link: bool) -> io::Result<(File, Metadata)> {
    plain(open(path, options, no_link)?)
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

fn plain(file: File) -> io::Result<(File, Metadata)> {
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(not_a_file()) }
}

/// Opens a file that exists only to be locked. It is never truncated and never removed: a lock is the file, not its
/// name.
pub fn lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// Opens such a file and locks it; waits while another process has it.
pub fn locked(path: &Path) -> Result<File> {
    let mut file = lock(path);
    // A store on a read-only disk may lack the directory: creating it makes the disk report why.
    if let (Err(error), Some(parent)) = (&file, path.parent())
        && error.kind() == ErrorKind::NotFound
    {
        fs::create_dir(parent).with_context(|| format!("create directory {}", parent.display()))?;
        file = lock(path);
    }
    let file = file.with_context(|| format!("open {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

pub fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

pub fn is_not_a_file(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidInput
}

fn not_a_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "not a plain file")
}
