//! The table of the study.

use super::*;

#[test]
fn a_second_run_finds_everything_and_shows_the_same_table() {
    check_again(RLHF, &rlhf(), str::to_owned, expect![""]);
}

#[test]
fn the_published_decisions_come_out_of_the_published_numbers() {
    let stage = |name: &str, from: &str| {
        format!(
            "  {name}:
    kind: exec
    from: {{policy: {from}}}
    with: {{command: [print, {name}]}}
    incumbent: policy
    metrics: {{mean_score: higher, win: higher, loss: lower, tie_changed: neutral, tie_unchanged: neutral}}
    gate: {{require: mean_score > incumbent.mean_score, on_fail: keep}}
"
        )
    };
    let base = "
name: published
stages:
  base: {kind: exec, with: {command: [print, base]}, metrics: {mean_score: higher}}
";
    let stages = [("ppo_1", "base"), ("ppo_2", "ppo_1"), ("ppo_3", "ppo_2"), ("ppo_4", "ppo_3")];
    let text: String = std::iter::once(base.to_owned()).chain(stages.map(|(name, from)| stage(name, from))).collect();
    let numbers = |score: f64, win: f64, loss: f64, unchanged: f64| {
        vec![(
            0,
            vec![
                ("mean_score", score),
                ("win", win),
                ("loss", loss),
                ("tie_changed", 1.0),
                ("tie_unchanged", unchanged - 1.0),
            ],
        )]
    };
    let world = World {
        candidates: vec![
            ("base", vec![(0, vec![("mean_score", -0.994)])]),
            ("ppo_1", numbers(-0.983, 205.0, 196.0, 1599.0)),
            ("ppo_2", numbers(-0.988, 190.0, 168.0, 1642.0)),
            ("ppo_3", numbers(-0.970, 198.0, 156.0, 1646.0)),
            ("ppo_4", numbers(-0.988, 228.0, 193.0, 1579.0)),
        ],
        ..World::default()
    };
    let told = told_lines(&text, &world, &mut Memory::default(), |line| line.contains(": ") || line.contains('|'));
    expect![[r#"
          published | base Some(-0.994)
        ppo_1 pass: mean_score -0.983 > incumbent.mean_score -0.994 (by 0.011) -> step 0
          published | ppo_1 Some(-0.983) 205/196/1/1598 against the baseline
        ppo_2 fail: mean_score -0.988 is not > incumbent.mean_score -0.983 (short by 0.005) -> the incumbent (ppo_1)
          published | ppo_2@last rejected Some(-0.988) 190/168/1/1641 against the baseline
        ppo_3 pass: mean_score -0.97 > incumbent.mean_score -0.983 (by 0.013) -> step 0
          published | ppo_3 Some(-0.97) 198/156/1/1645 against the baseline
        ppo_4 fail: mean_score -0.988 is not > incumbent.mean_score -0.97 (short by 0.018) -> the incumbent (ppo_3)
          published | ppo_4@last rejected Some(-0.988) 228/193/1/1578 against the baseline
    "#]]
    .assert_eq(&told);
}

#[test]
fn a_second_reward_scores_every_model_of_the_table_and_judges_none() {
    let text = RLHF
        .replace("reward: rm, prompts: ./heldout", "reward: [rm, rm@50], prompts: ./heldout")
        .replace("win_rate(sft over changed) > 0.5", "mean_score_2 >= sft.mean_score_2");
    let is_shown = |line: &str| line.starts_with("eval") || line.contains("by rm");
    expect![[r#"
        eval: scores of sft by rm@50 runs
        eval: scores of ppo_1 by rm@50 runs
        eval: scores of ppo_2 by rm@50 runs
        eval pass: mean_score_2 0.5 >= sft.mean_score_2 0.1 (by 0.4); the reward that trained the candidate scores it here (`rm` and `rm@50`, checkpoints of one stage): a better score may be its loophole; no level helps against that, another judge does -> ppo_2
        eval done
    "#]]
    .assert_eq(&told_lines(&text, &rlhf(), &mut Memory::default(), is_shown));
}

#[test]
fn an_eval_that_is_skipped_still_shows_what_was_put_before_it() {
    let text = RLHF.replacen(", on_fail: keep", "", 2);
    let world = World { scores: vec![("sft", 0.1), ("ppo_1", 0.4), ("ppo_2", 0.3)], ..rlhf() };
    let is_shown = |line: &str| line.starts_with("eval") || line.contains('|') || line.contains("stopped");
    expect![[r#"
        ppo_2 stopped
          eval | sft Some(0.1)
          eval | ppo_1 Some(0.4) 3/0/0/0 against sft
          eval | ppo_2@last rejected Some(0.3) 3/0/0/0 against sft
        eval skipped: the gate of `ppo_2` is closed
    "#]]
    .assert_eq(&told_lines(&text, &world, &mut Memory::default(), is_shown));
}
