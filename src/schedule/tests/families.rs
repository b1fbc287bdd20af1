//! Tests of rules about all stages of a `for`, and of the best of several stages.

use super::*;

/// PPO by three seeds; the best of them is measured.
const SEEDS: &str = "
name: toy
stages:
  sft: {kind: sft, from: {model: ./base, data: ./sft.jsonl}}
  rm: {kind: rm, from: {model: sft, data: ./pairs.jsonl}}
  ppo_${seed}:
    for: {seed: 1..3}
    kind: ppo
    from: {policy: sft, reward: rm, prompts: ./prompts.jsonl}
    seed: ${seed}
  eval:
    kind: eval
    from: {policy: {best_of: ppo, by: mean_score, judge: eval}, reward: rm, prompts: ./heldout.jsonl, baseline: sft}
    gate: RULE
";

fn seeds(rule: &str) -> String {
    let sft = "sft: {kind: pretrain, from: {text: ./text.jsonl}}";
    SEEDS.replace("sft: {kind: sft, from: {model: ./base, data: ./sft.jsonl}}", sft).replace("RULE", rule)
}

fn scores() -> World {
    World { scores: vec![("sft", 0.1), ("ppo_1", 0.4), ("ppo_2", 0.6), ("ppo_3", 0.5)], ..World::default() }
}

fn verdicts(rule: &str, world: &World, expected: Expect) {
    let mut memory = Memory::default();
    let is_end = |line: &str| line.starts_with("eval") && !line.contains(" runs");
    expected.assert_eq(&told_lines(&seeds(rule), world, &mut memory, is_end));
}

#[test]
fn the_mean_across_seeds_counts_seeds_as_evidence() {
    verdicts(
        "mean_across(ppo.mean_score) > sft.mean_score by 0.1 with 95% confidence",
        &scores(),
        expect![[r#"
            eval_policy pass: highest mean_score: ppo_2 0.6 (ppo_1 0.4, ppo_3 0.5) -> ppo_2
            eval_policy done
            eval pass: mean_across(ppo.mean_score) 0.5 [3 stages: 0.4 0.6 0.5; sd 0.1] > sft.mean_score 0.1 + 0.1 = 0.2 with 95% confidence (by 0.3; at least 0.131 at 95 %; p 0.018; t between 3 stages; the spread of prompts is not in it) -> eval_policy
            eval done
        "#]],
    );
    verdicts(
        "mean_across(ppo.mean_score) > 0.45",
        &scores(),
        expect![[r#"
        eval_policy pass: highest mean_score: ppo_2 0.6 (ppo_1 0.4, ppo_3 0.5) -> ppo_2
        eval_policy done
        eval pass: mean_across(ppo.mean_score) 0.5 [3 stages: 0.4 0.6 0.5; sd 0.1] > 0.45 (by 0.05; 95 % interval -0.2 to 0.3: within noise; two-sided p 0.48) -> eval_policy
        eval done
    "#]],
    );
    verdicts(
        "sd_across(ppo.mean_score) < 0.05",
        &scores(),
        expect![[r#"
        eval_policy pass: highest mean_score: ppo_2 0.6 (ppo_1 0.4, ppo_3 0.5) -> ppo_2
        eval_policy done
        eval fail: sd_across(ppo.mean_score) 0.1 [3 stages: 0.4 0.6 0.5; sd 0.1] is not < 0.05 (over by 0.05) -> nothing
        eval stopped
    "#]],
    );
}

#[test]
fn a_seed_that_failed_counts_as_failed_and_never_as_absent() {
    let world = World { fails: vec!["ppo_3"], ..scores() };
    verdicts(
        "[mean_across(ppo.mean_score) > 0.2, sd_across(ppo.mean_score) < 1, worst_across(ppo.mean_score) > 0.2, \
         count_across(ppo.mean_score > sft.mean_score) >= 2]",
        &world,
        expect![[r#"
            eval_policy pass: highest mean_score: ppo_2 0.6 (ppo_1 0.4); `ppo_3` failed -> ppo_2
            eval_policy done
            eval unsure: mean_across(ppo.mean_score) ? > 0.2 (mean_across(ppo.mean_score): `ppo_3` failed: a stage that failed has no number, and is not left out); sd_across(ppo.mean_score) ? < 1 (sd_across(ppo.mean_score): `ppo_3` failed: a stage that failed has no number, and is not left out); worst_across(ppo.mean_score) ? > 0.2 (worst_across(ppo.mean_score): `ppo_3` failed: a stage that failed has no number, and is not left out); count_across(ppo.mean_score > sft.mean_score 0.1) 2 [3 stages: 0.4 0.6; sd 0.141; `ppo_3` failed] >= 2 (equal) -> nothing
            eval stopped
        "#]],
    );
}

#[test]
fn a_stage_that_a_rule_names_by_itself_must_not_fail() {
    let world = World { fails: vec!["ppo_3"], ..scores() };
    verdicts(
        "count_across(ppo.mean_score > ppo_3.mean_score) >= 2",
        &world,
        expect![[r#"
            eval_policy pass: highest mean_score: ppo_2 0.6 (ppo_1 0.4); `ppo_3` failed -> ppo_2
            eval_policy done
            eval skipped: `ppo_3` failed
        "#]],
    );
}

#[test]
fn the_best_of_several_stages_is_one_of_them_under_another_name() {
    let mut memory = Memory::default();
    let is_of_choice = |line: &str| line.contains("eval_policy") || line.contains('|');
    expect![[r#"
        eval_policy: answers of ppo_1 runs
        eval_policy: answers of ppo_2 runs
        eval_policy: answers of ppo_3 runs
        eval_policy: scores of ppo_1 runs
        eval_policy: divergence of ppo_1 runs
        eval_policy: scores of ppo_2 runs
        eval_policy: divergence of ppo_2 runs
        eval_policy: scores of ppo_3 runs
        eval_policy: divergence of ppo_3 runs
        eval_policy pass: highest mean_score: ppo_2 0.6 (ppo_1 0.4, ppo_3 0.5) -> ppo_2
        eval_policy done
          eval | sft Some(0.1)
          eval | ppo_1 Some(0.4) 3/0/0/0 against sft
          eval | ppo_2 Some(0.6) 3/0/0/0 against sft
          eval | ppo_3 Some(0.5) 3/0/0/0 against sft
          eval | prompt 0: sft 0 / ppo_2 0
          eval | prompt 1: sft 1 / ppo_2 1
          eval | prompt 2: sft 2 / ppo_2 2
        eval pass: mean_score 0.6 > 0 (by 0.6); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> eval_policy
    "#]].assert_eq(&told_lines(&seeds("mean_score > 0"), &scores(), &mut memory, is_of_choice));
}

#[test]
fn the_best_of_several_stages_is_held_against_the_level_divided_by_all_of_them() {
    let rule = "win_rate(sft over changed) > 0.5 with 80% confidence";
    verdicts(
        rule,
        &scores(),
        expect![[r#"
        eval_policy pass: highest mean_score: ppo_2 0.6 (ppo_1 0.4, ppo_3 0.5) -> ppo_2
        eval_policy done
        eval unsure: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] is not surely > 0.5 with 80% confidence (by 0.5; above -0.0945 and below 0.5, each at 93.33 %; p 0.12 against 0.2/3; sign test, 3 changed answers); the first look at heldout.jsonl; the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> nothing
        eval stopped
    "#]],
    );
    // One that failed had its chance, too.
    verdicts(
        rule,
        &World { fails: vec!["ppo_3"], ..scores() },
        expect![[r#"
            eval_policy pass: highest mean_score: ppo_2 0.6 (ppo_1 0.4); `ppo_3` failed -> ppo_2
            eval_policy done
            eval unsure: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] is not surely > 0.5 with 80% confidence (by 0.5; above -0.0945 and below 0.5, each at 93.33 %; p 0.12 against 0.2/3; sign test, 3 changed answers); the first look at heldout.jsonl; the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> nothing
            eval stopped
        "#]],
    );
    // Other prompts know nothing of the choice.
    let elsewhere = seeds(rule)
        .replace("judge: eval}", "judge: picks}")
        .replace("  eval:", "  picks: {kind: eval, from: {policy: sft, reward: rm, prompts: ./unsafe.jsonl}}\n  eval:");
    let mut memory = Memory::default();
    let is_end = |line: &str| line.starts_with("eval ") && !line.contains(" runs");
    expect![[r#"
        eval pass: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] > 0.5 with 80% confidence (by 0.5; at least 0.0848 at 80 %; p 0.12; sign test, 3 changed answers); the first look at heldout.jsonl; the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> eval_policy
        eval done
    "#]].assert_eq(&told_lines(&elsewhere, &scores(), &mut memory, is_end));
}

#[test]
fn nothing_is_chosen_where_all_failed() {
    let world = World { fails: vec!["ppo_1", "ppo_2", "ppo_3"], ..scores() };
    let mut memory = Memory::default();
    expect![[r#"
        eval_policy failed: there is nothing to choose: `ppo_1` failed; `ppo_2` failed; `ppo_3` failed
        eval skipped: `eval_policy` failed
    "#]]
    .assert_eq(&told_lines(&seeds("mean_score > 0"), &world, &mut memory, |line| line.starts_with("eval")));
}

#[test]
fn the_luck_of_the_best_checkpoint_is_seen_by_whoever_measures_it_on_the_same_prompts() {
    let world = World {
        candidates: vec![("ppo_1", vec![(10, vec![]), (20, vec![]), (30, vec![])])],
        scores: vec![("sft", 0.1), ("ppo_1@20", 0.4)],
        ..World::default()
    };
    let text = seeds("win_rate(sft over changed) > 0.5 with 80% confidence")
        .replace("{best_of: ppo, by: mean_score, judge: eval}", "ppo_1")
        .replace("    seed: ${seed}", "    seed: ${seed}\n    gate: {judge: eval, select: {best: mean_score}}");
    let mut memory = Memory::default();
    let is_end = |line: &str| line.starts_with("eval ") && !line.contains(" runs");
    expect![[r#"
        eval unsure: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] is not surely > 0.5 with 80% confidence (by 0.5; above -0.0945 and below 0.5, each at 93.33 %; p 0.12 against 0.2/3; sign test, 3 changed answers); the first look at heldout.jsonl; the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> nothing
        eval stopped
    "#]].assert_eq(&told_lines(&text, &world, &mut memory, is_end));
}

#[test]
fn an_eval_that_selects_in_its_own_gate_chooses_its_only_candidate() {
    let mut memory = Memory::default();
    let text = seeds("{select: {best: mean_score}, require: mean_score > 0}")
        .replace("{best_of: ppo, by: mean_score, judge: eval}", "ppo_1");
    let is_end = |line: &str| line.starts_with("eval done") || line.starts_with("eval failed");
    assert_eq!(told_lines(&text, &scores(), &mut memory, is_end), "eval done\n");
}
