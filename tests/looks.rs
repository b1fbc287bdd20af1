//! The ledger of looks as people meet it: a chain of gates that share one level, reruns that cost nothing, stores that are
//! thrown away, clones, and two runs at once. The stages are one shell command each.

#[path = "support/program.rs"]
mod program;

use program::{Events, Place, copy_into, files, place, word};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Stages `one`, `two` … that go on from each other, each with 40 scores: the first `wins` are better by 0.1 than those of
/// the stage before, and the others worse.
fn write(place: &Place, over: &str, wins: &[usize]) {
    write_rows(place, over, wins, 40);
}

fn write_rows(place: &Place, over: &str, wins: &[usize], rows: usize) {
    let mut text = "name: toy\nstages:\n".to_owned();
    let mut promoted: Vec<f64> = (0..rows).map(|at| (at % 7) as f64 / 10.0).collect();
    let mut before = None;
    for (at, name) in ["base", "one", "two", "three"].into_iter().enumerate().take(wins.len() + 1) {
        let wins = if at == 0 { rows } else { wins[at - 1] };
        let gain = |at: usize| if at < wins { 0.1 } else { -0.1 } + (at % 3) as f64 / 100.0;
        let scores: Vec<f64> = promoted.iter().enumerate().map(|(at, before)| before + gain(at)).collect();
        let row =
            |(at, score): (usize, &f64)| format!("{{\"id\": {at}, \"prompt\": \"Say {at}.\", \"score\": {score}}}\n");
        place.write(&format!("{name}.jsonl"), &scores.iter().enumerate().map(row).collect::<String>());
        let mean = scores.iter().sum::<f64>() / rows as f64;
        let command = format!(
            "cp in/rows.jsonl items.jsonl; echo {name} > model; echo '{{\\\"score\\\": {mean}}}' > metrics.json"
        );
        let (policy, gate) = match before {
            None => (String::new(), String::new()),
            Some(before) => (
                format!("policy: {before}, "),
                format!(
                    "\n    incumbent: policy\n    gate: {{require: score > incumbent.score with 95% confidence{over}, on_fail: keep}}"
                ),
            ),
        };
        text += &format!(
            "  {name}:
    kind: exec
    from: {{{policy}rows: ./{name}.jsonl}}{gate}
    metrics: {{score: higher}}
    with: {{command: [sh, -c, \"{command}\"], outputs: [model]}}
"
        );
        if wins * 4 > rows * 3 {
            promoted = scores;
        }
        before = Some(name);
    }
    place.write("toy.yaml", &text);
}

fn run(place: &Place, more: &[&str]) -> Events {
    place.run(&[&["run", "toy.yaml", "--json"][..], more].concat()).expect_exit(0).events()
}

/// Number, share of the level, whether it is in the ledger, decision.
fn look(events: &Events, stage: &str) -> (u64, f64, bool, String) {
    let look = &events.verdict(stage)["look"];
    let decision = events.decision(stage).to_owned();
    (look["number"].as_u64().unwrap(), look["stake"].as_f64().unwrap(), look["is_known"].as_bool().unwrap(), decision)
}

fn said(events: &Events, stage: &str) -> String {
    word(&events.verdict(stage)["rules"][0]["explanation"]).to_owned()
}

fn ledger(place: &Place) -> Vec<PathBuf> {
    files(&place.at("toy.looks"))
}

fn entries(place: &Place, entry: &str) -> Vec<Value> {
    let lines = ledger(place).into_iter().flat_map(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    });
    lines.filter(|line| line["entry"] == entry).collect()
}

#[test]
fn a_chain_shares_its_level_and_what_stands_in_the_ledger_costs_nothing() {
    let place = place();
    write(&place, " over 2 looks", &[38, 20, 38]);
    let first = run(&place, &[]);
    assert_eq!(look(&first, "one"), (1, 0.5, false, "pass".to_owned()));
    assert_eq!(look(&first, "two"), (2, 1.0, false, "unsure".to_owned()), "the promotion hands its stake on");
    assert_eq!(look(&first, "three"), (3, 0.0, false, "unsure".to_owned()));
    assert!(said(&first, "one").contains("look 1 of 2 at one.jsonl: 50 % of the level"), "{}", said(&first, "one"));
    assert!(said(&first, "two").contains("100 % of the level, with the stake of the promotion before it"));
    assert!(said(&first, "three").contains("the 2 looks at three.jsonl are spent; name fresh prompts"));
    // One file for the run: the items once, two looks, and what came of them.
    assert_eq!(ledger(&place).len(), 1);
    assert_eq!([entries(&place, "items").len(), entries(&place, "look").len()], [1, 2]);
    let judged: Vec<Value> = entries(&place, "verdict").iter().map(|verdict| verdict["decision"].clone()).collect();
    assert_eq!(judged, ["pass", "unsure"]);
    let looks = entries(&place, "look");
    assert_eq!((word(&looks[0]["stage"]), word(&looks[0]["candidate"])), ("one", "one@0"));
    assert_eq!(word(&looks[0]["rules"][0]), "score > incumbent.score with 95% confidence over 2 looks");

    let stands = |events: &Events, stages: &[&str]| {
        for stage in stages {
            let (old, new) = (look(&first, stage), look(events, stage));
            assert_eq!((new.0, new.1, &new.3), (old.0, old.1, &old.3), "{stage}");
            assert_eq!(new.2, old.1 > 0.0, "{stage}");
            assert_eq!(said(events, stage), said(&first, stage));
        }
        assert_eq!(ledger(&place).len(), 1, "nothing new is entered");
    };
    let all = ["one", "two", "three"];
    stands(&run(&place, &[]), &all);
    // In pieces, and from nothing.
    stands(&run(&place, &["--only", "two"]), &["two"]);
    fs::remove_dir_all(place.at(".pipeline")).unwrap();
    stands(&run(&place, &["--only", "base", "--only", "one", "--only", "two"]), &["one", "two"]);
    stands(&run(&place, &[]), &all);
    // A clone with the folder says the same.
    let clone = program::place();
    for name in ["toy.yaml", "base.jsonl", "one.jsonl", "two.jsonl", "three.jsonl"] {
        clone.write(name, &place.read(name));
    }
    fs::create_dir(clone.at("toy.looks")).unwrap();
    copy_into(&place.at("toy.looks"), &clone.at("toy.looks"));
    stands(&run(&clone, &[]), &all);
    // Another threshold of the same claim is the same look.
    place
        .write("toy.yaml", &place.read("toy.yaml").replace("> incumbent.score with", "> incumbent.score by 0.01 with"));
    let other = run(&place, &[]);
    assert_eq!([look(&other, "one").0, look(&other, "two").0, look(&other, "three").0], [1, 2, 3]);
    assert_eq!([look(&other, "one").2, look(&other, "two").2], [true, true]);
    assert_eq!(entries(&place, "look").len(), 2);
    // Another level is another one, and there is none left.
    place.write("toy.yaml", &place.read("toy.yaml").replace("with 95%", "with 96%"));
    let spent = run(&place, &[]);
    assert_eq!(look(&spent, "one"), (3, 0.0, false, "unsure".to_owned()));
}

#[test]
fn without_a_declaration_every_look_has_the_level_and_says_how_many_there_were() {
    let place = place();
    write(&place, "", &[38, 20]);
    let ran = run(&place, &[]);
    assert_eq!([look(&ran, "one").1, look(&ran, "two").1], [1.0, 1.0]);
    assert!(said(&ran, "one").contains("the first look at one.jsonl"), "{}", said(&ran, "one"));
    let second = "the 2nd look at two.jsonl: at 95 % each, some false promotion in 9.8 % of such chains";
    assert!(said(&ran, "two").contains(second), "{}", said(&ran, "two"));
    assert_eq!(entries(&place, "look").len(), 2);
    // Whoever declares the looks afterwards loses none.
    write(&place, " over looks", &[38, 20]);
    let declared = run(&place, &[]);
    assert_eq!([look(&declared, "one").0, look(&declared, "two").0], [1, 2]);
    assert_eq!(look(&declared, "one").1, 0.5);
}

#[test]
fn without_the_ledger_the_looks_of_one_run_count_and_the_verdict_says_so() {
    let place = place();
    write(&place, " over 2 looks", &[38, 20]);
    run(&place, &[]);
    let before = place.snapshot();
    let alone = run(&place, &["--no-ledger"]);
    assert_eq!([look(&alone, "one").0, look(&alone, "two").0], [1, 2]);
    for stage in ["one", "two"] {
        let said = said(&alone, stage);
        assert!(said.contains("(no ledger: the looks of this run alone are counted)"), "{said}");
    }
    let looks = |files: std::collections::BTreeSet<String>| {
        files.into_iter().filter(|name| name.contains("toy.looks")).collect::<Vec<_>>()
    };
    assert_eq!(looks(place.snapshot()), looks(before));
}

/// Rows without ids are numbered, and one line more in the file makes no fresh prompts of them.
#[test]
fn prompts_are_known_by_their_text_and_an_error_spends_nothing() {
    let place = place();
    write(&place, " over 1 look", &[38]);
    let rows = place.read("one.jsonl");
    let broken = rows.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>();
    place.write("one.jsonl", &broken);
    let events = place.run(&["run", "toy.yaml", "--json"]).expect_exit(1).events();
    assert_eq!(events.decision("one"), "error");
    place.write("one.jsonl", &rows);
    assert_eq!(look(&run(&place, &[]), "one"), (1, 1.0, false, "pass".to_owned()));
    let renumber = |name: &str| {
        let renumbered = place.read(name).replace("\"id\": ", "\"id\": 1");
        place.write(name, &renumbered);
    };
    ["base.jsonl", "one.jsonl"].into_iter().for_each(renumber);
    assert_eq!(look(&run(&place, &[]), "one").1, 0.0, "the prompts are the same");
}

#[test]
fn a_rule_that_was_observed_and_is_required_later_is_another_claim() {
    let place = place();
    write(&place, " over 2 looks", &[38]);
    let text = place.read("toy.yaml");
    let required = "require: score > incumbent.score with 95% confidence over 2 looks";
    let other = "score > base.score with 95% confidence over 2 looks";
    place.write("toy.yaml", &text.replace(required, &format!("{required}, observe: {other}")));
    assert_eq!(look(&run(&place, &[]), "one").0, 1);
    let swapped = format!("require: {other}, observe: {}", &required[9..]);
    place.write("toy.yaml", &text.replace(required, &swapped));
    assert_eq!(look(&run(&place, &[]), "one").0, 2);
}

#[test]
fn what_if_shows_what_a_look_would_cost_and_costs_none() {
    let place = place();
    write(&place, " over 4 looks", &[38]);
    run(&place, &[]);
    let files = place.snapshot();
    let tried = |rule: &str| place.run(&["gate", "what-if", "one", rule]).expect_exit(0).stdout;
    let same = tried("score > incumbent.score by 0.2 with 95% confidence over 4 looks");
    assert!(same.contains("costs no look: its claim stands in the ledger (look 1 of 4"), "{same}");
    let other = tried("score > base.score with 99% confidence over 4 looks");
    assert!(other.contains("takes a look (look 2 of 4 at one.jsonl: 25 % of the level"), "{other}");
    assert!(other.contains("A rule that is chosen after looking is"), "{other}");
    let spent = tried("score > base.score with 99% confidence over 1 look");
    assert!(spent.contains("has no look left: the look at one.jsonl is spent"), "{spent}");
    assert!(!tried("score > incumbent.score").contains("look at"), "a rule without confidence takes none");
    assert_eq!(place.snapshot(), files, "it leaves nothing behind");
    // Nor does a plan, which says beforehand what a candidate that is made again costs.
    fs::remove_dir_all(place.at(".pipeline")).unwrap();
    let plan = place.run(&["plan", "toy.yaml"]).expect_exit(0).stdout;
    assert!(plan.contains("on another class it is another candidate"), "{plan}");
    assert!(plan.contains("1 of 4 at one.jsonl taken so far"), "{plan}");
}

#[test]
fn a_table_that_grows_is_one_look_at_every_state_of_it() {
    let place = place();
    write_rows(&place, " over 2 looks up to 80 items", &[36], 40);
    let first = run(&place, &[]);
    assert_eq!(look(&first, "one").0, 1);
    write_rows(&place, " over 2 looks up to 80 items", &[54], 60);
    let second = run(&place, &[]);
    let taken = &second.verdict("one")["look"];
    assert_eq!((look(&second, "one").0, taken["earlier"].to_string()), (1, "[40]".to_owned()));
    let said_of_it = said(&second, "one");
    assert!(said_of_it.contains("look 2 at a growing table: 60 of at most 80 items, which allow"), "{said_of_it}");
    assert_eq!(entries(&place, "look").len(), 2);
    // Other numbers of as many items are no more evidence.
    write_rows(&place, " over 2 looks up to 80 items", &[55], 60);
    let other = run(&place, &[]);
    assert_eq!(look(&other, "one").1, 0.0);
    assert!(
        said(&other, "one").contains("is not that of the look at 60 items with more behind it"),
        "{}",
        said(&other, "one")
    );
}

#[test]
fn two_runs_at_once_do_not_both_spend_the_last_look() {
    let place = place();
    write(&place, " over 1 look", &[38]);
    let text = place.read("toy.yaml").replace("echo one > model", "echo ${which} > model");
    place.write("toy.yaml", &text.replace("name: toy\n", "name: toy\nvars: {which: one}\n"));
    let runs = ["a", "b"].map(|which| {
        let (vars, store) = (format!("vars.which={which}"), format!(".store-{which}"));
        place.start(&["run", "toy.yaml", "--json", "--set", &vars, "--store", &store])
    });
    let stakes = runs.map(|run| {
        let (exit, events) = run.end();
        assert_eq!(exit, Some(0));
        look(&events, "one").1
    });
    let mut sorted = stakes;
    sorted.sort_by(f64::total_cmp);
    assert_eq!(sorted, [0.0, 1.0]);
    assert_eq!(entries(&place, "look").len(), 1);
}

#[test]
fn a_ledger_that_cannot_be_read_is_an_error_of_the_gate_and_named() {
    let place = place();
    write(&place, " over 2 looks", &[38]);
    fs::create_dir(place.at("toy.looks")).unwrap();
    place.write("toy.looks/1.jsonl", "<<<<<<< HEAD\n");
    let ran = place.run(&["run", "toy.yaml"]).expect_exit(1);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("toy.looks/1.jsonl: line 1"), "{said}");
    // A look whose items were taken out of the folder counts nowhere, so it is no look.
    fs::remove_dir_all(place.at("toy.looks")).unwrap();
    run(&place, &[]);
    let path = ledger(&place).remove(0);
    let kept: String = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .filter(|line| !line.contains("\"items\",\"name\""))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&path, kept).unwrap();
    let ran = place.run(&["run", "toy.yaml"]).expect_exit(1);
    let said = format!("{}{}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("names items that no line lists"), "{said}");
}
