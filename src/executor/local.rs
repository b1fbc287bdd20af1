//! Runs jobs as processes of this machine. Each worker leads its own process group and holds one end of a pipe or a
//! socket as its standard input. When the process that started it goes away for whatever reason, that closes and the
//! worker ends itself.
//!
//! 1. The log of a directory stays locked for as long as its worker, or anything it started, works there.
//! 2. A worker may be started before its job comes, and then waits to be told a directory (`line.rs`): starting takes
//!    longer than anything else about a small command, and this way overlaps with another job.
//! 3. A worker of jobs that share one stays after each of them, with its device, its compiled kernels and the bases it has
//!    loaded, until the next one comes. It holds memory all the while, so it is ended
//!    * before any job with a process of its own begins, which may need that memory: a training, a command;
//!    * after [`IDLE`], while a longer job runs beside it;
//!    * with the run, which ends when nothing is left to do, and with a job that fails in it, takes too long or is to
//!      stop: nothing that those leave behind reaches the next job.
//!
//!    There are as many of them as there are such jobs at the same time, and one for each name.

use super::line::{Waiting, told_line};
use super::process::{self, end, end_orphans, kill, lives, lock, pid, reap, wait_for_the_end};
use super::{Executor, ExecutorKind, Job, JobId, Update, next_id};
use crate::failure::Exit;
use crate::tail::{Tail, tail};
use anyhow::{Context, Result};
use rustix::process::Signal;
use stages::{orphans, work};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// The time that a cancelled worker has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// The interval at which progress, time-outs and the caller's interrupt flag are checked.
const TICK: Duration = Duration::from_millis(100);
/// The time that a worker stays for a job that it could share. Between two measurements of one gate a run decides and
/// places inputs: milliseconds, or seconds for a large model on another disk.
const IDLE: Duration = Duration::from_secs(10);

pub const LOCAL: ExecutorKind = ExecutorKind { open: |_, _| Ok(Box::new(local())), lives, close: |_| Ok(()) };

struct Local {
    running: BTreeMap<JobId, Running>,
    ended: (Sender<Sign>, Receiver<Sign>),
    /// Those that have done no job yet, at most one, and those that stay for the next one.
    waiting: Vec<Waiting>,
    /// The children of this process that were there before.
    earlier: BTreeSet<i32>,
}

struct Running {
    process: Process,
    directory: PathBuf,
    deadline: Option<(Instant, Duration)>,
    events: Tail,
}

/// The process of a job. It is not reaped before its end is known and its group is killed: until then its process id
/// cannot be reused.
enum Process {
    /// It was started for this job.
    Started(Child),
    /// It waited for a job.
    Told(Waiting),
}

/// The news of a job.
struct Sign {
    job: JobId,
    /// The worker says that it is done. Otherwise the worker is gone, or not to be understood.
    is_done: bool,
}

fn local() -> Local {
    // What a worker that is killed leaves behind comes to this process.
    orphans::adopt();
    let earlier = orphans::children();
    Local { running: BTreeMap::new(), ended: mpsc::channel(), waiting: Vec::new(), earlier }
}

impl Executor for Local {
    fn submit(&mut self, job: Job) -> Result<JobId> {
        let process =
            self.told(&job).map_or_else(|| start(&job).map(Process::Started), |worker| Ok(Process::Told(worker)))?;
        let id = next_id();
        let (pid, ended) = (pid(process.child()), self.ended.0.clone());
        let is_done = match &process {
            Process::Told(worker) if worker.stays() => Some(worker.is_done()?),
            _ => None,
        };
        let listened = thread::Builder::new().spawn(move || {
            let is_done = is_done.map_or_else(
                || {
                    wait_for_the_end(pid);
                    false
                },
                |is_done| is_done(),
            );
            // The receiver is gone only with the executor.
            let _ = ended.send(Sign { job: id, is_done });
        });
        if let Err(error) = listened {
            process.end();
            return Err(error).context("start a thread for a worker");
        }
        // A time beyond the clock's never comes.
        let deadline = job.timeout.and_then(|timeout| Some((Instant::now().checked_add(timeout)?, timeout)));
        let events = tail(&job.directory.join(work::PROGRESS));
        self.running.insert(id, Running { process, directory: job.directory, deadline, events });
        Ok(id)
    }

    fn expect(&mut self, command: &[OsString]) {
        if !self.waiting.iter().any(Waiting::is_new) {
            // Without one that waits, every worker is started when its job comes.
            let worker = Waiting::start(command);
            self.waiting.extend(worker.inspect_err(|error| tracing::debug!("no worker ahead: {error:#}")));
        }
    }

    fn poll(&mut self, patience: Duration) -> Result<Vec<Update>> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let first = self.ended.1.recv_timeout(TICK.min(left)).ok();
            let signs: Vec<Sign> = first.into_iter().chain(self.ended.1.try_iter()).collect();
            let (mut updates, mut is_over) = (Vec::new(), false);
            for Sign { job, is_done } in signs {
                if let Some(running) = self.running.remove(&job) {
                    is_over = true;
                    self.waiting.extend(finish(job, running, is_done, &mut updates)?);
                }
            }
            if is_over {
                end_orphans(&self.earlier);
            }
            for (id, running) in &mut self.running {
                updates.extend(progress(*id, &mut running.events));
                if running.is_late() {
                    kill(running.process.child(), Signal::KILL);
                }
            }
            self.dismiss(|worker| worker.has_waited() >= IDLE);
            if !updates.is_empty() || Instant::now() >= until {
                return Ok(updates);
            }
        }
    }

    fn stop_all(&mut self) {
        self.running.values().for_each(|running| kill(running.process.child(), Signal::TERM));
        self.dismiss(|_| true);
    }
}

impl Local {
    /// A worker that was told to do this job: one that has done others of its name, one that was started ahead, or a new
    /// one if it is to stay.
    fn told(&mut self, job: &Job) -> Option<Waiting> {
        // What is not for this command is not needed any more, and what holds memory makes room.
        self.dismiss(|worker| !worker.is_for(&job.command) || (job.shares.is_none() && !worker.is_new()));
        let fits = |worker: &Waiting| worker.is_new() || worker.is_of(job.shares.as_deref());
        while let Some(at) =
            (0..self.waiting.len()).filter(|at| fits(&self.waiting[*at])).max_by_key(|at| !self.waiting[*at].is_new())
        {
            if let Some(worker) = self.waiting.swap_remove(at).tell(job) {
                return Some(worker);
            }
        }
        job.shares.as_ref()?;
        Waiting::start(&job.command).ok()?.tell(job)
    }

    /// Ends those that wait and for which this is true.
    fn dismiss(&mut self, is_needless: impl Fn(&Waiting) -> bool) {
        self.waiting.extract_if(.., |worker| is_needless(worker)).for_each(Waiting::end);
    }

    fn cancel_all(&mut self) {
        let until = Instant::now() + GRACE;
        self.stop_all();
        while !self.running.is_empty() {
            match self.ended.1.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Sign { job, .. }) => self.running.remove(&job).into_iter().for_each(|running| running.process.end()),
                Err(_) => break,
            }
        }
        std::mem::take(&mut self.running).into_values().for_each(|running| running.process.end());
        end_orphans(&self.earlier);
    }
}

/// No worker outlives the process that started it.
impl Drop for Local {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl Running {
    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|(at, _)| at <= Instant::now())
    }
}

impl Process {
    fn child(&self) -> &Child {
        match self {
            Process::Started(child) => child,
            Process::Told(worker) => &worker.child,
        }
    }

    fn child_mut(&mut self) -> &mut Child {
        match self {
            Process::Started(child) => child,
            Process::Told(worker) => &mut worker.child,
        }
    }

    /// Whether it did other jobs before this one.
    fn has_worked(&self) -> bool {
        matches!(self, Process::Told(worker) if worker.has_worked())
    }

    fn end(mut self) {
        end(self.child_mut());
    }
}

/// Starts a worker for this directory alone.
pub fn start(job: &Job) -> Result<Child> {
    let path = job.directory.join(work::LOG);
    let open = File::options().create(true).append(true).open(&path);
    let log = open.with_context(|| format!("create {}", path.display()))?;
    lock(&log);
    let (program, arguments) = job.command.split_first().context("start a worker: no command")?;
    let mut worker = Command::new(program);
    worker.current_dir(&job.directory).args(arguments).arg(&job.directory).stdin(Stdio::piped());
    worker.stdout(log.try_clone().context("share log.txt")?).stderr(log.try_clone().context("share log.txt")?);
    let mut child = process::start(&mut worker).with_context(|| format!("start {}", program.display()))?;
    if let Some(stdin) = &mut child.stdin {
        // One that is gone by now has ended, which is reported as such.
        let _ = stdin.write_all(&told_line(job));
    }
    Ok(child)
}

/// Ends a job. A worker that is said to be done is given back if it really has let go of the directory and its time was not
/// over; otherwise it ends with the job.
fn finish(id: JobId, mut running: Running, is_done: bool, updates: &mut Vec<Update>) -> Result<Option<Waiting>> {
    let is_over = is_done && !running.is_late() && !lives(&running.directory);
    let mut process = match running.process {
        Process::Told(worker) if is_over => {
            updates.extend(progress(id, &mut running.events));
            updates.push(Update::Ended(id, Exit::Code(0)));
            return Ok(Some(worker.waits_again()));
        }
        process => process,
    };
    // Everything that the worker left running ends with it; what is in another group, as an orphan.
    kill(process.child(), Signal::KILL);
    let status = reap(process.child_mut()).context("wait for a worker")?;
    updates.extend(progress(id, &mut running.events));
    let killed_late = running.deadline.filter(|(at, _)| status.signal() == Some(9) && *at <= Instant::now());
    updates.push(match (killed_late, status.code(), status.signal()) {
        (Some((_, timeout)), ..) => Update::Ended(id, Exit::TimedOut(timeout)),
        (None, code, signal) => {
            let exit = code.map_or(Exit::Signal(signal.unwrap_or_default()), Exit::Code);
            if process.has_worked() { Update::EndedAfterOthers(id, exit) } else { Update::Ended(id, exit) }
        }
    });
    Ok(None)
}

/// The latest progress. Progress that cannot be read is not shown, and the work goes on.
fn progress(id: JobId, events: &mut Tail) -> Option<Update> {
    events.progress().ok().flatten().map(|progress| Update::Progressed(id, progress))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::wait_for;
    use std::fs;
    use std::path::Path;

    fn sh(directory: &Path, script: &str) -> Job {
        let command = ["sh", "-c", script].map(Into::into).to_vec();
        Job { directory: directory.to_owned(), command, handover: "nonce".to_owned(), ..Job::default() }
    }

    fn updates_until_the_end(executor: &mut Local) -> Vec<Update> {
        let mut updates = Vec::new();
        while !updates.iter().any(|update| !matches!(update, Update::Progressed(..))) {
            updates.extend(executor.poll(Duration::from_secs(10)).unwrap());
        }
        updates
    }

    fn exit_of(script: &str) -> Exit {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), script)).unwrap();
        match updates_until_the_end(&mut executor).pop() {
            Some(Update::Ended(_, exit)) => exit,
            other => panic!("{other:?}"),
        }
    }

    fn is_running(pid: &str) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z")
    }

    #[test]
    fn the_end_of_a_worker_is_its_code_or_its_signal() {
        let ends = ["exit 0", "exit 3", "kill -9 $$", "kill -6 $$", "exit 134", "kill -15 $$"].map(exit_of);
        let expected =
            [Exit::Code(0), Exit::Code(3), Exit::Signal(9), Exit::Signal(6), Exit::Code(134), Exit::Signal(15)];
        assert_eq!(ends, expected);
    }

    #[test]
    fn output_and_errors_of_a_worker_go_to_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "echo out; echo err >&2")).unwrap();
        updates_until_the_end(&mut executor);
        assert_eq!(fs::read_to_string(directory.path().join("log.txt")).unwrap(), "out\nerr\n");
    }

    /// Says where it is told to work, and whether it had to wait for that; `mark` is written as it starts.
    fn patient(mark: &Path) -> Vec<OsString> {
        let script = format!(
            "echo $$ > {}; [ \"$1\" != - ] || {{ read -r word handed told; exec >> \"$told/log.txt\"; echo begun >&0; echo $word; set -- \"$told\"; }}; echo \"$1\"",
            mark.display()
        );
        ["sh", "-c", &script, "worker"].map(Into::into).to_vec()
    }

    fn written(mark: &Path) -> String {
        wait_for("a line in the mark", || fs::read_to_string(mark).ok().filter(|text| text.ends_with('\n')))
    }

    #[test]
    fn a_job_that_was_expected_goes_to_the_worker_that_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let command = patient(&directory.path().join("mark"));
        let mut executor = local();
        let mut log_of = |name: &str, expected: &[OsString]| {
            let job = directory.path().join(name);
            fs::create_dir(&job).unwrap();
            if !expected.is_empty() {
                executor.expect(expected);
                executor.expect(expected);
            }
            assert!(executor.waiting.len() <= 1);
            let job_there = Job { command: command.clone(), ..sh(&job, "") };
            executor.submit(job_there).unwrap();
            updates_until_the_end(&mut executor);
            assert!(executor.waiting.is_empty());
            fs::read_to_string(job.join("log.txt")).unwrap().replace(&job.display().to_string(), name)
        };
        assert_eq!(log_of("told", &command), "once\ntold\n");
        assert_eq!(log_of("started", &[]), "started\n");
        // A worker that waits for another command is of no use.
        assert_eq!(log_of("other", &["sleep".into()]), "other\n");
        assert_eq!(log_of("two\nlines", &command), "two\nlines\n");
    }

    #[test]
    fn a_worker_that_is_not_needed_after_all_is_not_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let mut executor = local();
        executor.expect(&patient(&mark));
        let pid = written(&mark);
        assert!(is_running(&pid));
        drop(executor);
        assert!(!is_running(&pid));
    }

    /// Works in one directory after the other, as the script says.
    fn shared(work: &str) -> Vec<OsString> {
        let script = format!(
            "while read -r word handed told; do exec >> \"$told/log.txt\" 2>&1; cd \"$told\"; echo begun >&0; echo $$; {work}; exec > /dev/null 2>&1; echo done >&0; done"
        );
        ["sh", "-c", &script, "worker"].map(Into::into).to_vec()
    }

    /// Directories in which jobs share a worker, one after the other.
    struct Sharing {
        directory: tempfile::TempDir,
        executor: Local,
        command: Vec<OsString>,
    }

    fn sharing(work: &str) -> Sharing {
        Sharing { directory: tempfile::tempdir().unwrap(), executor: local(), command: shared(work) }
    }

    impl Sharing {
        fn at(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn job(&self, name: &str) -> Job {
            fs::create_dir(self.at(name)).unwrap();
            Job { command: self.command.clone(), shares: Some("cpu".to_owned()), ..sh(&self.at(name), "") }
        }

        fn does(&mut self, job: Job) -> Update {
            self.executor.submit(job).unwrap();
            updates_until_the_end(&mut self.executor).pop().unwrap()
        }

        fn log(&self, name: &str) -> String {
            fs::read_to_string(self.at(name).join("log.txt")).unwrap()
        }

        /// The process that worked on a job: it prints its id first.
        fn worker(&self, name: &str) -> String {
            self.log(name).lines().next().unwrap().to_owned()
        }
    }

    fn is_good(update: &Update) -> bool {
        matches!(update, Update::Ended(_, Exit::Code(0)))
    }

    #[test]
    fn jobs_of_one_name_share_a_process_and_each_has_its_own_log() {
        let mut place = sharing("basename $PWD; echo err >&2");
        for name in ["one", "two", "three"] {
            let job = place.job(name);
            assert!(is_good(&place.does(job)), "{name}");
            assert!(!lives(&place.at(name)));
        }
        let worker = place.worker("one");
        for name in ["one", "two", "three"] {
            assert_eq!(place.log(name), format!("{worker}\n{name}\nerr\n"));
        }
        // Another name has another process.
        let job = Job { shares: Some("gpu".to_owned()), ..place.job("gpu") };
        assert!(is_good(&place.does(job)));
        assert_ne!(place.worker("gpu"), worker);
        assert!(is_running(&worker));
        drop(place.executor);
        assert!(!is_running(&worker));
    }

    #[test]
    fn as_many_processes_are_shared_as_there_are_jobs_at_a_time() {
        let mut place = sharing("until test -e ../go; do sleep 0.01; done");
        for name in ["one", "two"] {
            let job = place.job(name);
            place.executor.submit(job).unwrap();
            assert!(wait_for("the job to begin", || Some(place.log(name)).filter(|log| !log.is_empty())).len() > 1);
        }
        fs::write(place.at("go"), "").unwrap();
        let mut ended = 0;
        while ended < 2 {
            ended +=
                place.executor.poll(Duration::from_secs(10)).unwrap().iter().filter(|update| is_good(update)).count();
        }
        let job = place.job("three");
        place.does(job);
        let workers = ["one", "two", "three"].map(|name| place.worker(name));
        assert_ne!(workers[0], workers[1]);
        assert!(workers[..2].contains(&workers[2]));
    }

    #[test]
    fn a_shared_process_makes_room_for_a_job_of_its_own_and_does_not_wait_for_ever() {
        let mut place = sharing(":");
        let job = place.job("one");
        place.does(job);
        let first = place.worker("one");
        assert!(is_running(&first));
        fs::create_dir(place.at("training")).unwrap();
        // It has ended when the training begins.
        let training = sh(&place.at("training"), &format!("! test -e /proc/{first}"));
        assert!(is_good(&place.does(Job { command: training.command.clone(), ..training })));
        let job = place.job("two");
        place.does(job);
        let second = place.worker("two");
        assert_ne!(first, second);
        place.executor.poll(Duration::ZERO).unwrap();
        assert!(is_running(&second));
        place.executor.waiting[0].since -= IDLE;
        place.executor.poll(Duration::ZERO).unwrap();
        assert!(!is_running(&second) && place.executor.waiting.is_empty());
    }

    #[test]
    fn a_shared_process_that_dies_says_whether_it_had_done_other_jobs() {
        let mut place = sharing("! test -e die || kill -6 $$");
        let deadly = |place: &Sharing, name: &str| {
            let job = place.job(name);
            fs::write(place.at(name).join("die"), "").unwrap();
            job
        };
        let job = deadly(&place, "first");
        assert!(matches!(place.does(job), Update::Ended(_, Exit::Signal(6))));
        let job = place.job("good");
        assert!(is_good(&place.does(job)));
        let job = deadly(&place, "second");
        assert!(matches!(place.does(job), Update::EndedAfterOthers(_, Exit::Signal(6))));
        assert_eq!(place.worker("good"), place.worker("second"));
        let job = place.job("last");
        assert!(is_good(&place.does(job)));
        assert_ne!(place.worker("good"), place.worker("last"));
    }

    #[test]
    fn a_shared_process_is_believed_only_when_it_has_let_go_and_speaks_clearly() {
        let said = |work: &str| {
            let mut place = sharing(work);
            let job = place.job("one");
            let end = place.does(job);
            assert!(place.executor.waiting.is_empty() && !is_running(&place.worker("one")), "{work}");
            end
        };
        for garbled in ["printf don >&0; exit 3", "echo gone >&0; sleep 60", "echo outcome >&0; sleep 60", "exit 3"] {
            assert!(!is_good(&said(garbled)), "{garbled}");
        }
        // Something that it started still works there: it holds the log, which the test does in its place.
        let mut place = sharing(":");
        let job = place.job("one");
        let log = File::create(place.at("one").join("log.txt")).unwrap();
        lock(&log);
        assert!(matches!(place.does(job), Update::Ended(_, Exit::Signal(9))));
        assert!(place.executor.waiting.is_empty());
    }

    #[test]
    fn a_shared_process_that_takes_too_long_is_ended_and_the_next_job_has_another() {
        let mut place = sharing("! test -e slow || sleep 60");
        let job = place.job("one");
        place.does(job);
        let job = Job { timeout: Some(Duration::from_millis(300)), ..place.job("slow") };
        fs::write(place.at("slow").join("slow"), "").unwrap();
        assert!(matches!(place.does(job), Update::Ended(_, Exit::TimedOut(_))));
        let worker = place.worker("one");
        assert!(!is_running(&worker));
        let job = place.job("two");
        assert!(is_good(&place.does(job)));
        assert_ne!(place.worker("two"), worker);
    }

    #[test]
    fn a_shared_process_that_died_while_it_waited_is_replaced() {
        let mut place = sharing(":");
        let job = place.job("one");
        place.does(job);
        kill(&place.executor.waiting[0].child, Signal::KILL);
        let job = place.job("two");
        assert!(is_good(&place.does(job)));
        assert_ne!(place.worker("one"), place.worker("two"));
    }

    #[test]
    fn the_last_progress_arrives_before_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let line = |done: u64| format!(r#"{{"done":{done},"total":2,"unit":"step","message":""}}"#);
        let script = format!(
            "echo '{}' > events.jsonl; echo '{}' >> events.jsonl; printf torn >> events.jsonl",
            line(1),
            line(2)
        );
        let mut executor = local();
        let id = executor.submit(sh(directory.path(), &script)).unwrap();
        let updates = updates_until_the_end(&mut executor);
        assert_eq!(updates.last(), Some(&Update::Ended(id, Exit::Code(0))));
        let last = updates.iter().rev().find_map(|update| match update {
            Update::Progressed(_, progress) => Some(progress.done),
            _ => None,
        });
        assert_eq!(last, Some(2));
    }

    #[test]
    fn a_worker_that_takes_too_long_is_ended_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        let timeout = Some(Duration::from_millis(300));
        executor.submit(Job { timeout, ..sh(directory.path(), "sleep 60 & echo $! > child; wait") }).unwrap();
        let started = Instant::now();
        let updates = updates_until_the_end(&mut executor);
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(matches!(updates.last(), Some(Update::Ended(_, Exit::TimedOut(_)))), "{updates:?}");
        let child = fs::read_to_string(directory.path().join("child")).unwrap();
        // The system takes a moment to remove the process.
        wait_for("the child of the worker to end", || (!is_running(&child)).then_some(()));
    }

    #[test]
    fn cancelling_ends_even_a_worker_that_ignores_the_polite_signal() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "trap '' TERM; echo $$ > pid; while :; do sleep 1; done")).unwrap();
        let pid = written(&directory.path().join("pid"));
        executor.cancel_all();
        assert!(!is_running(&pid));
    }

    #[test]
    fn a_directory_lives_as_long_as_its_worker() {
        let directory = tempfile::tempdir().unwrap();
        let mut executor = local();
        executor.submit(sh(directory.path(), "sleep 60")).unwrap();
        assert!(lives(directory.path()));
        executor.cancel_all();
        // A process that another test is about to start may hold a copy of the file for a moment.
        wait_for("the lock of the worker to go", || (!lives(directory.path())).then_some(()));
    }
}
