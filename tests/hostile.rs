//! Commands that mean no good, or do not know better: none of what they leave behind harms the run, leaves its directory
//! or becomes a result that it is not.

#[path = "support/program.rs"]
mod program;

use program::{Place, Ran, place, ran, word};
use std::fs;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Every stage runs one of the commands, in which `HERE` stands for the place's own directory, and declares the output `o`.
fn write(place: &Place, commands: &[&str], more: &str) {
    let here = place.path().display().to_string();
    let stage = |(number, command): (usize, &&str)| {
        let command = serde_json::to_string(&command.replace("HERE", &here)).unwrap();
        format!("  s{number}: {{kind: exec, with: {{command: {command}, outputs: [o]}}{more}}}\n")
    };
    let stages: String = commands.iter().enumerate().map(stage).collect();
    place.write("toy.yaml", &format!("name: toy\nstages:\n{stages}"));
}

fn run(place: &Place, commands: &[&str], more: &str) -> Ran {
    write(place, commands, more);
    let mut command = place.command(&["run", "toy.yaml", "--json", "--keep-going", "--jobs", "4"]);
    command.env("TOKEN", TOKEN);
    ran(command)
}

const TOKEN: &str = "S3cr3tValueXyz";

fn cause(ran: &Ran, stage: &str) -> String {
    word(&ran.events().outcome(stage)["cause"]).to_owned()
}

/// The files below the directory that hold this text.
fn holders(directory: &Path, text: &str) -> Vec<String> {
    let holds = |path: &std::path::PathBuf| {
        fs::symlink_metadata(path).unwrap().is_file()
            && fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    };
    let is_own = |path: &std::path::PathBuf| {
        path.ancestors().take_while(|above| *above != directory).all(|above| !above.is_symlink())
    };
    let files = program::files(directory).into_iter().filter(is_own);
    files.filter(holds).map(|path| path.display().to_string()).collect()
}

/// A run by another user, where this one is root, to whom no limit applies.
fn by_another(place: &Place, user: u32) -> Command {
    use std::os::unix::process::CommandExt;
    let run = place.command(&["run", "toy.yaml"]);
    if !rustix::process::geteuid().is_root() {
        return run;
    }
    // The program may lie where root alone may look.
    let program = place.at("program");
    fs::copy(run.get_program(), &program).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new(program);
    command.args(run.get_args()).current_dir(place.path()).uid(user).gid(user);
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn a_pipe_or_a_link_to_one_in_any_place_keeps_nobody_waiting() {
    let place = place();
    let own = ["events.jsonl", "metrics.json", "items.jsonl", "metrics.jsonl", "resume", "o"];
    let books = ["log.txt", "error.txt", "outcome.json", "events.jsonl", "memory.txt", "resume", "tables", "out"];
    let names = own.iter().map(|name| (*name).to_owned()).chain(books.iter().map(|name| format!("../{name}")));
    let commands: Vec<String> = names
        .flat_map(|name| {
            let pipe = format!("rm -rf {name}; mkfifo {name}; test -e o || echo 1 > o");
            [pipe.clone(), format!("{pipe}; exit 3"), format!("mkfifo p; rm -rf {name}; ln -s p {name}; exit 3")]
        })
        .collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let ran = run(&place, &commands, ", timeout: 20s").expect_exit(1);
    assert!(ran.took < Duration::from_secs(30), "{:?}", ran.took);
    // What counts is what the command did: a pipe in place of a log or of progress is none of its results.
    let ending = |number: usize| ran.events().ending(&format!("s{number}")).to_owned();
    assert_eq!((ending(0), ending(1), ending(3)), ("done".to_owned(), "failed".to_owned(), "failed".to_owned()));
    assert!(cause(&ran, "s3").contains("metrics.json: not a plain file"), "{}", cause(&ran, "s3"));
}

#[test]
fn progress_without_an_end_takes_no_memory_and_stops_with_the_stage() {
    let place = place();
    let command = "truncate -s 3G events.jsonl; truncate -s 1T metrics.jsonl; echo 1 > o";
    let failed = run(&place, &[command, "yes | tr -d '\\n' > events.jsonl"], ", timeout: 2s").expect_exit(1);
    assert!(cause(&failed, "s0").contains("it has 1099511627776 bytes"), "{}", cause(&failed, "s0"));
    assert!(cause(&failed, "s1").contains("timeout"), "{}", cause(&failed, "s1"));
    assert!(failed.took < Duration::from_secs(10), "{:?}", failed.took);
}

#[test]
fn a_link_in_any_place_leads_nowhere() {
    let place = place();
    fs::create_dir(place.at("victim")).unwrap();
    place.write("victim/key", "precious\n");
    fs::set_permissions(place.at("victim/key"), fs::Permissions::from_mode(0o600)).unwrap();
    let commands = [
        "mkdir out; ln -s HERE/victim out/0; echo 1 > o",
        "mkdir -p ../out; rm -rf ../out/0; ln -s HERE/victim ../out/0; echo 1 > o",
        "mkdir -p ../tables; ln -s HERE/victim ../tables/0; echo 1 > o",
        "rm ../log.txt; ln -s HERE/victim/key ../log.txt; echo 1 > o",
        "ln -s HERE/victim/key ../metrics.jsonl; echo 1 > o",
        "ln -s HERE/victim/key metrics.jsonl; echo 1 > o",
        "ln -s HERE/victim/key items.jsonl; echo 1 > o",
        "ln -s HERE/victim resume; echo 1 > o",
        "ln -s HERE/victim o",
        "mkdir o; ln -s HERE/victim/key o/key",
        "cd ..; mv command moved; ln -s HERE/victim command; echo 1 > moved/o",
        "rm -rf .home .tmp; ln -s HERE/victim .home; ln -s HERE/victim .tmp; echo 1 > o",
        "ln -s HERE/victim/key ../error.txt; exit 3",
    ];
    let ran = run(&place, &commands, "");
    assert_eq!(holders(&place.at(".pipeline"), "precious"), Vec::<String>::new(), "{}", ran.stdout);
    assert!(!ran.stdout.contains("precious") && !ran.stderr.contains("precious"));
    assert_eq!(place.read("victim/key"), "precious\n");
    let mode = fs::metadata(place.at("victim/key")).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, fs::read_dir(place.at("victim")).unwrap().count()), (0o600, 1));
    assert_eq!(ran.events().ending("s0"), "done");
    place.run(&["cache", "verify", "toy.yaml"]).expect_exit(0);
}

#[test]
fn nothing_is_written_or_removed_through_the_links_of_a_store_that_came_with_somebody_elses_files() {
    for link in ["work", "runs", "store/v1/claims", "store/v1/blobs", "store/v1/tmp"] {
        let place = place();
        fs::create_dir_all(place.at("victim/1")).unwrap();
        place.write("victim/1/key", "precious\n");
        let link_at = place.at(".pipeline").join(link);
        fs::create_dir_all(link_at.parent().unwrap()).unwrap();
        symlink(place.at("victim"), &link_at).unwrap();
        let failed = run(&place, &["echo 1 > o"], "");
        assert_eq!(failed.exit, Some(1), "{link}: {}{}", failed.stdout, failed.stderr);
        place.run(&["gc", "toy.yaml"]);
        assert_eq!(program::files(&place.at("victim")).len(), 2, "{link}");
    }
}

#[test]
fn a_command_that_failed_or_took_too_long_has_failed_whatever_files_it_wrote() {
    let place = place();
    let forged = r#"{\"candidates\":[{\"step\":0,\"metrics\":{\"acc\":1.0}}]}"#;
    let forge = format!("mkdir -p out/0; echo half > out/0/o; echo \"{forged}\" > outcome.json");
    let books = format!("cd ..; {forge}");
    let commands = [
        format!("{forge}; exit 7"),
        format!("{books}; exit 7"),
        format!("{forge}; sleep 60"),
        format!("{books}; sleep 60"),
        format!("{books}; kill -9 $PPID"),
    ];
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let ran = run(&place, &commands, ", timeout: 1s, metrics: {acc: higher}, gate: acc > 0.9").expect_exit(1);
    for (stage, command) in commands.iter().enumerate() {
        assert_eq!(ran.events().ending(&format!("s{stage}")), "failed", "{command}");
    }
    assert_eq!(program::files(&place.at(".pipeline/store/v1/actions")).len(), 0);
}

#[test]
fn what_was_not_declared_is_in_no_artifact() {
    let place = place();
    let command =
        "mkdir -p out/0 tables/0; echo junk > out/0/junk; echo '{\"id\":1}' > tables/0/items.jsonl; echo 1 > o";
    run(&place, &[command], "").expect_exit(0);
    let trees: Vec<_> =
        program::files(&place.at(".pipeline/store/v1/trees")).into_iter().filter(|path| path.is_file()).collect();
    let tree: serde_json::Value = serde_json::from_slice(&fs::read(&trees[0]).unwrap()).unwrap();
    let names: Vec<_> = tree.as_object().unwrap().keys().cloned().collect();
    assert_eq!((trees.len(), names), (1, vec!["o".to_owned()]));
    assert_eq!(holders(&place.at(".pipeline/store"), "junk"), Vec::<String>::new());
    assert_eq!(holders(&place.at(".pipeline/store/v1/actions"), r#""tables":{}"#).len(), 1);
}

#[test]
fn a_secret_is_in_nothing_that_is_kept_or_shown_whoever_wrote_it() {
    let place = place();
    let progress = |file: &str, done: u8| {
        format!(
            "echo \"{{\\\"done\\\":{done},\\\"total\\\":2,\\\"unit\\\":\\\"s\\\",\\\"message\\\":\\\"$TOKEN\\\"}}\" >> {file}"
        )
    };
    let commands = [
        "echo token=$TOKEN | tee log.txt >/dev/null; echo 1 > o".to_owned(),
        "echo token=$TOKEN | tee -a ../log.txt >/dev/null; exit 3".to_owned(),
        "echo token=$TOKEN | tee -a ../log.txt >/dev/null; echo 1 > o".to_owned(),
        format!("{}; {}; echo 1 > o", progress("events.jsonl", 1), progress("events.jsonl", 2)),
        format!("{}; {}; echo 1 > o", progress("../events.jsonl", 1), progress("../events.jsonl", 2)),
        "mkdir -p out/0; echo $TOKEN > out/0/x; echo 1 > o".to_owned(),
        "echo $TOKEN > ../error.txt; echo $TOKEN > error.txt; kill -9 $PPID".to_owned(),
        "echo \"{\\\"loss\\\": 1, \\\"$TOKEN\\\": 2}\" > metrics.jsonl; echo 1 > o".to_owned(),
        "echo machine x password $TOKEN > $HOME/.netrc; mkdir resume; echo $TOKEN > resume/state; exit 3".to_owned(),
        "(head -c 3000000 /dev/zero; printf %s \"$TOKEN\") > o".to_owned(),
    ];
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let ran = run(&place, &commands, ", secret: [TOKEN]").expect_exit(1);
    assert_eq!(holders(&place.at(".pipeline"), TOKEN), Vec::<String>::new());
    assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.events().of("progressed").any(|event| event["message"] == "***"), "{}", ran.stdout);
    assert!(cause(&ran, "s9").contains("writes the secret TOKEN into o"), "{}", cause(&ran, "s9"));
}

/// Parents are the worker, the runner, and what started that: of the latter this program knows nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_stage_without_a_secret_cannot_read_it_from_the_environment_of_its_parents() {
    let place = place();
    let command =
        "cat /proc/$PPID/environ > o; cat /proc/$(cut -d' ' -f4 /proc/$PPID/stat)/environ >> o; ! env | grep TOKEN";
    run(&place, &[command], "").expect_exit(0);
    assert_eq!(holders(&place.at(".pipeline"), TOKEN), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[test]
fn what_leaves_its_group_ends_with_the_stage() {
    let place = place();
    let commands = [
        "setsid sleep 1000 & echo 1 > o",
        "(setsid sleep 1000 > /dev/null 2>&1 &) ; exit 3",
        "setsid sleep 1000 & sleep 60",
        "setsid sleep 1000 & kill -9 $PPID; sleep 60",
    ];
    run(&place, &commands, ", timeout: 1s").expect_exit(1);
    place.wait_for_silence();
}

#[test]
fn directories_that_must_not_be_written_to_are_no_failure() {
    let place = place();
    // Root may remove anything; so the directories are changed by another user where this is root.
    let command = "for d in $HOME $TMPDIR . ; do mkdir -p $d/a/b; echo x > $d/a/b/f; chmod 555 $d/a/b $d/a; done; mkdir o; \
                   echo 1 > o/x; chmod 555 o";
    write(&place, &[command], "");
    let ran = ran(by_another(&place, 65534)).expect_exit(0);
    assert!(!ran.stderr.contains("Permission denied"), "{}", ran.stderr);
    let left = program::files(&place.at(".pipeline/work")).into_iter().filter(|path| path.ends_with("command")).count();
    assert_eq!(left, 0);
}

#[test]
fn only_what_is_not_there_is_nothing() {
    let place = place();
    // A long name cannot be asked for, whatever lies there: the same as an error of the disk.
    let commands =
        ["mkdir -p metrics.json; echo 1 > o", "mkdir items.jsonl; echo 1 > o", "mkdir metrics.jsonl; echo 1 > o"];
    let ran = run(&place, &commands, "").expect_exit(1);
    for stage in ["s0", "s1", "s2"] {
        assert!(cause(&ran, stage).ends_with("not a plain file"), "{}", cause(&ran, stage));
    }
    assert_eq!(program::files(&place.at(".pipeline/store/v1/actions")).len(), 0);
}

#[test]
fn a_result_that_is_wrong_is_disowned_with_a_reason_kept_and_listed() {
    let place = place();
    place.write("score", "1");
    let command = "cat HERE/score > o; echo \"{\\\"m\\\": $(cat HERE/score)}\" > metrics.json";
    let metrics = ", metrics: {m: higher}";
    run(&place, &[command], metrics).expect_exit(0);
    place.write("score", "2");
    // Without a reason the first result stays.
    place.run(&["run", "toy.yaml", "--force", "s0"]).expect_exit(0);
    let metric =
        || place.run(&["run", "toy.yaml", "--json"]).expect_exit(0).events().outcome("s0")["metrics"]["m"].clone();
    assert_eq!(metric(), 1.0);
    place.run(&["run", "toy.yaml", "--disown", "no stage is named"]).expect_exit(2);
    assert_eq!(place.run(&["cache", "disowned", "toy.yaml"]).expect_exit(0).stdout, "no result was disowned\n");
    let told =
        place.run(&["run", "toy.yaml", "--force", "s0", "--disown", "the score was read too early"]).expect_exit(0);
    assert!(told.stdout.contains("its earlier result is disowned: the score was read too early"), "{}", told.stdout);
    assert_eq!(metric(), 2.0);
    let listed = place.run(&["cache", "disowned", "toy.yaml"]).expect_exit(0).stdout;
    assert!(listed.contains("s0") && listed.contains("the score was read too early"), "{listed}");
    place.run(&["cache", "verify", "toy.yaml"]).expect_exit(0);
    place.run(&["gc", "toy.yaml"]).expect_exit(0);
    assert_eq!(place.run(&["cache", "disowned", "toy.yaml"]).expect_exit(0).stdout, listed);
    // It is the same again: the reason was another one.
    let told = place.run(&["run", "toy.yaml", "--force", "s0", "--disown", "to be sure"]).expect_exit(0);
    assert!(told.stdout.contains("with the same result as the one that was disowned"), "{}", told.stdout);
}

#[test]
fn numbers_at_the_ends_of_their_types_end_nothing() {
    let place = place();
    run(&place, &["echo 1 > o"], ", timeout: 9223372036854775807s").expect_exit(0);
    let failed = ", retry: {times: 1, wait: 9223372036854775807s}";
    write(&place, &["touch HERE/began; exit 1"], failed);
    let waiting = place.start(&["run", "toy.yaml", "--json"]);
    waiting.until(|event| event["event"] == "noted");
    waiting.signal(rustix::process::Signal::INT);
    assert_eq!(waiting.end().0, Some(130));
    for arguments in
        [["gc", "toy.yaml", "--keep-days", "4294967295"], ["gc", "toy.yaml", "--max-size", "18446744073709551615"]]
    {
        let ran = place.run(&arguments);
        assert!(ran.exit == Some(0) && !ran.stderr.contains("panicked"), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn waiting_for_a_lock_is_said_and_the_first_interrupt_ends_it() {
    let place = place();
    run(&place, &["echo 1 > o"], "").expect_exit(0);
    for lock in ["lock", "claims/lock"] {
        let other = fs::File::options().write(true).open(place.at(".pipeline/store/v1").join(lock)).unwrap();
        other.lock().unwrap();
        write(&place, &[format!("echo {lock} > o").as_str()], "");
        let waiting = place.start(&["run", "toy.yaml", "--json"]);
        let at = program::wait_for("a word about the lock", || {
            Some(waiting.remarks("")).filter(|line| line.contains("waiting for"))
        });
        assert!(at.contains(lock), "{at}");
        waiting.signal(rustix::process::Signal::INT);
        assert_eq!(waiting.end().0, Some(130), "{lock}");
        drop(other);
    }
}

/// A command line of the program with something that is done in its process before it begins.
fn prepared(
    place: &Place,
    arguments: &[&str],
    prepare: impl Fn() -> std::io::Result<()> + Send + Sync + 'static,
) -> Ran {
    use std::os::unix::process::CommandExt;
    let mut command = place.command(arguments);
    // SAFETY: only system calls are made.
    unsafe { command.pre_exec(prepare) };
    ran(command)
}

fn limit(resource: rustix::process::Resource, most: u64) -> std::io::Result<()> {
    let limit = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_a_reason() {
    let place = place();
    write(&place, &["echo 1 > o"], "");
    let ran = prepared(&place, &["run", "toy.yaml"], || limit(rustix::process::Resource::Fsize, 100)).expect_exit(1);
    assert!(ran.stderr.contains("File too large"), "{}", ran.stderr);
}

#[test]
fn a_limit_on_threads_and_processes_is_an_error_or_none() {
    use std::os::unix::process::CommandExt;
    for most in 1..7 {
        let place = place();
        write(&place, &["echo 1 > o"], "");
        // A user of whom there is no process. Of others some are counted, so that no more can be had.
        let mut command = by_another(&place, 64321);
        // SAFETY: only a system call is made.
        unsafe { command.pre_exec(move || limit(rustix::process::Resource::Nproc, most)) };
        let ran = ran(command);
        assert!(!ran.stderr.contains("panicked") && matches!(ran.exit, Some(0 | 1)), "{most}: {}", ran.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_calling_shell_has_open_is_not_for_commands() {
    let place = place();
    write(&place, &["ls -l /proc/self/fd > o"], "");
    let other = fs::File::open("/etc/passwd").unwrap();
    let shared = move || {
        // SAFETY: nothing has this number here, and it is not closed.
        let mut number = std::mem::ManuallyDrop::new(unsafe { std::os::fd::OwnedFd::from_raw_fd(77) });
        Ok(rustix::io::dup2(&other, &mut number)?)
    };
    prepared(&place, &["run", "toy.yaml"], shared).expect_exit(0);
    assert_eq!(holders(&place.at(".pipeline/store/v1/blobs"), "/etc/passwd"), Vec::<String>::new());
}

#[test]
fn a_record_with_holes_is_damaged_and_takes_no_memory() {
    let place = place();
    run(&place, &["echo 1 > o"], "").expect_exit(0);
    let records =
        || program::files(&place.at(".pipeline/store/v1/actions")).into_iter().find(|path| path.is_file()).unwrap();
    let spoil = || {
        let path = records();
        fs::remove_file(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    };
    spoil();
    assert_eq!(run(&place, &["echo 1 > o"], "").expect_exit(0).events().busy().len(), 1);
    spoil();
    place.run(&["cache", "verify", "toy.yaml"]).expect_exit(1);
    place.run(&["gc", "toy.yaml"]).expect_exit(0);
    spoil_again(&place, spoil);
}

fn spoil_again(place: &Place, spoil: impl Fn()) {
    run(place, &["echo 1 > o"], "").expect_exit(0);
    spoil();
    place.run(&["cache", "verify", "toy.yaml", "--repair"]).expect_exit(0);
    run(place, &["echo 1 > o"], "").expect_exit(0);
}

#[test]
fn a_store_is_for_its_owner_alone_unless_it_says_otherwise() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
    let place = place();
    run(&place, &["echo 1 > o"], "").expect_exit(0);
    assert_eq!(mode(&place.at(".pipeline")), 0);
    let shared = program::place();
    fs::create_dir(shared.at(".pipeline")).unwrap();
    run(&shared, &["echo 1 > o"], "").expect_exit(0);
    for directory in ["store", "work", "runs"] {
        assert_eq!(mode(&shared.at(".pipeline").join(directory)), 0, "{directory}");
    }
    let shared = program::place();
    fs::create_dir(shared.at(".pipeline")).unwrap();
    shared.write(".pipeline/store.json", "{\"shared\": true}");
    run(&shared, &["echo 1 > o"], "").expect_exit(0);
    // As far as the mask of the one who runs the tests allows.
    let plain = shared.at("plain");
    fs::create_dir(&plain).unwrap();
    assert_eq!(mode(&shared.at(".pipeline/store")), mode(&plain));
}

#[test]
fn a_run_of_some_stages_is_refused_before_it_begins_if_others_are_missing() {
    let place = place();
    place.write(
        "toy.yaml",
        "name: toy\nstages:\n  first: {kind: exec, with: {command: echo 1 > o, outputs: [o]}}\n  other: {kind: exec, with: \
         {command: echo x >> ../../../../marks}}\n  last: {kind: exec, from: {a: first}, with: {command: 'true'}}\n",
    );
    let refused = place.run(&["run", "toy.yaml", "--only", "other", "--only", "last"]).expect_exit(2);
    assert!(refused.stderr.contains("`first`: it is not done"), "{}", refused.stderr);
    assert!(!place.at("marks").exists());
    place.run(&["run", "toy.yaml", "--only", "first"]).expect_exit(0);
    place.run(&["run", "toy.yaml", "--only", "other", "--only", "last"]).expect_exit(0);
}

/// Texts that a terminal obeys: ESC, OSC, CSI, bidi and C1.
const OBEYED: [&str; 6] = ["\u{1b}[2J", "\u{1b}]0;t\u{7}", "\u{9b}31m", "\u{202e}", "\u{2066}", "\u{8}\r"];

#[test]
fn nothing_that_a_terminal_obeys_comes_from_data_logs_or_names() {
    let all = OBEYED.concat();
    let escaped = serde_json::to_string(&all).unwrap();
    let place = place();
    place.write("odd", &all);
    place.write("metrics", &format!("{{{escaped}: 1}}"));
    place.write("progress", &format!("{{\"done\":1,\"total\":1,\"unit\":{escaped},\"message\":{escaped}}}\n"));
    let commands = [
        "cat HERE/odd; exit 3",
        "cp HERE/metrics metrics.json; cp HERE/progress events.jsonl; echo 1 > o",
        "cat HERE/odd > \"$(cat HERE/odd)\"; exit 4",
    ];
    write(&place, &commands, "");
    let mut texts = Vec::new();
    let ran = place.run(&["run", "toy.yaml", "--keep-going"]);
    texts.extend([ran.stdout, ran.stderr]);
    for arguments in [
        &["status", "toy.yaml"][..],
        &["status", "toy.yaml", "--json"],
        &["explain", "s0", "toy.yaml"],
        &["runs", "toy.yaml"],
        &["runs", "toy.yaml", "--json"],
        &["run", "toy.yaml", "--json", "--keep-going"],
        &["check", "\u{1b}[2J.yaml"],
        &["log", "\u{1b}[2J", "toy.yaml"],
    ] {
        let ran = place.run(arguments);
        texts.extend([ran.stdout, ran.stderr]);
    }
    place.write("bad.yaml", &format!("name: {escaped}\nstages:\n  {escaped}: {{kind: {escaped}}}\n"));
    let refused = place.run(&["check", "bad.yaml"]);
    texts.extend([refused.stdout, refused.stderr]);
    for text in &texts {
        let obeyed = text.chars().find(|one| {
            one.is_control() && !matches!(one, '\n' | '\t') || OBEYED.concat().contains(*one) && !one.is_ascii()
        });
        assert_eq!(obeyed, None, "{text:?}");
    }
    assert!(texts.iter().any(|text| text.contains("⟨ESC⟩")), "they were shown");
}

#[test]
fn a_report_is_linear_in_its_length_and_breaks_no_path() {
    let place = place();
    let word = "python3 -c 'print(\"{\\\"m\\\":\\\"\" + \"a\"*400000 + \"\\\"}\")' > metrics.json; echo 1 > o";
    let long = "head -c 400000 /dev/zero | tr '\\0' a; exit 3";
    write(&place, &[word, long], "");
    let ran = place.run(&["run", "toy.yaml", "--keep-going"]).expect_exit(1);
    assert!(ran.took < Duration::from_secs(20) && ran.stdout.len() < 100_000, "{:?} {}", ran.took, ran.stdout.len());
    let log = ran
        .stdout
        .split_whitespace()
        .find(|word| word.ends_with("/log.txt"))
        .unwrap_or_else(|| panic!("{}", ran.stdout));
    assert!(Path::new(log).is_file(), "{log}");
}

#[test]
fn an_expression_or_an_alias_that_makes_much_of_little_is_a_mistake() {
    let place = place();
    let expressions = [
        format!("${{{}1}}", "not ".repeat(30_000)),
        format!("${{{}1}}", "1+".repeat(30_000)),
        format!("${{1{}}}", "|string".repeat(30_000)),
        format!("${{{}1{}}}", "(".repeat(1000), ")".repeat(1000)),
        format!("${{{}1}}", "not ".repeat(500)),
        "${range(100000)|map('string')|join('a'*100000)}".to_owned(),
        "${'a'*100000000000}".to_owned(),
        "${[1]|batch(1000000000, 'x')|list|length}".to_owned(),
        "${('a'*100000)|replace('a', 'b'*100000)}".to_owned(),
    ];
    for expression in &expressions {
        let value = serde_json::to_string(expression).unwrap();
        place.write(
            "toy.yaml",
            &format!("name: x\nvars: {{v: {value}}}\nstages:\n  a: {{kind: exec, with: {{command: ls}}}}\n"),
        );
        let ran = prepared(&place, &["check", "toy.yaml"], || limit(rustix::process::Resource::As, 4 << 30));
        let shown: String = expression.chars().take(40).collect();
        assert!(matches!(ran.exit, Some(0 | 2)), "{shown}: {:?} {}", ran.exit, ran.stderr);
    }
    let aliases = vec!["*a"; 20_000].join(",");
    let text = "y".repeat(100_000);
    place.write(
        "toy.yaml",
        &format!(
            "name: x\nx-a: &a {text}\nvars: {{v: [{aliases}]}}\nstages:\n  a: {{kind: exec, with: {{command: ls}}}}\n"
        ),
    );
    let ran = prepared(&place, &["check", "toy.yaml"], || limit(rustix::process::Resource::As, 4 << 30)).expect_exit(2);
    assert!(ran.stderr.contains("aliases repeat more than"), "{}", ran.stderr);
}

/// Each of these makes the crate that reads Parquet panic: they are named for the place.
#[test]
fn a_damaged_file_that_fells_its_reader_is_told_as_damaged() {
    let place = place();
    let directory = Path::new(program::ROOT).join("stages/formats/src/data/file/fixtures/damaged");
    let damaged = program::files(&directory);
    assert!(damaged.len() >= 9, "{damaged:?}");
    for path in damaged {
        let ran = place.run(&["data", "inspect", path.to_str().unwrap()]);
        assert!(matches!(ran.exit, Some(0..=2)), "{}: {:?}", path.display(), ran.exit);
        assert!(!ran.stderr.contains("panicked"), "{}: {}", path.display(), ran.stderr);
    }
}

#[test]
fn a_configuration_is_held_against_what_models_have_before_memory_is_taken_for_it() {
    let sound = serde_json::json!({
        "model_type": "llama", "vocab_size": 64, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "max_position_embeddings": 32,
    });
    assert!(formats::config::Config::of(sound.clone()).is_ok());
    let fields = sound.as_object().unwrap().keys().filter(|name| *name != "model_type");
    for name in fields {
        for number in [1_u64 << 31, u64::MAX] {
            let mut odd = sound.clone();
            odd[name] = number.into();
            let error = format!("{:#}", formats::config::Config::of(odd).unwrap_err());
            assert!(error.contains(&format!("`{name}` is {number}")), "{error}");
        }
    }
}

#[test]
fn a_stage_that_writes_through_its_input_has_no_result_and_harms_neither_store_nor_neighbour() {
    let place = place();
    place.write("data.txt", "sound\n");
    let stages = |first: &str| {
        let stage = |name: &str, command: &str| {
            format!("  {name}: {{kind: exec, from: {{d: ./data.txt}}, with: {{command: '{command}', outputs: [o]}}}}\n")
        };
        let second = stage("second", "cat in/d.txt > o; grep sound o");
        place.write("toy.yaml", &format!("name: toy\nstages:\n{}{second}", stage("first", first)));
    };
    // Its owner, and root at once, may write to a file that is read-only, and the file may be the store's own.
    stages("chmod u+w in/d.txt; echo changed > in/d.txt; echo 1 > o");
    let ran = place.run(&["run", "toy.yaml", "--json", "--keep-going"]).expect_exit(1);
    assert!(cause(&ran, "first").contains("was changed while the stage ran"), "{}", cause(&ran, "first"));
    assert_eq!(ran.events().ending("second"), "done");
    assert_eq!(holders(&place.at(".pipeline/store"), "changed"), Vec::<String>::new());
    place.run(&["cache", "verify", "toy.yaml"]).expect_exit(0);
    stages("cat in/d.txt > o");
    place.run(&["run", "toy.yaml"]).expect_exit(0);
}

#[test]
fn runs_that_are_not_kept_are_forgotten_when_that_is_asked_for() {
    let place = place();
    for _ in 0..4 {
        run(&place, &["echo 1 > o"], "").expect_exit(0);
    }
    let runs = || fs::read_dir(place.at(".pipeline/runs")).unwrap().count();
    place.run(&["gc", "toy.yaml", "--keep-runs", "2"]).expect_exit(0);
    place.run(&["gc", "toy.yaml", "--keep-runs", "2", "--runs", "--dry-run"]).expect_exit(0);
    assert_eq!(runs(), 4);
    let told = place.run(&["gc", "toy.yaml", "--keep-runs", "2", "--runs"]).expect_exit(0).stdout;
    assert!(told.contains("journals"), "{told}");
    assert_eq!(runs(), 2);
    assert_eq!(run(&place, &["echo 1 > o"], "").expect_exit(0).events().busy().len(), 0, "results stay");
}

#[test]
fn what_a_killed_export_left_is_removed_by_the_next_one_and_that_of_a_living_one_is_not() {
    let place = place();
    run(&place, &["echo 1 > o"], "").expect_exit(0);
    let draft = |name: &str| {
        let draft = place.at(&format!(".run.tar.draft-{name}"));
        fs::create_dir(&draft).unwrap();
        fs::write(draft.join("archive"), "half of it").unwrap();
        (fs::File::create(draft.join("lock")).unwrap(), draft)
    };
    let ((dead, left), (living, kept)) = (draft("dead"), draft("living"));
    drop(dead);
    living.lock().unwrap();
    place.run(&["cache", "export", "--out", "run.tar"]).expect_exit(0);
    assert!(!left.exists() && kept.exists() && place.at("run.tar").is_file());
    let refused = place.run(&["cache", "export", "--out", "run.tar"]).expect_exit(2);
    assert!(refused.stderr.contains("exists already"), "{}", refused.stderr);
    let drafts = fs::read_dir(place.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".run.tar.draft-"));
    assert_eq!(drafts.count(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_command_in_a_sandbox_reaches_its_inputs_and_outputs_alone() {
    let place = place();
    place.write("secret.txt", "precious\n");
    place.write("data.txt", "given\n");
    fs::create_dir(place.at("tools")).unwrap();
    place.write("tools/say", "#!/bin/sh\necho said\n");
    fs::set_permissions(place.at("tools/say"), fs::Permissions::from_mode(0o755)).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!("(exec 3<>/dev/tcp/127.0.0.1/{})", listener.local_addr().unwrap().port());
    let here = place.path().display().to_string();
    let shell = |name: &str, more: &str, script: &str| {
        let command = serde_json::to_string(&["/bin/bash", "-euc", script]).unwrap();
        format!(
            "  {name}: {{kind: exec, from: {{data: data.txt}}, with: {{command: {command}, outputs: [o], {more}}}}}\n"
        )
    };
    // What a command may do says so in its output; what it may not ends with a word of its own.
    let inside = [
        "cp in/data.txt o".to_owned(),
        format!("! cat {here}/secret.txt"),
        format!("! ls {here}/.pipeline/store"),
        format!("! touch {here}/made"),
        "! touch in/data.txt && ! rm in/data.txt && ! mount -o remount,bind,rw in".to_owned(),
        "! touch /usr/made && ! touch /made && ! touch /etc/made".to_owned(),
        "touch /tmp/made /dev/shm/made".to_owned(),
        format!("test ! -e ~root && test ! -e /home && test -z \"$(ls /run)\" && test \"$HOME\" != {here}"),
        "! kill -0 $PPID && ! cat /proc/$PPID/environ && ! echo x > /proc/sys/kernel/hostname".to_owned(),
        format!("! {connect} 2> /dev/null"),
    ]
    .join("\n");
    let stages = [
        shell("confined", "sandbox: true", &inside),
        shell("online", "sandbox: true, network: true", &format!("{connect}; echo 1 > o")),
        shell("with_tools", &format!("sandbox: true, readable: ['{here}/tools']"), &format!("{here}/tools/say > o")),
        shell("without_tools", "sandbox: true", &format!("{here}/tools/say > o")),
        shell("failing", "sandbox: true", "exit 7"),
    ];
    let stopped = "  stopped: {kind: exec, timeout: 2s, with: {command: 'sleep 100', outputs: [o], sandbox: true}}\n";
    place.write("toy.yaml", &format!("name: toy\nstages:\n{}{stopped}", stages.concat()));
    if let Some(obstacle) = stages::sandbox::obstacle() {
        // Where it cannot be done, that is said before anything runs.
        let refused = place.run(&["check", "toy.yaml"]).expect_exit(2);
        let told: String = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("cannot confine a command") && !obstacle.is_empty(), "{told}");
        return;
    }
    let ran = place.run(&["run", "toy.yaml", "--json", "--keep-going"]).expect_exit(1);
    let ending = |stage: &str| ran.events().ending(stage).to_owned();
    assert_eq!(ending("confined"), "done", "{}", cause(&ran, "confined"));
    assert_eq!([ending("online"), ending("with_tools")], ["done", "done"], "{}", ran.stderr);
    assert_eq!(ending("without_tools"), "failed");
    assert!(cause(&ran, "failing").contains("exit status: 7"), "{}", cause(&ran, "failing"));
    assert!(cause(&ran, "stopped").contains("timeout"), "{}", cause(&ran, "stopped"));
    assert!(!Path::new(&place.at("made")).exists() && !Path::new("/dev/shm/made").exists());
    assert_eq!(place.read("data.txt"), "given\n");
    place.write("toy.yaml", "name: toy\nstages:\n  a: {kind: exec, with: {command: ls, network: true}}\n");
    let refused = place.run(&["check", "toy.yaml"]).expect_exit(2);
    assert!(refused.stderr.contains("says what a sandbox lets through"), "{}", refused.stderr);
}
