//! Feedback by models, as a user meets it: answers are drawn, compared, scored and put together.

#[path = "support/judge.rs"]
mod judge;
#[path = "support/program.rs"]
mod program;

use judge::Judge;
use program::{Events, Place, ROOT, place, word};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A small model with an adapter on it, and stages below that take them.
fn trained(below: &str) -> Place {
    let place = place();
    fs::create_dir(place.at("data")).unwrap();
    for (name, rows) in [("corpus", 200), ("sft", 60), ("rankings", 60), ("heldout", 12)] {
        let name = format!("data/{name}.jsonl");
        let text = fs::read_to_string(format!("{ROOT}/pipelines/{name}")).unwrap();
        place.write(&name, &text.lines().take(rows).map(|row| format!("{row}\n")).collect::<String>());
    }
    place.write("letters.jsonl", "{\"regex\": \"[aiのし]\"}\n");
    write(&place, below);
    place
}

fn write(place: &Place, below: &str) {
    place.write(
        "rlhf.yaml",
        &format!(
            "name: rlhf
seed: 3
stages:
  base:
    kind: pretrain
    from: {{text: data/corpus.jsonl}}
    with: {{layers: 2, width: 48, inner: 96, heads: 2, kv_heads: 2, vocabulary: 400, context: 192, steps: 20, batch: 8}}
  tuned:
    kind: sft
    from: {{model: base, data: data/sft.jsonl}}
    with: {{epochs: 2, batch: 8, max_tokens: 64, lr: 0.01}}
{below}"
        ),
    );
}

fn run(place: &Place, exit: i32) -> Events {
    place.run(&["run", "rlhf.yaml", "--device", "cpu", "--json"]).expect_exit(exit).events()
}

/// The rows of a file of what a stage gave.
fn rows(place: &Place, content: &str, file: &str) -> Vec<Value> {
    let store = place.at(".pipeline/store/v1");
    let tree = content.strip_prefix("tree:").unwrap();
    let (folder, name) = tree.split_at(2);
    let tree = fs::read_to_string(store.join("trees").join(folder).join(format!("{name}.json"))).unwrap();
    let tree: Value = serde_json::from_str(&tree).unwrap();
    let (folder, name) = word(&tree[file]["blob"]).split_at(2);
    let text = fs::read_to_string(store.join("blobs").join(folder).join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The number of actions that were worked on for a stage.
fn worked(events: &Events, stage: &str) -> usize {
    events.of("started").filter(|event| event["stage"] == stage).count()
}

/// The texts of the answers to each prompt.
fn texts(rows: &[Value]) -> BTreeMap<String, Vec<String>> {
    let of = |row: &Value| row["answers"].as_array().unwrap().iter().map(|text| word(text).to_owned()).collect();
    rows.iter().map(|row| (row["prompt"].to_string(), of(row))).collect()
}

fn sample(policies: &str, with: &str) -> String {
    format!(
        "  answers:\n    kind: sample\n    from: {{policy: {policies}, prompts: data/heldout.jsonl}}\n    with: {{max_new_tokens: 12, {with}}}\n"
    )
}

#[test]
fn eight_draws_begin_with_the_four_of_before_which_cost_nothing_anew() {
    let place = trained(&sample("[base, tuned]", "k: 4"));
    let first = run(&place, 0);
    assert_eq!(worked(&first, "answers"), 1 + 2 * 4 + 1);
    let four = rows(&place, first.content("answers"), "answers.jsonl");
    write(&place, &sample("[base, tuned]", "k: 8"));
    let second = run(&place, 0);
    assert_eq!(worked(&second, "answers"), 2 * 4 + 1);
    let eight = rows(&place, second.content("answers"), "answers.jsonl");
    assert_eq!((four.len(), eight.len()), (12, 12));
    // An answer by the model and the draw that it comes from; empty ones are left out.
    let of = |row: &Value| -> BTreeMap<String, Value> {
        let sources = row["source"].as_array().unwrap().iter().map(Value::to_string);
        sources.zip(row["answers"].as_array().unwrap().clone()).collect()
    };
    let mut drawn = 0;
    for (few, more) in four.iter().zip(&eight) {
        assert!(word(&more["source"][0]["model"]).starts_with("tree:"));
        let (few, more) = (of(few), of(more));
        assert!(few.iter().all(|(source, answer)| more[source] == *answer));
        drawn += few.len();
        assert!(more.len() > 12 && more.len() <= 16, "{more:?}");
    }
    assert!(drawn > 80 && drawn <= 96, "{drawn}");
    assert_eq!(worked(&run(&place, 0), "answers"), 0);
}

#[test]
fn more_prompts_are_drawn_in_their_own_block_alone_and_the_texts_stay() {
    let place = trained(&sample("tuned", "k: 2").replace("heldout", "many"));
    let all = fs::read_to_string(format!("{ROOT}/pipelines/data/prompts.jsonl")).unwrap();
    let write = |rows: usize| {
        place.write("data/many.jsonl", &all.lines().take(rows).map(|row| format!("{row}\n")).collect::<String>());
    };
    write(300);
    let first = run(&place, 0);
    let before = texts(&rows(&place, first.content("answers"), "answers.jsonl"));
    let blocks = (worked(&first, "answers") - 2) / 2;
    assert!(blocks > 1, "{blocks}");
    write(310);
    let second = run(&place, 0);
    // The rows are divided anew, one or two blocks are drawn twice, and all are put together.
    let drawn = worked(&second, "answers") - 2;
    assert!(drawn == 2 || drawn == 4, "{drawn} of {blocks} blocks");
    let after = texts(&rows(&place, second.content("answers"), "answers.jsonl"));
    assert!(before.len() > 290 && before.iter().all(|(prompt, answers)| after[prompt] == *answers));
}

#[test]
fn neither_the_order_of_the_rows_nor_the_size_of_a_batch_changes_a_text() {
    let place = trained(&sample("tuned", "k: 3"));
    let before = texts(&rows(&place, run(&place, 0).content("answers"), "answers.jsonl"));
    assert!(before.values().flatten().collect::<BTreeSet<_>>().len() > 12, "they are all alike: {before:?}");
    let text = place.read("data/heldout.jsonl");
    // The ids go as well: they say nothing of what is drawn.
    let turned = text.lines().rev().map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        format!("{}\n", serde_json::json!({"prompt": row["prompt"]}))
    });
    place.write("data/heldout.jsonl", &turned.collect::<String>());
    write(&place, &sample("tuned", "k: 3, batch: 5"));
    let after = texts(&rows(&place, run(&place, 0).content("answers"), "answers.jsonl"));
    assert_eq!(before, after);
}

#[test]
fn equal_answers_are_drawn_again_and_the_first_draws_stay() {
    // Nearly greedy, so that most draws are alike.
    let cold = "k: 4, temperature: 0.05, top_k: 2";
    let place = trained(&sample("tuned", cold));
    let plain = run(&place, 0);
    write(&place, &sample("tuned", &format!("{cold}, distinct: true")));
    let distinct = run(&place, 0);
    let share = |events: &Events| events.outcome("answers")["metrics"]["distinct_share"].as_f64().unwrap();
    assert!(share(&plain) < 0.95 && share(&distinct) > share(&plain), "{} {}", share(&plain), share(&distinct));
    let [plain, distinct] =
        [plain, distinct].map(|events| texts(&rows(&place, events.content("answers"), "answers.jsonl")));
    assert!(plain.iter().all(|(prompt, answers)| distinct[prompt][0] == answers[0]));
}

#[test]
fn the_best_answer_by_a_reward_is_a_row_to_learn_from() {
    let below = "  answers:
    kind: sample
    from: {policy: tuned, prompts: data/heldout.jsonl, reward: letters.jsonl}
    with: {max_new_tokens: 12, k: 4, keep: best}
  again:
    kind: sft
    from: {model: tuned, data: answers:best.jsonl}
    with: {epochs: 1, batch: 4, max_tokens: 64}
";
    let place = trained(below);
    let events = run(&place, 0);
    let content = events.content("answers");
    let (all, best) = (rows(&place, content, "answers.jsonl"), rows(&place, content, "best.jsonl"));
    for (row, best) in all.iter().zip(&best) {
        let scores: Vec<f64> = row["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let at = scores.iter().position(|score| *score == most).unwrap();
        assert_eq!((&best["completion"], best["reward"].as_f64()), (&row["answers"][at], Some(most)));
    }
    let metrics = &events.outcome("answers")["metrics"];
    assert!(metrics["best_score"].as_f64() > metrics["mean_score"].as_f64(), "{metrics}");
    assert_eq!(events.ending("again"), "done");
    // Several rewards are added up by their weights.
    place.write("words.tsv", "a\t1\nand\t2\n");
    let sums = "[{from: letters.jsonl, weight: -2}, {from: words.tsv, weight: 0.5}]";
    let [apart, sum] = ["words.tsv", sums].map(|reward| {
        write(&place, &below.replace("reward: letters.jsonl", &format!("reward: {reward}")));
        rows(&place, run(&place, 0).content("answers"), "answers.jsonl")
    });
    let scores = |rows: &[Value]| -> Vec<f64> {
        rows.iter().flat_map(|row| row["scores"].as_array().unwrap()).map(|score| score.as_f64().unwrap()).collect()
    };
    let [letters, words, sum] = [scores(&all), scores(&apart), scores(&sum)];
    for ((letters, words), sum) in letters.iter().zip(&words).zip(&sum) {
        assert!((sum - (0.5 * words - 2.0 * letters)).abs() < 1e-9, "{letters} {words} {sum}");
    }
}

#[test]
fn the_answers_of_an_evaluation_are_scored_by_another_judge_and_filtered() {
    let below = "  measured:
    kind: eval
    from: {policy: tuned, reward: [words.tsv, any.jsonl], prompts: data/heldout.jsonl}
    with: {max_new_tokens: 12}
    gate: mean_score > 100
  scored:
    kind: score
    from: {evaluation: measured, judge: any.jsonl}
    with: {above: 0}
  learn:
    kind: sft
    from: {model: tuned, data: scored:kept.jsonl}
    with: {epochs: 1, batch: 4, max_tokens: 64}
";
    let place = trained(below);
    place.write("words.tsv", "a\t1\n");
    // Right of half of the prompts.
    let row = |(at, line): (usize, &str)| {
        let row: Value = serde_json::from_str(line).unwrap();
        serde_json::json!({"prompt": row["prompt"], "regex": if at % 2 == 0 { "." } else { "^$" }}).to_string() + "\n"
    };
    place.write("any.jsonl", &place.read("data/heldout.jsonl").lines().enumerate().map(row).collect::<String>());
    // That its gate is closed is no matter of its answers.
    let events = run(&place, 3);
    let metrics = &events.outcome("scored")["metrics"];
    assert_eq!(metrics["mean_score"], events.outcome("measured")["metrics"]["mean_score_2"], "{metrics}");
    let scores = rows(&place, events.content("scored"), "scores.jsonl");
    assert_eq!(scores.len(), 12);
    let kept = rows(&place, events.content("scored"), "kept.jsonl");
    let prompts = |rows: &[Value], is_kept: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        rows.iter().filter(|row| is_kept(row)).map(|row| row["prompt"].clone()).collect()
    };
    let above = prompts(&scores, &|row| row["score"][0].as_f64().unwrap() > 0.0);
    assert!((1..12).contains(&above.len()), "{scores:?}");
    assert_eq!(prompts(&kept, &|_| true), above);
    assert_eq!((metrics["kept_share"].as_f64(), events.ending("learn")), (Some(above.len() as f64 / 12.0), "done"));
    // A threshold above all scores is told where it is set, and where a stage has nothing to learn from.
    write(&place, &below.replace("above: 0", "above: 7"));
    let nothing = run(&place, 1);
    let said = nothing
        .of("noted")
        .any(|event| word(&event["message"]).contains("no answer scores above 7, and the highest score is 1"));
    let cause = nothing.outcome("learn").to_string();
    assert!(said && cause.contains("take `scored:kept.jsonl`: it is empty"), "{cause}");
    // A number of a row is no id: neither where it is measured, nor where it is scored.
    let bare = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        serde_json::json!({"prompt": row["prompt"]}).to_string() + "\n"
    };
    place.write("bare.jsonl", &place.read("data/heldout.jsonl").lines().map(bare).collect::<String>());
    place.write(
        "numbers.jsonl",
        &(1..13).map(|id| format!("{{\"id\": \"{id}\", \"answer\": \"x\"}}\n")).collect::<String>(),
    );
    let numbered =
        below.replace("data/heldout.jsonl", "bare.jsonl").replace("judge: any.jsonl", "judge: numbers.jsonl");
    write(&place, &numbered.replace(", any.jsonl]", "]"));
    let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("`numbers.jsonl` has no row for the prompt of row `1`"), "{refused}");
    for (wrong, said) in [
        ("evaluation: tuned", "gives a language model"),
        ("evaluation: measured, items: data/heldout.jsonl", "exclude each other"),
        ("items: measured", "`evaluation: measured` takes the answers of its model"),
        ("items: 'measured:answers.jsonl'", "`evaluation: measured` takes the answers of its model"),
    ] {
        write(&place, &below.replace("evaluation: measured", wrong));
        let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
        assert!(refused.contains(said), "{wrong}:\n{refused}");
    }
}

/// Judges on this machine, each in the place of the other.
#[test]
fn a_reward_model_and_a_language_model_compare_answers_as_rows_that_a_reward_model_learns() {
    let below = sample("[base, tuned]", "k: 2")
        + "  rm_1:
    kind: rm
    from: {model: tuned, data: data/rankings.jsonl}
    with: {epochs: 1, batch: 16, max_tokens: 64}
  by_score: {kind: rank, from: {items: answers:answers.jsonl, judge: rm_1}, with: {form: pairs, probe_injections: 50}}
  by_odds:
    kind: rank
    from: {items: answers:answers.jsonl, judge: tuned}
    with: {form: ranking, probe_injections: 50, template: '{{ question }} A:{{ answers[0].text }} B:{{ answers[1].text }} Better:'}
  rm_2:
    kind: rm
    from: {model: tuned, data: [by_score:pairs.jsonl, by_odds:rankings.jsonl]}
    with: {epochs: 1, batch: 8, max_tokens: 64, heldout: 0.3}
";
    let place = trained(&below);
    let events = run(&place, 0);
    let by_score = &events.outcome("by_score")["metrics"];
    // A score has no order.
    assert!(by_score["order_consistency"].is_null() && by_score["first_share"].is_null());
    assert!(by_score["longer_share_controlled"].is_number() && by_score["order_effect"].is_null(), "{by_score}");
    for metrics in [by_score, &events.outcome("by_odds")["metrics"]] {
        assert!(metrics["injection_items"].as_f64() > Some(10.0), "{metrics}");
        // Models of a few steps obey nobody.
        assert!(metrics["injection_gain_low"].as_f64() <= Some(0.0), "{metrics}");
    }
    assert!(by_score["items"].as_f64() > Some(40.0), "{by_score}");
    assert!(events.outcome("by_odds")["metrics"]["order_consistency"].is_number());
    let pairs = rows(&place, events.content("by_score"), "pairs.jsonl");
    assert!(pairs.iter().all(|row| word(&row["by"]).starts_with("tree:") && row["source"] == "ai"));
    assert_eq!(events.ending("rm_2"), "done");
}

/// Answers are text to a judge on this machine, also where they spell a token of the judge.
#[test]
fn a_judge_on_this_machine_reads_no_special_token_within_an_answer() {
    let place = trained(
        "  rm_1:
    kind: rm
    from: {model: tuned, data: data/rankings.jsonl}
    with: {epochs: 1, batch: 16, max_tokens: 64}
  scored: {kind: score, from: {items: items.jsonl, judge: rm_1}}
  by_odds:
    kind: rank
    from: {items: items.jsonl, judge: tuned}
    with: {template: '{{ question }} A:{{ answers[0].text }} B:{{ answers[1].text }} Better:'}
",
    );
    let row =
        |id: &str, answer: &str| serde_json::json!({"id": id, "prompt": "Speaker: hello", "answers": [answer, "z"]});
    let all = [
        row("token", "I see.</s>I see.<s>"),
        row("text", "I see.< /s>I see.< s>"),
        row("end", "I see.</s>"),
        row("none", "I see."),
    ];
    place.write("items.jsonl", &all.map(|row| format!("{row}\n")).concat());
    let events = run(&place, 0);
    let scores: Vec<f64> = rows(&place, events.content("scored"), "scores.jsonl")
        .iter()
        .map(|row| row["score"][0].as_f64().unwrap())
        .collect();
    // Its own end is put behind an answer whether the row has it or not.
    assert!(scores[0] == scores[1] && scores[2] == scores[3] && scores[0] != scores[3], "{scores:?}");
    // Chances of what was shown first, by the order.
    let replies = rows(&place, events.content("by_odds"), "replies.jsonl");
    let chances = |id: &str| -> BTreeMap<String, f64> {
        let row = replies.iter().find(|row| row["id"] == id).unwrap();
        let reply = |reply: &Value| (reply["order"].to_string(), reply["first"].as_f64().unwrap());
        row["replies"].as_array().unwrap().iter().map(reply).collect()
    };
    assert!(chances("token") == chances("text") && chances("token") != chances("none"), "{replies:?}");
}

#[test]
fn the_best_of_n_drawn_answers_is_a_number_of_an_eval_and_of_its_gate() {
    let below = "  measured:
    kind: eval
    from: {policy: tuned, reward: [letters.jsonl, lengths.jsonl], prompts: data/heldout.jsonl, baseline: base}
    with: {max_new_tokens: 12, best_of: [1, 2, 4]}
  drawn:
    kind: sample
    from: {policy: tuned, prompts: data/heldout.jsonl, reward: letters.jsonl}
    with: {max_new_tokens: 12, k: 4}
  again:
    kind: sft
    from: {model: tuned, data: data/sft.jsonl}
    with: {epochs: 1, batch: 8, max_tokens: 64}
    gate: {judge: measured, require: [best_of_4 >= best_of_1 with 95% confidence], on_fail: keep}
";
    let place = trained(below);
    place.write("lengths.jsonl", "{\"regex\": \"......\"}\n");
    let events = run(&place, 0);
    let metrics = &events.outcome("measured")["metrics"];
    let of = |name: &str| metrics[name].as_f64().unwrap_or_else(|| panic!("no {name}: {metrics}"));
    assert!(of("best_of_1") < of("best_of_2") && of("best_of_2") < of("best_of_4"), "{metrics}");
    assert!(of("best_of_4_2") >= of("best_of_1_2") && metrics["best_of_8"].is_null());
    let curve = place.run(&["curves", "measured", "--csv"]).expect_exit(0).stdout;
    assert!(
        curve.contains("best_of_n.tuned") && curve.contains("best_of_n.base") && curve.lines().count() == 4,
        "{curve}"
    );
    // The draws are those of a sample, whose empty answers, which score nothing, are left out.
    let drawn = &events.outcome("drawn")["metrics"];
    let kept = 1.0 - drawn["empty_share"].as_f64().unwrap();
    assert!((of("best_of_1") - kept * drawn["mean_score"].as_f64().unwrap()).abs() < 0.1, "{metrics} {drawn}");
    assert!(events.ending("again") == "done" || events.ending("again") == "kept");
    // Without it nothing is drawn, and greedy answers are found.
    write(
        &place,
        &below
            .replace(", best_of: [1, 2, 4]", "")
            .replace("best_of_4 >= best_of_1 with 95% confidence", "mean_score >= 0"),
    );
    assert_eq!(worked(&run(&place, 0), "measured"), 0);
    write(&place, &below.replace("best_of_4 >= best_of_1", "best_of_8 >= best_of_1"));
    let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("unknown metric `best_of_8`"), "{refused}");
    write(&place, &below.replace("[1, 2, 4]", "[3]"));
    let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("`best_of` has sizes of 1, 2, 4"), "{refused}");
}

#[test]
fn what_a_sample_cannot_do_is_said_before_anything_runs() {
    let place = trained(
        "  answers:
    kind: sample
    from: {policy: tuned, prompts: data/heldout.jsonl}
    with: {k: 4, keep: best}
    gate: best_score > 0
  more: {kind: sample, from: {policy: tuned, prompts: data/heldout.jsonl}, with: {top_p: 1.5, k: 0}}
  learn: {kind: exec, from: {rows: many:best.jsonl}, with: {command: ['true']}}
  many: {kind: sample, from: {policy: tuned, prompts: data/heldout.jsonl}}
",
    );
    let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
    for mistake in [
        "`keep: best` needs a `reward`",
        "`top_p` is a probability above 0",
        "`k` must be at least 1",
        "`many` makes no `best.jsonl`",
    ] {
        assert!(refused.contains(mistake), "{mistake}:\n{refused}");
    }
}

/// A judge's rows of pairs, people's corrections beside them, and a stage that learns from both.
fn merging(place: &Place, corrections: &[(usize, &str)]) {
    let said = |(number, better): &(usize, &str)| {
        let [good, plain] = [format!("a good answer {number}"), format!("a plain one {number}")];
        let (chosen, rejected) = if *better == "good" { (good, plain) } else { (plain, good) };
        serde_json::json!({"prompt": format!("prompt {number}"), "chosen": chosen, "rejected": rejected}).to_string()
            + "\n"
    };
    place.write("corrections.jsonl", &corrections.iter().map(said).collect::<String>());
    let here = place.path().display();
    place.write(
        "rlhf.yaml",
        &format!(
            "name: rlhf
stages:
  judged: {{kind: rank, from: {{items: items.jsonl, judge: words.tsv, people: corrections.jsonl}}}}
  both: {{kind: merge, from: {{people: corrections.jsonl, ai: judged, of: own.jsonl}}}}
  learn:
    kind: exec
    from: {{rows: both:pairs.jsonl}}
    with: {{command: [sh, -c, 'wc -l < in/rows.jsonl > n; echo x >> {here}/learned'], outputs: [n]}}
"
        ),
    );
}

fn judged_place() -> Place {
    let place = place();
    let row = |number: usize| {
        let answers = [format!("a good answer {number}"), format!("a plain one {number}")];
        serde_json::json!({"id": number.to_string(), "prompt": format!("prompt {number}"), "answers": answers})
            .to_string()
            + "\n"
    };
    place.write("items.jsonl", &(0..200).map(row).collect::<String>());
    let own = |number: usize| {
        serde_json::json!({"prompt": format!("prompt {number}"), "completion": format!("a good answer {number}")})
            .to_string()
            + "\n"
    };
    place.write("own.jsonl", &(0..200).map(own).collect::<String>());
    place.write("words.tsv", "good\t1\n");
    place
}

fn learned(place: &Place) -> usize {
    fs::read_to_string(place.at("learned")).unwrap_or_default().lines().count()
}

#[test]
fn people_stand_above_a_judge_and_only_what_they_change_is_learned_anew() {
    let place = judged_place();
    // Two of the three are as the judge has them.
    merging(&place, &[(0, "good"), (1, "good"), (2, "plain")]);
    let first = run(&place, 0);
    let metrics = &first.outcome("both")["metrics"];
    assert_eq!((metrics["share_human"].as_f64(), metrics["items"].as_f64()), (Some(3.0 / 200.0), Some(200.0)));
    assert!((metrics["overridden_share"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12);
    let of_judge = &first.outcome("judged")["metrics"];
    assert!((of_judge["people_agreement"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12, "{of_judge}");
    let provenance = rows(&place, first.content("both"), "provenance.jsonl");
    let sources = |wanted: &str| provenance.iter().filter(|row| row["source"] == wanted).count();
    assert_eq!((sources("human"), sources("human_over_ai"), sources("ai")), (2, 1, 197));
    let third = provenance.iter().find(|row| row["id"] == "2").unwrap();
    assert!(third["ai"][0]["judgement"] != third["human"][0]["judgement"], "{third}");
    let pairs = rows(&place, first.content("both"), "pairs.jsonl");
    assert_eq!(pairs.iter().filter(|row| word(&row["chosen"]).contains("plain")).count(), 1);

    // Three more are confirmed: who said it is known, and nothing is learned anew.
    merging(&place, &[(0, "good"), (1, "good"), (2, "plain"), (3, "good"), (4, "good"), (5, "good")]);
    let confirmed = run(&place, 0);
    assert!(confirmed.content("both") != first.content("both") && learned(&place) == 1);
    // So it is with a second person who says the same.
    merging(&place, &[(0, "good"), (0, "good"), (1, "good"), (2, "plain"), (3, "good"), (3, "good")]);
    let twice = run(&place, 0);
    assert!(learned(&place) == 1, "{:?}", rows(&place, twice.content("both"), "pairs.jsonl")[0]);
    let provenance = rows(&place, twice.content("both"), "provenance.jsonl");
    assert_eq!(provenance[0]["by"].as_array().unwrap().len(), 2, "{}", provenance[0]);
    // What is known of people comes from all that they said, whatever makes one row.
    let by_item = rows(&place, twice.content("both"), "by_item.jsonl");
    assert_eq!(by_item[0]["labels"].as_array().unwrap().len(), 2, "{}", by_item[0]);
    // Three are changed.
    merging(&place, &[(0, "good"), (1, "good"), (2, "plain"), (3, "plain"), (4, "plain"), (5, "plain")]);
    run(&place, 0);
    assert_eq!(learned(&place), 2);
}

#[test]
fn a_win_rate_of_a_judge_is_corrected_by_people_and_a_gate_may_ask_how_sure_it_is() {
    let place = judged_place();
    // The judge says that all are won; people, of every fourth, that some are not.
    let said = |number: usize| (number, if number.is_multiple_of(3) { "plain" } else { "good" });
    let corrections: Vec<(usize, &str)> = (0..200).step_by(4).map(said).collect();
    merging(&place, &corrections);
    let gate = "of: own.jsonl}, gate: {require: win_rate_calibrated > 0.5 with 95% confidence, observe: win_rate_calibrated > 0.9 with 95% confidence}}";
    place.write("rlhf.yaml", &place.read("rlhf.yaml").replace("of: own.jsonl}}", gate));
    let events = run(&place, 0);
    let metrics = &events.outcome("both")["metrics"];
    assert_eq!((metrics["win_rate_ai"].as_f64(), metrics["win_rate_people"].as_f64()), (Some(1.0), Some(33.0 / 50.0)));
    // A judge that says the same of all says nothing: people alone count.
    assert!((metrics["win_rate_calibrated"].as_f64().unwrap() - 33.0 / 50.0).abs() < 1e-12);
    let rules = &events.verdict("both")["rules"];
    assert_eq!((word(&rules[0]["decision"]), word(&rules[1]["decision"])), ("pass", "fail"));
}

#[test]
fn scores_measure_a_judge_by_rows_with_good_and_bad_answers_and_filter_any_file() {
    let place = place();
    place.write("words.tsv", "good\t1\nbetter\t2\n");
    place.write(
        "items.jsonl",
        "{\"id\": \"1\", \"prompt\": \"p\", \"chosen\": [\"good\"], \"rejected\": [\"bad\", \"worse\", \"worst\"], \"subset\": \"math\"}
{\"id\": \"2\", \"prompt\": \"q\", \"chosen\": [\"bad\"], \"rejected\": [\"good\", \"worse\", \"worst\"], \"subset\": \"math\"}
{\"id\": \"3\", \"prompt\": \"r\", \"chosen\": [\"better\", \"better better\"], \"rejected\": [\"worse\"], \"subset\": \"ties\"}
{\"id\": \"4\", \"prompt\": \"s\", \"chosen\": [\"better\", \"better good\"], \"rejected\": [\"worse\"], \"subset\": \"ties\"}
",
    );
    place.write(
        "rlhf.yaml",
        "name: rlhf
stages:
  scored:
    kind: score
    from: {items: items.jsonl, judge: words.tsv}
    with: {above: 1.5}
",
    );
    let events = run(&place, 0);
    let metrics = &events.outcome("scored")["metrics"];
    assert_eq!((metrics["accuracy"].as_f64(), metrics["ties_accuracy"].as_f64()), (Some(0.75), Some(0.5)));
    // Of the second row one pair of three is a tie half and one lost: (0 + ½ + ½) / 3.
    let pairs = (1.0 + 1.0 / 3.0 + 1.0 + 1.0) / 4.0;
    assert!((metrics["pair_accuracy"].as_f64().unwrap() - pairs).abs() < 1e-12, "{metrics}");
    let kept: Vec<String> = rows(&place, events.content("scored"), "kept.jsonl")
        .iter()
        .map(|row| word(&row["completion"]).to_owned())
        .collect();
    assert_eq!(kept, ["better", "better better", "better", "better good"]);
    let scores = rows(&place, events.content("scored"), "scores.jsonl");
    assert_eq!(scores[2]["score"], serde_json::json!([2.0, 4.0, 0.0]));
}

#[test]
fn a_plan_bounds_what_an_endpoint_is_asked_about_answers_that_are_not_drawn_yet() {
    let below = sample("[base, tuned]", "k: 2")
        + "  judged:
    kind: rank
    from: {items: answers:answers.jsonl}
    with: {form: pairs, endpoint: {url: 'http://127.0.0.1:9/v1', model: m}}
";
    let place = trained(&below);
    let events = place.run(&["run", "rlhf.yaml", "--dry-run", "--json"]).expect_exit(0).events();
    let notes: Vec<&str> = events.of("noted").map(|event| word(&event["message"])).collect();
    // Six pairs of four answers to twelve prompts, in two orders.
    let said = "would ask m at 127.0.0.1:9 for at most 144 replies (12 prompts, 4 answers each); how many of them are kept, \
                and what the others may cost, is known once `answers` has run";
    assert_eq!(notes, [said]);
}

/// Rows of RewardBench 2, each answer a word of its own, and a file with the scores of the words.
fn benchmark(place: &Place) -> Value {
    let golden = fs::read_to_string(format!("{ROOT}/stages/tests/golden/rewardbench.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let (mut words, mut items) = (String::new(), String::new());
    let mut spoken = 0_usize;
    let mut word_of = |score: &Value| {
        let letter = |place: u32| char::from(b'a' + (spoken / 26_usize.pow(place) % 26) as u8);
        let word: String = (0..3).map(letter).collect();
        words += &format!("{word}\t{score}\n");
        spoken += 1;
        word
    };
    for (rows, subset) in [(&golden["best_of_4"], None), (&golden["ties"], Some("Ties"))] {
        for row in rows.as_array().unwrap() {
            let mut answers: Vec<String> = row["scores"].as_array().unwrap().iter().map(&mut word_of).collect();
            let rejected = answers.split_off(row["num_correct"].as_u64().unwrap_or(1) as usize);
            let subset = subset.unwrap_or_else(|| word(&row["subset"]));
            let prompt = format!("prompt {}", row["id"]);
            let row = serde_json::json!({"id": row["id"], "prompt": prompt, "chosen": answers, "rejected": rejected,
                                         "subset": subset});
            items += &format!("{row}\n");
        }
    }
    place.write("words.tsv", &words);
    place.write("items.jsonl", &items);
    golden
}

#[test]
fn scores_of_best_of_four_and_of_ties_are_those_of_rewardbench() {
    let place = place();
    let golden = benchmark(&place);
    place.write(
        "rlhf.yaml",
        "name: rlhf\nstages:\n  scored:\n    kind: score\n    from: {items: items.jsonl, judge: words.tsv}
    gate: mean(correct where subset = \"Math\") between 0.38 and 0.4\n",
    );
    let events = run(&place, 0);
    let metric = |name: &str| events.outcome("scored")["metrics"][name].as_f64().unwrap();
    let ties = golden["ties_score"].as_f64().unwrap();
    assert!((metric("ties_score") - ties).abs() < 1e-9, "{} {ties}", metric("ties_score"));
    let subsets = rows(&place, events.content("scored"), "subsets.jsonl");
    let mut scores = vec![ties];
    for row in subsets.iter().filter(|row| row["subset"] != "Ties") {
        let expected = golden["subsets"][word(&row["subset"])].as_f64().unwrap();
        assert!((row["accuracy"].as_f64().unwrap() - expected).abs() < 1e-9, "{row}");
        scores.push(expected);
    }
    assert_eq!(scores.len(), 4);
    assert!((metric("subset_score") - scores.iter().sum::<f64>() / 4.0).abs() < 1e-9);
}

#[test]
fn rows_of_best_of_four_and_of_ties_are_data_of_a_reward_model_and_of_an_eval() {
    let place = trained(
        "  rm_1: {kind: rm, from: {model: tuned, data: items.jsonl}, with: {epochs: 1, batch: 16, max_tokens: 64}}
  judged: {kind: score, from: {items: items.jsonl, judge: rm_1}, allow_overlap: true}
  measured:
    kind: eval
    from: {policy: tuned, reward: rm_1, prompts: items.jsonl}
    with: {max_new_tokens: 4}
    allow_overlap: true
",
    );
    benchmark(&place);
    let events = run(&place, 0);
    assert_eq!(events.outcome("measured")["metrics"]["data_rows"].as_f64(), Some(106.0));
    assert!(events.outcome("judged")["metrics"]["subset_score"].is_number());
}

/// `pipelines/rlaif.yaml` at a reduced size, with the judge that compares replaced.
fn chain(judge: [&str; 2]) -> Place {
    let place = place();
    fs::create_dir(place.at("data")).unwrap();
    for (name, rows) in
        [("corpus", 400), ("sft", 100), ("rankings", 60), ("judged", 80), ("prompts", 48), ("heldout", 12)]
    {
        let name = format!("data/{name}.jsonl");
        let text = fs::read_to_string(format!("{ROOT}/pipelines/{name}")).unwrap();
        place.write(&name, &text.lines().take(rows).map(|row| format!("{row}\n")).collect::<String>());
    }
    let text = fs::read_to_string(format!("{ROOT}/pipelines/rlaif.yaml")).unwrap();
    // A model of a few steps passes no gate.
    let lines = text.lines().filter(|line| !line.starts_with("    gate: ")).map(|line| format!("{line}\n"));
    let [from, with] = judge;
    let judged = format!("{from}, people: people}}\n    with: {{form: ranking{with}}}");
    let smaller: [(&str, &str); 4] = [
        ("steps: 300", "steps: 40"),
        ("steps: 15", "steps: 2"),
        ("take: 80", "take: 12"),
        (", judge: rm_judge, people: people}\n    with: {form: ranking}", &judged),
    ];
    let text = smaller.iter().fold(lines.collect::<String>(), |text, (own, other)| replaced(&text, own, other));
    place.write("rlhf.yaml", &text);
    place
}

/// A text with the one place at which a part of it stands replaced.
fn replaced(text: &str, own: &str, other: &str) -> String {
    assert_eq!(text.matches(own).count(), 1, "{own}");
    text.replace(own, other)
}

#[test]
fn the_whole_chain_runs_by_a_judge_on_this_machine_and_nothing_of_it_twice() {
    let place = chain([", judge: rm_judge", ""]);
    let events = run(&place, 0);
    let stages = ["answers", "people", "judged", "preferences", "rm", "ppo", "eval"];
    assert!(stages.iter().all(|stage| events.ending(stage) == "done"), "{stages:?}");
    // People spoke of the very answers that the judge compares.
    let metrics = &events.outcome("judged")["metrics"];
    assert_eq!((metrics["people_items"].as_f64(), metrics["items"].as_f64()), (Some(12.0), Some(48.0)));
    let provenance = rows(&place, events.content("preferences"), "provenance.jsonl");
    let sources = |wanted: &str| provenance.iter().filter(|row| row["source"] == wanted).count();
    assert!(sources("human_over_ai") > 0, "{metrics}");
    assert_eq!((sources("human_over_ai") + sources("human"), sources("ai")), (12, 36));
    assert!(run(&place, 0).busy().is_empty());
}

#[test]
fn a_judge_of_the_chain_that_does_not_say_what_people_say_labels_nothing() {
    let place = chain([", judge: never.jsonl", ""]);
    // All answers are the same to it.
    place.write("never.jsonl", "{\"regex\": \"^$\"}\n");
    let gate = "\n    gate: people_agreement > 0.7 with 95% confidence\n\n  preferences:";
    place.write("rlhf.yaml", &replaced(&place.read("rlhf.yaml"), "\n\n  preferences:", gate));
    let events = run(&place, 3);
    assert_eq!(events.outcome("judged")["metrics"]["people_agreement"].as_f64(), Some(0.5));
    for stage in ["preferences", "rm", "ppo", "eval"] {
        assert_eq!(events.ending(stage), "skipped", "{stage}");
    }
}

#[test]
fn rankings_that_people_confirm_train_nothing_anew_and_three_that_they_change_do() {
    let place = chain([", judge: rm_judge", ""]);
    let first = run(&place, 0);
    // What they said, as a file of rows.
    let said = |row: &Value| serde_json::json!({"prompt": row["prompt"], "completion": row["completion"], "ranking": row["ranking"]});
    let people: Vec<Value> = rows(&place, first.content("people"), "rankings.jsonl").iter().map(said).collect();
    let judged: Vec<Value> = rows(&place, first.content("judged"), "rankings.jsonl").iter().map(said).collect();
    let tell = |rows: &[Value]| {
        place.write("said.jsonl", &rows.iter().map(|row| format!("{row}\n")).collect::<String>());
        run(&place, 0)
    };
    place.write("rlhf.yaml", &place.read("rlhf.yaml").replace("people: people", "people: said.jsonl"));
    let confirmed = tell(&[&people[..], &judged[20..23]].concat());
    assert!(confirmed.content("preferences") != first.content("preferences"));
    assert_eq!((confirmed.content("rm"), worked(&confirmed, "rm")), (first.content("rm"), 0));
    let turned = people[..3].iter().map(|row| {
        let ranks: Vec<u64> = row["ranking"].as_array().unwrap().iter().map(|rank| rank.as_u64().unwrap()).collect();
        let most = ranks.iter().max().unwrap();
        let ranking: Vec<u64> = ranks.iter().map(|rank| 1 + most - rank).collect();
        serde_json::json!({"prompt": row["prompt"], "completion": row["completion"], "ranking": ranking})
    });
    let changed = tell(&turned.chain(people[3..].iter().cloned()).collect::<Vec<_>>());
    assert_eq!(worked(&changed, "rm"), 1);
}

#[test]
fn the_whole_chain_runs_by_an_endpoint() {
    let server = Judge::start(|asked| {
        // By the texts, so that none are alike.
        let mut letters: Vec<(String, char)> = asked.answers().into_iter().zip('A'..='Z').collect();
        letters.sort();
        let letters: Vec<String> = letters.into_iter().map(|(_, letter)| letter.to_string()).collect();
        judge::says(&serde_json::json!({"ranking": letters}).to_string())
    });
    let endpoint =
        format!(", language: ja, endpoint: {{url: '{}/v1', model: m, budget: {{requests: 200}}}}", server.address);
    let place = chain(["", &endpoint]);
    let events = run(&place, 0);
    assert_eq!((events.ending("judged"), events.ending("eval")), ("done", "done"));
    let items = events.outcome("judged")["metrics"]["items"].as_f64().unwrap();
    assert_eq!(server.requests() as f64, 2.0 * items);
    assert_eq!(events.outcome("judged")["metrics"]["order_consistency"].as_f64(), Some(1.0));
}
