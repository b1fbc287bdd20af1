//! Labels in and out: judgements of other tools become labels, and labels become files that other tools read, and come back the same.

#[path = "support/program.rs"]
mod program;

use program::{Place, files, place};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// A pipeline that asks people about these items, with its worklist made.
fn asking(form: &str, items: &[Value]) -> Place {
    let place = place();
    place.write(
        "rlhf.yaml",
        &format!("name: rlhf\nstages:\n  people:\n    kind: label\n    from: {{items: items.jsonl}}\n    with: {{form: {form}, repeats: 0}}\n"),
    );
    place.write("items.jsonl", &items.iter().map(|item| format!("{item}\n")).collect::<String>());
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    place
}

fn pairs() -> Place {
    let item = |number: usize| json!({"prompt": format!("問い{number}"), "answers": [format!("悪い答え{number}"), format!("よい、\"答え\"{number}")]});
    asking("pairs", &(0..5).map(item).collect::<Vec<_>>())
}

fn import(place: &Place, file: &str, exit: i32) -> program::Ran {
    place.run(&["label", "rlhf.yaml", "people", "--import", file, "--as", "m"]).expect_exit(exit)
}

fn export(place: &Place, form: &str, file: &str) -> Vec<u8> {
    place.run(&["label", "rlhf.yaml", "people", "--export", form, "--to", file]).expect_exit(0);
    fs::read(place.at(file)).unwrap()
}

/// The judgement of each item, by its digest.
fn judged(place: &Place) -> BTreeMap<String, Value> {
    let all = files(&place.at("rlhf.labels"));
    let texts = all.iter().filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    let lines: Vec<Value> = texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect();
    lines.iter().map(|line| (line["item"].as_str().unwrap().to_owned(), line["judgement"].clone())).collect()
}

#[test]
fn doccano_label_studio_and_tables_of_spreadsheets_become_the_same_labels() {
    let good = |number: usize| format!("よい、\"答え\"{number}");
    let bad = |number: usize| format!("悪い答え{number}");
    let doccano = |(number, label): (usize, &str)| {
        json!({"id": number, "text": format!("問い{number}"), "answer1": good(number), "answer2": bad(number), "label": [label], "Comments": []})
            .to_string()
            + "\n"
    };
    let said = ["answer1", "answer2", "tie", "answer1", "answer2"];
    let doccano: String = said.into_iter().enumerate().map(doccano).collect();
    let studio = |(number, side): (usize, &str)| {
        let value = if side == "tie" { json!({"choices": ["tie"]}) } else { json!({"selected": side}) };
        json!({"id": number, "data": {"prompt": format!("問い{number}"), "text1": good(number), "text2": bad(number)},
               "annotations": [{"completed_by": 1, "was_cancelled": false, "result": [{"type": "pairwise", "value": value}]}]})
    };
    let sides = ["left", "right", "tie", "left", "right"];
    let studio = json!(sides.into_iter().enumerate().map(studio).collect::<Vec<_>>()).to_string();
    let quoted = |text: String| format!("\"{}\"", text.replace('"', "\"\""));
    let line = |(number, label): (usize, &str)| {
        format!("問い{number},{},{},{label}\r\n", quoted(good(number)), quoted(bad(number)))
    };
    let table =
        "prompt,answer1,answer2,label\r\n".to_owned() + &said.into_iter().enumerate().map(line).collect::<String>();
    let marked = ["\u{feff}", &table].concat().into_bytes();
    let (japanese, _, has_others) = encoding_rs::SHIFT_JIS.encode(&table);
    assert!(!has_others);
    let mut results = Vec::new();
    for (name, bytes) in [
        ("doccano.jsonl", doccano.into_bytes()),
        ("studio.json", studio.into_bytes()),
        ("table.csv", table.clone().into_bytes()),
        ("bom.csv", marked),
        ("shift_jis.csv", japanese.into_owned()),
    ] {
        let place = pairs();
        fs::write(place.at(name), bytes).unwrap();
        let told = import(&place, name, 0).stdout;
        assert_eq!(told, "5 labels of 5 rows; 0 rows judge no item of the worklist\n", "{name}");
        assert!(import(&place, name, 0).stdout.starts_with("0 labels of 5 rows, 5 were there already"), "{name}");
        results.push(judged(&place));
        place.run(&["run", "rlhf.yaml"]).expect_exit(0);
    }
    assert!(results.iter().all(|result| *result == results[0]), "{results:#?}");
    let ties = results[0].values().filter(|judgement| **judgement == json!({"pair": "tie"})).count();
    assert_eq!((results[0].len(), ties), (5, 1));
}

#[test]
fn the_first_bad_row_is_named_and_nothing_is_taken() {
    let place = pairs();
    place.write(
        "table.csv",
        "prompt,answer1,answer2,label\n問い0,悪い答え0,よい答え0,answer2\n問い1,悪い答え1,よい答え1,maybe\n",
    );
    let told = import(&place, "table.csv", 2).stderr;
    assert!(
        told.contains("table.csv") && told.contains("field `label` is `maybe`, neither `answer1`, `answer2`, `tie`"),
        "{told}"
    );
    assert!(told.contains("row 2") || told.contains("line 3"), "{told}");
    assert!(!place.at("rlhf.labels").exists());
}

#[test]
fn what_is_exported_comes_back_as_the_same_labels() {
    let place = pairs();
    let said = ["answer1", "answer2", "tie", "answer1", "answer2"];
    let line = |(number, label): (usize, &str)| {
        format!("問い{number},悪い答え{number},\"よい、\"\"答え\"\"{number}\",{label}\n")
    };
    place.write(
        "said.csv",
        &("prompt,answer1,answer2,label\n".to_owned() + &said.into_iter().enumerate().map(line).collect::<String>()),
    );
    import(&place, "said.csv", 0);
    let csv = export(&place, "csv", "out.csv");
    assert!(
        csv.starts_with("\u{feff}id,prompt,answer1,answer2,label,by,seconds,at\r\n".as_bytes()),
        "{}",
        String::from_utf8_lossy(&csv)
    );
    for (form, file, count) in
        [("csv", "out.csv", 5), ("rankings", "out.jsonl", 5), ("pairs", "pairs.jsonl", 4), ("kto", "kto.jsonl", 4)]
    {
        let bytes = export(&place, form, file);
        let again = pairs();
        fs::write(again.at(file), bytes).unwrap();
        let told = import(&again, file, 0).stdout;
        assert!(told.starts_with(&format!("{count} labels of ")), "{form}: {told}");
        let (before, mut after) = (judged(&place), judged(&again));
        // A tie makes no pair; a table and rankings keep it.
        if count == 4 {
            let tie = before.iter().find(|(_, judgement)| **judgement == json!({"pair": "tie"})).unwrap();
            assert!(after.insert(tie.0.clone(), tie.1.clone()).is_none());
        }
        assert_eq!(before, after, "{form}");
    }
    let refused = place.run(&["label", "rlhf.yaml", "people", "--export", "pairs"]).expect_exit(2).stderr;
    assert!(refused.contains("--to"), "{refused}");
}

#[test]
fn rankings_are_exported_with_their_ties_and_as_pairs() {
    let items = [json!({"id": "r", "prompt": "p", "answers": ["a", "b", "c"]})];
    let place = asking("ranking", &items);
    place.write("said.csv", "prompt,answer1,answer2,answer3,label\np,a,b,c,answer2 > answer1 = answer3\n");
    import(&place, "said.csv", 0);
    for (form, file) in [("csv", "out.csv"), ("rankings", "out.jsonl")] {
        let bytes = export(&place, form, file);
        let again = asking("ranking", &items);
        fs::write(again.at(file), bytes).unwrap();
        import(&again, file, 0);
        assert_eq!(judged(&again), judged(&place), "{form}");
    }
    let pairs = String::from_utf8(export(&place, "pairs", "pairs.jsonl")).unwrap();
    let pairs: Vec<Value> = pairs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<[&str; 2]> =
        pairs.iter().map(|pair| ["chosen", "rejected"].map(|side| pair[side].as_str().unwrap())).collect();
    assert_eq!(said, [["b", "a"], ["b", "c"]]);
    let refused =
        place.run(&["label", "rlhf.yaml", "people", "--export", "kto", "--to", "k.jsonl"]).expect_exit(2).stderr;
    assert!(refused.contains("this stage takes rankings"), "{refused}");
}
