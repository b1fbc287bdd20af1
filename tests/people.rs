//! `pipelines/people.yaml` from its first stage to its last: made-up people label on its pages, and what they prefer is
//! promoted.

#[path = "support/annotators.rs"]
mod annotators;
#[path = "support/program.rs"]
mod program;
#[path = "support/web.rs"]
mod web;

use annotators::{Annotator, Lots, warmth};
use program::{Events, Place, ROOT, copy_into, place};
use serde_json::{Value, json};
use std::path::Path;
use web::Site;

/// A tie where nothing is true of the two, else what the person takes for better; both bad where neither is any good.
fn judgement(annotator: Annotator, shown: [&str; 2], lots: &mut Lots) -> (Value, f64) {
    let worths = shown.map(warmth);
    let (chosen, seconds) = annotator.choose(shown, worths, 0.0, lots);
    let choice = match worths {
        [0, 0] => "both_bad",
        [one, other] if one == other => "tie",
        _ => ["first", "second"][chosen],
    };
    (json!({"pair": choice}), seconds)
}

/// Everybody labels in turns, as far as the page has something for them. Returns the number of labels.
fn label(site: &Site, stage: &str, people: &[(&str, Annotator)]) -> usize {
    let (mut lots, mut made) = (Lots::new(7), 0);
    loop {
        let before = made;
        for (person, annotator) in people {
            let answer = site.get(&format!("/label/{stage}/tasks?as={person}"));
            assert_eq!(answer.status, 200, "{answer:?}");
            let given: Value = serde_json::from_str(&answer.body).unwrap();
            for task in given["tasks"].as_array().unwrap() {
                let shown = [0, 1].map(|side| task["answers"][side].as_str().unwrap());
                let (judgement, seconds) = judgement(*annotator, shown, &mut lots);
                let said = json!({"person": person, "task": task["task"], "order": task["order"], "judgement": judgement,
                                  "seconds": seconds, "client": format!("{stage}-{person}-{made}"), "note": null});
                assert_eq!(site.post(&format!("/label/{stage}/take"), &said).status, 204);
                made += 1;
            }
        }
        if made == before {
            return made;
        }
    }
}

fn run(place: &Place, exit: i32) -> Events {
    place.run(&["run", "people.yaml", "--device", "cpu", "--json"]).expect_exit(exit).events()
}

fn of(events: &Events, stage: &str, metric: &str) -> f64 {
    events.outcome(stage)["metrics"][metric].as_f64().unwrap_or_else(|| panic!("{stage} has no {metric}"))
}

#[test]
fn what_people_prefer_is_learned_and_promoted_once_people_prefer_the_result() {
    let place = place();
    copy_into(&Path::new(ROOT).join("pipelines"), place.path());
    let told = place.run(&["check", "people.yaml"]).expect_exit(0);
    assert!(!told.stderr.contains("warning"), "{}", told.stderr);
    let team = [("mai", Annotator::Careful), ("ken", Annotator::Noisy(0.1))];

    let waits = run(&place, 3);
    assert_eq!((waits.ending("people"), waits.ending("rm")), ("waits", "skipped"));
    let page = place.watch(place.command(&["label", "people.yaml", "people", "--ui", "--port", "0"]));
    label(&Site::of(&page.remarks("page for labels: ")), "people", &team);
    drop(page);

    let learned = run(&place, 3);
    assert_eq!(
        (learned.ending("people"), learned.ending("review"), learned.ending("promoted")),
        ("done", "waits", "skipped")
    );
    assert!(of(&learned, "people", "agreement") > 0.7);
    let page = place.watch(place.command(&["review", "people.yaml", "eval", "--port", "0"]));
    label(&Site::of(&page.remarks("page for labels: ")), "review", &team);
    drop(page);

    let reviewed = run(&place, 0);
    assert_eq!((reviewed.ending("review"), reviewed.ending("promoted")), ("done", "done"));
    let (wins, agreement) = (of(&reviewed, "review", "human_win_rate"), of(&reviewed, "review", "human_agreement"));
    println!("people prefer what was learned in {wins:.2}, and what the reward prefers in {agreement:.2}");
    assert!(wins > 0.5);
    assert_eq!(reviewed.executed(), ["review", "promoted"], "labels of a review train nothing anew");
}
