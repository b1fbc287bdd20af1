//! The page on which people label, as browsers ask it: what was acknowledged is kept, and nobody is told who wrote an answer.

#[path = "support/program.rs"]
mod program;
#[path = "support/web.rs"]
mod web;

use program::{Place, Watched, files, place};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use web::{Answer, Site};

/// A pipeline that asks people about this many items, with its worklist made.
fn asking(items: usize, with: &str) -> Place {
    let place = place();
    place.write(
        "rlhf.yaml",
        &format!("name: rlhf\nstages:\n  people:\n    kind: label\n    from: {{items: items.jsonl}}\n    with: {{form: pairs{with}}}\n"),
    );
    let item = |number: usize| {
        let answers = [format!("a <b>cold</b> answer {number}"), format!("a kind answer {number}")];
        json!({"id": number.to_string(), "prompt": format!("prompt {number}"), "answers": answers}).to_string() + "\n"
    };
    place.write("items.jsonl", &(0..items).map(item).collect::<String>());
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    place
}

fn serve(place: &Place, port: &str, more: &[&str]) -> Watched {
    let arguments = [&["label", "rlhf.yaml", "people", "--ui", "--lang", "en", "--port", port], more].concat();
    place.watch(place.command(&arguments))
}

fn site(page: &Watched) -> Site {
    Site::of(&page.remarks("page for labels: "))
}

fn tasks(site: &Site, person: &str) -> Value {
    let answer = site.get(&format!("/label/people/tasks?as={person}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

fn choice(person: &str, task: &Value, client: &str) -> Value {
    let (task, order) = (&task["task"], &task["order"]);
    json!({"person": person, "task": task, "order": order, "judgement": {"pair": "first"}, "seconds": 2.5, "client": client, "note": null})
}

/// Every label in the files, by its client id.
fn kept(place: &Place) -> BTreeMap<String, usize> {
    let mut kept = BTreeMap::new();
    let all = files(&place.at("rlhf.labels"));
    for file in all.iter().filter(|path| path.is_file()) {
        for line in fs::read_to_string(file).unwrap().lines() {
            if let Some(client) = line.split("\"client\":\"").nth(1).and_then(|rest| rest.split('"').next()) {
                *kept.entry(client.to_owned()).or_default() += 1;
            }
        }
    }
    kept
}

/// Sends the same again until the server has said yes, as a browser does.
fn send(site: &Site, body: &Value, is_over: &AtomicBool) -> bool {
    while !is_over.load(Ordering::SeqCst) {
        if site.tries("/label/people/take", body).is_some_and(|Answer { status, .. }| status == 204) {
            return true;
        }
    }
    false
}

#[test]
fn what_was_acknowledged_is_there_once_however_often_the_server_is_killed() {
    kill_while_two_label(120, 25);
}

#[test]
#[ignore = "in .ci/long"]
fn long_of_five_hundred_labels_none_is_lost_or_doubled_by_fifty_kills() {
    kill_while_two_label(250, 50);
}

/// Two people make so many labels each while the server is killed so often, at moments spread over the time.
fn kill_while_two_label(labels: usize, kills: usize) {
    let place = asking(2 * labels + 20, "");
    let first = serve(&place, "0", &[]);
    let site = site(&first);
    let port = site.address.rsplit(':').next().unwrap().to_owned();
    let acknowledged = Mutex::new(BTreeSet::new());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let people = ["mai", "ken"].map(|person| {
            let (site, acknowledged, is_over) = (&site, &acknowledged, &is_over);
            scope.spawn(move || {
                let mut done = 0;
                while done < labels {
                    let Some(answer) =
                        site.asks(&format!("/label/people/tasks?as={person}")).filter(|answer| answer.status == 200)
                    else {
                        continue;
                    };
                    let given: Value = serde_json::from_str(&answer.body).unwrap();
                    for task in given["tasks"].as_array().unwrap() {
                        let client = format!("{person}-{done}");
                        assert!(send(site, &choice(person, task, &client), is_over));
                        acknowledged.lock().unwrap().insert(client);
                        done += 1;
                    }
                }
            })
        });
        // A page that is dropped is killed; each time when some more labels are there.
        let mut page = first;
        for kill in 1..=kills {
            let some = 2 * labels * kill / (kills + 1);
            program::wait_for("more labels", || (acknowledged.lock().unwrap().len() >= some).then_some(()));
            drop(page);
            page = serve(&place, &port, &[]);
            page.remarks("page for labels: ");
        }
        people.into_iter().for_each(|person| person.join().unwrap());
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    let kept = kept(&place);
    assert!(acknowledged.len() >= 2 * labels);
    assert!(acknowledged.iter().all(|client| kept.get(client) == Some(&1)), "{kept:?}");
    place.run(&["label", "rlhf.yaml", "people", "--verify"]).expect_exit(0);
}

#[test]
fn a_page_tells_nobody_who_wrote_an_answer_and_two_people_get_different_items() {
    let place = asking(40, ", need: {items: 30, overlap: 0}, repeats: 0");
    let page = serve(&place, "0", &[]);
    let site = site(&page);
    let [mai, ken] = ["mai", "ken"].map(|person| tasks(&site, person));
    let prompts = |given: &Value| -> BTreeSet<String> {
        given["tasks"].as_array().unwrap().iter().map(|task| task["prompt"].to_string()).collect()
    };
    assert!(prompts(&mai).len() == 8 && prompts(&mai).is_disjoint(&prompts(&ken)));
    for task in mai["tasks"].as_array().unwrap() {
        let fields: Vec<&String> = task.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["answers", "order", "prompt", "task"], "blind");
    }
    let shown = mai.to_string();
    assert!(shown.contains("&lt;b&gt;cold&lt;/b&gt;") && !shown.contains("<b>"), "{shown}");
    // Names of tasks of one person are not those of another, and no digest stands in any answer.
    let text = site.get("/label/people/").body + &shown;
    let digests = fs::read_dir(place.at("rlhf.labels")).into_iter().flatten().flatten();
    assert!(digests.map(|entry| entry.file_name().into_string().unwrap()).all(|name| !text.contains(&name)));
    let foreign = site.post("/label/people/take", &choice("ken", &mai["tasks"][0], "c1"));
    assert_eq!(foreign.status, 422, "a task is of the person whom it was given to");
    assert_eq!(site.get("/label/people/tasks?as=..").status, 422);
}

#[test]
fn an_undone_label_is_asked_again_and_a_page_for_one_person_takes_no_other() {
    let place = asking(12, ", need: {items: 10, overlap: 0}, repeats: 0");
    let page = serve(&place, "0", &["--as", "mai"]);
    let site = site(&page);
    let given = tasks(&site, "mai");
    let first = &given["tasks"][0];
    assert_eq!(site.post("/label/people/take", &choice("mai", first, "c1")).status, 204);
    assert_eq!(
        site.post("/label/people/take", &choice("mai", first, "c1")).status,
        204,
        "the same again is no other label"
    );
    assert_eq!(tasks(&site, "mai")["own"], 1);
    assert_eq!(site.post("/label/people/undo", &json!({"person": "mai", "of": "c1", "client": "c2"})).status, 204);
    let again = tasks(&site, "mai");
    assert_eq!((&again["own"], &again["tasks"][0]["task"]), (&json!(0), &first["task"]));
    assert_eq!(site.post("/label/people/take", &choice("mai", first, "c3")).status, 204);
    assert_eq!(site.post("/label/people/take", &choice("ken", first, "c4")).status, 403);
    assert_eq!(site.get("/label/people/tasks?as=ken").status, 403);
    let odd = json!({"person": "mai", "task": "0", "order": [0, 1], "judgement": "skip", "seconds": 1, "client": "c5", "note": null});
    assert_eq!(site.post("/label/people/take", &odd).status, 422);
    assert_eq!(kept(&place).keys().collect::<Vec<_>>(), ["c1", "c2", "c3"]);
}

#[test]
fn a_label_that_cannot_be_written_is_not_acknowledged_and_may_be_sent_again() {
    let place = asking(12, ", need: {items: 10, overlap: 0}, repeats: 0");
    let page = serve(&place, "0", &[]);
    let site = site(&page);
    let given = tasks(&site, "mai");
    let first = choice("mai", &given["tasks"][0], "c1");
    // Something else has the name of the folder, as if nothing could be written there.
    let folder = place.at("rlhf.labels");
    let _ = fs::remove_dir_all(&folder);
    fs::write(&folder, "").unwrap();
    assert_eq!(site.post("/label/people/take", &first).status, 507);
    fs::remove_file(&folder).unwrap();
    assert_eq!(site.post("/label/people/take", &first).status, 204);
    assert_eq!(kept(&place).keys().collect::<Vec<_>>(), ["c1"]);
}

#[test]
fn eight_people_at_once_meet_the_overlap_exactly_and_see_nothing_twice() {
    const ITEMS: usize = 48;
    let place = asking(ITEMS, ", need: {overlap: 0.25}, repeats: 0");
    let page = serve(&place, "0", &[]);
    let site = site(&page);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let site = &site;
            scope.spawn(move || {
                let person = format!("p{number}");
                let mut done = 0;
                loop {
                    let given = tasks(site, &person);
                    if given["done"] == given["needed"] {
                        break;
                    }
                    // One after the other, so that all of them are always under way.
                    let Some(task) = given["tasks"].as_array().unwrap().first() else { continue };
                    let taken = site.post("/label/people/take", &choice(&person, task, &format!("{person}-{done}")));
                    assert_eq!(taken.status, 204, "{taken:?}");
                    done += 1;
                }
            });
        }
    });
    drop(page);
    let mut people: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files(&place.at("rlhf.labels")).iter().filter(|path| path.is_file()) {
        for line in fs::read_to_string(file).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let (Some(item), Some(by)) = (line["item"].as_str(), line["by"].as_str()) {
                people.entry(item.to_owned()).or_default().push(by.to_owned());
            }
        }
    }
    let twice = people.values().filter(|by| by.len() == 2).count();
    assert_eq!((people.len(), twice), (ITEMS, ITEMS / 4), "{people:?}");
    assert!(people.values().all(|by| by.len() <= 2 && (by.len() == 1 || by[0] != by[1])), "{people:?}");
}

#[test]
fn a_label_goes_to_the_file_of_its_name_whatever_version_control_has_put_there() {
    let place = asking(12, ", need: {items: 10, overlap: 0}, repeats: 0");
    let page = serve(&place, "0", &[]);
    let site = site(&page);
    let given = tasks(&site, "mai");
    let take = |at: usize| {
        let taken = site.post("/label/people/take", &choice("mai", &given["tasks"][at], &format!("c{at}")));
        assert_eq!(taken.status, 204, "{taken:?}");
    };
    take(0);
    let all = files(&place.at("rlhf.labels"));
    let file =
        all.iter().find(|path| path.to_string_lossy().ends_with(".jsonl") && path.to_string_lossy().contains("mai-"));
    let file = file.unwrap().to_owned();
    // The same again in another file, as after `git pull --rebase`.
    let copy = file.with_extension("copy");
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    take(1);
    assert_eq!(kept(&place).keys().collect::<Vec<_>>(), ["c0", "c1"]);
    // None at all, as on a branch where nobody has labelled.
    fs::remove_file(&file).unwrap();
    take(2);
    assert_eq!(kept(&place).keys().collect::<Vec<_>>(), ["c2"]);
    place.run(&["label", "rlhf.yaml", "people", "--verify"]).expect_exit(0);
}

#[test]
fn what_is_wrong_for_a_while_costs_no_choice() {
    let place = asking(12, ", need: {items: 10, overlap: 0}, repeats: 0");
    let first = serve(&place, "0", &[]);
    let there = site(&first);
    let given = tasks(&there, "mai");
    let sent = choice("mai", &given["tasks"][0], "c1");
    let port = there.address.rsplit(':').next().unwrap().to_owned();
    drop(first);
    // The file has a mistake when somebody looks, on the page of the run, which opens its labels when they are asked for.
    let good = place.read("rlhf.yaml");
    let page = place.watch(place.command(&["ui", "rlhf.yaml", "--lang", "en", "--port", &port]));
    let there = Site::of_watched(&page);
    place.write("rlhf.yaml", &good.replace("kind: label", "kind: lable"));
    assert_eq!(there.post("/label/people/take", &sent).status, 503);
    place.write("rlhf.yaml", &good);
    assert_eq!(there.post("/label/people/take", &sent).status, 204);
    // A choice that was made by another sheet is none by this one.
    place.write("criteria.yaml", &place.run(&["criteria", "helpful"]).expect_exit(0).stdout);
    place.write("rlhf.yaml", &good.replace("{items: items.jsonl}", "{items: items.jsonl, criteria: criteria.yaml}"));
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    assert_eq!(there.get("/label/people/").status, 200);
    assert_eq!(there.post("/label/people/take", &choice("mai", &given["tasks"][1], "c2")).status, 422);
}

/// The site of a link that was printed, as a browser on this machine reaches it, with the token in it.
fn opened(page: &Watched) -> (Site, String) {
    let link = page.remarks("page for labels: ");
    let (address, token) = link.split_once("?token=").unwrap();
    let port = address.rsplit(':').next().unwrap().split('/').next().unwrap();
    (Site { address: format!("127.0.0.1:{port}") }, token.trim().to_owned())
}

/// A request with the cookie that a token was exchanged for.
fn visit(site: &Site, token: &str, path: &str) -> Answer {
    let port = site.address.rsplit(':').next().unwrap();
    let name = if token.contains('.') { "pipeline-invited" } else { "pipeline" };
    site.ask("GET", path, &[("Cookie", &format!("{name}-{port}={token}"))], "")
}

#[test]
fn who_is_invited_labels_under_one_name_and_sees_nothing_else() {
    let place = asking(12, ", need: {items: 10, overlap: 0}, repeats: 0");
    let page = serve(&place, "0", &["--listen", "0.0.0.0"]);
    let (site, owner) = opened(&page);
    let own = |path: &str| visit(&site, &owner, path);
    assert_eq!(own("/label/people/invitation?as=../x").status, 422);
    let link = own("/label/people/invitation?as=舞");
    assert_eq!(link.status, 200, "{link:?}");
    let invited = link.body.strip_prefix("?token=").unwrap();
    let welcome = site.get(&format!("/label/people/?token={invited}"));
    assert!(welcome.status == 303 && welcome.head.contains(invited), "{welcome:?}");
    let theirs = |path: &str| visit(&site, invited, path);
    assert_eq!(theirs("/label/people/").status, 200);
    assert!(!theirs("/label/people/").body.contains("href=\"owner\""));
    assert_eq!(theirs("/label/people/tasks?as=%E8%88%9E").status, 200);
    assert_eq!(theirs("/label/people/tasks?as=ken").status, 403, "another name is another's");
    for path in ["owner", "overview", "invitation?as=ken"] {
        assert_eq!(theirs(&format!("/label/people/{path}")).status, 403, "{path}");
        let of_owner = own(&format!("/label/people/{path}"));
        assert_eq!(of_owner.status, 200, "{of_owner:?}");
    }
    assert_eq!(theirs("/").status, 403);
    assert_eq!(theirs("/label/others/").status, 403, "another stage is none of theirs");
    // Another name with the same proof is nobody.
    let [stage, _, proof] = invited.split('.').collect::<Vec<_>>()[..] else { panic!("{invited}") };
    assert_eq!(visit(&site, &format!("{stage}.6b656e.{proof}"), "/label/people/").status, 401);
    // Who has both is the owner, in a browser that has tried the link.
    let port = site.address.rsplit(':').next().unwrap();
    let both = format!("pipeline-invited-{port}={invited}; pipeline-{port}={owner}");
    assert_eq!(site.ask("GET", "/label/people/owner", &[("Cookie", &both)], "").status, 200);
    // The link goes on working with a server that was started again.
    drop(page);
    let page = serve(&place, "0", &["--listen", "0.0.0.0"]);
    let (site, _) = opened(&page);
    assert_eq!(visit(&site, invited, "/label/people/tasks?as=%E8%88%9E").status, 200);
}

#[test]
fn the_owner_sees_how_far_people_are_and_none_of_their_labels() {
    let place = asking(12, ", need: {items: 10, overlap: 0}, repeats: 0");
    let page = serve(&place, "0", &[]);
    let site = site(&page);
    let given = tasks(&site, "mai");
    let note = "between us";
    let mut first = choice("mai", &given["tasks"][0], "c1");
    first["note"] = json!(note);
    assert_eq!(site.post("/label/people/take", &first).status, 204);
    let told = site.get("/label/people/owner").body;
    assert!(told.contains("1 of 10 labels") && told.contains("mai"), "{told}");
    assert!(!told.contains(note) && !told.contains("kind answer"), "{told}");
    assert!(told.contains("answers this machine alone"), "nobody can be invited to it: {told}");
    assert_eq!(site.get("/label/people/invitation?as=ken").status, 422);
}

#[test]
fn a_suggestion_comes_after_the_own_choice_and_both_are_kept() {
    let place = asking(6, ", need: {items: 4, overlap: 0}, repeats: 0");
    let suggested = |number: usize| {
        let [chosen, rejected] = [format!("a kind answer {number}"), format!("a <b>cold</b> answer {number}")];
        json!({"prompt": format!("prompt {number}"), "chosen": chosen, "rejected": rejected}).to_string() + "\n"
    };
    place.write("ai.jsonl", &(0..6).map(suggested).collect::<String>());
    let text = place.read("rlhf.yaml").replace("{items: items.jsonl}", "{items: items.jsonl, suggest: ai.jsonl}");
    place.write("rlhf.yaml", &text);
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let page = serve(&place, "0", &[]);
    let site = site(&page);
    let given = tasks(&site, "mai");
    assert!(!given.to_string().contains("ranks"), "nothing is suggested before the choice: {given}");
    for (at, task) in given["tasks"].as_array().unwrap().iter().take(4).enumerate() {
        let client = format!("c{at}");
        assert_eq!(task["suggests"], json!(true));
        let answer = site.post("/label/people/take", &choice("mai", task, &client));
        assert_eq!(answer.status, 200, "{answer:?}");
        let ranks: Vec<f64> = serde_json::from_str::<Value>(&answer.body).unwrap()["ranks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rank| rank.as_f64().unwrap())
            .collect();
        let is_kind = |side: usize| task["answers"][side].as_str().unwrap().contains("kind");
        assert_eq!(ranks[0] < ranks[1], is_kind(0), "the suggestion is told in the order that was shown");
        // The first half keep what they said, whatever was suggested; the others take the other side.
        let second = if at < 2 { "first" } else { "second" };
        let said = json!({"person": "mai", "of": client, "order": task["order"], "judgement": {"pair": second}, "client": format!("s{at}")});
        assert_eq!(site.post("/label/people/second", &said).status, 204);
    }
    drop(page);
    let events = place.run(&["run", "rlhf.yaml", "--json"]).expect_exit(0).events();
    let metrics = &events.outcome("people")["metrics"];
    assert_eq!(metrics["changed_share"], json!(0.5), "{metrics}");
}

/// The largest memory of a process so far, in MB.
fn peak_memory(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1000.0
}

#[test]
#[ignore = "in .ci/long"]
fn long_fifty_thousand_items_are_labelled_as_fast_as_a_few() {
    const ITEMS: usize = 50_000;
    const KEPT: usize = 5_000;
    let place = place();
    place.write(
        "rlhf.yaml",
        "name: rlhf\nstages:\n  people:\n    kind: label\n    from: {items: items.jsonl}\n    with: {form: pairs, need: {overlap: 0.2}}\n",
    );
    let text = |number: usize, side: &str| format!("{side} {number} ") + &"words of an answer ".repeat(52);
    let item = |number: usize| json!({"id": number.to_string(), "prompt": format!("prompt {number}"), "answers": [text(number, "one"), text(number, "two")]});
    place.write("items.jsonl", &(0..ITEMS).map(|number| item(number).to_string() + "\n").collect::<String>());
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let kept = |number: usize| json!({"prompt": format!("prompt {number}"), "chosen": text(number, "one"), "rejected": text(number, "two")});
    place.write("kept.jsonl", &(0..KEPT).map(|number| kept(number).to_string() + "\n").collect::<String>());
    place.run(&["label", "rlhf.yaml", "people", "--import", "kept.jsonl", "--as", "ken"]).expect_exit(0);
    let began = Instant::now();
    let page = serve(&place, "0", &[]);
    let site = site(&page);
    let start = began.elapsed();
    let mut took = Vec::new();
    for round in 0..50 {
        let began = Instant::now();
        let given = tasks(&site, "mai");
        took.push(began.elapsed());
        for (number, task) in given["tasks"].as_array().unwrap().iter().enumerate() {
            let body = choice("mai", task, &format!("mai-{round}-{number}"));
            let began = Instant::now();
            assert_eq!(site.post("/label/people/take", &body).status, 204);
            took.push(began.elapsed());
        }
    }
    took.sort();
    let (middle, most) = (took[took.len() / 2], took[took.len() * 95 / 100]);
    let memory = program::at_work_in(place.path()).into_iter().map(peak_memory).fold(0.0, f64::max);
    println!(
        "start {start:?}; of {} answers, half within {middle:?}, 95 % within {most:?}; {memory:.0} MB",
        took.len()
    );
    assert!(most < Duration::from_millis(30), "95 % of the answers take up to {most:?}");
    assert!(start < Duration::from_secs(1), "the page is there after {start:?}");
    assert!(memory < 200.0, "it takes {memory:.0} MB");
}
