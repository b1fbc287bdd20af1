//! Two machines and what they share: a directory, and a server of S3 that fails as it is told.

#[path = "support/program.rs"]
mod program;
#[path = "support/s3.rs"]
mod s3;

use program::{Place, Ran, place, ran};
use s3::{BUCKET, Fault, KEY, SECRET, Server};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Three stages in a chain, of which one gives a file that goes up in parts.
const FILE: &str = r#"
stages:
  one: {kind: exec, with: {command: [/bin/sh, -euc, "echo hello; echo 1 > n; env | grep AWS_ > e || true"], outputs: [n, e]}}
  two: {kind: exec, from: {a: one}, with: {command: [/bin/sh, -euc, "cat in/a/n in/a/n > n; head -c 9000000 /dev/zero > large"], outputs: [n, large]}}
  three: {kind: exec, from: {a: two}, with: {command: [/bin/sh, -euc, "wc -l < in/a/n > n"], outputs: [n]}}
"#;

fn machine(file: &str) -> Place {
    let machine = place();
    machine.write("p.yaml", file);
    machine
}

/// A command that knows the remote by its environment, as a colleague's does.
fn with(machine: &Place, url: &str, arguments: &[&str]) -> Command {
    let mut command = machine.command(arguments);
    command.env("PIPELINE_CACHE_REMOTE", url).env_remove("RUST_BACKTRACE");
    command
}

fn run(machine: &Place, url: &str) -> Ran {
    ran(with(machine, url, &["run", "p.yaml", "--json", "--no-fsync"]))
}

fn with_server(machine: &Place, server: &Server, arguments: &[&str]) -> Command {
    let mut command = with(machine, &format!("s3://{BUCKET}/team"), arguments);
    command.env("PIPELINE_CACHE_ENDPOINT", &server.address);
    command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    command
}

fn run_with(machine: &Place, server: &Server) -> Ran {
    ran(with_server(machine, server, &["run", "p.yaml", "--json", "--no-fsync"]))
}

/// Every file below that holds a text.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let files = program::files(directory).into_iter().filter(|path| path.is_file());
    let holds = |path: &Path| fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes());
    files.filter(|path| holds(path)).map(|path| path.display().to_string()).collect()
}

#[test]
fn what_one_machine_has_computed_no_other_computes_again() {
    let shared = tempfile::tempdir().unwrap();
    let url = format!("file://{}", shared.path().display());
    let (one, other) = (machine(FILE), machine(FILE));
    assert_eq!(run(&one, &url).expect_exit(0).events().executed(), ["one", "two", "three"]);
    // The plan says what would be fetched instead.
    let plans = |other: &Place| {
        for _ in 0..2 {
            let plan = ran(with(other, &url, &["plan", "p.yaml"])).expect_exit(0).stdout;
            assert!(plan.contains("would fetch 8.6 MiB") && !plan.contains("would run"), "{plan}");
        }
    };
    plans(&other);
    assert!(!other.at(".pipeline").exists(), "a look writes nothing");
    let second = run(&other, &url).expect_exit(0);
    let events = second.events();
    assert!(events.executed().is_empty(), "{}", second.stdout);
    assert_eq!(events.of("fetched").count(), 3);
    let host = events.of("fetched").next().unwrap()["from"]["host"].as_str().unwrap().to_owned();
    // No file came that nobody read.
    assert!(!fs::read_dir(other.at(".pipeline/store/v1/blobs")).unwrap().any(|_| true));
    let status = ran(with(&other, &url, &["status", "p.yaml"])).expect_exit(0).stdout;
    assert!(status.contains("from the remote") && status.contains(&format!("made on {host}")), "{status}");
    // The run fetched nothing, so the next plan and the state of the cache say the same again.
    plans(&other);
    let state = ran(with(&other, &url, &["cache", "status", "p.yaml"])).expect_exit(0).stdout;
    assert!(state.contains("0 here and there, 0 here alone, 3 there alone (8.6 MiB"), "{state}");
    // What is read later is found without a word about the remote.
    let log = other.run(&["log", "one", "p.yaml"]).expect_exit(0).stdout;
    assert!(log.contains("hello"), "{log}");
    // A run that finds everything at home asks nothing: the remote may be gone.
    fs::remove_dir_all(shared.path().join("v1")).unwrap();
    let third = run(&other, &url).expect_exit(0);
    assert!(third.events().executed().is_empty() && !third.stderr.contains("WARN"), "{}", third.stderr);
}

#[test]
fn a_stage_that_is_new_takes_its_inputs_from_the_remote() {
    let server = Server::start();
    let (one, other) = (machine(FILE), machine(&FILE.replace("wc -l <", "wc -c <")));
    run_with(&one, &server).expect_exit(0);
    let second = run_with(&other, &server).expect_exit(0);
    assert_eq!(second.events().executed(), ["three"], "{}", second.stderr);
    assert_eq!(second.events().of("fetched").count(), 2);
    // Its result went up, and what nobody read stayed there.
    let (third, content) = (machine(&FILE.replace("wc -l <", "wc -c <")), second.events().content("three").to_owned());
    let again = run_with(&third, &server).expect_exit(0);
    assert!(again.events().executed().is_empty() && again.events().content("three") == content);
}

#[test]
fn keys_are_in_no_file_no_message_and_no_environment_of_a_command() {
    let server = Server::start();
    let one = machine(FILE);
    let first = run_with(&one, &server).expect_exit(0);
    server.fail("", "", usize::MAX, Fault::Status(403));
    let refused = run_with(&machine(FILE), &server).expect_exit(0);
    for text in [SECRET, KEY] {
        assert_eq!(holding(one.path(), text), Vec::<String>::new());
        for said in [&first.stdout, &first.stderr, &refused.stdout, &refused.stderr] {
            assert!(!said.contains(text), "{said}");
        }
        let objects = &server.state().objects;
        let is_in = |bytes: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!objects.values().any(is_in), "{text} is in the bucket");
    }
}

#[test]
fn a_remote_that_fails_costs_a_warning_and_local_work() {
    for fault in [Fault::Status(500), Fault::Status(403), Fault::Cut, Fault::Status(507)] {
        let server = Server::start();
        server.fail("", "", usize::MAX, fault);
        let one = machine(FILE);
        let ran = run_with(&one, &server).expect_exit(0);
        assert_eq!(ran.events().executed(), ["one", "two", "three"], "{fault:?}");
        let warnings = ran.stderr.lines().filter(|line| line.contains("WARN")).count();
        assert!((1..=3).contains(&warnings), "{fault:?}: {}", ran.stderr);
        // The next run pays what is owed.
        server.heal();
        run_with(&one, &server).expect_exit(0);
        assert!(run_with(&machine(FILE), &server).expect_exit(0).events().executed().is_empty(), "{fault:?}");
    }
}

#[test]
fn a_file_that_is_wrong_there_is_made_here_and_replaced() {
    let server = Server::start();
    run_with(&machine(FILE), &server).expect_exit(0);
    let wrong: Vec<String> = server.names().into_iter().filter(|name| name.contains("/blobs/")).collect();
    for name in &wrong {
        if let Some(last) = server.state().objects.get_mut(name).unwrap().last_mut() {
            *last ^= 1;
        }
    }
    let other = machine(&FILE.replace("wc -l <", "wc -c <"));
    let second = run_with(&other, &server).expect_exit(0);
    assert!(second.stderr.contains("its bytes have another hash"), "{}", second.stderr);
    assert!(second.events().executed().contains(&"two"), "{}", second.stdout);
    let third = run_with(&machine(&FILE.replace("wc -l <", "wc -w <")), &server).expect_exit(0);
    assert_eq!(third.events().executed(), ["three"], "{}", third.stderr);
}

#[test]
fn a_run_that_is_killed_in_mid_push_is_completed_by_the_next() {
    let server = Server::start();
    let one = machine(FILE);
    server.fail("POST", "", usize::MAX, Fault::Hang);
    let mut live = one.start_command(with_server(&one, &server, &["run", "p.yaml", "--json", "--no-fsync"]));
    live.until(|event| event["event"] == "ended" && event["stage"] == "three");
    program::wait_for("the large file to be on its way", || {
        server.state().log.iter().any(|line| line.starts_with("POST")).then_some(())
    });
    live.child.kill().unwrap();
    live.child.wait().unwrap();
    server.heal();
    let records = |server: &Server| server.names().iter().filter(|name| name.contains("/actions/")).count();
    assert!(records(&server) < 3, "a record whose files are not there");
    let again = run_with(&one, &server).expect_exit(0);
    assert!(again.events().executed().is_empty());
    assert_eq!(records(&server), 3);
    assert!(run_with(&machine(FILE), &server).expect_exit(0).events().executed().is_empty());
}

#[test]
fn a_read_only_colleague_gets_results_and_pushes_nothing() {
    let server = Server::start();
    run_with(&machine(FILE), &server).expect_exit(0);
    let before = server.names();
    server.take_log();
    let other = machine(&FILE.replace("wc -l <", "wc -c <"));
    let mut command = with_server(&other, &server, &["run", "p.yaml", "--json", "--no-fsync"]);
    command.env("PIPELINE_CACHE_MODE", "read-only");
    let second = ran(command).expect_exit(0);
    assert_eq!(second.events().executed(), ["three"]);
    assert!(second.stderr.lines().all(|line| !line.contains("WARN")), "{}", second.stderr);
    assert_eq!(server.names(), before);
    assert!(server.take_log().iter().all(|line| line.starts_with("GET") || line.starts_with("HEAD")));
    let mut push = with_server(&other, &server, &["cache", "push", "p.yaml"]);
    push.env("PIPELINE_CACHE_MODE", "read-only");
    assert!(ran(push).expect_exit(2).stderr.contains("is read-only: nothing is pushed"));
}

#[test]
fn push_pull_and_status_say_what_is_where() {
    let shared = tempfile::tempdir().unwrap();
    let url = format!("file://{}", shared.path().display());
    let (one, other) = (machine(FILE), machine(FILE));
    // Made before there was a remote.
    one.run(&["run", "p.yaml", "--no-fsync"]).expect_exit(0);
    let say = |machine: &Place, arguments: &[&str]| ran(with(machine, &url, arguments)).expect_exit(0).stdout;
    let status = say(&one, &["cache", "status", "p.yaml"]);
    assert!(status.contains("0 here and there, 3 here alone, 0 there alone"), "{status}");
    assert!(say(&one, &["cache", "push", "p.yaml", "one"]).ends_with("1 new, 0 known\n"));
    assert!(say(&one, &["cache", "push", "p.yaml"]).ends_with("2 new, 1 known\n"));
    let status = say(&other, &["cache", "status", "p.yaml"]);
    assert!(status.contains("0 here alone, 3 there alone (8.6 MiB"), "{status}");
    let pulled = say(&other, &["cache", "pull", "p.yaml"]);
    assert!(pulled.contains("3 new (8.6 MiB"), "{pulled}");
    // All is here now, without the remote as well.
    let alone = other.run(&["run", "p.yaml", "--json", "--no-fsync"]).expect_exit(0);
    assert!(alone.events().executed().is_empty());
    let unknown = ran(with(&one, &url, &["cache", "push", "p.yaml", "four"])).expect_exit(2).stderr;
    assert!(unknown.contains("has no stage `four`"), "{unknown}");
    assert!(one.run(&["cache", "status"]).expect_exit(2).stderr.contains("there is no remote"));
    let dead = say(&one, &["gc", "--remote", "p.yaml"]);
    assert!(dead.ends_with("0 dead uploads given up; results in a remote stay\n"), "{dead}");
}

#[test]
fn what_is_wrong_with_a_remote_is_said_before_anything_is_computed() {
    let one = machine(FILE);
    let server = Server::start();
    let says = |mut command: Command, expected: &str| {
        let arguments: Vec<String> = command.get_args().map(|one| one.to_string_lossy().into_owned()).collect();
        command.env("HOME", one.path()).env_remove("AWS_PROFILE");
        let told = ran(command).expect_exit(2);
        assert!(told.stderr.contains(expected), "{arguments:?}: {}", told.stderr);
        assert!(!told.stdout.contains("\"started\""), "{}", told.stdout);
    };
    for verb in ["check", "run"] {
        says(with(&one, "s3://lab/x", &[verb, "p.yaml"]), "there are no keys: set AWS_ACCESS_KEY_ID");
        says(with(&one, "lab/x", &[verb, "p.yaml"]), "is neither `s3://bucket/prefix` nor");
        let mut open = with(&one, "s3://lab/x", &[verb, "p.yaml"]);
        open.env("PIPELINE_CACHE_ENDPOINT", "http://192.0.2.1:9000");
        says(open, "take `https`");
        one.write("bad.yaml", &format!("cache: {{remote: {{url: s3://Lab}}}}\n{FILE}"));
        says(one.command(&[verb, "bad.yaml"]), "is no name of a bucket");
    }
    // The directory of a remote stands among others: it was never made, or is typed wrong.
    let typed = format!("file://{}", one.at("remote").display());
    says(with(&one, &typed, &["run", "p.yaml", "--json"]), "there is no such directory; make it");
    let mut absent = with_server(&one, &server, &["run", "p.yaml", "--json"]);
    absent.env("PIPELINE_CACHE_REMOTE", "s3://other/x");
    says(absent, "there is no such bucket");
}

#[test]
fn a_directory_that_is_not_mounted_costs_a_warning_and_local_work() {
    let one = machine(FILE);
    let ran = run(&one, "file:///nowhere/pipeline").expect_exit(0);
    assert_eq!(ran.events().executed(), ["one", "two", "three"]);
    let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert!(ran.stderr.contains("it cannot be reached") && warnings.len() <= 3, "{warnings:?}");
}

#[test]
fn what_was_made_on_results_of_the_remote_is_pushed_later() {
    let server = Server::start();
    run_with(&machine(FILE), &server).expect_exit(0);
    let other = machine(&FILE.replace("wc -l <", "wc -c <"));
    let mut command = with_server(&other, &server, &["run", "p.yaml", "--json", "--no-fsync"]);
    command.env("PIPELINE_CACHE_MODE", "read-only");
    assert_eq!(ran(command).expect_exit(0).events().executed(), ["three"]);
    let pushed = ran(with_server(&other, &server, &["cache", "push", "p.yaml"])).expect_exit(0).stdout;
    assert!(pushed.contains("1 new"), "{pushed}");
    let third = machine(&FILE.replace("wc -l <", "wc -c <"));
    assert!(run_with(&third, &server).expect_exit(0).events().executed().is_empty());
    let mut collect = with_server(&other, &server, &["gc", "--remote", "p.yaml"]);
    collect.env("PIPELINE_CACHE_MODE", "read-only");
    assert!(ran(collect).expect_exit(2).stderr.contains("is read-only: nothing of it is given up"));
}

#[test]
fn a_record_of_another_shape_is_made_here_and_replaced() {
    let server = Server::start();
    let one = machine(FILE);
    run_with(&one, &server).expect_exit(0);
    // Sealed as it should be, and no result that this program knows.
    let name = server.names().into_iter().find(|name| name.contains("/actions/")).unwrap();
    let key = name.rsplit("/actions/").next().unwrap().replace('/', "").replace(".json", "");
    let rest = format!("\",\"key\":\"{key}\",\"record\":{{\"result\":7,\"telemetry\":null,\"contents\":[]}}}}\n");
    let sealed = format!("{{\"blake3\":\"{}{rest}", blake3::hash(rest.as_bytes()).to_hex());
    server.state().objects.insert(name.clone(), sealed.clone().into());
    let other = run_with(&machine(FILE), &server).expect_exit(0);
    assert_eq!(other.events().executed().len(), 1, "{}", other.stderr);
    assert!(other.stderr.contains("a record of the remote is of no use"), "{}", other.stderr);
    assert_ne!(server.state().objects[&name], sealed.into_bytes());
    assert!(run_with(&machine(FILE), &server).expect_exit(0).events().executed().is_empty());
}

#[test]
fn a_mistake_in_the_users_configuration_is_told_by_what_reads_results() {
    let shared = tempfile::tempdir().unwrap();
    let url = format!("file://{}", shared.path().display());
    let (one, other) = (machine(FILE), machine(FILE));
    run(&one, &url).expect_exit(0);
    run(&other, &url).expect_exit(0);
    other.write("config.yaml", "cache: {remote: {url: lab}}\n");
    let mut log = other.command(&["log", "one", "p.yaml"]);
    log.env("PIPELINE_CONFIG", other.at("config.yaml"));
    let told = ran(log).stderr;
    assert!(
        told.contains("the configuration is not used") && told.contains("is neither `s3://bucket/prefix`"),
        "{told}"
    );
}

#[test]
fn doctor_says_what_a_remote_allows_and_keeps() {
    let server = Server::start();
    let one = machine(FILE);
    let doctor = || ran(with_server(&one, &server, &["doctor"])).stdout;
    let good = doctor();
    assert!(good.contains("the first of two records stays (put-if-absent)"), "{good}");
    server.fail("PUT", "probe", usize::MAX, Fault::IgnoreCondition);
    server.fail("HEAD", "probe", usize::MAX, Fault::Skew(-3600));
    let bad = doctor();
    assert!(bad.contains("it overwrites a record that is there") && bad.contains("s behind this machine's"), "{bad}");
    server.heal();
    server.fail("PUT", "", usize::MAX, Fault::Status(403));
    assert!(doctor().contains("an object cannot be written: it refuses"));
}
