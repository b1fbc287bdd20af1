//! A directory that somebody else can write to, and what lies beneath it.

use crate::open::{not_a_file, plain, rest};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// An open directory. Everything is reached from it by a path that leaves it by no link and no `..`, whatever is put in
/// the place of its parts meanwhile.
pub struct Beneath {
    directory: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    /// Opens a directory; a link in its place is an error.
    pub fn open(path: &Path) -> io::Result<Beneath> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::open(path, flags, Mode::empty()).map_err(told)?;
        Ok(Beneath { directory, path: path.to_owned() })
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory below it.
    pub fn below(&self, relative: &Path) -> io::Result<Beneath> {
        let directory = match relative.as_os_str().is_empty() {
            true => self.directory.try_clone()?,
            false => self.opened(relative, OFlags::RDONLY | OFlags::DIRECTORY)?,
        };
        Ok(Beneath { directory, path: self.path.join(relative) })
    }

    /// A plain file below it. Opening one never waits.
    pub fn file(&self, relative: &Path) -> io::Result<(File, Metadata)> {
        plain(File::from(self.opened(relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?))
    }

    /// The bytes of a plain file below it, of which there may be `most`.
    pub fn read(&self, relative: &Path, most: u64) -> io::Result<Vec<u8>> {
        let (file, metadata) = self.file(relative)?;
        rest(file, &metadata, Vec::new(), most)
    }

    /// The type of what lies directly in it under a name; a link is a link.
    pub fn file_type(&self, name: &OsStr) -> io::Result<FileType> {
        let stat = fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    /// The names in it.
    pub fn names(&self) -> io::Result<Vec<std::ffi::OsString>> {
        use std::os::unix::ffi::OsStrExt;
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Lets its owner list it, add to it and remove from it.
    pub fn make_writable(&self) -> io::Result<()> {
        let mode = Mode::from_raw_mode(fs::fstat(&self.directory)?.st_mode);
        if mode.contains(Mode::RWXU) { Ok(()) } else { Ok(fs::fchmod(&self.directory, mode | Mode::RWXU)?) }
    }

    /// Moves what lies directly in it under a name to another directory: a link is moved, not what it leads to.
    pub fn rename(&self, name: &OsStr, to: &Beneath, new: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.directory, name, &to.directory, new)?)
    }

    fn opened(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path below a directory"));
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match fs::openat2(&self.directory, relative, flags, Mode::empty(), resolve) {
                // Older kernels have no such call, and some containers forbid it.
                Err(Errno::NOSYS | Errno::PERM) => {}
                opened => return opened.map_err(told),
            }
        }
        self.walked(relative, flags)
    }

    /// Opens part by part, for systems that do not do it in one call.
    fn walked(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let parts: Vec<&OsStr> = relative.iter().collect();
        let (last, above) = parts.split_last().ok_or_else(not_a_file)?;
        let on_the_way = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = self.directory.try_clone()?;
        for part in above {
            directory = fs::openat(&directory, *part, on_the_way, Mode::empty()).map_err(told)?;
        }
        fs::openat(&directory, *last, flags, Mode::empty()).map_err(told)
    }
}

/// The kernel's own words for a link that is not followed, and for a socket, would help nobody.
fn told(error: Errno) -> io::Error {
    match error {
        Errno::LOOP | Errno::XDEV | Errno::NXIO => not_a_file(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// By one call, and part by part.
    fn both(beneath: &Beneath, relative: &str) -> [Option<String>; 2] {
        use std::io::Read;
        let read = |opened: io::Result<OwnedFd>| {
            let mut text = String::new();
            plain(File::from(opened.ok()?)).ok()?.0.read_to_string(&mut text).ok()?;
            Some(text)
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let (path, nofollow) = (Path::new(relative), OFlags::NOFOLLOW | OFlags::CLOEXEC);
        [read(beneath.opened(path, flags)), read(beneath.walked(path, flags | nofollow))]
    }

    #[test]
    fn no_link_is_followed_and_nothing_but_a_plain_file_is_opened() {
        let home = tempfile::tempdir().unwrap();
        let inside = home.path().join("inside");
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        for path in ["outside", "inside/plain", "inside/a/b/deep"] {
            std::fs::write(home.path().join(path), path).unwrap();
        }
        symlink("plain", inside.join("link")).unwrap();
        symlink("a", inside.join("way")).unwrap();
        symlink(home.path(), inside.join("out")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, inside.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(inside.join("socket")).unwrap();
        let beneath = Beneath::open(&inside).unwrap();
        for path in ["plain", "a/b/deep"] {
            assert_eq!(both(&beneath, path), [(); 2].map(|()| Some(format!("inside/{path}"))));
        }
        for path in ["link", "way/b/deep", "out/outside", "pipe", "socket", "a", "none"] {
            assert_eq!(both(&beneath, path), [None, None], "{path}");
        }
        for path in ["../outside", "/etc/hostname", ""] {
            assert!(beneath.file(Path::new(path)).is_err(), "{path}");
        }
        assert!(Beneath::open(&inside.join("way")).is_err() && beneath.below(Path::new("way")).is_err());
        let (deep, here) = (beneath.below(Path::new("a/b")).unwrap(), beneath.below(Path::new("")).unwrap());
        assert_eq!(deep.names().unwrap(), ["deep"]);
        deep.rename("deep".as_ref(), &here, "moved".as_ref()).unwrap();
        assert_eq!(beneath.read(Path::new("moved"), 99).unwrap(), b"inside/a/b/deep");
        assert!(beneath.read(Path::new("moved"), 3).is_err());
        assert!(beneath.file_type("way".as_ref()).unwrap().is_symlink());
    }
}
