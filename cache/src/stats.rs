//! Stat records: the content that a file had when it was last read, by its metadata in the file system, so that an
//! untouched file is not read again.
//!
//! On a file system that changes neither time when a file changes (some remote ones), changes go unnoticed; where there
//! is no change time (FAT), so does an edit that keeps the size and resets the modification time.

use crate::{digest::Digest, open, write};
use anyhow::{Context, Result};
use std::{
    collections::HashMap,
    fs::Metadata,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The metadata of a file. Two equal ones mean the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970. Any program can set the first; only the clock sets the second.
    modified: i64,
    changed: i64,
}

/// The content of one inode, and the metadata for which it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct StatRecord {
    size: u64,
    modified: i64,
    changed: i64,
    digest: Digest,
    /// Day of the last use, since 1970: the longest unused are forgotten first.
    used: u32,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<(u64, u64), StatRecord>,
    /// Added or used by this process, and not yet on the disk.
    news: HashMap<(u64, u64), StatRecord>,
    today: u32,
}

/// All stat records. Loaded on first use; written only by `save`, so that a process that only looks leaves nothing
/// behind.
#[derive(Debug)]
pub struct Stats {
    path: PathBuf,
    /// The directory of drafts, and the file that is locked while the stat records are replaced.
    drafts: PathBuf,
    turn: PathBuf,
    state: Mutex<Option<State>>,
}

/// The longest tick of a file system's clock (FAT), assumed where the file system is not known. A second change within
/// one tick leaves both times as they are, so a file that is hashed less than a tick after its last change is hashed
/// again the next time.
pub const LONGEST_TICK: Duration = Duration::from_secs(2);

/// The tick of file systems that take the time from the kernel, which advances it at least 100 times a second.
const KERNEL_TICK: Duration = Duration::from_millis(20);

/// The tick of the clock that sets the times of this file.
#[cfg(target_os = "linux")]
pub fn tick_of(file: &std::fs::File) -> Duration {
    // Magic numbers of statfs(2): ext4, xfs, btrfs, tmpfs, overlayfs, f2fs.
    const KNOWN: [u32; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0xF2F5_2010];
    let is_known = rustix::fs::fstatfs(file).is_ok_and(|system| KNOWN.contains(&(system.f_type as u32)));
    if is_known { KERNEL_TICK } else { LONGEST_TICK }
}

#[cfg(not(target_os = "linux"))]
pub fn tick_of(_: &std::fs::File) -> Duration {
    LONGEST_TICK
}

/// The most records that are kept: 15 MB on the disk, enough for what millions of stages still use.
const MOST: usize = 200_000;

impl Stats {
    pub fn new(root: &Path) -> Stats {
        Stats {
            path: root.join("stats"),
            drafts: root.join("tmp"),
            turn: root.join("claims/lock"),
            state: Mutex::new(None),
        }
    }

    /// The content of the file with this stat, if it was read since its last change.
    pub fn known(&self, stat: &Stat) -> Option<Digest> {
        let mut state = self.state();
        let state = state.get_or_insert_with(|| State::load(&self.path));
        let inode = (stat.device, stat.inode);
        let known = state.known.get_mut(&inode)?;
        if (known.size, known.modified, known.changed) != (stat.size, stat.modified, stat.changed) {
            return None;
        }
        if known.used != state.today {
            known.used = state.today;
            state.news.insert(inode, *known);
        }
        Some(known.digest)
    }

    /// Learns the content of a file. `stat` is from before the file was read, and the one from after must be equal;
    /// `reading_began` says when reading began.
    pub fn learn(&self, stat: &Stat, digest: Digest, reading_began: SystemTime, tick: Duration) {
        let is_settled = |time: i64| {
            let tick = tick.as_nanos() as i64;
            nanoseconds(reading_began).is_some_and(|began| time.saturating_add(tick) <= began)
        };
        if is_settled(stat.modified) && is_settled(stat.changed) {
            self.insert(stat, digest);
        }
    }

    /// Carries a record over a change of our own, a new name or other permissions, which changes the change time but
    /// not the bytes. `before` must be the stat directly before that change and `after` the one directly after it. The
    /// rule of the tick held for the bytes; another change could only hide behind ours within the same tick and with a
    /// reset modification time.
    pub fn carry(&self, before: &Stat, after: &Stat) {
        if before != after
            && *before == (Stat { changed: before.changed, ..*after })
            && let Some(digest) = self.known(before)
        {
            self.insert(after, digest);
        }
    }

    fn insert(&self, stat: &Stat, digest: Digest) {
        let mut state = self.state();
        let state = state.get_or_insert_with(|| State::load(&self.path));
        let Stat { device, inode, size, modified, changed } = *stat;
        let known = StatRecord { size, modified, changed, digest, used: state.today };
        state.known.insert((device, inode), known);
        state.news.insert((device, inode), known);
    }

    /// Adds what this process learnt to what others have written meanwhile.
    pub fn save(&self) -> Result<()> {
        let mut state = self.state();
        let Some(state) = state.as_mut().filter(|state| !state.news.is_empty()) else { return Ok(()) };
        // It is held for microseconds.
        let turn = open::to_lock(&self.turn)?;
        turn.lock().with_context(|| format!("lock {}", self.turn.display()))?;
        state.known = State::load(&self.path).known;
        state.known.extend(state.news.iter());
        keep_most_recent(&mut state.known, MOST);
        let draft = write::draft(&self.drafts, write::all(&encode(&state.known)))?;
        write::step()?;
        // Not synced: after a loss of power the file is whole, old, or rejected by its checksum.
        draft.persist(&self.path).map_err(|error| error.error).context("replace the stat records")?;
        state.news.clear();
        write::step()
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        // Each change is one insertion, so what a panicking thread left is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Stats {
    pub fn learn_for_test(&self) {
        self.insert(&Stat { device: 0, inode: 0, size: 0, modified: 0, changed: 0 }, Digest::of(b""));
    }
}

impl State {
    /// Loads the records. A file that is missing, torn or of another version holds none.
    fn load(path: &Path) -> State {
        let known = open::read(path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        State { known, news: HashMap::new(), today: (since.as_secs() / 86_400) as u32 }
    }
}

#[cfg(unix)]
impl Stat {
    /// Time since the file was last touched; zero where the clocks disagree.
    pub fn age(&self) -> Duration {
        let last = u64::try_from(self.modified.max(self.changed)).unwrap_or_default();
        (UNIX_EPOCH + Duration::from_nanos(last)).elapsed().unwrap_or_default()
    }

    /// `None` for times beyond the year 2262: such a file is always read.
    pub fn of(metadata: &Metadata) -> Option<Stat> {
        use std::os::unix::fs::MetadataExt;
        let time = |seconds: i64, nanoseconds: i64| seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds);
        Some(Stat {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: time(metadata.mtime(), metadata.mtime_nsec())?,
            changed: time(metadata.ctime(), metadata.ctime_nsec())?,
        })
    }
}

#[cfg(not(unix))]
impl Stat {
    /// Without a change time every file is always read.
    pub fn of(_: &Metadata) -> Option<Stat> {
        None
    }
}

fn nanoseconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

fn keep_most_recent(known: &mut HashMap<(u64, u64), StatRecord>, most: usize) {
    if known.len() > most {
        let mut all: Vec<_> = known.drain().collect();
        all.select_nth_unstable_by_key(most, |(inode, known)| (std::cmp::Reverse(known.used), *inode));
        known.extend(all.into_iter().take(most));
    }
}

const MAGIC: &[u8; 8] = b"stats 1\n";
const LENGTH: usize = 5 * 8 + 32 + 4;

/// 1. `stats 1\n`
/// 2. for each inode, in order: device, inode, size, modified, changed (8 bytes each, little-endian), blake3, day of
///    the last use (4 bytes)
/// 3. blake3 of all of the above
fn encode(known: &HashMap<(u64, u64), StatRecord>) -> Vec<u8> {
    let mut all: Vec<_> = known.iter().collect();
    all.sort_unstable_by_key(|(inode, _)| **inode);
    let mut bytes = Vec::with_capacity(MAGIC.len() + all.len() * LENGTH + 32);
    bytes.extend(MAGIC);
    for ((device, inode), known) in all {
        for number in [*device, *inode, known.size, known.modified as u64, known.changed as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(known.digest.bytes());
        bytes.extend(known.used.to_le_bytes());
    }
    let digest = Digest::of(&bytes);
    bytes.extend(digest.bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<(u64, u64), StatRecord>> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    let records = body.strip_prefix(MAGIC)?;
    if Digest::of(body).bytes() != digest || records.len() % LENGTH != 0 {
        return None;
    }
    let mut known = HashMap::with_capacity(records.len() / LENGTH);
    for record in records.chunks_exact(LENGTH) {
        let number =
            |index: usize| u64::from_le_bytes(record[index * 8..][..8].try_into().expect("eight bytes were cut out"));
        let digest = Digest::from_bytes(record[40..72].try_into().expect("32 bytes were cut out"));
        let used = u32::from_le_bytes(record[72..].try_into().expect("the last four bytes of 76"));
        let one = StatRecord { size: number(2), modified: number(3) as i64, changed: number(4) as i64, digest, used };
        known.insert((number(0), number(1)), one);
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const DAY: u32 = 20_000;

    fn known(number: u64, used: u32) -> ((u64, u64), StatRecord) {
        let time = 1_700_000_000_000_000_000;
        let digest = Digest::of(&number.to_le_bytes());
        ((1, number), StatRecord { size: number, modified: time, changed: time + 1, digest, used })
    }

    fn empty() -> (tempfile::TempDir, Stats) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("tmp")).unwrap();
        std::fs::create_dir(home.path().join("claims")).unwrap();
        let stats = Stats::new(home.path());
        (home, stats)
    }

    fn stat(inode: u64) -> Stat {
        Stat { device: 1, inode, size: 5, modified: 10_000_000_000, changed: 20_000_000_000 }
    }

    fn second(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(number)
    }

    #[test]
    fn stat_records_on_disk() {
        let bytes = encode(&HashMap::from([known(0x0203, DAY), known(1, DAY + 1)]));
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<String> = hex.chunks(38).map(|line| line.concat()).collect();
        expect![[r#"
            737461747320310a01000000000000000100000000000000010000000000000000002a36fe9c
            971701002a36fe9c97171a0d12016999e47689dae5744d2b8c1903faf7ca2886a65815008310
            0ef2c8ee214e000001000000000000000302000000000000030200000000000000002a36fe9c
            971701002a36fe9c9717c37a9d0dcefde38e40d5fe990206ff4ff19be3f384b8831910df089c
            2d1a46dc204e00009a2233f5fa6be0df6c24d1ec1a69dfc3a7201e06b73f0950782f8a755e46
            3e1c"#]]
        .assert_eq(&lines.join("\n"));
        assert_eq!(decode(&bytes).unwrap(), HashMap::from([known(0x0203, DAY), known(1, DAY + 1)]));
        assert_eq!(decode(&encode(&HashMap::new())), Some(HashMap::new()));
    }

    #[test]
    fn stat_records_that_are_torn_or_damaged_are_none() {
        let bytes = encode(&HashMap::from([known(3, DAY), known(4, DAY)]));
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1;
            assert!(decode(&flipped).is_none(), "bit flipped in byte {position}");
            assert!(decode(&bytes[..position]).is_none(), "cut after byte {position}");
        }
        let (_home, stats) = empty();
        std::fs::write(&stats.path, &bytes[1..]).unwrap();
        assert_eq!(stats.known(&stat(3)), None);
    }

    #[test]
    fn a_stat_is_known_until_anything_of_it_changes() {
        let (_home, stats) = empty();
        let digest = Digest::of(b"x");
        assert_eq!(stats.known(&stat(3)), None);
        stats.learn(&stat(3), digest, second(30), LONGEST_TICK);
        assert_eq!(stats.known(&stat(3)), Some(digest));
        for other in [
            Stat { device: 2, ..stat(3) },
            Stat { inode: 4, ..stat(3) },
            Stat { size: 6, ..stat(3) },
            Stat { modified: 1, ..stat(3) },
            Stat { changed: 1, ..stat(3) },
        ] {
            assert_eq!(stats.known(&other), None, "{other:?}");
        }
    }

    #[test]
    fn what_was_read_within_a_tick_of_its_last_change_is_not_trusted() {
        let (_home, stats) = empty();
        let recent = |modified, changed| Stat { modified, changed, ..stat(3) };
        for (modified, changed) in [(29, 20), (20, 29), (31, 20), (20, 31)] {
            let stat = recent(modified * 1_000_000_000, changed * 1_000_000_000);
            stats.learn(&stat, Digest::of(b"x"), second(30), LONGEST_TICK);
            assert_eq!(stats.known(&stat), None, "{stat:?}");
        }
        let settled = recent(28_000_000_000, 28_000_000_000);
        stats.learn(&settled, Digest::of(b"x"), second(30), LONGEST_TICK);
        assert!(stats.known(&settled).is_some());
    }

    #[test]
    fn a_change_of_our_own_keeps_what_is_known_and_nothing_else() {
        let (_home, stats) = empty();
        let digest = Digest::of(b"x");
        stats.learn(&stat(3), digest, second(30), LONGEST_TICK);
        let after = Stat { changed: 31_000_000_000, ..stat(3) };
        stats.carry(&Stat { changed: 1, ..stat(3) }, &after);
        assert_eq!(stats.known(&after), None, "what was before was not known");
        for other in [
            Stat { size: 6, ..after },
            Stat { modified: 1, ..after },
            Stat { inode: 4, ..after },
            Stat { device: 2, ..after },
        ] {
            stats.carry(&stat(3), &other);
            assert_eq!(stats.known(&other), None, "{other:?}");
        }
        stats.carry(&stat(3), &after);
        assert_eq!(stats.known(&after), Some(digest));
        assert_eq!(stats.known(&stat(3)), None);
    }

    #[test]
    fn two_processes_add_to_each_other() {
        let (home, one) = empty();
        let two = Stats::new(home.path());
        // Both have read the file before either writes.
        assert_eq!((one.known(&stat(1)), two.known(&stat(1))), (None, None));
        one.learn(&stat(1), Digest::of(b"one"), second(30), LONGEST_TICK);
        two.learn(&stat(2), Digest::of(b"two"), second(30), LONGEST_TICK);
        one.save().unwrap();
        two.save().unwrap();
        let three = Stats::new(home.path());
        assert_eq!(three.known(&stat(1)), Some(Digest::of(b"one")));
        assert_eq!(three.known(&stat(2)), Some(Digest::of(b"two")));
    }

    #[test]
    fn nothing_new_writes_nothing() {
        let (_home, stats) = empty();
        stats.save().unwrap();
        assert_eq!(stats.known(&stat(1)), None);
        stats.save().unwrap();
        assert!(!stats.path.exists());
    }

    #[test]
    fn beyond_the_most_what_was_not_used_longest_is_forgotten() {
        let mut all: HashMap<_, _> = (0..10).map(|number| known(number, DAY + number as u32 % 5)).collect();
        keep_most_recent(&mut all, 4);
        let mut left: Vec<u64> = all.keys().map(|(_, inode)| *inode).collect();
        left.sort();
        assert_eq!(left, [3, 4, 8, 9]);
    }
}
