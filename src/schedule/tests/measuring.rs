//! A measuring kind that only this file knows: its row is all that the plan, the schedule and the report need.

use super::*;
use crate::report::page::{Page, print};
use crate::report::{fold, study};
use formats::data::DataRows;
use stages::kinds::eval;
use stages::stage::{Accepts, Kind, Measure, Metric, Part, PartInput, Port, Work};

const RECALLED: Metric = Metric::lower("recalled", "share known by heart").mean_of("known");
const EXPOSED: Metric = Metric::lower("exposed", "share given away to one attack");

const RECALL: Kind = Kind {
    name: "recall",
    ports: &[
        Port::one("model", Accepts::Model, "the model"),
        Port::one("rows", Accepts::Data(DataRows::Prompts), "what may be known"),
    ],
    metrics: &[RECALLED],
    ..eval::answers::KIND
};

const EXPOSURE: Kind = Kind {
    name: "exposure",
    ports: &[
        Port::one("recall", Accepts::Any, "what is known"),
        Port::one("attack", Accepts::Model, "who asks for it"),
    ],
    metrics: &[EXPOSED],
    ..eval::scores::KIND
};

const PROBING: Kind = Kind {
    name: "probing",
    ports: &[
        Port::one("subject", Accepts::Model, "the model to probe"),
        Port::one("rows", Accepts::Data(DataRows::Prompts), "what it may know by heart"),
        Port::one("attack", Accepts::Model, "models that ask for it").many().optional(),
    ],
    metrics: &[RECALLED, EXPOSED],
    work: Work::Measure(&Measure {
        port: "subject",
        parts: &[
            Part {
                kind: &RECALL,
                inputs: &[("model", PartInput::Port("subject")), ("rows", PartInput::Port("rows"))],
                table: "recall.jsonl",
                unless_empty: None,
            },
            Part {
                kind: &EXPOSURE,
                inputs: &[("recall", PartInput::Part(0)), ("attack", PartInput::Port("attack"))],
                table: "exposure.jsonl",
                unless_empty: None,
            },
        ],
        answers: None,
        comparison: None,
        columns: None,
    }),
    ..eval::KIND
};

const PIPELINE: &str = "
name: toy
stages:
  base: {kind: pretrain, from: {text: ./text.jsonl}}
  sft:
    kind: sft
    from: {model: base, data: ./sft.jsonl}
    gate: {judge: probe, require: [recalled < incumbent.recalled, exposed < 0.5], on_fail: keep}
  probe:
    kind: probing
    from: {subject: sft, rows: ./heldout.jsonl, attack: [base, sft]}
    gate: {require: recalled < 0.5 and exposed_2 < 0.5}
";

fn world() -> World {
    World { scores: vec![("base", 0.4), ("sft", 0.3)], ..World::default() }
}

fn probing(text: &str) -> (Plan, tempfile::TempDir) {
    plan_of(text, &KINDS.iter().copied().chain([&PROBING]).collect::<Vec<_>>())
}

fn probed(text: &str) -> String {
    told_of(&probing(text).0, &world(), &mut Memory::default())
}

#[test]
fn another_measuring_kind_judges_and_measures_by_its_row_alone() {
    let told = probed(PIPELINE);
    for line in [
        "sft: recall of sft@1 runs",
        "sft: exposure of sft@1 runs",
        "sft: recall of base runs",
        "sft pass: recalled 0.3 < incumbent.recalled 0.4",
        "sft done",
        // The second model on the port is measured only in the stage's own run.
        "probe: exposure of sft by sft runs",
        "probe pass: recalled 0.3 < 0.5",
        "probe done",
    ] {
        assert!(told.lines().any(|told| told.starts_with(line)), "no line `{line}` in\n{told}");
    }
}

#[test]
fn a_part_whose_port_is_not_connected_is_left_out() {
    let text = PIPELINE
        .replace(", attack: [base, sft]", "")
        .replace("[recalled < incumbent.recalled, exposed < 0.5]", "recalled < incumbent.recalled")
        .replace(" and exposed_2 < 0.5", "");
    let told = probed(&text);
    assert!(told.contains("sft: recall of sft@1 runs") && told.contains("probe done"), "{told}");
    assert!(!told.contains("exposure"), "{told}");
}

#[test]
fn its_study_shows_all_that_it_measures() {
    let at = "2026-11-21T23:15:00Z".to_owned();
    let [run_name, pipeline, file] = ["toy", "toy", "toy.yaml"].map(str::to_owned);
    let (stages, overrides, selection) = (Vec::new(), Vec::new(), String::new());
    let machine = None;
    let mut events =
        vec![Event::RunStarted { run: run_name, pipeline, file, at, stages, overrides, selection, machine }];
    let (plan, _directory) = probing(PIPELINE);
    run(&plan, &world(), &mut Memory::default(), |happening| {
        if let Happening::Told(event) = happening {
            events.push(event.clone());
        }
    });
    let state = fold::fold(&events).unwrap();
    let shown = print(&[study::table(&state.studies[0])], Page { width: 120, has_color: false, breaks_words: true });
    let [head, _, base, sft] = shown.lines().skip(1).filter(|line| !line.is_empty()).collect::<Vec<_>>()[..] else {
        panic!("{shown}")
    };
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(head), ["model", "exposed", "exposed_2", "recalled"], "{shown}");
    assert_eq!(words(base), ["base", "0.400", "0.400", "0.400"], "{shown}");
    assert_eq!(words(sft), ["sft", "0.300", "0.300", "0.300"], "{shown}");
}
