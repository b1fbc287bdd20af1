//! Files that people have: which kinds can read them, and what they then read.

use super::case;
use formats::data::{self, DataRows, DataSource, RowFilter};
use std::path::Path;

fn one(path: &Path) -> Vec<DataSource> {
    vec![DataSource::from(path.to_owned())]
}

fn prompts(path: &Path) -> Vec<String> {
    let asked = data::prompts(&one(path), &mut RowFilter::default()).unwrap();
    asked.into_iter().map(|question| question.prompt.to_string()).collect()
}

/// Case 05: what belongs to the question is in it.
#[test]
fn a_question_has_its_context_and_its_system_text() {
    let Some(case) = case("05-dolly-context") else { return };
    let text = "The ship named in this invented text sailed on 3 May 1911 from Kobe.";
    assert_eq!(
        prompts(&case.join("dolly.jsonl")),
        [format!("When did the ship sail?\n\n{text}"), format!("Where did it sail from?\n\n{text}")]
    );
    assert_eq!(
        prompts(&case.join("system.jsonl")),
        ["sailor", "poet"].map(|who| format!("system: Answer as a {who}.\nuser: When did the ship sail?"))
    );
    let learned = data::examples(&one(&case.join("dolly.jsonl")), &mut RowFilter::default()).unwrap();
    assert_eq!(learned.iter().map(|row| row.completion.as_str()).collect::<Vec<_>>(), ["On 3 May 1911.", "From Kobe."]);
}

/// Case 06: the sets of the hub, by the kinds that can use them.
#[test]
fn known_sets_are_read_by_their_fields() {
    let Some(case) = case("06-known-formats") else { return };
    let kinds = [
        ("sft", DataRows::Examples),
        ("rm", DataRows::Preferences { with_margins: true }),
        ("kto", DataRows::Labelled),
        ("eval", DataRows::Prompts),
    ];
    let sets = [
        ("arena", "sft rm kto eval"),
        ("class-label", "kto eval"),
        ("dolly-ja", "sft eval"),
        ("gsm8k", "sft eval"),
        ("helpsteer", "sft eval"),
        ("helpsteer2-preference", "sft rm kto eval"),
        ("hh-rlhf", "sft rm kto eval"),
        ("ichikara", "sft eval"),
        ("instruction-completion", "sft eval"),
        ("kto-mix", "sft kto eval"),
        ("messages-as-text", "sft eval"),
        ("nectar", "sft rm eval"),
        ("oasst-messages", ""),
        ("oasst-trees", "sft rm eval"),
        ("openai-null-content", ""),
        ("orca-dpo-pairs", "sft rm kto eval"),
        ("prompt-response", "sft eval"),
        ("sharegpt-chatgpt-role", "sft eval"),
        ("sharegpt-gpt-first", "sft eval"),
        ("shp", "sft rm kto eval"),
        ("summarize-feedback", ""),
        ("ultrachat", "sft eval"),
        ("ultrafeedback", "sft rm eval"),
        ("ultrafeedback-binarized", "sft rm kto eval"),
    ];
    for (set, right) in sets {
        let file = one(&case.join(format!("rows/{set}.jsonl")));
        let reading = kinds.iter().filter(|(_, rows)| stages::kinds::check_data(*rows, &file, 0).is_ok());
        assert_eq!(reading.map(|(kind, _)| *kind).collect::<Vec<_>>().join(" "), right, "{set}");
    }
    // Of a transcript, all but the last answer is the prompt.
    let first = &prompts(&case.join("rows/hh-rlhf.jsonl"))[0];
    assert_eq!(first, "user: How do I boil rice?\nassistant: Sure.\nuser: And then?");
}

/// Case 06: rows that are no known set are read by `columns`.
#[test]
fn a_set_that_is_not_known_is_read_by_its_columns() {
    let Some(case) = case("06-known-formats") else { return };
    let file = case.join("rows/summarize-feedback.jsonl");
    let columns = [
        ("prompt", "info.post"),
        ("chosen", "{{ summaries[choice].text }}"),
        ("rejected", "{{ summaries[1 - choice].text }}"),
    ];
    let mut source = one(&file);
    source[0].options.columns = columns.map(|(field, from)| (field.to_owned(), from.to_owned())).into();
    let pairs = data::preferences(&source, false, &mut RowFilter::default()).unwrap();
    let pair = pairs.into_iter().next().unwrap().with_pairs(9, |_| 0);
    assert_eq!(pair.prompt.to_string(), "Long text.");
    assert_eq!(
        pair.pairs.iter().map(|(best, worst)| [&*pair.answers[*best], &pair.answers[*worst]]).next().unwrap(),
        ["Short.", "Bad."]
    );
    let unknown = data::prompts(&one(&file), &mut RowFilter::default()).unwrap_err();
    assert!(format!("{unknown:#}").contains("`columns`"), "the message names the way out: {unknown:#}");
}

/// Case 07: texts that are nearly JSON, and files that are none.
#[test]
fn odd_files_are_read_or_refused_by_what_they_are() {
    let Some(case) = case("07-jsonl-quirks") else { return };
    let bad = [
        ("a.jsonl.bz2", "packed by bzip2"),
        ("a.jsonl.xz", "packed by xz"),
        ("columns.json", "it holds columns, not rows"),
        ("deep.jsonl", "nested deeper than 128 times"),
        ("huge-number.jsonl", "a number is too large"),
        ("lone-surrogate.jsonl", "half of a character"),
        ("no-newline-between.jsonl", "more follows after the row"),
        ("trailing-comma.json", "not a JSON list of rows"),
        ("zeros-at-the-end.jsonl", "zero bytes alone"),
    ];
    let files = std::fs::read_dir(case.join("files")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 36, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let found = stages::kinds::check_data(DataRows::Examples, &one(&file), 0);
        match (found, bad.iter().find(|(bad, _)| *bad == name)) {
            (Ok(_), None) => {}
            (Err(error), Some((_, why))) => assert!(format!("{error:#}").contains(why), "{name}: {error:#}"),
            (found, why) => panic!("{name}: {found:?}, and right is {why:?}"),
        }
    }
}

/// Case 17: shards, by a directory and by a pattern, in the order of their names.
#[test]
fn shards_are_one_set() {
    let Some(case) = case("17-data-in-shards") else { return };
    for path in ["data", "data/train-*.jsonl"] {
        let source = DataSource { files: data::files(&case.join(path)).unwrap(), ..one(&case)[0].clone() };
        let learned = data::examples(&[source], &mut RowFilter::default()).unwrap();
        let prompts: Vec<String> = learned.iter().map(|row| row.prompt.to_string()).collect();
        assert_eq!(prompts, ["a0", "c0", "a1", "c1"], "{path}");
    }
}
