//! Gates that leave the decision to a person, and remembered verdicts.

use super::*;

const HELD: &str = "
name: toy
stages:
  base: {kind: pretrain, from: {text: ./text.jsonl}}
  sft: {kind: sft, from: {model: base, data: ./sft.jsonl}}
  rm: {kind: rm, from: {model: sft, data: ./pairs.jsonl}}
  ppo:
    kind: ppo
    from: {policy: sft, reward: rm, prompts: ./prompts.jsonl}
    gate: {judge: eval, require: mean_score > sft.mean_score by 1, on_fail: hold}
  after: {kind: ppo, from: {policy: ppo, reward: rm, prompts: ./prompts.jsonl}, seed: 2}
  eval:
    kind: eval
    from: {policy: after, reward: rm, prompts: ./heldout.jsonl, baseline: sft}
";

/// The verdict on `ppo`, how it ends, and its follower.
fn ends(text: &str, world: &World, memory: &mut Memory) -> String {
    told_lines(text, world, memory, |line| ["ppo ", "after "].iter().any(|name| line.starts_with(name)))
}

/// The question that the gate of `ppo` asked in the last run.
fn question(text: &str, world: &World, memory: &mut Memory) -> String {
    let (plan, _directory) = plan(text);
    let mut asked = String::new();
    run(&plan, world, memory, |happening| {
        if let Happening::Told(Event::Judged { verdict, .. }) = happening {
            asked.clone_from(&verdict.evidence.question);
        }
    });
    asked
}

fn decided(world: &World, question: &str, is_approved: bool) -> World {
    let (by, at, reason) = ("aoi".to_owned(), "2026-11-22T03:00:00Z".to_owned(), "read them".to_owned());
    let decisions = BTreeMap::from([(question.to_owned(), HumanDecision { is_approved, by, at, reason })]);
    World { decisions, candidates: world.candidates.clone(), scores: world.scores.clone(), ..World::default() }
}

#[test]
fn a_gate_that_holds_waits_for_a_person_and_goes_on_as_they_say() {
    let (world, mut memory) =
        (World { scores: vec![("sft", 0.1), ("ppo", 0.4)], ..World::default() }, Memory::default());
    expect![[r#"
        ppo runs
        ppo fail: mean_score 0.4 is not > sft.mean_score 0.1 + 1 = 1.1 (short by 0.7); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> nothing yet
        ppo held
        after skipped: `ppo` waits for a person's decision
    "#]]
    .assert_eq(&ends(HELD, &world, &mut memory));
    let asked = question(HELD, &world, &mut memory);
    expect![[r#"
        ppo fail: mean_score 0.4 is not > sft.mean_score 0.1 + 1 = 1.1 (short by 0.7); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
        ppo done
        after runs
        after done
    "#]]
    .assert_eq(&ends(HELD, &decided(&world, &asked, true), &mut memory));
    expect![[r#"
        ppo fail: mean_score 0.4 is not > sft.mean_score 0.1 + 1 = 1.1 (short by 0.7); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> the incumbent (sft)
        ppo done, kept
        after runs
        after done
    "#]]
    .assert_eq(&ends(HELD, &decided(&world, &asked, false), &mut memory));
}

#[test]
fn a_decision_lapses_with_the_rule_or_the_numbers_but_not_with_a_name() {
    let (world, mut memory) =
        (World { scores: vec![("sft", 0.1), ("ppo", 0.4)], ..World::default() }, Memory::default());
    told(HELD, &world, &mut memory);
    let asked = question(HELD, &world, &mut memory);
    let renamed = ["  sft: {", "model: sft", "policy: sft", "baseline: sft", "sft.mean_score"]
        .iter()
        .fold(HELD.to_owned(), |text, name| text.replace(name, &name.replace("sft", "tuned")));
    let spaced = HELD.replace("> sft.mean_score by 1", ">   sft.mean_score   by 1");
    let other_rule = HELD.replace("by 1", "by 2");
    for (text, is_the_same) in [(HELD, true), (&renamed, true), (&spaced, true), (&other_rule, false)] {
        told(text, &world, &mut memory);
        assert_eq!(question(text, &world, &mut memory) == asked, is_the_same, "{text}");
    }
    // The rule names a judge, which is then renamed.
    let by_name = HELD.replace("require: mean_score", "require: eval.mean_score");
    told(&by_name, &world, &mut memory);
    let asked_by_name = question(&by_name, &world, &mut memory);
    let renamed = by_name.replace("judge: eval", "judge: final_one").replace("eval.mean", "final_one.mean");
    let renamed = renamed.replace("  eval:\n", "  final_one:\n");
    assert_eq!(question(&renamed, &world, &mut memory), asked_by_name);
    // A `warn` rule does not count, even if it looks at another stage.
    let warns = HELD.replace("on_fail: hold", "warn: mean_score > base.mean_score, on_fail: hold");
    told(&warns, &world, &mut memory);
    assert_eq!(question(&warns, &world, &mut memory), asked);
    let better = World { scores: vec![("sft", 0.1), ("ppo", 0.5)], ..World::default() };
    let mut memory = Memory::default();
    told(HELD, &better, &mut memory);
    assert_ne!(question(HELD, &better, &mut memory), asked);
}

#[test]
fn without_a_rule_that_fails_nobody_is_asked_and_doubt_may_go_another_way() {
    let mut memory = Memory::default();
    let world = World { scores: vec![("sft", 0.1), ("ppo", 1.4)], ..World::default() };
    expect![[r#"
        ppo runs
        ppo pass: mean_score 1.4 > sft.mean_score 0.1 + 1 = 1.1 (by 0.3); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
        ppo done
        after runs
        after done
    "#]]
    .assert_eq(&ends(HELD, &world, &mut memory));
    // Three items are too few for any confidence.
    let unsure = HELD.replace("by 1, on_fail: hold", "with 95% confidence, on_fail: stop, on_unsure: keep");
    expect![[r#"
        ppo unsure: mean_score 1.4 is not surely > sft.mean_score 0.1 with 95% confidence (by 1.3; nothing is known at 95 %; p 0.3; sign flips and skewed t, 3 items; only 3 of them differ, and it takes 8 to decide; the level is promised from 30 items on; harm to less than 63 % of the items may not show (3 % takes 99)); the first look at heldout.jsonl; the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> the incumbent (sft)
        ppo done, kept
        after runs
        after done
    "#]].assert_eq(&ends(&unsure, &world, &mut memory));
}

#[test]
fn what_rules_say_is_remembered_by_what_they_saw() {
    let (world, mut memory) = (rlhf(), Memory::default());
    told(RLHF, &world, &mut memory);
    let known = memory.rules.len();
    assert_eq!(known, 4);
    // A remembered verdict is trusted and not computed again.
    memory.rules.values_mut().flatten().for_each(|rule| rule.explanation = "remembered".to_owned());
    let again = told(RLHF, &world, &mut memory);
    assert_eq!(again.matches("remembered").count(), 4, "{again}");
    // Another threshold is another question.
    let other = told(&RLHF.replace("accuracy > 0.6", "accuracy > 0.65"), &world, &mut memory);
    assert_eq!((other.matches("remembered").count(), memory.rules.len()), (3, known + 1), "{other}");
}

#[test]
fn several_judges_measure_each_on_its_own_prompts() {
    let text = HELD.replace(
        "{judge: eval, require: mean_score > sft.mean_score by 1, on_fail: hold}",
        "
      judge: [eval, safety]
      require:
        - eval.mean_score > eval.sft.mean_score
        - safety.mean_score improves over sft",
    ) + "  safety: {kind: eval, from: {policy: after, reward: rm, prompts: ./unsafe.jsonl}}\n";
    let world = World { scores: vec![("sft", 0.1), ("ppo", 0.4)], ..World::default() };
    let is_shown = |line: &str| line.starts_with("ppo") || line.contains("safety |");
    let told = told_lines(&text, &world, &mut Memory::default(), is_shown);
    expect![[r#"
        ppo runs
        ppo: answers of ppo@1 for eval runs
        ppo: answers of sft for eval runs
        ppo: answers of ppo@1 for safety runs
        ppo: answers of sft for safety runs
        ppo: scores of ppo@1 for eval runs
        ppo: divergence of ppo@1 for eval runs
        ppo: scores of sft for eval runs
        ppo: divergence of sft for eval runs
        ppo: scores of ppo@1 for safety runs
        ppo: scores of sft for safety runs
        ppo pass: eval.mean_score 0.4 > eval.sft.mean_score 0.1 (by 0.3); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does; safety.mean_score 0.4 improves over sft.mean_score 0.1 (by 0.3) -> step 1
        ppo done
          safety | sft Some(0.1)
          safety | ppo Some(0.4)
          safety | after Some(0.0)
    "#]].assert_eq(&told);
}
