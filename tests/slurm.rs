//! Stages on a Slurm cluster, of which the commands are stand-ins (`support/slurm.sh`): a queue in a directory, whose jobs are
//! real processes. `.ci/slurm` does the same on a real one.

#[path = "support/program.rs"]
mod program;

use program::{Events, Live, Place, ROOT, Ran, place, ran, wait_for, word};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const COMMANDS: [&str; 13] = [
    "slurmd",
    "end-all",
    "sbatch",
    "squeue",
    "sacct",
    "scancel",
    "scontrol",
    "sinfo",
    "start-job",
    "end-job",
    "requeue-job",
    "warn-job",
    "forget-job",
];

/// A place with a cluster of one node.
struct Cluster {
    place: Place,
    node: Option<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(node) = &mut self.node {
            let _ = node.kill();
            let _ = node.wait();
        }
        self.does(&["end-all"]);
    }
}

/// A cluster, and a pipeline with a stage that works until the file `go` is there.
fn cluster() -> Cluster {
    let mut cluster = Cluster { place: place(), node: None };
    fs::create_dir_all(cluster.place.at("slurm/bin")).unwrap();
    for command in COMMANDS {
        symlink(format!("{ROOT}/tests/support/slurm.sh"), cluster.place.at("slurm/bin").join(command)).unwrap();
    }
    let mut node = cluster.with_path(Command::new(cluster.at("bin/slurmd")));
    cluster.node = Some(node.stdin(Stdio::null()).spawn().unwrap());
    cluster.write("echo begun; while ! test -e PLACE/go; do sleep 0.02; done; echo done > out", "");
    cluster
}

impl Cluster {
    fn write(&self, command: &str, more: &str) {
        let command = command.replace("PLACE", &self.place.path().display().to_string());
        let settings = "type: slurm, poll: {min: 0.1s, max: 0.2s}, visibility_wait: 1s, term_grace: 1s";
        self.place.write(
            "p.yaml",
            &format!(
                "name: p\nexecutor: lab\nexecutors: {{lab: {{{settings}}}}}\nstages:\n  work: {{kind: exec, with: {{command: \
                 [/bin/sh, -euc, {command:?}], outputs: [out]}}{more}}}\n"
            ),
        );
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.with_path(self.place.command(arguments))
    }

    fn with_path(&self, mut command: Command) -> Command {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.at("bin").display())).env("FAKE_SLURM", self.place.at("slurm"));
        command
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.at("slurm").join(name)
    }

    fn run(&self) -> Ran {
        ran(self.command(&["run", "p.yaml", "--json"]))
    }

    fn start(&self) -> Live {
        self.place.start_command(self.command(&["run", "p.yaml", "--json"]))
    }

    /// Does something to the cluster.
    fn does(&self, words: &[&str]) {
        let mut command = self.with_path(Command::new(self.at("bin").join(words[0])));
        assert!(command.args(&words[1..]).status().unwrap().success(), "{words:?}");
    }

    fn fault(&self, name: &str) {
        fs::create_dir_all(self.at("faults")).unwrap();
        fs::write(self.at("faults").join(name), "").unwrap();
    }

    fn go(&self) {
        self.place.write("go", "");
    }

    /// The number of submissions that were asked for.
    fn submissions(&self) -> usize {
        fs::read_to_string(self.at("calls")).unwrap_or_default().lines().count()
    }

    fn jobs(&self) -> usize {
        fs::read_dir(self.at("jobs")).map_or(0, |jobs| jobs.flatten().filter(|job| job.file_name() != "new").count())
    }

    fn state(&self, job: &str) -> String {
        fs::read_to_string(self.at("jobs").join(job).join("state")).unwrap_or_default().trim().to_owned()
    }

    /// Waits until a job works: its worker has printed something.
    fn wait_for_work(&self, starts: usize) -> Vec<PathBuf> {
        wait_for("the job to work", || {
            let work = self.place.at(".pipeline/work");
            let all = if work.exists() { program::files(&work) } else { Vec::new() };
            let logs: Vec<PathBuf> = all
                .into_iter()
                .filter(|path| path.to_string_lossy().contains("/starts/") && path.ends_with("log.txt"))
                // Those of an array have links beside them.
                .filter(|path| !path.to_string_lossy().contains("/arrays/"))
                .filter(|path| fs::read_to_string(path).is_ok_and(|log| log.contains("begun")))
                .collect();
            (logs.len() >= starts).then_some(logs)
        })
    }

    /// Whether the record of the stage is there, once, and its content what the stage makes.
    fn has_result(&self) {
        let again = self.run().expect_exit(0).events();
        assert_eq!(again.ending("work"), "done");
        assert!(again.executed().is_empty(), "it is not worked again");
        let records = program::files(&self.place.at(".pipeline/store/v1/actions"));
        assert_eq!(records.iter().filter(|path| path.extension().is_some_and(|ext| ext == "json")).count(), 1);
    }
}

/// A cluster, and a pipeline with a family of three.
fn with_family() -> Cluster {
    let cluster = cluster();
    cluster.write("echo begun; while ! test -e PLACE/go; do sleep 0.02; done; echo ${k} > out", ", for: {k: 1..3}");
    let text = cluster.place.read("p.yaml").replace("  work:", "  \"work_${k}\":");
    cluster.place.write("p.yaml", &text);
    cluster
}

/// The endings of the members of a family, in order.
fn endings(events: &Events) -> [String; 3] {
    ["work_1", "work_2", "work_3"].map(|stage| events.ending(stage).to_owned())
}

/// Whether each member of a family has a record, once, and nothing is left of its array.
fn has_family(cluster: &Cluster, why: &str) {
    let again = cluster.run().expect_exit(0).events();
    assert_eq!(endings(&again), ["done", "done", "done"], "{why}");
    assert!(again.executed().is_empty(), "{why}");
    let records = program::files(&cluster.place.at(".pipeline/store/v1/actions"));
    assert_eq!(records.iter().filter(|path| path.extension().is_some_and(|ext| ext == "json")).count(), 3, "{why}");
    let arrays = cluster.place.at(".pipeline/work/arrays");
    assert_eq!(fs::read_dir(arrays).map_or(0, Iterator::count), 0, "{why}");
}

fn is_placed(event: &Value) -> bool {
    event["event"] == "placed"
}

fn is_on_node(event: &Value) -> bool {
    is_placed(event) && !event["node"].is_null()
}

fn notes(events: &Events) -> Vec<String> {
    events.of("noted").map(|event| word(&event["message"]).to_owned()).collect()
}

fn failure(events: &Events) -> String {
    let failed: Vec<&Value> = events.of("failed").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    word(&failed[0]["cause"]).to_owned()
}

#[test]
fn a_stage_runs_on_a_node_and_its_result_is_as_one_made_here() {
    let cluster = cluster();
    cluster.write("echo begun; echo done > out", ", resources: {gpu: 2, cpu: 3, memory: 1G, time: 90s}");
    let events = cluster.run().expect_exit(0).events();
    assert_eq!((cluster.submissions(), events.ending("work")), (1, "done"));
    let asked = fs::read_to_string(cluster.at("calls")).unwrap();
    for argument in ["--gres=gpu:2", "--cpus-per-task=3", "--mem=1024M", "--time=2", "--requeue", "--signal=B:TERM@1"] {
        assert!(asked.contains(argument), "{argument} in {asked}");
    }
    let places: Vec<&Value> = events.of("placed").collect();
    assert_eq!((&places[0]["executor"], &places[0]["id"]), (&"lab".into(), &Value::Null), "the name comes first");
    assert_eq!(places[0]["job"], places[1]["job"]);
    // The same stage here finds it.
    cluster.write("echo begun; echo done > out", ", executor: local");
    cluster.has_result();
    assert!(cluster.place.run(&["log", "work", "p.yaml"]).stdout.contains("begun"));
}

#[test]
fn a_run_that_is_killed_at_any_event_loses_no_job_and_submits_none_twice() {
    for at in 1.. {
        let cluster = cluster();
        let live = cluster.start();
        let mut is_over = false;
        for _ in 0..at {
            let event = live.until(|_| true);
            if is_on_node(&event) {
                cluster.go();
            }
            is_over = event["event"] == "run_finished";
            if is_over {
                break;
            }
        }
        live.signal(Signal::KILL);
        drop(live);
        cluster.go();
        let events = cluster.run().expect_exit(0).events();
        assert_eq!(events.ending("work"), "done", "killed at event {at}");
        assert_eq!((cluster.submissions(), cluster.jobs()), (1, 1), "killed at event {at}");
        cluster.has_result();
        if is_over {
            assert!(at > 5, "it was killed at each of its events");
            return;
        }
    }
}

#[test]
fn a_submission_that_failed_and_was_taken_is_not_made_again() {
    let cluster = cluster();
    cluster.go();
    cluster.fault("submission-unclear");
    let events = cluster.run().expect_exit(0).events();
    assert_eq!((cluster.submissions(), cluster.jobs()), (1, 1));
    assert!(notes(&events)[0].contains("was it submitted?"), "{:?}", notes(&events));
    cluster.has_result();
}

#[test]
fn a_submission_that_failed_and_was_lost_is_made_once_more() {
    let cluster = cluster();
    cluster.go();
    cluster.fault("submission-lost");
    let events = cluster.run().expect_exit(0).events();
    assert_eq!((cluster.submissions(), cluster.jobs()), (2, 1));
    assert!(notes(&events)[1].contains("submitted again"), "{:?}", notes(&events));
}

#[test]
fn a_job_that_the_controller_forgets_is_submitted_again_and_its_id_is_another_job_now() {
    let cluster = cluster();
    cluster.go();
    fs::write(cluster.at("hold"), "").unwrap();
    let live = cluster.start();
    live.until(|event| is_placed(event) && event["id"] == "1");
    cluster.does(&["forget-job", "1"]);
    // The id is given to another job, which ends well.
    fs::create_dir(cluster.at("jobs/1")).unwrap();
    for (name, text) in [("name", "other"), ("state", "COMPLETED"), ("exit", "0:0")] {
        fs::write(cluster.at("jobs/1").join(name), text).unwrap();
    }
    live.until(|event| is_placed(event) && event["id"] == "2");
    fs::remove_file(cluster.at("hold")).unwrap();
    let (exit, events) = live.end();
    assert_eq!((exit, events.ending("work"), cluster.submissions()), (Some(0), "done", 2));
}

#[test]
fn two_starts_of_one_job_share_no_directory_and_make_one_record() {
    let cluster = cluster();
    let live = cluster.start();
    live.until(is_on_node);
    cluster.wait_for_work(1);
    cluster.does(&["requeue-job", "1"]);
    let starts = cluster.wait_for_work(2);
    assert_ne!(starts[0].parent(), starts[1].parent());
    cluster.go();
    let (exit, events) = live.end();
    assert_eq!((exit, events.ending("work"), cluster.submissions()), (Some(0), "done", 1));
    cluster.has_result();
}

#[test]
fn a_node_that_fails_costs_an_attempt_of_its_own_budget() {
    let cluster = cluster();
    let live = cluster.start();
    live.until(is_on_node);
    cluster.wait_for_work(1);
    cluster.does(&["end-job", "1", "NODE_FAIL"]);
    live.until(|event| is_placed(event) && event["id"] == "2");
    cluster.go();
    let (exit, events) = live.end();
    assert_eq!((exit, events.ending("work"), cluster.submissions()), (Some(0), "done", 2));
    cluster.has_result();
}

/// A command that keeps how far it came, and stops where it is told to.
const RESUMES: &str = "echo begun; test -e resume/half && echo done > out && exit; trap 'mkdir -p resume; touch resume/half; exit 143' TERM; \
                       while :; do sleep 0.02; done";

#[test]
fn a_time_limit_goes_on_from_the_checkpoint_in_a_new_job() {
    let cluster = cluster();
    cluster.write(RESUMES, "");
    let live = cluster.start();
    live.until(is_on_node);
    cluster.wait_for_work(1);
    cluster.does(&["warn-job", "1"]);
    let (exit, events) = live.end();
    assert_eq!((exit, events.ending("work"), cluster.submissions()), (Some(0), "done", 2));
    assert!(notes(&events)[0].contains("time limit") && notes(&events)[0].contains("from its checkpoint"));
}

#[test]
fn a_job_that_was_ended_says_why_and_is_not_begun_again() {
    for (state, exit, said) in [
        ("OUT_OF_MEMORY", "0:125", "the job ran out of memory (OUT_OF_MEMORY on n1): `resources: {memory: …}`"),
        ("CANCELLED", "0:15", "the job was cancelled (CANCELLED on n1)"),
        (
            "TIMEOUT",
            "0:15",
            "the time limit of the job passed: `resources: {time: …}` gives it more; it had written no",
        ),
    ] {
        let cluster = cluster();
        let live = cluster.start();
        live.until(is_on_node);
        cluster.wait_for_work(1);
        cluster.does(&["end-job", "1", state, exit]);
        let (code, events) = live.end();
        assert_eq!((code, cluster.submissions()), (Some(1), 1), "{state}");
        assert!(failure(&events).starts_with(said), "{}", failure(&events));
    }
}

#[test]
fn work_that_fails_on_a_node_fails_as_it_does_here() {
    let cluster = cluster();
    cluster.write("echo so it is >&2; exit 3", "");
    let ran = cluster.run().expect_exit(1);
    let cause = failure(&ran.events());
    assert!(cause.contains("exit code 3") || cause.contains("exit status: 3"), "{cause}");
    assert!(cause.contains("so it is"), "{cause}");
    assert_eq!(cluster.submissions(), 1);
    // A prelude that fails never comes to work.
    let cluster = self::cluster();
    let text =
        cluster.place.read("p.yaml").replace("type: slurm", "type: slurm, prelude: \"echo no such module; exit 7\"");
    cluster.place.write("p.yaml", &text);
    let cause = failure(&cluster.run().expect_exit(1).events());
    assert!(cause.contains("exit code 7") && cause.contains("no such module"), "{cause}");
}

#[test]
fn a_scheduler_that_is_down_fails_nothing() {
    let cluster = cluster();
    let live = cluster.start();
    live.until(is_on_node);
    cluster.fault("queue-down");
    cluster.go();
    let (exit, events) = live.end();
    assert_eq!((exit, events.ending("work")), (Some(0), "done"));
}

#[test]
fn a_job_that_ended_and_was_forgotten_while_no_run_looked_is_found_by_its_files() {
    let cluster = cluster();
    let live = cluster.start();
    live.until(is_on_node);
    cluster.wait_for_work(1);
    live.signal(Signal::KILL);
    drop(live);
    cluster.go();
    wait_for("the job to end", || (cluster.state("1") == "COMPLETED").then_some(()));
    cluster.does(&["forget-job", "1"]);
    let events = cluster.run().expect_exit(0).events();
    assert_eq!((events.ending("work"), cluster.submissions()), ("done", 1));
}

#[test]
fn an_interrupt_leaves_jobs_which_the_next_run_takes_or_cancel_ends() {
    let cluster = cluster();
    let live = cluster.start();
    live.until(is_on_node);
    live.signal(Signal::INT);
    let (exit, events) = live.end();
    assert_eq!((exit, events.ending("work")), (Some(130), "interrupted"));
    assert!(notes(&events)[0].starts_with("goes on as job 1 on `lab`"), "{:?}", notes(&events));
    assert_eq!(cluster.state("1"), "RUNNING");
    let live = cluster.start();
    live.until(is_on_node);
    live.signal(Signal::INT);
    live.end();
    assert_eq!(cluster.submissions(), 1);
    // Its work is not garbage.
    cluster.place.run(&["gc", "p.yaml", "--keep-runs", "0"]);
    cluster.wait_for_work(1);
    let said = ran(cluster.command(&["run", "p.yaml", "--cancel"])).expect_exit(0);
    assert!(said.stderr.contains("is cancelled"), "{}", said.stderr);
    assert_eq!(cluster.state("1"), "CANCELLED");
    assert!(ran(cluster.command(&["run", "p.yaml", "--cancel"])).stderr.contains("no job of this pipeline is left"));
    cluster.go();
    cluster.run().expect_exit(0);
    assert_eq!(cluster.submissions(), 2);
}

#[test]
fn what_cannot_be_submitted_is_told_before_anything_is() {
    let cluster = cluster();
    let text = cluster.place.read("p.yaml");
    let refused = |from: &str, to: &str| {
        cluster.place.write("p.yaml", &text.replace(from, to));
        cluster.run().expect_exit(2).stderr
    };
    assert!(refused("executor: lab", "executor: lap").contains("no executor `lap` is configured"));
    let said = refused("type: slurm", "type: slurm, partition: gpus");
    assert!(said.contains("the cluster has no partition `gpus`; it has main"), "{said}");
    cluster.place.write("p.yaml", &text);
    let mut without = cluster.place.command(&["run", "p.yaml"]);
    without.env("PATH", cluster.place.path());
    let said = ran(without).expect_exit(2).stderr;
    assert!(said.contains("`sbatch` is not in PATH"), "{said}");
    assert_eq!(cluster.submissions(), 0);
    // What Slurm itself refuses fails the stage at once, with its words.
    cluster.fault("submission-refused");
    let cause = failure(&cluster.run().expect_exit(1).events());
    assert!(cause.contains("Requested node configuration is not available"), "{cause}");
    assert_eq!((cluster.submissions(), cluster.jobs()), (1, 0));
}

#[test]
fn what_a_worker_alone_may_hear_is_for_its_owner_and_gone_in_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = cluster();
    let live = cluster.start();
    live.until(is_on_node);
    let find = || {
        let all = program::files(&cluster.place.at(".pipeline/work"));
        all.into_iter().find(|path| path.ends_with("handover"))
    };
    let handover = find().unwrap();
    assert_eq!(fs::metadata(handover).unwrap().permissions().mode() & 0o777, 0o600);
    cluster.go();
    live.end();
    assert_eq!(find(), None);
}

#[test]
fn a_run_has_stages_here_and_stages_on_a_cluster() {
    let cluster = cluster();
    cluster.go();
    let here = "  here: {kind: exec, executor: local, from: {a: work}, with: {command: [/bin/sh, -euc, \"cp in/a/out out\"], outputs: [out]}}\n";
    let text = cluster.place.read("p.yaml") + here;
    cluster.place.write("p.yaml", &text);
    let events = cluster.run().expect_exit(0).events();
    assert_eq!((events.ending("work"), events.ending("here")), ("done", "done"));
    let placed: Vec<&str> = events.of("placed").map(|event| word(&event["stage"])).collect();
    assert!(!placed.is_empty() && placed.iter().all(|stage| *stage == "work"));
}

#[test]
fn a_family_is_submitted_by_one_call_and_what_asks_for_more_by_another() {
    let cluster = with_family();
    let more =
        "  more: {kind: exec, with: {command: [/bin/sh, -euc, \"echo > out\"], outputs: [out]}, resources: {cpu: 2}}\n";
    let text = cluster.place.read("p.yaml") + more;
    cluster.place.write("p.yaml", &text);
    let live = cluster.start();
    // Members work side by side, each in a directory of its own.
    let logs = cluster.wait_for_work(3);
    cluster.go();
    let (exit, events) = live.end();
    assert_eq!((exit, endings(&events), events.ending("more")), (Some(0), ["done"; 3].map(str::to_owned), "done"));
    assert_eq!((logs.len(), cluster.submissions(), cluster.jobs()), (3, 2, 4));
    let asked = fs::read_to_string(cluster.at("calls")).unwrap();
    assert!(asked.contains("--array=0,1,2") && asked.contains("--comment=pipeline: p/work_1 and 2 more"), "{asked}");
    let mut names: Vec<&str> = events.of("placed").map(|event| word(&event["job"])).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4, "each has a name of its own: {names:?}");
    assert!(ran(cluster.command(&["log", "work_2", "p.yaml"])).stdout.contains("begun"));
}

#[test]
fn a_run_that_is_killed_at_any_event_loses_no_member_and_submits_none_twice() {
    for at in 1.. {
        let cluster = with_family();
        let live = cluster.start();
        let mut is_over = false;
        for _ in 0..at {
            let event = live.until(|_| true);
            if is_on_node(&event) {
                cluster.go();
            }
            is_over = event["event"] == "run_finished";
            if is_over {
                break;
            }
        }
        live.signal(Signal::KILL);
        drop(live);
        cluster.go();
        let why = format!("killed at event {at}");
        let events = cluster.run().expect_exit(0).events();
        assert_eq!(endings(&events), ["done", "done", "done"], "{why}");
        // One that was killed while it named them names the others anew.
        assert_eq!(cluster.jobs(), 3, "{why}");
        has_family(&cluster, &why);
        if is_over {
            assert!(at > 12, "it was killed at each of its events");
            return;
        }
    }
}

#[test]
fn an_array_that_was_taken_after_a_doubt_is_not_submitted_again_and_one_that_was_lost_is() {
    for (fault, submissions) in [("submission-unclear", 1), ("submission-lost", 2)] {
        let cluster = with_family();
        cluster.go();
        cluster.fault(fault);
        let events = cluster.run().expect_exit(0).events();
        assert_eq!((cluster.submissions(), cluster.jobs()), (submissions, 3), "{fault}");
        assert!(notes(&events)[0].contains("was it submitted?"), "{:?}", notes(&events));
        has_family(&cluster, fault);
    }
}

#[test]
fn members_that_the_controller_forgets_are_submitted_again_under_their_names() {
    let cluster = with_family();
    cluster.go();
    fs::write(cluster.at("hold"), "").unwrap();
    let live = cluster.start();
    live.until(|event| is_placed(event) && event["id"] == "1_2");
    cluster.does(&["forget-job", "1_0,1_1,1_2"]);
    live.until(|event| is_placed(event) && event["id"] == "2_1");
    fs::remove_file(cluster.at("hold")).unwrap();
    let (exit, events) = live.end();
    assert_eq!((exit, cluster.jobs()), (Some(0), 3));
    assert_eq!(endings(&events), ["done", "done", "done"]);
    let asked = fs::read_to_string(cluster.at("calls")).unwrap();
    let names: Vec<&str> = asked.split_whitespace().filter(|word| word.starts_with("--job-name")).collect();
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    has_family(&cluster, "forgotten");
}

#[test]
fn a_member_that_somebody_cancels_while_it_waits_fails_alone() {
    let cluster = with_family();
    cluster.go();
    fs::write(cluster.at("hold"), "").unwrap();
    let live = cluster.start();
    live.until(|event| is_placed(event) && event["id"] == "1_2" && event["waits"].is_null());
    cluster.does(&["scancel", "1_1"]);
    let failed = live.until(|event| event["event"] == "failed");
    fs::remove_file(cluster.at("hold")).unwrap();
    let (exit, _) = live.end();
    assert_eq!((exit, cluster.submissions()), (Some(1), 1));
    let cause = word(&failed["cause"]);
    assert!(cause.starts_with("the job was cancelled (CANCELLED, it left the queue"), "{cause}");
    // What had begun goes on to its end.
    let events = cluster.run().expect_exit(0).events();
    assert_eq!(endings(&events), ["done", "done", "done"]);
    has_family(&cluster, "cancelled");
}

#[test]
fn a_member_whose_node_fails_is_begun_again_alone() {
    let cluster = with_family();
    let live = cluster.start();
    cluster.wait_for_work(3);
    cluster.does(&["end-job", "1_1", "NODE_FAIL"]);
    live.until(|event| is_placed(event) && event["id"] == "2");
    cluster.go();
    let (exit, _) = live.end();
    assert_eq!((exit, cluster.submissions(), cluster.jobs()), (Some(0), 2, 4));
    has_family(&cluster, "its node failed");
}

#[test]
fn a_queue_with_room_for_some_takes_these_first() {
    let cluster = with_family();
    cluster.go();
    cluster.fault("submission-full");
    cluster.run().expect_exit(0);
    let asked = fs::read_to_string(cluster.at("calls")).unwrap();
    let arrays: Vec<&str> = asked.split_whitespace().filter(|word| word.starts_with("--array")).collect();
    assert_eq!(arrays, ["--array=0,1,2", "--array=0", "--array=1,2"]);
    has_family(&cluster, "the queue was full");
}

#[test]
fn a_cluster_without_arrays_gets_jobs_of_their_own() {
    let cluster = with_family();
    cluster.go();
    cluster.fault("array-too-large");
    cluster.run().expect_exit(0);
    assert_eq!((cluster.submissions(), cluster.jobs()), (4, 3));
    has_family(&cluster, "no arrays");
}

#[test]
fn cancel_ends_every_member_of_an_array() {
    let cluster = with_family();
    let live = cluster.start();
    cluster.wait_for_work(3);
    live.until(|event| is_placed(event) && event["id"] == "1_2");
    live.signal(Signal::INT);
    live.end();
    let said = ran(cluster.command(&["run", "p.yaml", "--cancel"])).expect_exit(0);
    assert_eq!(said.stderr.matches("is cancelled").count(), 3, "{}", said.stderr);
    assert_eq!(["1_0", "1_1", "1_2"].map(|task| cluster.state(task)), ["CANCELLED"; 3].map(str::to_owned));
}

#[test]
fn a_stage_that_moves_to_another_executor_sees_the_job_that_it_left() {
    let cluster = cluster();
    let shared = cluster.place.at("shared");
    fs::create_dir(&shared).unwrap();
    let text = cluster.place.read("p.yaml");
    let there = text.replace("type: slurm", &format!("type: slurm, work_dir: {}", shared.display()));
    cluster.place.write("p.yaml", &there);
    let live = cluster.start();
    live.until(is_on_node);
    live.signal(Signal::KILL);
    drop(live);
    // Neither another cluster nor this machine does it a second time, and nobody else knows the directory any more.
    let other = text.replace("executor: lab", "executor: lab_2").replace("executors: {lab:", "executors: {lab_2:");
    for moved in [other, text.replace("executor: lab", "executor: local")] {
        cluster.place.write("p.yaml", &moved);
        let cause = failure(&cluster.run().expect_exit(1).events());
        assert!(
            cause.contains("on `lab` may still do the same work: with `executor: lab` its result is taken"),
            "{cause}"
        );
    }
    assert_eq!((cluster.submissions(), cluster.state("1")), (1, "RUNNING".to_owned()));
    // The same executor finds it, whatever directory it has now.
    cluster.place.write("p.yaml", &text);
    let live = cluster.start();
    live.until(is_on_node);
    live.signal(Signal::INT);
    live.end();
    assert_eq!(cluster.submissions(), 1);
    cluster.place.write("p.yaml", &text.replace("executor: lab", "executor: local"));
    let said = ran(cluster.command(&["run", "p.yaml", "--cancel"])).expect_exit(0);
    assert!(said.stderr.contains("is cancelled"), "{}", said.stderr);
    cluster.go();
    cluster.run().expect_exit(0);
    assert_eq!(cluster.submissions(), 1);
    // What is left of the work is collected from wherever it lay.
    let left = || program::files(&shared).into_iter().filter(|path| path.ends_with("job.json")).count();
    assert_eq!(left(), 1);
    cluster
        .place
        .write("p.yaml", &text.replace("done > out", "another > out").replace("executor: lab", "executor: local"));
    cluster.run().expect_exit(0);
    cluster.place.run(&["gc", "p.yaml", "--keep-runs", "1"]).expect_exit(0);
    assert_eq!(left(), 0);
}
