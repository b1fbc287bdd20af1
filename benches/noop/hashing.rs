//! The speed at which a large new file is taken in, beside `b3sum` on the same file. Knows nothing of tables.

use crate::measure::{Patience, Sample, once, sample};
use crate::tools::Tool;
use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub struct Hashing {
    pub bytes: u64,
    /// The file is in memory: `b3sum` when it is installed, and a `plan` that meets the file for the first time.
    pub warm: Pair,
    /// The file is on the disk alone.
    pub cold: Pair,
    /// A `run` in which a stage moves the file to its output, and the same run again.
    pub adopted: Duration,
    pub found_again: Duration,
}

pub struct Pair {
    pub b3sum: Option<Sample>,
    pub ours: Sample,
}

const THRICE: Patience = Patience { least: 3, most: 3, budget: Duration::ZERO };

pub fn hashing(ours: &Tool, b3sum: Option<&Path>, mebibytes: u64, home: &Path) -> Result<Hashing> {
    let home = tempfile::tempdir_in(home).context("make a directory")?;
    let home = home.path();
    let file = home.join("large.bin");
    write(&file, mebibytes).with_context(|| format!("write {}", file.display()))?;
    fs::write(
        home.join("in.yaml"),
        "name: in\nstages:\n  take:\n    kind: exec\n    from: {data: ./large.bin}\n    with: {command: [\"true\"]}\n",
    )?;
    let pair = |before: &dyn Fn() -> Result<()>| -> Result<Pair> {
        let peer = |program: &Path| {
            sample(THRICE, || {
                before()?;
                let mut command = Command::new(program);
                command.arg(&file);
                Ok(command)
            })
        };
        let mut number = 0;
        let mine = sample(THRICE, || {
            before()?;
            number += 1;
            let mut command = ours.command(home);
            // Another store each time, so that the file is always new.
            command.args(["plan", "in.yaml", "--store", &format!("none-{number}")]);
            Ok(command)
        });
        Ok(Pair { b3sum: b3sum.map(peer).transpose()?, ours: mine? })
    };
    let warm = pair(&|| std::io::copy(&mut File::open(&file)?, &mut std::io::sink()).map(drop).context("read"))?;
    let cold = pair(&|| {
        let open = File::open(&file)?;
        Ok(fadvise(&open, 0, None, Advice::DontNeed)?)
    })?;
    // Last, for the file goes away with it.
    let moved = file.display();
    fs::write(
        home.join("out.yaml"),
        format!(
            "name: out\nstages:\n  give:\n    kind: exec\n    with: {{command: [mv, \"{moved}\", taken.bin], outputs: [taken.bin]}}\n"
        ),
    )?;
    let run = || once(ours.command(home).args(["run", "out.yaml"])).map(|(wall, _)| wall);
    Ok(Hashing { bytes: mebibytes << 20, warm, cold, adopted: run()?, found_again: run()? })
}

/// Bytes that no disk can make smaller, on the disk.
fn write(path: &Path, mebibytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0; 1 << 20];
    for _ in 0..mebibytes {
        for eight in chunk.chunks_exact_mut(8) {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            eight.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&chunk)?;
    }
    Ok(file.sync_all()?)
}
