//! Warnings that are proposed to gates with a judge.

use super::*;

/// The notes of a plan.
fn notes(text: &str, folder: &tempfile::TempDir) -> String {
    let source =
        SourceText { path: PathBuf::from("rlhf.yaml"), text: text.to_owned(), overrides: Vec::new(), rule: None };
    let spec = crate::spec::read(&source, &|_| None);
    let plan = spec.and_then(|spec| resolve(spec, folder.path(), KINDS));
    render(&source, &plan.unwrap_or_else(|mistakes| panic!("{}", render(&source, &mistakes, false))).notes, false)
}

fn check_notes(stages: &str, expected: Expect) {
    expected.assert_eq(&notes(&with_base(stages), &folder()));
}

const PPO: &str = "kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}";

#[test]
fn a_gate_that_would_not_notice_degenerate_answers_is_told_what_would() {
    check_notes(
        &format!("  ppo: {{{PPO}, gate: {{judge: eval, require: mean_score > 0, on_fail: keep}}}}\n"),
        expect![[r#"
            note: no rule of this gate would notice answers that degenerate: answers that repeat themselves, one answer for most prompts, answers that no longer end, silence or padding, a policy far from the baseline, in nats a token
             --> rlhf.yaml:6:95
              |
            6 |   ppo: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > 0, on_fail:...
              |                                                                                               ^^^^
              |
              = help: warnings block nothing; add
                        warn:
                          - judge.distinct_2 > 0.5                            # answers that repeat themselves
                          - judge.same_answer_share <= 0.5                    # one answer for most prompts
                          - delta(judge.eos_share, incumbent) > -0.3          # answers that no longer end
                          - ratio(judge.length, incumbent) between 0.5 and 4  # silence or padding
                          - judge.kl < 0.3 * judge.length                     # a policy far from the baseline, in nats a token

        "#]],
    );
}

#[test]
fn what_is_proposed_can_be_pasted_and_is_then_proposed_no_more() {
    let folder = folder();
    let one = format!(
        "  ppo:\n    {}\n    gate:\n      judge: eval\n      on_fail: keep\n",
        PPO.replace(", from", "\n    from")
    );
    // Of two judges one measures no distance, and a command without an incumbent has nothing to compare with.
    let two = "  other: {kind: eval, from: {policy: sft, reward: ./gold.txt, prompts: ./heldout.jsonl}}
  tuned:
    kind: exec
    from: {a: sft}
    with: {command: [sh], outputs: [model]}
    gate:
      judge: [other, eval]\n";
    for (stages, rules) in [(one.as_str(), 5), (two, 3)] {
        let gate = with_base(&format!("{stages}      require: eval.mean_score > 0\n"));
        let told = notes(&gate, &folder);
        let proposed: Vec<&str> = told.lines().map(str::trim_start).filter(|line| line.starts_with("- ")).collect();
        assert_eq!(proposed.len(), rules, "{told}");
        let pasted: String = proposed.iter().map(|line| format!("        {line}\n")).collect();
        assert_eq!(notes(&format!("{gate}      warn:\n{pasted}"), &folder), "");
    }
}

#[test]
fn who_reads_one_of_them_from_a_judge_is_told_nothing() {
    for rule in ["distinct_2 > 0.9", "judge.kl < 5", "median(length) > 2", "judge.repetition + same_answer_share < 1"] {
        check_notes(&format!("  ppo: {{{PPO}, gate: {{judge: eval, observe: {rule}}}}}\n"), expect![""]);
    }
    // What PPO says of its own rollouts is not what a judge measures; and without a judge there is nobody to ask.
    let own = notes(&with_base(&format!("  ppo: {{{PPO}, gate: {{judge: eval, warn: self.kl < 5}}}}\n")), &folder());
    assert!(own.contains("add to\n"), "{own}");
    check_notes(&format!("  ppo: {{{PPO}, gate: reward > 0}}\n"), expect![""]);
}

#[test]
fn the_pipeline_of_init_has_what_check_proposes() {
    let directory = std::path::Path::new("pipelines/init");
    let read = |text: &str| {
        let source =
            SourceText { path: PathBuf::from("rlhf.yaml"), text: text.to_owned(), overrides: Vec::new(), rule: None };
        let plan = crate::spec::read(&source, &|_| None).and_then(|spec| resolve(spec, directory, KINDS));
        render(&source, &plan.unwrap_or_else(|mistakes| panic!("{}", render(&source, &mistakes, false))).notes, false)
    };
    let text = fs::read_to_string(directory.join("rlhf.yaml")).unwrap();
    assert_eq!(read(&text), "");
    let rule = |line: &str| Some(line.trim_start().strip_prefix("- ")?.split('#').next()?.trim().to_owned());
    let written: Vec<String> = text.lines().filter_map(rule).collect();
    let without: String = text
        .lines()
        .filter(|line| rule(line).is_none_or(|rule| !rule.contains("judge.")))
        .map(|line| format!("{line}\n"))
        .collect();
    let told = read(&without);
    let proposed: Vec<String> = told.lines().filter_map(rule).collect();
    assert_eq!(proposed.len(), 5, "{told}");
    assert!(proposed.iter().all(|rule| written.contains(rule)), "{proposed:?} {written:?}");
}
