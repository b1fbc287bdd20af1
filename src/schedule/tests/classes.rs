//! Measurements of several device classes.

use super::*;

fn on(class: &'static str) -> World {
    World { class, ..rlhf() }
}

/// The lines that say what runs.
fn work(text: &str, class: &'static str, memory: &mut Memory) -> String {
    told_lines(text, &on(class), memory, |line| line.ends_with(" runs"))
}

#[test]
fn what_a_new_candidate_is_compared_with_is_measured_again_on_its_device() {
    let mut memory = Memory::default();
    work(RLHF, "cpu", &mut memory);
    let changed = RLHF.replace("seed: 2", "seed: 3");
    expect![[r#"
        ppo_2 runs
        ppo_2: answers of ppo_2@1 runs
        ppo_2: scores of ppo_2@1 runs
        ppo_2: divergence of ppo_2@1 runs
        ppo_2: answers of ppo_1 runs
        ppo_2: scores of ppo_1 runs
        ppo_2: divergence of ppo_1 runs
        eval: answers of sft runs
        eval: scores of sft runs
        eval: divergence of sft runs
    "#]]
    .assert_eq(&work(&changed, "gpu", &mut memory));
    // Both are kept: nothing is measured a third time, wherever it is asked for.
    for class in ["gpu", "cpu"] {
        assert_eq!(work(&changed, class, &mut memory), "");
        assert_eq!(work(RLHF, class, &mut memory), "");
    }
}

#[test]
fn one_class_or_none_that_is_told_is_measured_once() {
    for class in ["cpu", ""] {
        let mut memory = Memory::default();
        let first = work(RLHF, class, &mut memory);
        assert_eq!(first, told_lines(RLHF, &rlhf(), &mut Memory::default(), |line| line.ends_with(" runs")));
        assert_eq!(work(RLHF, class, &mut memory), "");
    }
}

#[test]
fn measurements_that_were_never_compared_are_made_again_together() {
    let mut memory = Memory::default();
    let apart = "
name: toy
stages:
  base: {kind: pretrain, from: {text: ./text.jsonl}}
  sft: {kind: sft, from: {model: base, data: ./sft.jsonl}}
  rm: {kind: rm, from: {model: sft, data: ./pairs.jsonl}}
  one: {kind: eval, from: {policy: sft, reward: rm, prompts: ./heldout.jsonl}}
";
    work(apart, "cpu", &mut memory);
    let judged = |rule: &str| {
        format!(
            "{apart}  ppo: {{kind: ppo, from: {{policy: sft, reward: rm, prompts: ./prompts.jsonl}}, gate: {{judge: two, require: {rule}}}}}
  two: {{kind: eval, from: {{policy: ppo, reward: rm, prompts: ./heldout.jsonl}}}}\n"
        )
    };
    work(&judged("mean_score > -1"), "gpu", &mut memory);
    let compared = judged("mean_score > incumbent.mean_score - 1");
    expect![[r#"
        ppo: answers of ppo@1 runs
        ppo: answers of sft runs
        ppo: scores of ppo@1 runs
        ppo: scores of sft runs
    "#]]
    .assert_eq(&work(&compared, "gpu", &mut memory));
    assert_eq!(work(&compared, "gpu", &mut memory), "");
}
