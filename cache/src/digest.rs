//! Digests: bytes are named by their blake3 hash.

use crate::interruption::interrupted;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use std::{fmt, fs::File, io, marker::PhantomData, str::FromStr};

/// 32 bytes of blake3, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The same as `to_string`, but faster: lookups do this often.
    pub(crate) fn hex(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }

    /// Its first eight bytes as a number, for sets of many digests.
    pub fn word(&self) -> u64 {
        u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| self.0[at]))
    }

    /// The first 12 hex digits, for people to read.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

/// The bytes that one thread reads and hashes at a time: a power of two, so that they are a subtree of blake3; few
/// enough that they are still in the processor's cache when they are hashed.
const PIECE: u64 = 512 << 10;

/// A smaller file is not worth a thread.
const LARGE: u64 = 4 * PIECE;

/// The digest and the length of a file, both of the bytes that were actually read.
///
/// # Errors
/// The file cannot be read; or it is a large one, and `is_over` says that the digest is not needed any more.
pub(crate) fn of_file(file: &File, is_over: &(dyn Fn() -> bool + Sync)) -> io::Result<(Digest, u64)> {
    #[cfg(test)]
    tests::FILES_READ.set(tests::FILES_READ.get() + 1);
    let size = file.metadata()?.len();
    if size >= LARGE
        && let Some(digest) = with_all_processors(file, size, is_over)?
    {
        return Ok((digest, size));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()))
}

/// Hashes a file with several threads. `None` if the file ends before `size` because it was truncated, or where files
/// cannot be read in this way.
///
/// The threads take the pieces in the order of the file, so that a spinning disk keeps reading forward. The file is not
/// mapped into memory, which is hardly faster: truncating a mapped file kills this process.
#[cfg(unix)]
fn with_all_processors(file: &File, size: u64, is_over: &(dyn Fn() -> bool + Sync)) -> io::Result<Option<Digest>> {
    use blake3::hazmat::{ChainingValue, HasherExt};
    use std::{
        os::unix::fs::FileExt,
        sync::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
        thread,
    };
    let count = size.div_ceil(PIECE);
    let next = AtomicU64::new(0);
    let values: Mutex<Vec<ChainingValue>> = Mutex::new(vec![[0; 32]; count as usize]);
    let work = || -> io::Result<()> {
        let mut buffer = vec![0; PIECE as usize];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            if is_over() {
                next.store(count, Ordering::Relaxed);
                return Err(interrupted());
            }
            let offset = index * PIECE;
            let bytes = &mut buffer[..PIECE.min(size - offset) as usize];
            file.read_exact_at(bytes, offset).inspect_err(|_| next.store(count, Ordering::Relaxed))?;
            let value = blake3::Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root();
            values.lock().expect("storing a value does not panic")[index as usize] = value;
        }
    };
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get()).min(MOST_THREADS);
    let outcome = thread::scope(|scope| {
        // Where no further thread can be had, this one does it.
        let others: Vec<_> =
            (1..threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mine = work();
        others.into_iter().fold(mine, |all, other| all.and(other.join().expect("reading does not panic")))
    });
    match outcome {
        Ok(()) => Ok(Some(Digest(merge(&values.into_inner().expect("storing a value does not panic"))))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn with_all_processors(_: &File, _: u64, _: &(dyn Fn() -> bool + Sync)) -> io::Result<Option<Digest>> {
    Ok(None)
}

/// More threads would wait for memory.
#[cfg(unix)]
const MOST_THREADS: usize = 16;

/// The root of the tree over pieces, of which only the last may be short. The left subtree holds the largest power of
/// two that leaves something for the right one (blake3 paper, 2.1).
#[cfg(unix)]
fn merge(pieces: &[blake3::hazmat::ChainingValue]) -> [u8; 32] {
    use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};
    fn halves(pieces: &[ChainingValue]) -> (ChainingValue, ChainingValue) {
        let (left, right) = pieces.split_at(pieces.len().next_power_of_two() / 2);
        (inner(left), inner(right))
    }
    fn inner(pieces: &[ChainingValue]) -> ChainingValue {
        if let [only] = pieces {
            return *only;
        }
        let (left, right) = halves(pieces);
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    }
    let (left, right) = halves(pieces);
    *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    /// Upper case is refused: a digest is also a file name, so it has only one spelling.
    fn from_str(text: &str) -> Result<Digest> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            bail!("read digest `{text}`: expected lower-case hex digits");
        }
        let hash = blake3::Hash::from_hex(text).with_context(|| format!("read digest `{text}`"))?;
        Ok(Digest(*hash.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&self.hex()).expect("hex digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// Deserializes a value from its text without copying the text.
pub(crate) struct Text<T>(pub PhantomData<T>);

impl<T: FromStr<Err = anyhow::Error>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use expect_test::expect;

    thread_local! {
        pub static FILES_READ: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// The number of files that `act` hashes in this thread.
    pub fn files_read(act: impl FnOnce()) -> u64 {
        let before = FILES_READ.get();
        act();
        FILES_READ.get() - before
    }

    #[test]
    fn a_digest_is_blake3_in_hex() {
        // The first digest is the test vector of the blake3 paper for no input.
        expect!["af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"]
            .assert_eq(&Digest::of(b"").to_string());
        expect!["af1349b9f5f9"].assert_eq(&Digest::of(b"").short());
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for wrong in ["", "ab", &digest.to_string().to_uppercase(), &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_digest_is_a_string_in_json() {
        let digest = Digest::of(b"x");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn a_file_of_any_length_has_the_digest_of_its_bytes() {
        let (piece, large) = (PIECE as usize, LARGE as usize);
        let bytes: Vec<u8> = (0..9 * piece).map(|index| (index % 251) as u8).collect();
        for length in [0, 1, large - 1, large, large + 1, 5 * piece, 6 * piece + 9, 7 * piece, 8 * piece, 8 * piece + 1]
        {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes[..length]).unwrap();
            let (digest, read) = of_file(&File::open(file.path()).unwrap(), &|| false).unwrap();
            assert_eq!((digest, read), (Digest::of(&bytes[..length]), length as u64), "{length} bytes");
        }
    }

    /// `CACHE_TEST_FILE=FILE cargo test --release -p cache -- --ignored --nocapture bytes_hashed_per_second`, beside
    /// `time b3sum FILE`
    #[test]
    #[ignore = "a measurement"]
    fn bytes_hashed_per_second() {
        let Some(path) = std::env::var_os("CACHE_TEST_FILE") else { return };
        let begin = std::time::Instant::now();
        let (digest, size) = of_file(&File::open(path).unwrap(), &|| false).unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        println!("hashed: {digest} {size} bytes in {seconds:.3} s, {:.2} GB/s", size as f64 / seconds / 1e9);
    }
}
