//! Stages that wait for people, as a person meets them: made-up people label through the program, and files are what
//! version control would make of them.

#[path = "support/annotators.rs"]
mod annotators;
#[path = "support/program.rs"]
mod program;

use annotators::{Annotator, Lots, worth};
use program::{Events, Place, ROOT, place, word};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

/// A pipeline that asks people about ten items; `with` are more parameters, `gate` is a gate.
fn write(place: &Place, name: &str, with: &str, gate: &str) {
    let here = place.path().display();
    place.write(
        "rlhf.yaml",
        &format!(
            r#"
name: rlhf
stages:
  {name}:
    kind: label
    from: {{items: items.jsonl}}
    with: {{form: pairs, repeats: 0{with}}}
    {gate}
  learn:
    kind: exec
    from: {{rows: {name}:pairs.jsonl}}
    with: {{command: [sh, -c, "wc -l < in/rows.jsonl > n; echo x >> {here}/learned"], outputs: [n]}}
  beside: {{kind: exec, with: {{command: [sh, -c, "true"]}}}}
"#
        ),
    );
}

fn item(number: usize, text: &str) -> String {
    json!({"id": number.to_string(), "prompt": format!("prompt {number}"), "answers": [format!("bad {text}"), format!("a good {text}")]})
        .to_string()
        + "\n"
}

fn ten(place: &Place) {
    place.write("items.jsonl", &(0..10).map(|number| item(number, "answer")).collect::<String>());
}

/// Labels at most `most` items in the name of a person. Returns the number.
fn label(place: &Place, by: &str, annotator: Annotator, most: usize) -> usize {
    let stage = if place.read("rlhf.yaml").contains("  people:") { "people" } else { "folk" };
    let mut command = place.command(&["label", "rlhf.yaml", stage, "--json", "--as", by]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut answers, mut lots) = (child.stdin.take().unwrap(), Lots::new(by.len() as u64 + 7));
    let mut done = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let task: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_blind(&task);
        let shown = [0, 1].map(|side| task["answers"][side].as_str().unwrap());
        let (chosen, seconds) = annotator.choose(shown, shown.map(worth), done as f64 / most as f64, &mut lots);
        if done == most {
            break;
        }
        let choice = ["first", "second"][chosen];
        let said = json!({"judgement": {"pair": choice}, "seconds": seconds, "note": "between us"});
        writeln!(answers, "{said}").unwrap();
        done += 1;
    }
    drop(answers);
    assert!(child.wait().unwrap().success());
    done
}

/// Nobody is told where an answer comes from.
fn assert_blind(task: &Value) {
    let fields: Vec<&String> = task.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["answers", "form", "prompt"]);
}

fn run(place: &Place, exit: i32) -> Events {
    place.run(&["run", "rlhf.yaml", "--json"]).expect_exit(exit).events()
}

fn learned(place: &Place) -> usize {
    fs::read_to_string(place.at("learned")).unwrap_or_default().lines().count()
}

/// The label files that people wrote, those of the run left out.
fn files(place: &Place) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for worklist in fs::read_dir(place.at("rlhf.labels")).unwrap() {
        let all = fs::read_dir(worklist.unwrap().path()).unwrap().map(|file| file.unwrap().path());
        files.extend(all.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("run-")));
    }
    files.sort();
    files
}

#[test]
fn a_stage_waits_for_labels_and_goes_on_where_they_have_come() {
    let place = place();
    ten(&place);
    write(&place, "people", "", "");
    let waits = run(&place, 3);
    assert_eq!((waits.ending("people"), waits.ending("beside")), ("waits", "done"));
    assert_eq!(word(&waits.outcome("learn")["because"]), "`people` waits for labels");
    assert_eq!(label(&place, "m", Annotator::Careful, 5), 5);
    let half = run(&place, 3);
    assert_eq!((&half.outcome("people")["done"], &half.outcome("people")["needed"]), (&json!(5), &json!(10)));
    let told = place.run(&["status", "rlhf.yaml"]).expect_exit(0).stdout;
    assert!(told.contains("5 of 10 labels; `pipeline label rlhf.yaml people`"), "{told}");
    assert_eq!((label(&place, "m", Annotator::Careful, 9), learned(&place)), (5, 0));
    assert_eq!((run(&place, 0).ending("people"), learned(&place)), ("done", 1));
    run(&place, 0);
    // Another name of the stage is none of the labels' business.
    write(&place, "folk", "", "");
    assert_eq!((run(&place, 0).ending("folk"), learned(&place)), ("done", 1));
    let is_told = |path: &PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).contains("between us");
    assert!(files(&place).iter().any(is_told));
    assert!(!all_files(place.at(".pipeline")).iter().any(is_told), "what people noted is for people");
}

#[test]
fn a_label_lapses_with_its_item_and_counts_again_when_that_returns() {
    let place = place();
    ten(&place);
    write(&place, "people", "", "");
    run(&place, 3);
    label(&place, "m", Annotator::Careful, 10);
    run(&place, 0);
    let before = place.read("items.jsonl");
    place.write("items.jsonl", &before.replacen("a good answer", "a good answer, changed", 1));
    let lapsed = run(&place, 3);
    assert_eq!(&lapsed.outcome("people")["done"], &json!(9));
    assert_eq!(label(&place, "m", Annotator::Careful, 10), 1, "only the item that changed is asked again");
    run(&place, 0);
    assert_eq!(learned(&place), 2);
    place.write("items.jsonl", &before);
    run(&place, 0);
    assert_eq!(learned(&place), 2, "what was made of the labels of before is found again");
}

#[test]
fn later_labels_change_nothing_until_they_are_adopted() {
    let place = place();
    ten(&place);
    write(&place, "people", ", need: {items: 6, overlap: 0.5}", "");
    run(&place, 3);
    assert_eq!(label(&place, "m", Annotator::Careful, 20), 6);
    run(&place, 3);
    assert_eq!(label(&place, "n", Annotator::Careful, 20), 3, "half of the items are asked twice");
    run(&place, 0);
    // Somebody goes on in another clone, where nothing was closed.
    let clone = place.copy();
    let closed: Vec<PathBuf> = fs::read_dir(files(&clone)[0].parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("run-"))
        .collect();
    assert_eq!(closed.len(), 1);
    fs::remove_file(&closed[0]).unwrap();
    write(&clone, "people", ", need: {items: 6, overlap: 1}", "");
    run(&clone, 3);
    assert_eq!(label(&clone, "o", Annotator::AlwaysLeft, 3), 3);
    merge(&clone, &place);
    let noted = run(&place, 0);
    let messages: Vec<&str> = noted.of("noted").map(|event| word(&event["message"])).collect();
    assert_eq!(messages, ["3 later labels change nothing until they are adopted: `pipeline label --adopt`"]);
    assert_eq!(learned(&place), 1);
    assert!(!place.run(&["plan", "rlhf.yaml"]).expect_exit(0).stdout.contains("would run"));
    place.run(&["label", "rlhf.yaml", "people", "--adopt", "--by", "m"]).expect_exit(0);
    let plan = place.run(&["plan", "rlhf.yaml"]).expect_exit(0).stdout;
    assert!(plan.contains("would run") && plan.contains("inputs.labels"), "{plan}");
    run(&place, 0);
    assert_eq!(learned(&place), 2);
    let again = place.run(&["label", "rlhf.yaml", "people", "--adopt", "--by", "m"]).expect_exit(0).stdout;
    assert_eq!(again, "there are no later labels to adopt\n");
}

/// Every file below a directory.
fn all_files(directory: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![directory];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Takes the label files of one clone into another, as version control does: files that only one has.
fn merge(from: &Place, to: &Place) {
    for file in files(from) {
        let target = to.at("rlhf.labels").join(file.parent().unwrap().file_name().unwrap());
        fs::create_dir_all(&target).unwrap();
        fs::copy(&file, target.join(file.file_name().unwrap())).unwrap();
    }
}

#[test]
fn the_labels_of_two_branches_count_together() {
    let place = place();
    ten(&place);
    write(&place, "people", "", "");
    run(&place, 3);
    let other = place.copy();
    label(&place, "m", Annotator::Careful, 6);
    label(&other, "n", Annotator::Careful, 6);
    merge(&other, &place);
    let merged = run(&place, 3);
    // Both began at the same end: six items have two labels.
    assert_eq!(&merged.outcome("people")["done"], &json!(6));
    assert_eq!(label(&place, "n", Annotator::Careful, 9), 4);
    run(&place, 0);
    let names: Vec<String> =
        files(&place).iter().map(|file| file.file_name().unwrap().to_str().unwrap()[..2].to_owned()).collect();
    assert_eq!(names, ["m-", "n-", "n-"], "a session writes a file of its own");
}

#[test]
fn a_byte_changed_in_an_old_line_is_named_and_the_stage_refuses() {
    let place = place();
    ten(&place);
    write(&place, "people", "", "");
    run(&place, 3);
    label(&place, "m", Annotator::Careful, 10);
    let whole = place.run(&["label", "rlhf.yaml", "people", "--verify"]).expect_exit(0).stdout;
    assert!(whole.contains("1 files with 10 lines, every chain is whole"), "{whole}");
    let file = files(&place).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().nth(3).unwrap();
    let (from, to) = if line.contains("\"first\"") { ("\"first\"", "\"second\"") } else { ("\"second\"", "\"first\"") };
    let changed: Vec<String> =
        text.lines().map(|one| if one == line { one.replace(from, to) } else { one.to_owned() }).collect();
    fs::write(&file, changed.join("\n") + "\n").unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let told = place.run(&["label", "rlhf.yaml", "people", "--verify"]).expect_exit(2).stderr;
    assert!(told.contains(name) && told.contains("line 4: it is not as it was written"), "{told}");
    let refused = run(&place, 1);
    let cause = word(&refused.outcome("people")["cause"]).to_owned();
    assert!(cause.contains(name) && cause.contains("line 4"), "{cause}");
}

#[test]
fn judgements_of_other_tools_become_labels_of_the_same_items() {
    let place = place();
    ten(&place);
    write(&place, "people", "", "");
    run(&place, 3);
    let pair = |number: usize| {
        json!({"fields": {"prompt": format!("prompt {number}"), "response1": "bad answer", "response2": "a good answer"},
               "responses": {"better": [{"value": "response2"}]}})
    };
    let rows: String = (0..4).map(|number| pair(number).to_string() + "\n").collect();
    place.write("argilla.jsonl", &rows);
    let import =
        |file: &str| place.run(&["label", "rlhf.yaml", "people", "--import", file, "--as", "m"]).expect_exit(0).stdout;
    assert_eq!(import("argilla.jsonl"), "4 labels of 4 rows; 0 rows judge no item of the worklist\n");
    assert!(import("argilla.jsonl").starts_with("0 labels of 4 rows, 4 were there already"));
    // As a spreadsheet in Japan writes it: with a mark of the byte order, or in Shift_JIS.
    place.write("items.jsonl", &(place.read("items.jsonl") + &item_of("問い", "悪い", "よい")));
    run(&place, 3);
    let table = "prompt,chosen,rejected\nprompt 4,a good answer,bad answer\n問い,よい,悪い\n";
    fs::write(place.at("bom.csv"), [&[0xef, 0xbb, 0xbf], table.as_bytes()].concat()).unwrap();
    assert!(import("bom.csv").starts_with("2 labels of 2 rows"));
    let progress = place.run(&["label", "rlhf.yaml", "people"]).expect_exit(0).stdout;
    assert!(progress.contains("6 of 11 labels"), "{progress}");
}

#[test]
fn items_whose_answers_name_their_model_are_marked_and_may_be_left_out_and_equal_answers_are_counted() {
    let place = place();
    ten(&place);
    let leaking = item_of("who", "I am ChatGPT, and this is good.", "bad");
    let equal = item_of("same", "good", "good");
    place.write("items.jsonl", &(place.read("items.jsonl") + &leaking + &equal));
    write(&place, "people", "", "gate: {observe: leaks_identity <= 0}");
    let waits = run(&place, 3);
    let told = |events: &Events, what: &str| events.of("noted").any(|note| note.to_string().contains(what));
    assert!(told(&waits, "1 items with an answer that names its model are marked"), "{:?}", waits.0.last());
    label(&place, "m", Annotator::Careful, 20);
    let done = run(&place, 0);
    let metrics = &done.outcome("people")["metrics"];
    assert_eq!((&metrics["leaks_identity"], &metrics["equal_answers"]), (&json!(1.0), &json!(1.0)), "{metrics}");
    // Nothing else of the labels changes, and no person is asked anew.
    write(&place, "people", ", leaks: leave_out", "");
    let without = run(&place, 0);
    assert!(told(&without, "1 items with an answer that names its model are left out"));
    let metrics = &without.outcome("people")["metrics"];
    assert_eq!((&metrics["items"], &metrics["leaks_identity"]), (&json!(11.0), &json!(0.0)), "{metrics}");
}

#[test]
fn comparisons_that_fall_apart_are_told() {
    let place = place();
    place.write("items.jsonl", &(json!({"prompt": "p", "answers": ["a", "b", "c", "d"]}).to_string() + "\n"));
    write(&place, "people", ", need: {items: 2}", "gate: {observe: disconnected <= 0}");
    run(&place, 3);
    let import = |pairs: &[[&str; 2]]| {
        let row = |[chosen, rejected]: &[&str; 2]| {
            json!({"prompt": "p", "chosen": chosen, "rejected": rejected}).to_string() + "\n"
        };
        place.write("pairs.jsonl", &pairs.iter().map(row).collect::<String>());
        place.run(&["label", "rlhf.yaml", "people", "--import", "pairs.jsonl", "--as", "m"]).expect_exit(0);
    };
    let told = "the comparisons of 1 prompt fall apart";
    import(&[["a", "b"], ["c", "d"]]);
    assert!(place.run(&["label", "rlhf.yaml", "people"]).expect_exit(0).stdout.contains(told));
    let apart = run(&place, 0);
    assert_eq!(apart.outcome("people")["metrics"]["disconnected"], json!(1.0));
    assert!(apart.of("noted").any(|note| note.to_string().contains(told)));
    // A comparison between the two parts.
    import(&[["c", "b"]]);
    assert!(!place.run(&["label", "rlhf.yaml", "people"]).expect_exit(0).stdout.contains(told));
    place.run(&["label", "rlhf.yaml", "people", "--adopt", "--by", "m"]).expect_exit(0);
    assert_eq!(run(&place, 0).outcome("people")["metrics"]["disconnected"], json!(0.0));
}

fn item_of(prompt: &str, bad: &str, good: &str) -> String {
    json!({"id": prompt, "prompt": prompt, "answers": [bad, good]}).to_string() + "\n"
}

#[test]
fn a_rule_may_ask_how_sure_it_is_of_people() {
    let place = place();
    let row = |number: usize| {
        json!({"prompt": format!("prompt {number}"), "chosen": "a good answer", "rejected": "bad"}).to_string() + "\n"
    };
    place.write("items.jsonl", &(0..80).map(row).collect::<String>());
    let rule = |rule: &str| format!("gate: {{require: [\"{rule}\"]}}");
    write(&place, "people", "", &rule("human_agreement > 0.6 with 95% confidence"));
    run(&place, 3);
    label(&place, "m", Annotator::Noisy(0.2), 80);
    let passed = run(&place, 0);
    assert_eq!(passed.decision("people"), "pass");
    // The labels stay when the rule changes.
    write(&place, "people", "", &rule("human_agreement > 0.9 with 95% confidence"));
    assert_eq!(run(&place, 3).decision("people"), "fail");
    write(&place, "people", "", &rule("alpha > 0.4 with 95% confidence"));
    let erred = run(&place, 1);
    assert!(word(&erred.outcome("people")["cause"]).contains("`alpha` was not measured"));
}

#[test]
fn mistakes_of_a_criteria_sheet_are_told_with_their_line() {
    let place = place();
    ten(&place);
    let sheet = fs::read_to_string(format!("{ROOT}/pipelines/criteria/summary.yaml")).unwrap();
    place.write(
        "criteria.yaml",
        &sheet.replacen("scale: [1, 5]", "scale: [5, 1]", 1).replacen("    anchors:", "    anchor:", 2),
    );
    write(&place, "people", "", "");
    let file = place.read("rlhf.yaml").replace("{items: items.jsonl}", "{items: items.jsonl, criteria: criteria.yaml}");
    place.write("rlhf.yaml", &file);
    let told = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
    // Line and caret are those of the sheet's own file; the line that names it comes after.
    let caret = "criteria.yaml:12:5\n   |\n12 |     anchor:\n   |     ^^^^^^";
    assert!(told.contains(caret) && told.contains("unknown field `anchor`"), "{told}");
    assert!(told.contains("::: rlhf.yaml:6:"), "{told}");
}

#[test]
fn another_criteria_sheet_says_which_labels_stop_counting_and_how_they_are_kept() {
    let place = place();
    ten(&place);
    let sheet = fs::read_to_string(format!("{ROOT}/pipelines/criteria/summary.yaml")).unwrap();
    place.write("criteria.yaml", &sheet);
    write(&place, "people", "", "");
    let file = place.read("rlhf.yaml").replace("{items: items.jsonl}", "{items: items.jsonl, criteria: criteria.yaml}");
    place.write("rlhf.yaml", &file);
    run(&place, 3);
    let rows: String = (0..10)
        .map(|number| {
            json!({"prompt": format!("prompt {number}"), "chosen": "a good answer", "rejected": "bad answer"})
                .to_string()
                + "\n"
        })
        .collect();
    place.write("said.jsonl", &rows);
    place.run(&["label", "rlhf.yaml", "people", "--import", "said.jsonl", "--as", "m"]).expect_exit(0);
    run(&place, 0);
    // Comments are none of the labels' business; another question is.
    place.write("criteria.yaml", &format!("# for the new term\n{sheet}"));
    run(&place, 0);
    let changed = sheet.replacen("en: '", "en: 'Please: ", 1);
    assert_ne!(changed, sheet);
    place.write("criteria.yaml", &changed);
    let ran = place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let told = place.run(&["label", "rlhf.yaml", "people"]).expect_exit(0).stdout;
    assert!(
        told.contains("0 of 10 labels") && told.contains("10 labels of these items were made by the criteria sheet"),
        "{told}"
    );
    assert!(ran.stderr.contains("do not count"), "{}", ran.stderr);
    let keeping = told.split('`').find(|part| part.starts_with("compatible_with: [")).unwrap();
    place.write("criteria.yaml", &format!("{changed}{keeping}\n"));
    assert_eq!(run(&place, 0).outcome("people")["metrics"]["items"], json!(10.0));
}

#[test]
fn every_sheet_that_comes_with_the_program_is_one() {
    let place = place();
    ten(&place);
    for name in ["helpful", "reminiscence", "support", "summary", "refusal"] {
        let sheet = place.run(&["criteria", name]).expect_exit(0).stdout;
        place.write("criteria.yaml", &sheet);
        write(&place, "people", "", "");
        let file = place.read("rlhf.yaml");
        place
            .write("rlhf.yaml", &file.replace("{items: items.jsonl}", "{items: items.jsonl, criteria: criteria.yaml}"));
        place.run(&["check", "rlhf.yaml"]).expect_exit(0);
    }
}
