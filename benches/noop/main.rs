//! The cost of the program where there is nothing, or next to nothing, to do: pipelines of cheap `exec` stages, beside
//! the same job for `ninja`, `snakemake` and `dvc` where they are installed. Whole processes by the clock, so criterion
//! is of no use here. `cargo bench --bench noop` takes a look; `-- --full --write` renews docs/performance.md.

mod hashing;
mod job;
mod machine;
mod measure;
mod page;
mod tools;

use anyhow::{Context, Result, bail};
use clap::Parser;
use hashing::Hashing;
use job::{Job, Shape};
use machine::Machine;
use measure::{Patience, Sample, once, sample};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tools::{OURS, Tool};

/// Measure pipelines of cheap stages, beside the tools of the field.
#[derive(Parser)]
struct Arguments {
    /// Numbers of stages [default: 8,100; with --full 8,100,1000,10000]
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    #[arg(long, value_delimiter = ',', value_enum, default_value = "chain,fan,diamond")]
    shapes: Vec<Shape>,
    /// The tools to run beside; what is not installed is left out
    #[arg(long, value_delimiter = ',', default_value = "ninja,snakemake,dvc,b3sum")]
    peers: Vec<String>,
    /// Size of the file to hash, in MiB; 0: none [default: 256; with --full 4096]
    #[arg(long, value_name = "MIB")]
    hash: Option<u64>,
    /// All sizes, and peers as far as they come in reasonable time
    #[arg(long)]
    full: bool,
    /// Print the page of results on stdout, as docs/performance.md has it
    #[arg(long)]
    markdown: bool,
    /// Put the page of results into docs/performance.md
    #[arg(long)]
    write: bool,
    /// An argument that cargo gives every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Nothing is done yet.
    First,
    /// The same, and nothing is waited for until it is on the disk.
    FirstWithoutFsync,
    /// All is done.
    NoOp,
    /// The commands one after the other, with no tool around them.
    Bare,
}

/// The samples, and the reason for each that was asked for and did not come.
pub type Measured = BTreeMap<(What, usize, Shape, &'static str), std::result::Result<Sample, String>>;

pub struct Results {
    pub machine: Machine,
    /// Before anything was measured.
    pub load: Option<String>,
    /// A new file of 4 KiB that is on the disk, and its directory: what a durable write costs here at least.
    pub durable_write: Sample,
    pub version: String,
    pub peers: Vec<(&'static str, String)>,
    pub can_skip_fsync: bool,
    pub start: Sample,
    /// `/bin/true`: what starting any process costs here.
    pub start_of_nothing: Sample,
    pub measured: Measured,
    pub hashing: Option<Hashing>,
    pub b3sum: Option<String>,
}

const MANY: Patience = Patience { least: 3, most: 30, budget: Duration::from_millis(1000) };
const FEW: Patience = Patience { least: 1, most: 3, budget: Duration::from_millis(1500) };
/// With the disk waited for, a larger job takes minutes and says the same of each stage.
const MOST_WITH_FSYNC: usize = 1_000;
/// The number of bare commands that are run: they cost the same wherever they stand.
const BARE: usize = 200;
/// The option that asks for no fsync.
const NO_FSYNC: &str = "--no-fsync";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // On the disk that is built on: the usual place for temporary files may be in memory.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).context("make a directory")?;
    let results = measure(&arguments, home.path())?;
    let page = page::page(&results);
    if arguments.markdown {
        println!("{page}");
    }
    if arguments.write {
        page::write(&page)?;
    }
    Ok(())
}

fn measure(arguments: &Arguments, home: &Path) -> Result<Results> {
    let default: &[usize] = if arguments.full { &[8, 100, 1_000, 10_000] } else { &[8, 100] };
    let sizes = if arguments.sizes.is_empty() { default } else { &arguments.sizes };
    if sizes.iter().any(|size| *size < 2) {
        bail!("measure: a job has at least two stages");
    }
    let is_hurried = !arguments.full && arguments.sizes.is_empty();
    let load = machine::load();
    let ours = tools::ours()?;
    let peers = tools::peers(&arguments.peers);
    let can_skip_fsync = ours.knows(NO_FSYNC);
    if !can_skip_fsync {
        eprintln!("`run` does not know `{NO_FSYNC}`: that column stays empty");
    }
    // Before and after: a disk that others use meanwhile is not the same disk all the time.
    let mut durable_writes = machine::durable_writes(home)?;
    let start = sample(MANY, || {
        let mut command = ours.command(home);
        command.arg("--version");
        Ok(command)
    })?;
    eprintln!("start: {}", page::pair(&start));
    let start_of_nothing = sample(MANY, || Ok(Command::new("true")))?;

    let mut measured = Measured::new();
    for &stages in sizes {
        for &shape in &arguments.shapes {
            let job = Job { shape, stages };
            let mut note = |what, tool: &'static str, result: Result<Sample>| {
                let result = result.map_err(|error| format!("{error:#}"));
                eprintln!("{}", page::line(what, &job, tool, &result));
                measured.insert((what, stages, shape, tool), result);
            };
            note(What::Bare, "sh", bare(&job, home));
            one(&ours, &job, can_skip_fsync, home, &mut note);
            for peer in &peers {
                if stages <= if is_hurried { peer.most_in_a_hurry } else { peer.most } {
                    one(peer, &job, false, home, &mut note);
                }
            }
        }
    }

    let b3sum = tools::installed("b3sum").filter(|_| arguments.peers.iter().any(|peer| peer == "b3sum"));
    let hashing = match arguments.hash.unwrap_or(if arguments.full { 4096 } else { 256 }) {
        0 => None,
        mebibytes => Some(hashing::hashing(&ours, b3sum.as_deref(), mebibytes, home)?),
    };
    if let Some(hashing) = &hashing {
        eprintln!("{}", page::hashing(hashing));
    }
    durable_writes.extend(machine::durable_writes(home)?);
    Ok(Results {
        machine: machine::machine(home),
        load,
        durable_write: Sample::of(durable_writes, 0),
        version: ours.version,
        peers: peers.into_iter().map(|peer| (peer.name, peer.version)).collect(),
        can_skip_fsync,
        start,
        start_of_nothing,
        measured,
        hashing,
        b3sum: b3sum.map(|program| tools::version(&program)).transpose()?,
    })
}

/// One tool on one job: from nothing, and then with nothing left to do.
fn one(
    tool: &Tool,
    job: &Job,
    can_skip_fsync: bool,
    home: &Path,
    note: &mut impl FnMut(What, &'static str, Result<Sample>),
) {
    let mut done = None;
    let mut first = |option: Option<&str>| {
        sample(FEW, || {
            let directory = done.insert(tool.set_up(job, home)?);
            let mut command = tool.run(directory);
            command.args(option);
            Ok(command)
        })
    };
    let mut is_done = false;
    if tool.name != OURS || !can_skip_fsync || job.stages <= MOST_WITH_FSYNC {
        let result = first(None);
        is_done |= result.is_ok();
        note(What::First, tool.name, result);
    }
    if tool.name == OURS && can_skip_fsync {
        let result = first(Some(NO_FSYNC));
        is_done |= result.is_ok();
        note(What::FirstWithoutFsync, tool.name, result);
    }
    if let Some(directory) = done.filter(|_| is_done) {
        // Once for the page cache, and for whatever a tool puts off until then.
        let warmed = once(&mut tool.run(&directory));
        note(What::NoOp, tool.name, warmed.and_then(|_| sample(MANY, || Ok(tool.run(&directory)))));
    }
}

/// The cost of the commands by themselves, all of them or as many as say it: each wall is that of the whole job.
fn bare(job: &Job, home: &Path) -> Result<Sample> {
    let directory = tempfile::tempdir_in(home).context("make a directory")?;
    std::fs::create_dir(directory.path().join("o")).context("make a directory")?;
    let count = job.stages.min(BARE);
    let each = |stage: usize| {
        let mut command = Command::new("/bin/sh");
        command.args(["-euc", &job.plain_command(stage)]).current_dir(directory.path());
        once(&mut command)
    };
    let pass = || (0..count).map(each).collect::<Result<Vec<_>>>();
    let scale = job.stages as f64 / count as f64;
    let passes = (0..5).map(|_| pass()).collect::<Result<Vec<_>>>()?;
    let walls = passes.iter().map(|pass| pass.iter().map(|(wall, _)| *wall).sum::<Duration>().mul_f64(scale));
    Ok(Sample::of(walls.collect(), 0))
}
