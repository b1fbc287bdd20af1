//! Tests of what runs, what is found, and what would run.

use super::*;

#[test]
fn a_pipeline_runs_from_the_first_stage_to_the_table_of_the_study() {
    check(
        RLHF,
        &rlhf(),
        expect![[r#"
            base runs
            base done
            sft runs
            sft done
            rm runs
            rm pass: ece < 0.25 keeps 1 of 2; highest accuracy: step 100 0.7; accuracy 0.7 > 0.6 (by 0.1) -> step 100
            rm done
            ppo_1 runs
            ppo_1: answers of ppo_1@1 runs
            ppo_1: answers of sft runs
            ppo_1: scores of ppo_1@1 runs
            ppo_1: divergence of ppo_1@1 runs
            ppo_1: scores of sft runs
            ppo_1: divergence of sft runs
            ppo_1 pass: mean_score 0.4 > incumbent.mean_score 0.1 (by 0.3); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
            ppo_1 done
            ppo_2 runs
            ppo_2: answers of ppo_2@1 runs
            ppo_2: scores of ppo_2@1 runs
            ppo_2: divergence of ppo_2@1 runs
            ppo_2 pass: mean_score 0.5 > incumbent.mean_score 0.4 (by 0.1); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
            ppo_2 done
              eval | sft Some(0.1)
              eval | ppo_1 Some(0.4) 3/0/0/0 against sft
              eval | ppo_2 Some(0.5) 3/0/0/0 against sft
              eval | prompt 0: sft 0 / ppo_2 0
              eval | prompt 1: sft 1 / ppo_2 1
              eval | prompt 2: sft 2 / ppo_2 2
            eval pass: win_rate(sft over changed) 1 [3 win, 0 loss, 0 tie changed, 0 tie unchanged] > 0.5 (by 0.5; 95 % interval -0.21 to 0.5: within noise; two-sided p 0.25); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> ppo_2
            eval done
        "#]],
    );
}

#[test]
fn a_failed_stage_skips_what_depends_on_it_and_names_itself() {
    check_otherwise(
        RLHF,
        &World { fails: vec!["rm"], ..rlhf() },
        expect![[r#"
            - 26 lines of rm, ppo_1, ppo_2, eval
            + rm runs and fails
            + rm failed: NaN loss
            + ppo_1 skipped: `rm` failed
            + ppo_2 skipped: `rm` failed
            + eval skipped: `rm` failed
        "#]],
    );
}

#[test]
fn comments_names_gates_and_defaults_do_not_run_anything_again() {
    let mut memory = Memory::default();
    told(RLHF, &rlhf(), &mut memory);
    let (plan, _directory) = plan(RLHF);
    let sft = plan.stages.iter().find(|stage| stage.name == "sft").unwrap();
    let defaults = serde_json::to_string(&sft.parameters).unwrap();
    let changed = [
        format!("# a comment\n{RLHF}"),
        RLHF.replace("sft", "tuned").replace("./tuned.jsonl", "./sft.jsonl").replace("kind: tuned", "kind: sft"),
        RLHF.replace("accuracy > 0.6", "accuracy > 0.65 and loss < 100").replace("and loss < 100", ""),
        RLHF.replace("data: ./sft.jsonl}", &format!("data: ./sft.jsonl}}, with: {defaults}")),
        RLHF.replace("kind: rm\n", "kind: rm\n    timeout: 1h\n    retry: 3\n"),
    ];
    for text in changed {
        let told = told(&text, &rlhf(), &mut memory);
        assert!(!told.contains(" runs"), "{text}\n{told}");
    }
}

#[test]
fn a_changed_parameter_runs_its_stage_and_what_depends_on_it() {
    let change = |text: &str| text.replace("seed: 2", "seed: 3");
    check_again(
        RLHF,
        &rlhf(),
        change,
        expect![[r#"
            ppo_2 runs
            ppo_2: answers of ppo_2@1 runs
            ppo_2: scores of ppo_2@1 runs
            ppo_2: divergence of ppo_2@1 runs
        "#]],
    );
}

#[test]
fn stages_that_are_one_action_run_once() {
    let text = "
name: twins
stages:
  one: {kind: pretrain, from: {text: ./text.jsonl}}
  two: {kind: pretrain, from: {text: ./text.jsonl}}
  other: {kind: pretrain, from: {text: ./text.jsonl}, seed: 9}
";
    check(
        text,
        &World::default(),
        expect![[r#"
        one runs
        other runs
        one done
        two done
        other done
    "#]],
    );
}

#[test]
fn what_would_run_is_told_up_to_the_first_stage_whose_input_is_unknown() {
    let mut memory = Memory::default();
    told(RLHF, &rlhf(), &mut memory);
    let dry = World { is_dry: true, ..rlhf() };
    expect![[r#"
        base done
        sft done
        rm pass: ece < 0.25 keeps 1 of 2; highest accuracy: step 100 0.7; accuracy 0.7 > 0.6 (by 0.1) -> step 100
        rm done
        ppo_1 pass: mean_score 0.4 > incumbent.mean_score 0.1 (by 0.3); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does -> step 1
        ppo_1 done
        ppo_2 would run: new
        eval would run: `ppo_2` would run
    "#]]
    .assert_eq(&told(&RLHF.replace("seed: 2", "seed: 3"), &dry, &mut memory));
    expect![[r#"
        base would run: new
        sft would run: `base` would run
        rm would run: `sft` would run
        ppo_1 would run: `sft` would run; `rm` would run
        ppo_2 would run: `ppo_1` would run; `rm` would run; `sft` would run
        eval would run: `rm` would run; `sft` would run; `ppo_2` would run
    "#]]
    .assert_eq(&told(RLHF, &dry, &mut Memory::default()));
}

#[test]
fn hundreds_of_stages_are_looked_at_a_few_times_each() {
    let mut text = RLHF.split("  ppo_1:").next().unwrap().to_owned();
    for n in 0..900 {
        text += &format!(
            "  ppo_{n}: {{kind: ppo, from: {{policy: sft, reward: rm, prompts: ./prompts.jsonl}}, seed: {n}, \
             gate: {{judge: eval, require: mean_score >= incumbent.mean_score, on_fail: keep}}}}\n"
        );
    }
    text += "  eval: {kind: eval, from: {policy: ppo_7, reward: rm, prompts: ./heldout.jsonl, baseline: sft}}\n";
    let (plan, _directory) = plan(&text);
    let (world, mut memory) = (World { scores: Vec::new(), ..rlhf() }, Memory::default());
    let (mut rows, mut asked) = (BTreeSet::new(), 0);
    let started = std::time::Instant::now();
    run(&plan, &world, &mut memory, |happening| match happening {
        Happening::Runs(..) => asked += 1,
        Happening::Told(Event::Measured { row, .. }) => drop(rows.insert(row.model.to_string())),
        Happening::Told(Event::Judged { verdict, .. }) => assert_ne!(verdict.decision, Decision::Error),
        Happening::Told(_) | Happening::Ends(..) => {}
    });
    // base, sft, rm; 900 stages and as many models in three parts; the baseline in three.
    assert_eq!((rows.len(), asked), (901, 3 + 900 + 3 * 901));
    // If every stage were looked at for every piece of news, this would take hours.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
