//! Faults of remotes that cost a bounded time, and leave nothing behind that blocks or is believed.

use super::*;

/// The number of requests to a server since its log was taken, by the words with which they begin and that they hold.
fn count(server: &Server, method: &str, within: &str) -> usize {
    server.take_log().iter().filter(|line| line.starts_with(method) && line.contains(within)).count()
}

#[test]
fn a_record_of_the_remote_is_shown_as_such_until_its_files_are_here_and_is_one_of_that_remote_alone() {
    all(|settings| {
        let (one, other) = (machine(settings), machine(settings));
        let record = make(&one);
        one.store.push(&key(), false).unwrap();
        let absent = |store: &Store| store.noted(&key()).unwrap().map(|found| found.absent.count);
        // A look asks, and leaves nothing.
        found(other.store.ask(&key()).unwrap());
        assert_eq!((absent(&other.store), absent(&other.again(settings))), (Some(3), None));
        assert!(other.store.notes().unwrap().is_empty());
        other.store.keep_note(&key()).unwrap();
        assert_eq!(absent(&other.again(settings)), Some(3), "each time until the files are here");
        assert!(!other.store.settle(&key()).unwrap());
        let elsewhere = tempfile::tempdir().unwrap();
        let another = other.again(&of_directory(elsewhere.path()));
        assert_eq!((absent(&another), another.lookup(&key()).unwrap()), (None, None));
        other.store.fetch(&record.contents[0]).unwrap();
        let next = other.again(settings);
        assert_eq!(absent(&next), Some(0));
        assert!(next.settle(&key()).unwrap() && next.lookup_here(&key()).unwrap() == Some(record));
        assert!(next.notes().unwrap().iter().all(|item| item.suffix != ".json" || item.digest.is_none()));
    });
}

#[cfg(unix)]
#[test]
fn directories_and_files_have_the_rights_of_the_remotes_directory() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o2777)).unwrap();
    let one = machine(&of_directory(directory.path()));
    make(&one);
    one.store.push(&key(), false).unwrap();
    let mut seen = 0;
    for file in crate::sample::files(directory.path().join("v1")) {
        assert_eq!(mode(&file), 0o666, "{}", file.display());
        for above in file.ancestors().skip(1).take_while(|above| *above != directory.path()) {
            assert_eq!(mode(above), 0o2777, "{}", above.display());
            seen += 1;
        }
    }
    assert!(seen > 10);
}

#[test]
fn a_remote_that_is_full_stops_the_writing_alone() {
    for fault in [Fault::Status(507), Fault::Coded(403, "QuotaExceeded"), Fault::Status(403)] {
        let server = Server::start();
        let settings = of_server(&server);
        let one = machine(&settings);
        let record = make(&one);
        one.store.push(&key(), false).unwrap();
        server.fail("PUT", "", usize::MAX, fault);
        let other = machine(&settings);
        make_at(&other, &record);
        let own = [Digest::of(b"another action"), Digest::of(b"a third one")];
        own.iter().for_each(|key| assert_eq!(other.store.commit(key, &record).unwrap(), crate::Commit::Written));
        let log = other.log(|| {
            for key in own {
                assert!(other.store.push(&key, true).is_err());
            }
        });
        let remote = other.store.remote().unwrap();
        assert!(remote.takes_nothing() && !remote.is_left_alone(), "{fault:?}");
        assert_eq!(log.matches("nothing more is pushed by this run").count(), 1, "{fault:?}: {log}");
        assert_eq!(log.lines().count(), 1, "{fault:?}: {log}");
        assert_eq!(found(other.store.ask(&key()).unwrap()), record, "{fault:?}");
        assert_eq!(other.store.ask(&own[1]).unwrap(), Answer::Nothing);
    }
}

#[test]
fn a_server_that_takes_nothing_and_gives_costs_a_few_time_outs_in_all() {
    let server = Server::start();
    let settings = RemoteSettings { timeout: Duration::from_millis(400), ..of_server(&server) };
    let one = machine(&settings);
    let record = make(&one);
    let keys: Vec<Digest> = (0..12_u32).map(|number| Digest::of(&number.to_le_bytes())).collect();
    for key in &keys {
        assert_eq!(one.store.commit(key, &record).unwrap(), crate::Commit::Written);
    }
    server.fail("PUT", "", usize::MAX, Fault::Hang);
    let began = Instant::now();
    for key in &keys {
        assert!(one.store.push(key, false).is_err());
    }
    // Three time-outs, and the time that this takes beside them on a busy machine.
    assert!(began.elapsed() < settings.timeout * 3 + Duration::from_secs(5), "{:?}", began.elapsed());
    let remote = one.store.remote().unwrap();
    assert!(remote.takes_nothing() && !remote.is_left_alone());
    server.take_log();
    let _ = one.store.push(&keys[0], false);
    assert_eq!(count(&server, "PUT", ""), 0);
    assert_eq!(one.store.ask(&keys[0]).unwrap(), Answer::Nothing);
}

#[test]
fn a_slow_line_is_waited_for_as_long_as_bytes_come() {
    let server = Server::start();
    let settings = of_server(&server);
    let one = machine(&settings);
    let record = make(&one);
    one.store.push(&key(), false).unwrap();
    let slow = RemoteSettings { timeout: Duration::from_millis(1000), ..settings };
    let other = machine(&slow);
    found(other.store.ask(&key()).unwrap());
    server.fail("GET", "blobs", usize::MAX, Fault::Trickle);
    let began = Instant::now();
    other.store.fetch(&record.contents[0]).unwrap();
    assert!(began.elapsed() > slow.timeout, "160 kB in pieces of 8 kB, with a pause before each");
    assert!(other.store.has(&record.contents[0]));
}

#[cfg(unix)]
#[test]
fn a_pipe_in_a_directory_keeps_nobody_waiting_and_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let settings = of_directory(directory.path());
    let one = machine(&settings);
    let record = make(&one);
    one.store.push(&key(), false).unwrap();
    for path in [content_path(Part::Blobs, &vocabulary()), record_path(&key())] {
        let at = directory.path().join(path.as_ref());
        fs::remove_file(&at).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&at).status().unwrap();
        assert!(made.success());
        let (other, began) = (machine(&settings), Instant::now());
        assert_eq!(other.store.ask(&key()).unwrap(), Answer::Nothing);
        make_at(&other, &record);
        assert!(matches!(other.store.push(&key(), false).unwrap(), Push::Same | Push::Written));
        assert!(began.elapsed() < Duration::from_secs(10) && at.metadata().unwrap().is_file());
        assert_eq!(found(machine(&settings).store.ask(&key()).unwrap()), record);
    }
}

#[test]
fn damage_is_known_to_the_next_process_until_somebody_replaced_it() {
    let server = Server::start();
    let settings = of_server(&server);
    let one = machine(&settings);
    let record = make(&one);
    one.store.push(&key(), false).unwrap();
    let name = name_of(Part::Blobs, &vocabulary());
    let right = server.state().objects.insert(name.clone(), "ねこ\r".into()).unwrap();
    let other = machine(&settings);
    found(other.store.ask(&key()).unwrap());
    assert!(other.store.fetch(&record.contents[0]).is_err());
    // Its length is right, and another process knows it nevertheless.
    let next = Machine { store: other.again(&settings), home: other.home };
    assert_eq!(next.store.ask(&key()).unwrap(), Answer::Nothing);
    make_at(&next, &record);
    assert_eq!(next.store.push(&key(), false).unwrap(), Push::Same);
    assert_eq!(server.state().objects[&name], right);
    assert_eq!(found(next.again(&settings).ask(&key()).unwrap()), record);
}

#[test]
fn a_record_that_nobody_can_use_is_replaced_whatever_is_wrong_with_it() {
    all(|settings| {
        let (one, remote) = (machine(settings), Remote::open(settings.clone(), &environment).unwrap());
        let made = make(&one);
        let odd = Record { result: json!("of another shape"), ..made.clone() };
        for wrong in [vec![b' '; (64 << 20) + 1], seal(&key(), &odd)] {
            let is_whole = wrong.len() < 1 << 20;
            remote.put(&record_path(&key()), wrong).unwrap();
            let other = machine(settings);
            assert_eq!(matches!(other.store.ask(&key()).unwrap(), Answer::Record(_)), is_whole);
            make_at(&other, &made);
            if is_whole {
                // Its result is for others to read, who say so.
                other.store.refuse(&key()).unwrap();
                assert_eq!(other.store.noted(&key()).unwrap(), None);
            }
            assert_eq!(other.store.push(&key(), false).unwrap(), Push::Written);
            assert_eq!(found(machine(settings).store.ask(&key()).unwrap()), made);
        }
    });
}

#[cfg(unix)]
#[test]
fn files_for_which_the_disk_has_no_room_are_not_begun() {
    let directory = tempfile::tempdir().unwrap();
    let settings = of_directory(directory.path());
    let bomb = Digest::of(b"a bomb");
    let content = Content::File { format: String::new(), blob: bomb };
    let record = Record { result: json!(1), telemetry: json!(null), contents: vec![content.clone()], extras: vec![] };
    let remote = Remote::open(settings.clone(), &environment).unwrap();
    remote.put(&record_path(&key()), seal(&key(), &record)).unwrap();
    remote.put(&content_path(Part::Blobs, &bomb), b"x".to_vec()).unwrap();
    let at = directory.path().join(content_path(Part::Blobs, &bomb).as_ref());
    // A file of holes: it takes no room itself.
    fs::File::options().write(true).open(at).unwrap().set_len(8 << 40).unwrap();
    let other = machine(&settings);
    found(other.store.ask(&key()).unwrap());
    let log = other.log(|| assert!(other.store.fetch(&content).is_err()));
    assert!(log.contains("8796093022208 bytes, and the disk of the store has"), "{log}");
    assert_eq!(other.store.lookup(&key()).unwrap(), None, "the run makes it here");
}

#[test]
fn what_is_there_already_is_not_sent_again() {
    let server = Server::start();
    let settings = of_server(&server);
    let one = machine(&settings);
    let record = make(&one);
    one.store.push(&key(), false).unwrap();
    let other = machine(&settings);
    make_at(&other, &record);
    server.take_log();
    assert_eq!(other.store.push(&key(), false).unwrap(), Push::Same);
    assert_eq!(count(&server, "PUT", "blobs"), 0);
}

#[test]
fn a_portal_that_answers_everything_keeps_nothing_and_another_region_is_named() {
    let server = Server::start();
    server.fail("", "", usize::MAX, Fault::Page);
    let probe = Remote::open(of_server(&server), &environment).unwrap().probe();
    assert!(probe.keeps_first != Some(true) && probe.lists.is_err() && probe.reads != Some(Ok(())), "{probe:?}");
    assert!(probe.deletes != Some(Ok(())), "{probe:?}");
    let one = machine(&of_server(&server));
    let log = one.log(|| assert_eq!(one.store.ask(&key()).unwrap(), Answer::Unknown));
    assert!(log.contains("look for results: what it answers cannot be read"), "{log}");
    server.heal();
    server.fail("GET", "probe", usize::MAX, Fault::Flip);
    let reads = Remote::open(of_server(&server), &environment).unwrap().probe().reads;
    let told = reads.unwrap().unwrap_err().to_string();
    assert_eq!(told, "what is read is not what was written: it keeps nothing");
    server.heal();
    server.fail("", "", usize::MAX, Fault::Elsewhere("eu-west-1"));
    let one = machine(&of_server(&server));
    let log = one.log(|| assert_eq!(one.store.ask(&key()).unwrap(), Answer::Unknown));
    assert!(log.contains("look for results: it is in the region eu-west-1: set AWS_REGION=eu-west-1"), "{log}");
}
