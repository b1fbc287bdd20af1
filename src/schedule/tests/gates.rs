//! Tests of what gates let through, and who goes on with it.

use super::*;

#[test]
fn a_rejected_candidates_dependants_go_on_with_the_incumbent() {
    let world = World { scores: vec![("sft", 0.1), ("ppo_1", 0.05), ("ppo_2", 0.5)], ..rlhf() };
    check_otherwise(
        RLHF,
        &world,
        expect![[r#"
            - ppo_1 pass: mean_score 0.4 > incumbent.mean_score 0.1 (by 0.3); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
            - ppo_1 done
            + ppo_1 fail: mean_score 0.05 is not > incumbent.mean_score 0.1 (short by 0.05); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> the incumbent (sft)
            + ppo_1 done, kept
            - ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.4 (by 0.1); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
            + ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.1 (by 0.4); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
            -   eval | ppo_1 Some(0.4) 3/0/0/0 against sft
            +   eval | ppo_1@last rejected Some(0.05) 0/3/0/0 against sft
        "#]],
    );
}

#[test]
fn a_closed_gate_skips_what_depends_on_it_and_nothing_else() {
    let mut world = rlhf();
    world.candidates = vec![("rm", vec![(50, vec![("accuracy", 0.55), ("ece", 0.2)])])];
    let text =
        RLHF.replace("  rm:", "  tuned_again: {kind: sft, from: {model: base, data: ./sft.jsonl}, seed: 5}\n  rm:");
    check_otherwise(
        &text,
        &world,
        expect![[r#"
            + tuned_again runs
            - 25 lines of rm, ppo_1, ppo_2, eval
            + tuned_again done
            + rm fail: ece < 0.25 keeps 1 of 1; highest accuracy: step 50 0.55; accuracy 0.55 is not > 0.6 (short by 0.05) -> nothing
            + rm stopped
            + ppo_1 skipped: the gate of `rm` is closed
            + ppo_2 skipped: the gate of `rm` is closed
            + eval skipped: the gate of `rm` is closed
        "#]],
    );
}

#[test]
fn a_missing_metric_is_an_error_of_the_gate_and_never_opens_it() {
    let world = World { candidates: vec![("rm", vec![(50, vec![("accuracy", 0.9)])])], ..rlhf() };
    check_otherwise(
        RLHF,
        &world,
        expect![[r#"
            - 25 lines of rm, ppo_1, ppo_2, eval
            + rm error: step 50: ece ? < 0.25 (`ece` was not measured) -> nothing
            + rm failed: the gate cannot tell: select: step 50: ece ? < 0.25 (`ece` was not measured)
            + ppo_1 skipped: `rm` failed
            + ppo_2 skipped: `rm` failed
            + eval skipped: `rm` failed
        "#]],
    );
}

#[test]
fn a_gate_that_now_closes_runs_only_what_follows_from_other_content() {
    // ppo_2 now starts from sft for the first time: it runs, and nothing before it does.
    let change =
        |text: &str| text.replacen("mean_score > incumbent.mean_score", "mean_score > incumbent.mean_score by 0.5", 1);
    check_again(
        RLHF,
        &rlhf(),
        change,
        expect![[r#"
            ppo_2 runs
            ppo_2: answers of ppo_2@1 runs
            ppo_2: scores of ppo_2@1 runs
            ppo_2: divergence of ppo_2@1 runs
            - ppo_1 pass: mean_score 0.4 > incumbent.mean_score 0.1 (by 0.3); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
            - ppo_1 done
            - ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.4 (by 0.1); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
            + ppo_1 fail: mean_score 0.4 is not > incumbent.mean_score 0.1 + 0.5 = 0.6 (short by 0.2); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> the incumbent (sft)
            + ppo_1 done, kept
            + ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.1 (by 0.4); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
            -   eval | ppo_1 Some(0.4) 3/0/0/0 against sft
            +   eval | ppo_1@last rejected Some(0.4) 3/0/0/0 against sft
        "#]],
    );
}

#[test]
fn a_gate_that_selects_the_same_content_by_another_rule_runs_nothing() {
    let change = |text: &str| text.replace("best: accuracy, where: ece < 0.25", "where: ece < 0.29");
    check_again(
        RLHF,
        &rlhf(),
        change,
        expect![[r#"
            - rm pass: ece < 0.25 keeps 1 of 2; highest accuracy: step 100 0.7; accuracy 0.7 > 0.6 (by 0.1) -> step 100
            + rm pass: ece < 0.29 keeps 1 of 2; the last is step 100; accuracy 0.7 > 0.6 (by 0.1) -> step 100
        "#]],
    );
}

#[test]
fn best_by_the_judge_judges_every_survivor_and_by_an_own_metric_only_the_chosen_one() {
    let text =
        |select: &str| RLHF.replacen("{judge: eval, require", &format!("{{judge: eval, select: {select}, require"), 1);
    let ppo = vec![(10, vec![("entropy", 2.0)]), (20, vec![("entropy", 1.0)]), (30, vec![("entropy", 0.1)])];
    let mut world = rlhf();
    world.candidates.push(("ppo_1", ppo));
    world.scores = vec![("sft", 0.1), ("ppo_1@10", 0.2), ("ppo_1@20", 0.6), ("ppo_1", 0.4), ("ppo_2", 0.7)];
    // Scores and divergences follow the answers.
    let is_shown = |line: &str| {
        line.starts_with("ppo_1") && (line.contains("answers") || !line.ends_with(" runs")) || line.contains("| ppo")
    };
    let judged = |select: &str| told_lines(&text(select), &world, &mut Memory::default(), is_shown);
    let by_judge = judged("{best: mean_score, where: entropy > 0.5}");
    expect![[r#"
        ppo_1: answers of ppo_1@10 runs
        ppo_1: answers of ppo_1@20 runs
        ppo_1: answers of sft runs
        ppo_1 pass: entropy > 0.5 keeps 2 of 3; highest mean_score: step 20 0.6 (step 10 0.2); mean_score 0.6 > incumbent.mean_score 0.1 (by 0.5); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 20
        ppo_1 done
          eval | ppo_1@10 rejected Some(0.2) 3/0/0/0 against sft
          eval | ppo_1 Some(0.6) 3/0/0/0 against sft
          eval | ppo_2 Some(0.7) 3/0/0/0 against sft
    "#]]
    .assert_eq(&by_judge);
    expect![[r#"
        - ppo_1: answers of ppo_1@20 runs
        - ppo_1 pass: entropy > 0.5 keeps 2 of 3; highest mean_score: step 20 0.6 (step 10 0.2); mean_score 0.6 > incumbent.mean_score 0.1 (by 0.5); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 20
        + ppo_1 pass: highest 1 * entropy: step 10 2 (step 20 1, step 30 0.1); mean_score 0.2 > incumbent.mean_score 0.1 (by 0.1); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 10
        -   eval | ppo_1@10 rejected Some(0.2) 3/0/0/0 against sft
        -   eval | ppo_1 Some(0.6) 3/0/0/0 against sft
        +   eval | ppo_1 Some(0.2) 3/0/0/0 against sft
    "#]].assert_eq(&difference(&by_judge, &judged("{best: 1 * entropy}")));
}

#[test]
fn a_pin_takes_what_came_out_before_a_gate_that_is_closed() {
    let text = "
name: pins
stages:
  base: {kind: exec, with: {command: train}, metrics: {loss: lower}, gate: {require: loss < 1}}
  last: {kind: sft, from: {model: base@last, data: ./sft.jsonl}}
  early: {kind: sft, from: {model: base@10, data: ./sft.jsonl}, seed: 2}
  never: {kind: sft, from: {model: base@15, data: ./sft.jsonl}, seed: 3}
  open: {kind: sft, from: {model: base, data: ./sft.jsonl}, seed: 4}
";
    let steps = vec![(10, vec![("loss", 3.0)]), (20, vec![("loss", 2.0)])];
    check(
        text,
        &World { candidates: vec![("base", steps)], ..World::default() },
        expect![[r#"
        base runs
        base fail: loss 2 is not < 1 (over by 1) -> nothing
        base stopped
        last runs
        early runs
        never failed: find `base@15`: `base` has steps 10, 20
        open skipped: the gate of `base` is closed
        last done
        early done
    "#]],
    );
}

/// The sentence names the reward model, and a remembered verdict is not taken for one under another name.
#[test]
fn a_judge_that_trained_the_candidate_is_told_once_for_each_gate() {
    let two = RLHF.replacen(
        "require: mean_score > incumbent.mean_score",
        "require: [mean_score > incumbent.mean_score, mean_score > -1, mean_score < 99]",
        1,
    );
    let rename = |text: &str| text.replace("  rm:", "  teacher:").replace("reward: rm", "reward: teacher");
    check_again(
        &two,
        &rlhf(),
        rename,
        expect![[r#"
        - rm pass: ece < 0.25 keeps 1 of 2; highest accuracy: step 100 0.7; accuracy 0.7 > 0.6 (by 0.1) -> step 100
        - rm done
        - ppo_1 pass: mean_score 0.4 > incumbent.mean_score 0.1 (by 0.3); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does; mean_score 0.4 > -1 (by 1.4); mean_score 0.4 < 99 (by 98.6) -> step 1
        + teacher pass: ece < 0.25 keeps 1 of 2; highest accuracy: step 100 0.7; accuracy 0.7 > 0.6 (by 0.1) -> step 100
        + teacher done
        + ppo_1 pass: mean_score 0.4 > incumbent.mean_score 0.1 (by 0.3); the reward that trained the candidate scores it here (`teacher`): a better score may be its loophole; no level helps against that, another judge does; mean_score 0.4 > -1 (by 1.4); mean_score 0.4 < 99 (by 98.6) -> step 1
        - ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.4 (by 0.1); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
        + ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.4 (by 0.1); the reward that trained the candidate scores it here (`teacher`): a better score may be its loophole; no level helps against that, another judge does -> step 1
        - eval pass: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] > 0.5 (by 0.5; 95 % interval -0.21 to 0.5: within noise; two-sided p 0.25); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> ppo_2
        + eval pass: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] > 0.5 (by 0.5; 95 % interval -0.21 to 0.5: within noise; two-sided p 0.25); the reward that trained the candidate scores it here (`teacher`): a better score may be its loophole; no level helps against that, another judge does -> ppo_2
    "#]],
    );
    // A yardstick of its own is no reason for a sentence.
    let own = "  own: {kind: rm, seed: 5, from: {model: sft, data: ./pairs.jsonl}}\n  eval:";
    let apart = |text: &str| {
        text.replace("  eval:", own).replace("{policy: ppo_2, reward: rm,", "{policy: ppo_2, reward: own,")
    };
    check_again(
        RLHF,
        &rlhf(),
        apart,
        expect![[r#"
        own runs
        ppo_1: scores of ppo_1@1 runs
        ppo_1: scores of sft runs
        ppo_2: scores of ppo_2@1 runs
        + own done
        - ppo_1 pass: mean_score 0.4 > incumbent.mean_score 0.1 (by 0.3); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
        + ppo_1 pass: mean_score 0.4 > incumbent.mean_score 0.1 (by 0.3) -> step 1
        - ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.4 (by 0.1); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
        + ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.4 (by 0.1) -> step 1
        - eval pass: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] > 0.5 (by 0.5; 95 % interval -0.21 to 0.5: within noise; two-sided p 0.25); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> ppo_2
        + eval pass: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] > 0.5 (by 0.5; 95 % interval -0.21 to 0.5: within noise; two-sided p 0.25) -> ppo_2
    "#]],
    );
}
