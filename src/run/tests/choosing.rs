//! Tests of which stages a run begins: `--only`, `--from`, `--force`, `--keep-going`, resources.

use super::*;

/// one → two → three, and `beside`.
const CHAIN: &str = r#"
name: toy
stages:
  one: {kind: exec, with: {command: [sh, -c, "echo x >> HERE/one; echo one > out/0/text"]}}
  two: {kind: exec, from: {text: one}, with: {command: [sh, -c, "echo x >> HERE/two; echo two > out/0/text"]}}
  three: {kind: exec, from: {text: two}, with: {command: [sh, -c, "echo x >> HERE/three; echo three > out/0/text"]}}
  beside: {kind: exec, with: {command: [sh, -c, "echo x >> HERE/beside; echo beside > out/0/text"]}}
"#;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn only_runs_one_stage_and_takes_what_it_needs_from_the_store() {
    let mut place = place();
    place.asked.only = names(&["two"]);
    let (exit, told) = place.run(CHAIN);
    expect![[r#"
        one: failed
        two: skipped: `one` failed
    "#]]
    .assert_eq(&told);
    assert_eq!((exit, place.marks("one")), (1, 0));
    place.asked.only = names(&["one"]);
    assert_eq!(place.run(CHAIN), (0, "one: attempt 1: it never ran before\none: done, run\n".to_owned()));
    place.asked.only = names(&["two"]);
    expect![[r#"
        one: done, cached
        two: attempt 1: it never ran before
        two: done, run
    "#]]
    .assert_eq(&place.run(CHAIN).1);
    assert_eq!((place.marks("three"), place.marks("beside")), (0, 0));
}

#[test]
fn from_runs_a_stage_and_all_that_stands_on_it() {
    let mut place = place();
    place.asked.only = names(&["one"]);
    place.run(CHAIN);
    (place.asked.only, place.asked.from) = (Vec::new(), names(&["two"]));
    expect![[r#"
        one: done, cached
        three: attempt 1: it never ran before
        three: done, run
        two: attempt 1: it never ran before
        two: done, run
    "#]]
    .assert_eq(&place.run(CHAIN).1);
    assert_eq!(place.marks("beside"), 0);
}

#[test]
fn a_forced_stage_is_executed_again_and_says_whether_the_result_is_the_same() {
    let mut place = place();
    place.run(CHAIN);
    place.asked.force = names(&["two"]);
    expect![[r#"
        one: done, cached
        beside: done, cached
        two: would run: it is forced
        three: would run: `two` would run
    "#]]
    .assert_eq(&place.look(CHAIN).1);
    expect![[r#"
        beside: done, cached
        one: done, cached
        three: done, cached
        two: attempt 2: it is forced
        two: done, run
        two: executed again, with the same result
    "#]]
    .assert_eq(&place.run(CHAIN).1);
    assert_eq!((place.marks("one"), place.marks("two"), place.marks("three")), (1, 2, 1));
}

#[test]
fn a_forced_stage_with_another_result_is_not_deterministic_and_the_first_result_stays() {
    let mut place = place();
    let dice = "name: toy\nstages:\n  dice: {kind: exec, with: {command: [sh, -c, \"date +%N > out/0/text\"]}}\n";
    place.run(dice);
    place.asked.force = names(&["dice"]);
    expect![[r#"
        dice: attempt 2: it is forced
        dice: done, run
        dice: not deterministic: this result is not the first one, which stays; 1 variant is noted
    "#]]
    .assert_eq(&place.run(dice).1);
}

#[test]
fn names_that_do_not_fit_the_plan_are_refused() {
    let place = place();
    let plan = place.plan(CHAIN);
    let refused = |asked: Filter| select(&plan, &asked).err().unwrap();
    expect!["the file has no stage `tow`; did you mean `two`?"]
        .assert_eq(&refused(Filter { only: names(&["tow"]), ..Filter::default() }));
    expect!["`one` is to be forced, but it is left out by `--only` or `--from`"].assert_eq(&refused(Filter {
        only: names(&["two"]),
        force: names(&["one"]),
        ..Filter::default()
    }));
}

const BRANCHES: &str = r#"
name: toy
stages:
  dies: {kind: exec, with: {command: [sh, -c, "exit 3"]}}
  after: {kind: exec, from: {text: dies}, with: {command: [sh, -c, "true"]}}
  beside: {kind: exec, with: {command: [sh, -c, "echo x >> HERE/beside"]}}
"#;

#[test]
fn after_a_failure_nothing_is_begun_unless_the_run_keeps_going() {
    let mut place = place();
    place.execution.jobs = 1;
    let (exit, told) = place.run(BRANCHES);
    expect![[r#"
        after: skipped: `dies` failed
        beside: skipped: `dies` failed, and nothing more was begun; `--keep-going` would have
        dies: attempt 1: it never ran before
        dies: failed
        dies: failed: the worker ended with exit code 3
    "#]]
    .assert_eq(&told);
    assert_eq!((exit, place.marks("beside")), (1, 0));
    place.execution.keeps_going = true;
    let (exit, told) = place.run(BRANCHES);
    expect![[r#"
        after: skipped: `dies` failed
        beside: attempt 1: it never ran before
        beside: done, run
        dies: attempt 2: it failed last time
        dies: failed
        dies: failed: the worker ended with exit code 3
    "#]]
    .assert_eq(&told);
    assert_eq!((exit, place.marks("beside")), (1, 1));
}

#[test]
fn stages_that_together_take_more_than_there_is_do_not_run_together() {
    let mut place = place();
    place.execution.jobs = 8;
    for (name, takes, together) in [("gpu", "{gpu: 1}", 1), ("half", "{memory: 4}", 2), ("all", "{memory: 1}", 4)] {
        let stages = vec![format!("resources: {takes}, "); 4];
        assert_eq!(place.at_a_time(name, &stages, together), (0, together), "{takes}");
    }
}

#[test]
fn a_stage_that_asks_for_more_than_there_is_at_all_is_refused_before_anything_runs() {
    let place = place();
    let refused = |takes: &str| {
        let text =
            format!("name: toy\nstages:\n  big: {{kind: exec, resources: {takes}, with: {{command: [\"true\"]}}}}\n");
        slots::too_large(&place.plan(&text), Resources { gpu: Some(1), memory: 8 << 30, ..Resources::default() })
    };
    expect!["`big` asks for gpu: 2, and there is 1; `--resources gpu=2` says that there are more"]
        .assert_eq(&refused("{gpu: 2}").unwrap());
    expect![
        "`big` asks for 9.0 GiB of memory, and there are 8.0 GiB; `--resources memory=SIZE` says that there is more"
    ]
    .assert_eq(&refused("{memory: 9G}").unwrap());
    assert_eq!(refused("{gpu: 1, memory: 8G}"), None);
}
