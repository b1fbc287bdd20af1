//! Opens plain files and nothing else. A pipe would block its reader for ever, a device has no end, and a link in
//! the store may lead out of it.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    path::Path,
};

/// A file of the user's: the path may be a link.
pub fn regular(path: &Path) -> io::Result<(File, Metadata)> {
    checked(path, OpenOptions::new().read(true), false)
}

/// A file of the store: a link is an error.
pub fn inside(path: &Path) -> io::Result<(File, Metadata)> {
    checked(path, OpenOptions::new().read(true), true)
}

/// The bytes of a file of the store.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path, OpenOptions::new().read(true), true)?;
    // Most records and trees are shorter than this. For them what the file is need not be asked: it is not longer, so
    // it has an end; and whoever reads the bytes checks them.
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
    // Without NONBLOCK, opening a pipe waits for somebody at its other end. It changes nothing for a plain file.
    let flags = if no_link { OFlags::NONBLOCK | OFlags::NOFOLLOW } else { OFlags::NONBLOCK };
    match options.custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => Ok(file),
        // What the kernel says of a link that was not to be followed ("too many levels") helps nobody.
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

pub fn is_not_a_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a plain file")
}
