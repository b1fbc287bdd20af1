//! The process that starts the sections one after the other, takes their lines, and ends those that take too long. It
//! opens no device itself, so that nothing of one can be lost with it.

use super::line::{Line, failed, shortened};
use super::options::Options;
use super::sections::{self, Section};
use super::table;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// A section by one of the programs.
struct Job<'a> {
    section: &'a Section,
    program: &'a Path,
    build: &'static str,
}

pub fn measure(options: &Options) {
    let start = Instant::now();
    let own = std::env::current_exe().expect("this program has a path");
    let sections = sections::all(options.is_tiny);
    let mut jobs = Vec::new();
    for section in sections.iter().filter(|section| options.is_wanted(&section.name)) {
        jobs.push(Job { section, program: &own, build: if section.is_of_build { sections::build() } else { "" } });
        if let Some(program) = options.spirv.as_deref().filter(|_| section.is_of_build) {
            jobs.push(Job { section, program, build: "spir-v" });
        }
    }
    let mut out = File::create(&options.out).expect("the file for the lines can be made");
    let log = options.out.with_extension("log");
    File::create(&log).expect("the file for messages can be made");
    let mut lines: Vec<Line> = Vec::new();
    // How many times longer than predicted work took, by the kernels that did it.
    let mut slowness: BTreeMap<&str, f64> = BTreeMap::new();
    for (at, job) in jobs.iter().enumerate() {
        // What sections leave of their time is shared by those behind them.
        let shares: f64 = jobs[at..].iter().map(|job| job.section.seconds).sum();
        let left = options.seconds - start.elapsed().as_secs_f64();
        let limit = (left * job.section.seconds / shares).max(1.0);
        eprintln!("== {} {}, at most {limit:.0} s", job.section.name, job.build);
        let before = slowness.get(job.build).copied().unwrap_or(1.0);
        work(job, options, limit, before, &log, |line| {
            slowness.extend(line.slowness.map(|slowness| (job.build, slowness)));
            let line = Line { section: job.section.name.clone(), build: job.build.to_owned(), ..line };
            let text = serde_json::to_string(&line).expect("a line is JSON");
            writeln!(out, "{text}").and_then(|()| out.flush()).expect("the lines can be written");
            eprintln!("   {}", table::in_words(&line));
            lines.push(line);
        });
    }
    let table = table::of_lines(&lines);
    let path = options.out.with_extension("md");
    fs::write(&path, &table).expect("the table can be written");
    println!("{table}");
    eprintln!(
        "{:.0} s; the lines are in {}, the table in {}, messages in {}",
        start.elapsed().as_secs_f64(),
        options.out.display(),
        path.display(),
        log.display()
    );
}

/// Works a section in a process group of its own, and ends it with its time.
fn work(job: &Job, options: &Options, limit: f64, slowness: f64, log: &Path, mut take: impl FnMut(Line)) {
    let start = Instant::now();
    let messages = File::options().append(true).open(log).expect("the file for messages is there");
    let from = messages.metadata().map_or(0, |metadata| metadata.len());
    // It ends itself a little earlier, so that it can say what it leaves out.
    let words = options.words_of(&job.section.name, limit * 0.92, slowness);
    let mut command = Command::new(job.program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(messages).process_group(0);
    // Ctrl-C reaches this process alone.
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec, a system call and nothing else.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return take(failed("process", format!("start {}: {error}", job.program.display()))),
    };
    let (send, receive) = mpsc::channel();
    let output = child.stdout.take().expect("it was asked for");
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let end = start + Duration::from_secs_f64(limit);
    let is_late = loop {
        match receive.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(line) => take(line),
                Err(_) => take(super::line::text("output", text)),
            },
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    match ended(&mut child, is_late, end) {
        Some(status) if !is_late && status.success() => {}
        Some(status) if !is_late => take(failed("process", format!("{status}; {}", last_words(log, from)))),
        Some(_) => take(failed("process", format!("ended after its {seconds:.0} s; {}", last_words(log, from)))),
        None => take(failed("process", "the driver does not let it go; what comes next may suffer from it")),
    }
}

/// Waits for the end of a process, whose whole group is killed at `end`, or at once if it is late. A process that hangs in
/// its driver is left behind after five more seconds; one that holds much memory takes some of them.
fn ended(child: &mut Child, is_late: bool, end: Instant) -> Option<std::process::ExitStatus> {
    let kill = |child: &Child| {
        // SAFETY: a signal to a group that this process has started, and whose leader it has not yet waited for.
        unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
    };
    if is_late {
        kill(child);
    }
    let (mut has_killed, patience) = (is_late, Duration::from_secs(5));
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() > end + patience => return None,
            Ok(None) if !has_killed && Instant::now() > end => {
                kill(child);
                has_killed = true;
            }
            Ok(None) => thread::sleep(Duration::from_millis(10)),
            Err(_) => return None,
        }
    }
}

/// The last of what a section has said on its standard error.
fn last_words(log: &Path, from: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let new = bytes.get(from as usize..).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    let last: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    if last.is_empty() {
        "it said nothing".to_owned()
    } else {
        shortened(&last.into_iter().rev().collect::<Vec<_>>().join(" / "), 400)
    }
}
