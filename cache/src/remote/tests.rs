//! Two stores and a remote between them: a directory, and a server of S3 that fails as it is told.

mod faults;

use super::layout::{Part, content_path, record_path};
use super::*;
use crate::{
    Commit, Content, Digest, Store,
    record::{Record, seal},
    s3::{BUCKET, Fault, KEY, SECRET, Server},
    sample,
};
use serde_json::json;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

fn environment(name: &str) -> Option<String> {
    match name {
        "AWS_ACCESS_KEY_ID" => Some(KEY.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    }
}

fn of_server(server: &Server) -> RemoteSettings {
    let address = Address::parse(&format!("s3://{BUCKET}/team")).unwrap();
    let timeout = Duration::from_millis(1500);
    RemoteSettings { endpoint: Some(server.address.clone()), timeout, ..RemoteSettings::new(address) }
}

fn of_directory(directory: &Path) -> RemoteSettings {
    RemoteSettings::new(Address::Directory(directory.to_owned()))
}

/// A machine: its directory and its store.
struct Machine {
    home: tempfile::TempDir,
    store: Store,
}

fn machine(settings: &RemoteSettings) -> Machine {
    let (home, store) = sample::store();
    let remote = Remote::open(settings.clone(), &environment).unwrap();
    Machine { store: store.with_remote(Arc::new(remote)), home }
}

impl Machine {
    /// The same machine in a later run.
    fn again(&self, settings: &RemoteSettings) -> Store {
        self.store.with_remote(Arc::new(Remote::open(settings.clone(), &environment).unwrap()))
    }

    fn log(&self, act: impl FnOnce()) -> String {
        let log = sample::log_of(act).1;
        log.lines().filter(|line| line.contains("WARN")).collect::<Vec<_>>().join("\n")
    }
}

fn key() -> Digest {
    Digest::of(b"action")
}

/// A record of a model and a log, in the store of a machine.
fn make(machine: &Machine) -> Record {
    let content = machine.store.capture(&sample::model(machine.home.path())).unwrap();
    let log = machine.store.capture(&sample::write(machine.home.path(), "log.txt", "step 1")).unwrap();
    let record = Record {
        result: json!({"accuracy": 0.1 + 0.2}),
        telemetry: json!({"host": "one"}),
        contents: vec![content],
        extras: vec![log],
    };
    assert_eq!(machine.store.commit(&key(), &record).unwrap(), Commit::Written);
    record
}

fn found(answer: Answer) -> Record {
    match answer {
        Answer::Record(found) => found.record,
        other => panic!("{other:?}"),
    }
}

fn name_of(part: Part, digest: &Digest) -> String {
    format!("team/{}", content_path(part, digest))
}

fn vocabulary() -> Digest {
    Digest::of("ねこ\n".as_bytes())
}

fn all(act: impl Fn(&RemoteSettings)) {
    let directory = tempfile::tempdir().unwrap();
    act(&of_directory(directory.path()));
    let server = Server::start();
    act(&of_server(&server));
}

#[test]
fn what_one_machine_made_the_other_finds_and_its_files_come_when_they_are_read() {
    all(|settings| {
        let (one, other) = (machine(settings), machine(settings));
        assert_eq!(other.store.ask(&key()).unwrap(), Answer::Nothing);
        let record = make(&one);
        assert_eq!(one.store.push(&key(), false).unwrap(), Push::Written);
        assert_eq!(one.store.push(&key(), false).unwrap(), Push::Same);
        let answer = other.store.ask(&key()).unwrap();
        assert!(
            matches!(&answer, Answer::Record(found) if found.absent.count == 3 && found.absent.bytes > 0),
            "{answer:?}"
        );
        assert_eq!(found(answer), record);
        // No file came yet, and the next run need not ask.
        assert!(!other.store.has(&record.contents[0]) && other.store.lookup(&key()).unwrap() == Some(record.clone()));
        assert_eq!(other.store.read(&record.contents[0], "tokenizer/vocab.txt").unwrap(), "ねこ\n".as_bytes());
        assert!(!other.store.has(&record.contents[0]));
        let target = other.home.path().join("in/model");
        other.store.place(&record.contents[0], &target).unwrap();
        assert_eq!(other.store.identify(&target).unwrap(), record.contents[0]);
        assert_eq!(other.store.read(&record.extras[0], "").unwrap(), b"step 1");
        // Without the remote the note alone is no result.
        let (_home, alone) = sample::store();
        assert_eq!(alone.lookup(&key()).unwrap(), None);
    });
}

#[test]
fn the_first_of_two_results_stays() {
    all(|settings| {
        let (one, other) = (machine(settings), machine(settings));
        let first = make(&one);
        one.store.push(&key(), false).unwrap();
        let second = Record { result: json!(2), ..first.clone() };
        make_at(&other, &second);
        assert_eq!(other.store.push(&key(), false).unwrap(), Push::Different);
        assert_eq!(other.store.lookup(&key()).unwrap(), Some(second));
        assert_eq!(found(machine(settings).store.ask(&key()).unwrap()), first);
    });
}

fn make_at(machine: &Machine, record: &Record) {
    machine.store.capture(&sample::model(machine.home.path())).unwrap();
    machine.store.capture(&sample::write(machine.home.path(), "log.txt", "step 1")).unwrap();
    machine.store.commit(&key(), record).unwrap();
}

#[test]
fn of_many_writers_at_once_exactly_one_wins() {
    all(|settings| {
        let machines: Vec<Machine> = (0..8).map(|_| machine(settings)).collect();
        let first = make(&machines[0]);
        for (number, machine) in machines.iter().enumerate().skip(1) {
            make_at(machine, &Record { result: json!(number), ..first.clone() });
        }
        let pushes: Vec<Push> = std::thread::scope(|scope| {
            let push = |machine: &Machine| machine.store.push(&key(), false).unwrap();
            let writers: Vec<_> = machines.iter().map(|machine| scope.spawn(move || push(machine))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(pushes.iter().filter(|push| **push == Push::Written).count(), 1, "{pushes:?}");
        assert_eq!(pushes.iter().filter(|push| **push == Push::Different).count(), 7, "{pushes:?}");
        let winner = pushes.iter().position(|push| *push == Push::Written).unwrap();
        let stands = found(machine(settings).store.ask(&key()).unwrap());
        assert_eq!(Some(stands), machines[winner].store.lookup(&key()).unwrap());
    });
}

#[test]
fn a_write_whose_answer_was_lost_is_known_for_ones_own() {
    let server = Server::start();
    let one = machine(&of_server(&server));
    make(&one);
    server.fail("PUT", "actions", 1, Fault::HangAfter);
    assert_eq!(one.store.push(&key(), false).unwrap(), Push::Same);
}

#[test]
fn a_file_that_was_changed_on_its_way_or_in_its_place_is_not_used_and_is_replaced() {
    let server = Server::start();
    let settings = of_server(&server);
    let one = machine(&settings);
    let record = make(&one);
    one.store.push(&key(), false).unwrap();
    // On the way.
    let other = machine(&settings);
    found(other.store.ask(&key()).unwrap());
    server.fail("GET", "blobs", 1, Fault::Flip);
    let log = other.log(|| assert!(other.store.place(&record.contents[0], &other.home.path().join("a")).is_err()));
    assert!(log.contains("its bytes have another hash"), "{log}");
    assert!(!other.home.path().join("a").exists());
    assert_eq!(other.store.lookup(&key()).unwrap(), None, "the run makes it here");
    server.heal();
    other.again(&settings).place(&record.contents[0], &other.home.path().join("b")).unwrap();
    // In its place: of the same length, shorter, longer, empty, gone.
    let name = name_of(Part::Blobs, &vocabulary());
    let right = server.state().objects[&name].clone();
    for wrong in ["ねこ\r", "ね", "ねこ\n\n", ""] {
        server.state().objects.insert(name.clone(), wrong.into());
        let other = machine(&settings);
        let answer = other.store.ask(&key()).unwrap();
        let is_long_enough = wrong.len() == right.len();
        assert_eq!(matches!(answer, Answer::Record(_)), is_long_enough, "{wrong:?}");
        assert!(other.store.place(&record.contents[0], &other.home.path().join("c")).is_err(), "{wrong:?}");
        // Whoever makes it meanwhile, repairs it.
        make_at(&other, &record);
        assert_eq!(other.store.push(&key(), false).unwrap(), Push::Same);
        assert_eq!(server.state().objects[&name], right, "{wrong:?}");
    }
    server.state().objects.remove(&name);
    assert_eq!(machine(&settings).store.ask(&key()).unwrap(), Answer::Nothing);
    one.again(&settings).push(&key(), false).unwrap();
    assert_eq!(found(machine(&settings).store.ask(&key()).unwrap()), record);
}

#[test]
fn large_files_go_in_parts_and_a_damaged_one_is_replaced_where_every_byte_is_read() {
    all(|settings| {
        let settings = RemoteSettings {
            part_size: RemoteSettings::LEAST_PART,
            timeout: Duration::from_secs(30),
            ..settings.clone()
        };
        let one = machine(&settings);
        let bytes: Vec<u8> = (0..(12 << 20) + 5).map(|number: u32| (number % 251) as u8).collect();
        fs::write(one.home.path().join("large.bin"), &bytes).unwrap();
        let content = one.store.capture(&one.home.path().join("large.bin")).unwrap();
        let record =
            Record { result: json!(1), telemetry: json!(null), contents: vec![content.clone()], extras: vec![] };
        one.store.commit(&key(), &record).unwrap();
        assert_eq!(one.store.push(&key(), false).unwrap(), Push::Written);
        let remote = one.store.remote().unwrap().clone();
        let path = content_path(Part::Blobs, &Digest::of(&bytes));
        let other = machine(&settings);
        found(other.store.ask(&key()).unwrap());
        assert_eq!(other.store.read(&content, "").unwrap(), bytes);
        // One bit in the middle, of which the length tells nothing.
        let mut wrong = bytes.clone();
        wrong[7 << 20] ^= 1;
        remote.put(&path, wrong).unwrap();
        assert_eq!(one.store.push(&key(), false).unwrap(), Push::Same);
        let third = machine(&settings);
        found(third.store.ask(&key()).unwrap());
        assert!(third.store.read(&content, "").is_err());
        assert_eq!(one.store.push(&key(), true).unwrap(), Push::Same);
        assert_eq!(machine_read(&settings, &content), bytes);
    });
}

fn machine_read(settings: &RemoteSettings, content: &Content) -> Vec<u8> {
    let machine = machine(settings);
    found(machine.store.ask(&key()).unwrap());
    machine.store.read(content, "").unwrap()
}

#[test]
fn an_upload_that_fails_is_given_up_and_one_that_died_is_collected() {
    let server = Server::start();
    let settings = RemoteSettings { part_size: RemoteSettings::LEAST_PART, ..of_server(&server) };
    let one = machine(&settings);
    fs::write(one.home.path().join("large.bin"), vec![7; 12 << 20]).unwrap();
    let content = one.store.capture(&one.home.path().join("large.bin")).unwrap();
    let record = Record { result: json!(1), telemetry: json!(null), contents: vec![content], extras: vec![] };
    one.store.commit(&key(), &record).unwrap();
    server.fail("PUT", "blobs", 100, Fault::Status(400));
    assert!(one.store.push(&key(), false).is_err());
    assert!(server.state().uploads.is_empty() && server.names().is_empty());
    server.heal();
    // Killed in the middle: nobody gave it up.
    let parts = BTreeMapOf::from([(1, vec![7; 9])]);
    server.state().uploads.insert("dead".to_owned(), ("team/v1/blobs/ab/cd".to_owned(), parts.clone()));
    server.state().uploads.insert("theirs".to_owned(), ("elsewhere/v1/x".to_owned(), parts));
    let remote = Remote::open(settings, &environment).unwrap();
    let day = Duration::from_secs(86_400);
    assert_eq!(remote.collect_uploads(day, true).unwrap(), DeadUploads { old: 1, bytes: 0, young: 0 });
    assert_eq!(remote.collect_uploads(day, false).unwrap(), DeadUploads { old: 1, bytes: 0, young: 0 });
    assert_eq!(server.state().uploads.keys().cloned().collect::<Vec<_>>(), ["theirs"]);
    let now = jiff::Timestamp::now().to_string();
    server.state().begun = now;
    server.state().uploads.insert("young".to_owned(), ("team/v1/blobs/ab/ef".to_owned(), BTreeMapOf::new()));
    assert_eq!(remote.collect_uploads(day, false).unwrap(), DeadUploads { old: 0, bytes: 0, young: 1 });
}

type BTreeMapOf = std::collections::BTreeMap<u32, Vec<u8>>;

#[test]
fn a_remote_that_fails_costs_a_warning_and_a_bounded_time() {
    let faults = [
        (Fault::Status(500), "it answers 500 (Told)"),
        (Fault::Status(507), "it has no room: it answers 507 (Told)"),
        (Fault::Status(403), "it refuses: Told"),
        (Fault::Cut, "the connection was cut"),
        (Fault::Hang, "it did not answer in time"),
    ];
    for (fault, expected) in faults {
        let server = Server::start();
        let one = machine(&of_server(&server));
        server.fail("", "", usize::MAX, fault);
        let began = Instant::now();
        let log = one.log(|| {
            for number in 0..20_u32 {
                assert_eq!(one.store.ask(&Digest::of(&number.to_le_bytes())).unwrap(), Answer::Unknown, "{fault:?}");
            }
        });
        // Two silences, or three failures that are each tried a few times.
        assert!(began.elapsed() < Duration::from_secs(12), "{fault:?}: {:?}", began.elapsed());
        assert!(log.contains(expected) && log.contains("it is left alone until the next run"), "{fault:?}: {log}");
        assert!(log.lines().count() <= 2, "{fault:?}: {log}");
        assert!(!log.contains(KEY) && !log.contains(SECRET), "{log}");
        let asked = server.take_log().len();
        one.store.ask(&key()).unwrap();
        assert_eq!(server.take_log().len(), 0, "it is not asked any more, after {asked} requests");
    }
}

#[test]
fn a_server_that_is_away_is_a_warning_and_a_bucket_that_is_not_there_an_error() {
    let server = Server::start();
    let mut settings = of_server(&server);
    settings.address = Address::parse("s3://other").unwrap();
    let error = machine(&settings).store.ask(&key()).unwrap_err().to_string();
    assert!(error.starts_with("the remote s3://other: there is no such bucket; make it"), "{error}");
    settings.endpoint = Some("http://127.0.0.1:1".to_owned());
    let one = machine(&settings);
    let log = one.log(|| assert_eq!(one.store.ask(&key()).unwrap(), Answer::Unknown));
    assert!(log.contains("look for results: it cannot be reached"), "{log}");
}

#[test]
fn a_reader_who_may_not_write_is_told_once_and_reads_on() {
    let server = Server::start();
    let settings = of_server(&server);
    let one = machine(&settings);
    let record = make(&one);
    one.store.push(&key(), false).unwrap();
    server.fail("PUT", "", usize::MAX, Fault::Status(403));
    let other = machine(&settings);
    make_at(&other, &record);
    let own = Digest::of(b"another action");
    other.store.commit(&own, &record).unwrap();
    assert!(other.store.push(&own, true).is_err());
    let remote = other.store.remote().unwrap();
    assert!(remote.takes_nothing() && !remote.is_left_alone());
    assert_eq!(found(other.store.ask(&key()).unwrap()), record);
}

#[test]
fn records_of_a_malicious_remote_are_not_used() {
    let server = Server::start();
    let settings = of_server(&server);
    let record_name = format!("team/{}", record_path(&key()));
    let blob = |text: &[u8]| Content::File { format: String::new(), blob: Digest::of(text) };
    let record = |contents: Vec<Content>| Record { result: json!(1), telemetry: json!(null), contents, extras: vec![] };
    let put = |name: String, bytes: Vec<u8>| server.state().objects.insert(name, bytes);
    let put_tree = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        put(name_of(Part::Trees, &digest), bytes.to_vec());
        Content::Tree(digest)
    };
    put(name_of(Part::Blobs, &Digest::of(b"x")), b"x".to_vec());
    let entry = |size: u64| format!(r#"{{"blob":"{}","size":{size}}}"#, Digest::of(b"x"));
    let climbs = put_tree(format!(r#"{{"../../../x":{}}}"#, entry(1)).as_bytes());
    let absolute = put_tree(format!(r#"{{"/etc/cron.d/x":{}}}"#, entry(1)).as_bytes());
    let longer = put_tree(format!(r#"{{"x":{}}}"#, entry(9)).as_bytes());
    let two = put_tree(format!(r#"{{"x":{},"y":{}}}"#, entry(1), entry(2)).as_bytes());
    let cut = put_tree(b"{\"x\":");
    let many: Vec<Content> = (0..30_000_u32).map(|number| blob(&number.to_le_bytes())).collect();
    let result = json!({"candidates": [{"content": Content::Tree(Digest::of(b"none"))}]});
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("content that it does not list", seal(&key(), &Record { result, ..record(vec![]) })),
        ("no record", b"{}".to_vec()),
        ("not even text", vec![0; 5000]),
        ("nothing", Vec::new()),
        ("one of another key", seal(&Digest::of(b"other"), &record(vec![]))),
        ("a tree that climbs out", seal(&key(), &record(vec![climbs]))),
        ("an absolute path", seal(&key(), &record(vec![absolute]))),
        ("a blob that is longer than told", seal(&key(), &record(vec![longer]))),
        ("two lengths of one blob", seal(&key(), &record(vec![two]))),
        ("half a tree", seal(&key(), &record(vec![cut]))),
        ("an absent tree", seal(&key(), &record(vec![Content::Tree(Digest::of(b"none"))]))),
        ("an absent blob", seal(&key(), &record(vec![blob(b"none")]))),
        ("a great number of blobs", seal(&key(), &record(many))),
    ];
    for (what, bytes) in hostile {
        put(record_name.clone(), bytes);
        let other = machine(&settings);
        let began = Instant::now();
        let log = other.log(|| assert_eq!(other.store.ask(&key()).unwrap(), Answer::Nothing, "{what}"));
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
        assert_eq!(other.store.lookup(&key()).unwrap(), None, "{what}");
        assert!(log.contains("a record of it is not used"), "{what}: {log}");
        // Work that is done here takes its place.
        if what != "a great number of blobs" {
            let made = make(&other);
            assert_eq!(other.store.push(&key(), false).unwrap(), Push::Written, "{what}");
            assert_eq!(found(machine(&settings).store.ask(&key()).unwrap()), made, "{what}");
        }
    }
}

#[test]
fn what_a_list_of_files_beside_a_record_says_is_not_believed() {
    let server = Server::start();
    let settings = of_server(&server);
    let one = machine(&settings);
    let record = make(&one);
    one.store.push(&key(), false).unwrap();
    // The record names a tree; the list beside it only a file that everybody has.
    let name = format!("team/{}", record_path(&key()));
    let mut page = String::from_utf8(seal(&key(), &record)).unwrap();
    let listed = format!(",\"files\":[[\"blobs\",\"{}\",6]]}}\n", Digest::of(b"step 1"));
    page.truncate(page.len() - 2);
    let rest = format!("{}{listed}", &page[r#"{"blake3":""#.len() + 64..]);
    server.state().objects.insert(name, format!(r#"{{"blake3":"{}{rest}"#, Digest::of(rest.as_bytes())).into_bytes());
    let other = machine(&settings);
    other.store.capture(&sample::write(other.home.path(), "log.txt", "step 1")).unwrap();
    assert_eq!(found(other.store.ask(&key()).unwrap()), record);
    let vocabulary = other.store.read(&record.contents[0], "tokenizer/vocab.txt").unwrap();
    assert_eq!(vocabulary, "ねこ\n".as_bytes());
    let (_, alone) = (other.again(&settings), other.store.lookup_here(&key()).unwrap());
    assert_eq!(alone, None);
}

#[test]
fn a_trial_says_what_a_remote_allows_and_keeps() {
    all(|settings| {
        let probe = Remote::open(settings.clone(), &environment).unwrap().probe();
        assert!(probe.lists.is_ok() && probe.writes == Some(Ok(())) && probe.reads == Some(Ok(())), "{probe:?}");
        assert!(probe.keeps_first == Some(true) && probe.deletes == Some(Ok(())), "{probe:?}");
        assert!(probe.skew.is_some_and(|skew| skew.abs() < 5), "{probe:?}");
    });
    let server = Server::start();
    server.fail("PUT", "probe", usize::MAX, Fault::IgnoreCondition);
    server.fail("HEAD", "probe", usize::MAX, Fault::Skew(-400));
    let probe = Remote::open(of_server(&server), &environment).unwrap().probe();
    assert!(probe.keeps_first == Some(false) && probe.skew.is_some_and(|skew| skew < -390), "{probe:?}");
    assert!(server.names().is_empty(), "the trial leaves nothing");
}

#[test]
fn what_is_owed_is_known_to_the_next_run_until_it_is_pushed_and_is_owed_to_one_remote() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (settings, other) = (of_directory(directory.path()), of_directory(elsewhere.path()));
    let one = machine(&settings);
    assert_eq!(one.store.owed().unwrap(), []);
    one.store.owe(&key()).unwrap();
    make(&one);
    let next = one.again(&settings);
    assert_eq!((next.owed().unwrap(), one.again(&other).owed().unwrap()), (vec![key()], vec![]));
    // What another remote has got is still owed to this one.
    one.again(&other).owe(&key()).unwrap();
    assert_eq!(one.again(&other).push(&key(), false).unwrap(), Push::Written);
    assert_eq!((next.owed().unwrap(), one.again(&other).owed().unwrap()), (vec![key()], vec![]));
    assert_eq!(next.push(&key(), false).unwrap(), Push::Written);
    assert_eq!(next.owed().unwrap(), []);
    // Killed before the record was written: nothing is owed.
    next.owe(&Digest::of(b"never")).unwrap();
    assert_eq!(next.push(&Digest::of(b"never"), false).unwrap(), Push::Nothing);
    assert_eq!(next.owed().unwrap(), []);
}

#[test]
fn without_keys_nothing_is_opened() {
    let bucket = RemoteSettings::new(Address::parse("s3://lab/x").unwrap());
    let error = format!("{:#}", Remote::open(bucket, &|_| None).unwrap_err());
    assert!(error.starts_with("open the remote s3://lab/x: there are no keys: set AWS_ACCESS_KEY_ID"), "{error}");
}

#[test]
fn a_directory_that_is_not_mounted_is_a_warning_and_one_beside_others_a_mistake() {
    let home = tempfile::tempdir().unwrap();
    for path in ["nowhere/at/all", "empty/pipeline"] {
        fs::create_dir_all(home.path().join("empty")).unwrap();
        let one = machine(&of_directory(&home.path().join(path)));
        let log = one.log(|| assert_eq!(one.store.ask(&key()).unwrap(), Answer::Unknown));
        assert!(log.contains("look for results: it cannot be reached"), "{log}");
        make(&one);
        assert!(one.store.push(&key(), false).is_err() && !home.path().join(path).exists(), "nothing is made there");
    }
    // Its place is there, with others in it: it was never made, or is typed wrong.
    fs::create_dir(home.path().join("pipeline")).unwrap();
    let error = machine(&of_directory(&home.path().join("pipelin"))).store.ask(&key()).unwrap_err().to_string();
    assert!(error.contains("there is no such directory; make it"), "{error}");
}
