//! The page of a run while it goes on: what it shows, what it may be asked, and by whom.

#[path = "support/program.rs"]
mod program;
#[path = "support/web.rs"]
mod web;

use program::{Live, Place, Watched, place, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use web::Site;

/// Serves the page of the file beside a run.
fn page_of(place: &Place, more: &[&str]) -> Watched {
    place.watch(place.command(&[&["ui", "toy.yaml", "--lang", "en", "--by", "aoi"], more].concat()))
}

/// A command that waits for a file, and says a line before.
fn waiting(place: &Place, name: &str, go: &str) -> String {
    let here = place.path().display();
    format!(
        "  {name}: {{kind: exec, with: {{command: 'where={name}; echo at work in $where; until test -e {here}/{go}; do sleep 0.01; done'}}}}\n"
    )
}

fn write(place: &Place, stages: &str) {
    place.write("toy.yaml", &format!("name: toy\nstages:\n{stages}"));
}

/// The text of the page once this stands in it.
fn shows(site: &Site, text: &str) -> String {
    wait_for(text, || Some(site.get("/").body).filter(|page| page.contains(text)))
}

/// Every section of a page, whole.
fn sections(page: &str) -> Vec<(String, String)> {
    let pieces = page.match_indices("<section ").map(|(at, _)| {
        let end = page[at..].find("</section>").unwrap() + "</section>".len();
        &page[at..at + end]
    });
    let name = |section: &str| section.split("data-fragment=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    pieces.map(|section| (name(section), section.to_owned())).collect()
}

/// A stage whose gate is unsure, and leaves it to a person.
const HELD: &str = r#"
  base: {kind: exec, metrics: {score: higher}, with: {command: [sh, -c, "echo base > model; echo '{\"score\": 1}' > metrics.json"], outputs: [model]}}
  tuned:
    kind: exec
    from: {policy: base}
    incumbent: policy
    metrics: {score: higher}
    with: {command: [sh, -c, "echo tuned > model; echo '{\"score\": 0.5}' > metrics.json"], outputs: [model]}
    gate: {require: score > incumbent.score, on_fail: hold}
  after: {kind: exec, from: {model: tuned}, with: {command: 'true'}}
"#;

#[test]
fn the_page_shows_what_is_at_work_and_ends_as_the_report_to_the_byte() {
    let place = place();
    write(&place, &(waiting(&place, "first", "go") + &waiting(&place, "second", "go")));
    let run = place.start(&["run", "toy.yaml", "--json", "--jobs", "1"]);
    run.started("first");
    let page = page_of(&place, &["--port", "0"]);
    let site = Site::of_watched(&page);
    let shown = shows(&site, "at work in first");
    assert!(shown.contains("data-fragment=\"now\"") && shown.contains("Stop the run"), "{shown}");
    let mut states = site.events();
    let first = states.next().unwrap();
    place.write("go", "");
    assert_eq!(run.end().0, Some(0));
    // The stream tells of the end without being asked.
    let names =
        |state: &Value| state["sections"].as_array().unwrap().iter().map(|pair| pair[0].clone()).collect::<Vec<_>>();
    assert!(names(&first).contains(&json!("now")));
    assert!(states.any(|state| !names(&state).contains(&json!("now"))));
    shows(&site, "is done:");
    place.run(&["report", "toy.yaml", "--lang", "en", "-o", "r.html"]).expect_exit(0);
    let archived = sections(&place.read("r.html"));
    assert!(archived.len() >= 4, "{archived:?}");
    for (name, section) in &archived {
        assert_eq!(site.get(&format!("/fragment/{name}")).body, *section, "{name}");
    }
    assert_eq!(sections(&site.get("/").body), archived);
    assert_eq!((site.get("/fragment/now").status, site.get("/fragment/then").status), (204, 404));
}

#[test]
fn a_decision_on_the_page_is_that_of_the_command_line_and_can_be_changed() {
    let place = place();
    write(&place, HELD);
    place.run(&["run", "toy.yaml"]).expect_exit(3);
    let page = page_of(&place, &["--port", "0"]);
    let site = Site::of_watched(&page);
    let shown = shows(&site, "Your decision");
    let question = shown.split("name=\"question\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let decide = |answer: &str, question: &str, reason: &str| {
        let asked = json!({"stage": "tuned", "question": question, "answer": answer, "reason": reason, "by": "aoi"});
        let said = site.post("/decide", &asked);
        (said.status, said.body)
    };
    assert_eq!(decide("approve", &question, " ").0, 422);
    assert_eq!(decide("approve", "another question", "kinder").0, 409);
    assert!(!place.at("toy.approvals.jsonl").exists());
    assert_eq!(decide("reject", &question, "colder").0, 200);
    assert_eq!(decide("approve", &question, "kinder <b>after all</b>").0, 200);
    let lines: Vec<Value> =
        place.read("toy.approvals.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |key: &str| lines.iter().map(|line| line[key].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((told("decision"), told("by")), (vec!["reject", "approve"], vec!["aoi", "aoi"]));
    assert!(lines.iter().all(|line| line["from"] == "page 127.0.0.1"));
    let shown = shows(&site, "kinder &lt;b&gt;after all&lt;/b&gt;");
    assert!(shown.contains("colder") && shown.contains("The last decision counts"), "{shown}");
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    // Also after the run that took it: the next one goes by the new one.
    wait_for("the newer run", || site.get("/").body.contains("was promoted").then_some(()));
    assert_eq!(decide("reject", &question, "read more of it").0, 200);
    let again = place.run(&["run", "toy.yaml"]).expect_exit(0);
    assert!(again.stdout.contains("rejected by aoi"), "{}", again.stdout);
}

#[test]
fn a_run_with_its_page_waits_for_a_person_and_goes_on_by_itself() {
    let place = place();
    write(&place, HELD);
    let run = place.start(&["run", "toy.yaml", "--json", "--ui", "--port", "0", "--lang", "en"]);
    let site = Site::of_run(&run);
    run.until(|event| event["event"] == "run_finished" && event["exit"] == 3);
    let shown = shows(&site, "Your decision");
    let question = shown.split("name=\"question\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let asked = json!({"stage": "tuned", "question": question, "answer": "approve", "reason": "kinder", "by": "aoi"});
    let said = site.post("/decide", &asked);
    assert_eq!((said.status, said.body.as_str()), (200, "Written down. The run goes on."));
    run.until(|event| event["event"] == "run_finished" && event["exit"] == 0);
    shows(&site, "was promoted");
    run.signal(Signal::INT);
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn a_run_with_its_page_asks_for_labels_on_it_and_goes_on_when_they_are_there() {
    let place = place();
    let item = |number: usize| {
        json!({"prompt": format!("prompt {number}"), "answers": ["a cold answer", "a kind answer"]}).to_string() + "\n"
    };
    place.write("items.jsonl", &(0..4).map(item).collect::<String>());
    write(
        &place,
        "  people: {kind: label, from: {items: items.jsonl}, with: {repeats: 0, need: {items: 3}}}
  learn: {kind: exec, from: {rows: 'people:pairs.jsonl'}, with: {command: 'cat in/rows.jsonl'}}
",
    );
    let run = place.start(&["run", "toy.yaml", "--json", "--ui", "--port", "0", "--lang", "en"]);
    let site = Site::of_run(&run);
    run.until(|event| event["event"] == "run_finished" && event["exit"] == 3);
    let shown = shows(&site, "people waits for labels");
    assert!(shown.contains("href=\"label/people/\"") && shown.contains("href=\"label/people/owner\""), "{shown}");
    let page = site.get("/label/people/");
    assert_eq!(page.status, 200, "{page:?}");
    let given: Value = serde_json::from_str(&site.get("/label/people/tasks?as=mai").body).unwrap();
    for (at, task) in given["tasks"].as_array().unwrap().iter().take(3).enumerate() {
        let choice = json!({"person": "mai", "task": task["task"], "order": task["order"], "judgement": {"pair": "first"}, "seconds": 3.5, "client": format!("c{at}"), "note": null});
        let taken = site.post("/label/people/take", &choice);
        assert_eq!(taken.status, 204, "{taken:?}");
    }
    run.until(|event| event["event"] == "run_finished" && event["exit"] == 0);
    run.signal(Signal::INT);
    assert_eq!(run.end().0, Some(0));
}

/// Stops a run from its page, and returns its exit code.
fn stopped(place: &Place, site: &Site, run: Live) -> Option<i32> {
    shows(site, "Stop the run");
    let name = place.at(".pipeline/runs").read_dir().unwrap().next().unwrap().unwrap().file_name();
    let asked = json!({"run": name.to_str().unwrap()});
    let (first, second) = (site.post("/stop", &asked), site.post("/stop", &asked));
    // The second one would end it at once.
    assert_eq!((first.status, second.status), (200, 409), "{} {}", first.body, second.body);
    place.write("go", "");
    run.end().0
}

#[test]
fn the_button_stops_a_run_as_the_first_interrupt_does() {
    // Asked to stop, it needs a while: a second interrupt would not wait for that.
    let slow = |place: &Place| {
        let here = place.path().display();
        let stage = format!(
            "  slow: {{kind: exec, with: {{command: 'trap \"until test -e {here}/go; do sleep 0.01; done; mkdir resume; exit 1\" TERM; touch {here}/began; while :; do sleep 0.01; done'}}}}\n"
        );
        write(place, &stage);
    };
    let began = |place: &Place| wait_for("the command", || place.at("began").exists().then_some(()));
    let place_of = |is_with_page: bool| {
        let place = place();
        slow(&place);
        let more: &[&str] = if is_with_page { &["--ui", "--port", "0", "--lang", "en"] } else { &[] };
        let run = place.start(&[&["run", "toy.yaml", "--json"], more].concat());
        (place, run)
    };
    let (inside, run) = place_of(true);
    let site = Site::of_run(&run);
    began(&inside);
    assert_eq!(stopped(&inside, &site, run), Some(130));
    let (beside, run) = place_of(false);
    began(&beside);
    let page = page_of(&beside, &["--port", "0"]);
    let site = Site::of_watched(&page);
    assert_eq!(stopped(&beside, &site, run), Some(130));
    shows(&site, "was interrupted");
    for place in [inside, beside] {
        let resume = program::files(&place.at(".pipeline/work")).into_iter().any(|path| path.ends_with("resume"));
        assert!(resume, "the stage had no time to write its checkpoint");
    }
}

#[test]
fn only_the_page_itself_is_answered_and_nothing_is_told_of_this_machine() {
    let place = place();
    write(&place, "  a: {kind: exec, with: {command: 'true'}}\n");
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    let page = page_of(&place, &["--port", "0"]);
    let site = Site::of_watched(&page);
    let own = format!("http://{}", site.address);
    let status = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = site.ask(method, path, headers, body);
        let here = place.path().display().to_string();
        assert!(!answer.body.contains(&here) && !answer.head.contains(&here), "{answer:?}");
        answer.status
    };
    let mark = ("X-Pipeline", "page");
    let json = ("Content-Type", "application/json");
    assert_eq!(status("GET", "/", &[], ""), 200);
    assert_eq!(status("GET", "/", &[("Host", "evil.example")], ""), 403);
    assert_eq!(status("GET", "/", &[("Host", "localhost:1")], ""), 200);
    assert_eq!(status("GET", "/nothing", &[], ""), 404);
    assert_eq!(status("GET", "/fragment/..%2f..%2fetc%2fpasswd", &[], ""), 404);
    assert_eq!(status("GET", "/decide", &[], ""), 405);
    assert_eq!(status("DELETE", "/", &[], ""), 405);
    assert_eq!(status("POST", "/stop", &[mark, json], "{}"), 403, "without an origin");
    assert_eq!(status("POST", "/stop", &[mark, json, ("Origin", "http://evil.example")], "{}"), 403);
    assert_eq!(status("POST", "/stop", &[json, ("Origin", &own)], "{}"), 403, "without the mark");
    assert_eq!(status("POST", "/stop", &[mark, json, ("Origin", &own)], "{"), 400);
    assert_eq!(status("POST", "/stop", &[mark, ("Content-Type", "text/plain"), ("Origin", &own)], "{}"), 415);
    assert_eq!(status("POST", "/stop", &[mark, json, ("Origin", &own)], &" ".repeat((1 << 20) + 1)), 413);
    assert_eq!(site.post("/stop", &json!({"run": "../../etc"})).status, 409);
    let head = site.get("/").head;
    for header in [
        "frame-ancestors 'none'",
        "x-frame-options: deny",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    assert!(!head.contains("access-control-allow"), "{head}");
}

#[test]
fn beyond_this_machine_the_page_asks_for_its_token() {
    let place = place();
    write(&place, "  a: {kind: exec, with: {command: 'true'}}\n");
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    let serve = || place.watch(place.command(&["ui", "toy.yaml", "--listen", "0.0.0.0", "--port", "0"]));
    let page = serve();
    let link = page.remarks("live page: ");
    let (address, token) = link.split_once("/?token=").unwrap();
    let token = token.trim();
    assert_eq!(token.len(), 64);
    let port = address.rsplit(':').next().unwrap();
    let site = Site { address: format!("127.0.0.1:{port}") };
    let cookie = format!("pipeline-{port}={token}");
    assert_eq!(site.get("/").status, 401);
    assert_eq!(site.get("/fragment/verdict").status, 401);
    assert_eq!(site.get(&format!("/?token={}", "0".repeat(64))).status, 403);
    let welcome = site.get(&format!("/?token={token}"));
    assert_eq!(welcome.status, 303, "{welcome:?}");
    assert!(
        welcome.head.contains("location: /\r\n") && welcome.head.contains("httponly; samesite=strict"),
        "{welcome:?}"
    );
    assert!(welcome.head.contains(&cookie), "{welcome:?}");
    assert_eq!(site.ask("GET", "/", &[("Cookie", &cookie)], "").status, 200);
    assert_eq!(site.ask("GET", "/", &[("Cookie", &cookie.replace(&token[..1], "x"))], "").status, 401);
    // Kept for its owner, so that a page that is open goes on after a restart.
    let kept = place.at(".pipeline/page-token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&kept).unwrap().permissions());
    assert_eq!((fs::read_to_string(&kept).unwrap().as_str(), mode & 0o077), (token, 0));
    drop(page);
    assert!(serve().remarks("live page: ").contains(token));
}

#[test]
fn a_page_that_is_killed_and_started_again_tells_the_same_and_the_run_never_noticed() {
    let place = place();
    write(&place, &waiting(&place, "first", "go"));
    let run = place.start(&["run", "toy.yaml", "--json"]);
    run.started("first");
    let page = page_of(&place, &["--port", "0"]);
    let site = Site::of_watched(&page);
    let before = shows(&site, "at work in first");
    // It is killed where it is dropped.
    drop(page);
    let port = site.address.rsplit(':').next().unwrap();
    let page = page_of(&place, &["--port", port]);
    assert_eq!(Site::of_watched(&page).address, site.address);
    assert_eq!(sections(&shows(&site, "at work in first")), sections(&before));
    place.write("go", "");
    assert_eq!(run.end().0, Some(0));
    shows(&site, "is done:");
}
