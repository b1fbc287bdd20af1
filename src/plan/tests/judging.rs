//! Stages in which somebody judges answers: what cannot come of them is known before anybody is asked.

use super::*;
use stages::people::label::{Judgement, PairChoice};

/// A folder with answers, what people said of them, and files that judge.
fn answered() -> tempfile::TempDir {
    let folder = folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("items.jsonl", "{\"id\": \"1\", \"prompt\": \"a\", \"answers\": [\"b\", \"c\"]}\n");
    write("words.tsv", "good\t1\n");
    write("lists.jsonl", "{\"prompt\": \"a\", \"completion\": [\"b\", \"c\", \"d\"], \"ranking\": [1, 2, 3]}\n");
    write("broken_rows.jsonl", "{\"prompt\": \n");
    let said = |judgement: &str| {
        format!(
            "{{\"id\": \"1\", \"prompt\": \"a\", \"answers\": [\"b\", \"c\"], \"labels\": [{{\"by\": \"x\", \"judgement\": {judgement}}}]}}\n"
        )
    };
    let said_of = |judgement: Judgement| said(&serde_json::to_string(&judgement).unwrap());
    write("said_pairs.jsonl", &said_of(Judgement::Pair(PairChoice::First)));
    write("said_lists.jsonl", &said_of(Judgement::Ranking(vec![1, 2])));
    folder
}

/// Whether a file of these stages is refused with these words; without any, whether it holds no mistake.
fn says(stages: &str, words: &[&str]) {
    let shown = planned(&with_base(stages), &[], &answered(), &|_| None);
    assert_eq!(shown.contains("error:"), !words.is_empty(), "{shown}");
    words.iter().for_each(|words| assert!(shown.contains(words), "{words}\n{shown}"));
}

#[test]
fn what_people_said_is_held_against_the_form_of_the_judge_before_it_is_asked() {
    let judged = |with: &str| {
        format!("  j: {{kind: rank, from: {{items: ./items.jsonl, judge: ./words.tsv, people: {with}}}}}\n")
    };
    says(&judged("./said_pairs.jsonl}, with: {form: pairs"), &[]);
    // Rows that judge their answers are pairs or lists as one likes.
    says(&judged("./lists.jsonl}, with: {form: pairs"), &[]);
    says(&judged("./lists.jsonl}, with: {form: ranking"), &[]);
    says(
        &judged("./said_lists.jsonl}, with: {form: pairs"),
        &["`people` gives rankings, and the judge is to give pairs", "both are to have the same `form`"],
    );
    says(&judged("./broken_rows.jsonl}, with: {form: pairs"), &["broken_rows.jsonl"]);
    says(&judged("./prompts.jsonl}, with: {form: pairs"), &["prompts.jsonl"]);
    let asked = "  p: {kind: label, from: {items: ./items.jsonl}, with: {form: ranking}}\n";
    says(
        &(asked.to_owned() + &judged("p}, with: {form: pairs")),
        &["`people` gives rankings, and the judge is to give pairs"],
    );
    says(&(asked.to_owned() + &judged("p}, with: {form: ranking")), &[]);
    says(&(asked.to_owned() + &judged("'p:by_item.jsonl'}, with: {form: pairs")), &["`people` gives rankings"]);
}

#[test]
fn two_sides_of_a_merge_have_one_form_and_wins_are_counted_among_two() {
    let merged = |forms: [&str; 2], more: &str| {
        let [people, ai] = forms;
        format!(
            "  s: {{kind: sample, from: {{policy: sft, prompts: ./prompts.jsonl}}, with: {{k: 4}}}}
  p: {{kind: label, from: {{items: 's:answers.jsonl'}}, with: {{form: {people}}}}}
  j: {{kind: rank, from: {{items: 's:answers.jsonl', judge: rm_1}}, with: {{form: {ai}}}}}
  m: {{kind: merge, from: {{people: p, ai: j{more}}}}}
"
        )
    };
    says(&merged(["pairs", "pairs"], ", of: 's:answers.jsonl'"), &[]);
    says(&merged(["ranking", "ranking"], ""), &[]);
    says(&merged(["ranking", "pairs"], ""), &["gives rankings", "gives pairs", "both are to have the same `form`"]);
    says(
        &merged(["ranking", "ranking"], ", of: 's:answers.jsonl'"),
        &["wins of `of` are counted among two answers, and these are lists of up to 4", "take `form: pairs`"],
    );
    says(&merged(["ranking", "ranking"], ", of: 's:answers.jsonl'").replace("k: 4", "k: 2"), &[]);
}

#[test]
fn a_judge_that_scores_has_no_metric_of_orders() {
    let judged = |judge: &str, rule: &str| {
        format!("  j: {{kind: rank, from: {{items: ./items.jsonl, judge: {judge}}}, gate: {rule}}}\n")
    };
    for judge in ["./words.tsv", "rm_1"] {
        for metric in ["order_consistency", "first_share", "order_effect", "repeat_stability"] {
            says(&judged(judge, &format!("{metric} > 0.7")), &[metric]);
        }
        says(&judged(judge, "tie_share < 0.7"), &[]);
    }
    says(&judged("sft", "order_consistency > 0.7 with 95% confidence"), &[]);
}

#[test]
fn a_file_of_right_answers_knows_every_prompt_before_anything_runs() {
    let folder = answered();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("right.jsonl", "{\"id\": 1, \"answer\": \"x\"}\n{\"prompt\": \"b\", \"answer\": \"x\"}\n");
    write("named.jsonl", "{\"id\": \"1\", \"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n");
    write("unnamed.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n");
    let shown = |stage: &str| planned(&with_base(&format!("  s: {stage}\n")), &[], &folder, &|_| None);
    let unknown = "`DIR/right.jsonl` has no row for the prompt of row `1` (\"a\") of `DIR/unnamed.jsonl`";
    for kind in ["eval", "sample", "ppo"] {
        let with = if kind == "sample" { ", with: {keep: best}" } else { "" };
        let stage = |prompts: &str| {
            shown(&format!("{{kind: {kind}, from: {{policy: sft, reward: ./right.jsonl, prompts: {prompts}}}{with}}}"))
        };
        assert!(!stage("./named.jsonl").contains("has no row"), "{}", stage("./named.jsonl"));
        // The number of a row is no id that somebody wrote.
        assert!(stage("./unnamed.jsonl").contains(unknown), "{}", stage("./unnamed.jsonl"));
    }
    write("rows.jsonl", "{\"id\": 2, \"prompt\": \"c\", \"answers\": [\"d\", \"e\"]}\n");
    for kind in ["rank", "score"] {
        let judged = shown(&format!("{{kind: {kind}, from: {{items: ./rows.jsonl, judge: ./right.jsonl}}}}"));
        assert!(judged.contains("has no row for the prompt of row `2` (\"c\")"), "{judged}");
    }
}

#[test]
fn dialogues_for_a_reward_model_without_a_template_are_refused_where_it_judges() {
    let folder = answered();
    let dialogue = "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"answers\": [\"b\", \"c\"]}\n";
    fs::write(folder.path().join("dialogues.jsonl"), dialogue).unwrap();
    for (kind, judge, is_refused) in [("rank", "rm_1", true), ("score", "rm_1", true), ("rank", "sft", false)] {
        let stage = format!("  s: {{kind: {kind}, from: {{items: ./dialogues.jsonl, judge: {judge}}}}}\n");
        let shown = planned(&with_base(&stage), &[], &folder, &|_| None);
        let said = "this reward model cannot read the dialogues that it is to score";
        assert_eq!(shown.contains(said), is_refused, "{kind} {judge}\n{shown}");
    }
}
