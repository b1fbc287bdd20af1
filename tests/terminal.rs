//! Labelling in a terminal, as a person on ssh meets it: keys are pressed at a pseudo terminal of 80 × 24, and what is chosen is on
//! the disk when the next question is shown.

#[path = "support/program.rs"]
mod program;
#[path = "support/pty.rs"]
mod pty;

use program::{Place, files, place};
use pty::{Terminal, terminal};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use unicode_width::UnicodeWidthChar;

/// A pipeline that asks people about these items, with its worklist made.
fn asking(from: &str, with: &str, items: &[Value]) -> Place {
    let place = place();
    place.write(
        "rlhf.yaml",
        &format!(
            "name: rlhf\nstages:\n  people:\n    kind: label\n    from: {{items: items.jsonl{from}}}\n    with: {{repeats: 0, order: sequence{with}}}\n"
        ),
    );
    place.write("items.jsonl", &items.iter().map(|item| format!("{item}\n")).collect::<String>());
    place
}

fn sit(place: &Place, environment: &[(&str, &str)]) -> Terminal {
    let mut command = place.command(&["label", "rlhf.yaml", "people", "--terminal", "--as", "舞", "--lang", "en"]);
    command.env("TERM", "xterm-256color").envs(environment.iter().copied());
    terminal(command, 24, 80)
}

/// The lines of the label files.
fn kept(place: &Place) -> Vec<Value> {
    let all = files(&place.at("rlhf.labels"));
    let texts = all.iter().filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()).collect()
}

/// The judgement of a line, as it was said of the answers as they were shown.
fn judgement(line: &Value) -> &Value {
    &line["judgement"]
}

/// Nothing is outside of the screen.
fn assert_fits(lines: &[String]) {
    let cells = |line: &String| line.chars().map(|letter| letter.width().unwrap_or(0)).sum::<usize>();
    assert!(lines.len() <= 24, "{lines:#?}");
    assert!(lines.iter().all(|line| cells(line) <= 80), "{lines:#?}");
}

fn pairs(count: usize) -> Vec<Value> {
    let item = |number: usize| {
        let answers = [
            format!("花火{number}、すてきですね。{}", "とても長い答えです。".repeat(12)),
            format!("なるほど{number}。\u{1b}[31m"),
        ];
        json!({"id": number.to_string(), "prompt": format!("話し手：むかしは花火{number}を見ました。\n聞き手："), "answers": answers})
    };
    (0..count).map(item).collect()
}

#[test]
fn a_person_on_ssh_labels_by_the_keys_of_the_page_and_each_choice_is_on_the_disk_before_the_next_question() {
    let place = asking("", ", form: pairs", &pairs(6));
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let mut seat = sit(&place, &[("NO_COLOR", "1")]);
    let first = seat.shows("0 of 6 labels; yours: 0");
    assert_fits(&first);
    let text = first.join("\n");
    assert!(
        text.contains("Which answer is better?") && text.contains("[1] Answer A") && text.contains("│ [2] Answer B"),
        "{text}"
    );
    assert!(text.contains("⟨ESC⟩[31m"), "what an answer says steers no terminal: {text}");
    // Each key, and what is in the file when the screen counts it.
    let expected =
        [("1", json!({"pair": "first"})), ("\u{1b}[C", json!({"pair": "second"})), ("＝", json!({"pair": "tie"}))];
    for (number, (key, said)) in expected.iter().enumerate() {
        seat.press(key);
        assert_fits(&seat.shows(&format!("{} of 6 labels", number + 1)));
        let lines = kept(&place);
        let last = lines.last().unwrap();
        assert_eq!(lines.len(), number + 1);
        // A pair is kept as that of the item, whatever the side.
        let turned = json!({"pair": if said["pair"] == "first" { "second" } else { "first" }});
        let is_turned = last["order"] == json!([1, 0]) && said["pair"] != "tie";
        assert_eq!(judgement(last), if is_turned { &turned } else { said });
    }
    seat.press("u");
    seat.shows("2 of 6 labels");
    seat.press("n");
    seat.shows("A note (it goes into no training data): _");
    seat.press("迷った1");
    seat.shows("迷った1_");
    seat.press("\r");
    seat.shows("training data): 迷った1\r");
    seat.press("b");
    seat.shows("3 of 6 labels");
    let noted = kept(&place).pop().unwrap();
    assert_eq!((judgement(&noted), &noted["note"]), (&json!({"pair": "both_bad"}), &json!("迷った1")));
    seat.press("s");
    seat.shows("4 of 6 labels");
    seat.press("?");
    assert!(seat.shows("digits: the order of a ranking").len() <= 24);
    seat.press("?");
    seat.shows("[1] Answer A");
    seat.press("q");
    let all = seat.all();
    assert_eq!(seat.end(), Some(0));
    assert!(!all.contains("\u{1b}[1m"), "NO_COLOR");
    let entries: Vec<Value> = kept(&place).iter().map(|line| line["entry"].clone()).collect();
    assert_eq!(entries, ["label", "label", "label", "withdrawal", "label", "label"]);
    // The next session goes on, and one that is killed has lost nothing.
    let mut seat = sit(&place, &[]);
    seat.shows("4 of 6 labels; yours: 4");
    assert!(seat.all().contains("\u{1b}[1m"));
    seat.press("2");
    seat.shows("5 of 6 labels");
    drop(seat);
    let mut seat = sit(&place, &[]);
    seat.shows("5 of 6 labels");
    seat.press("1");
    seat.shows("Nothing is left for you");
    seat.press("q");
    assert_eq!(seat.end(), Some(0));
    place.run(&["label", "rlhf.yaml", "people", "--verify"]).expect_exit(0);
    place.run(&["run", "rlhf.yaml"]).expect_exit(0);
}

#[test]
fn a_long_answer_is_read_by_and_by_and_a_ranking_is_typed_with_ties() {
    let answers: Vec<String> =
        (0..4).map(|number| format!("{number}番目の答え。{}", "まだ続きます。".repeat(60))).collect();
    let place = asking("", ", form: ranking", &[json!({"prompt": "p", "answers": answers})]);
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let mut seat = sit(&place, &[]);
    let first = seat.shows("Answer A");
    assert_fits(&first);
    assert!(!first.join("\n").contains("Answer D"));
    for place in ["Answer B", "Answer D"] {
        seat.press(" ");
        assert_fits(&seat.shows(place));
    }
    seat.press("\r2");
    seat.press("4=13");
    seat.press("  ");
    seat.shows("B > D = A > C");
    seat.press("\r");
    seat.shows("Nothing is left for you");
    let line = kept(&place).pop().unwrap();
    let shown: Vec<usize> = line["order"].as_array().unwrap().iter().map(|at| at.as_u64().unwrap() as usize).collect();
    let of_shown: Vec<u64> = shown.iter().map(|at| line["judgement"]["ranking"][*at].as_u64().unwrap()).collect();
    assert_eq!(of_shown, [2, 1, 3, 2]);
}

#[test]
fn ratings_are_typed_and_an_answer_is_edited_in_the_persons_own_editor() {
    let sheet = "criteria: {name: s, question: {ja: 質問, en: How good is it?}, criteria: [{name: tone, question: {ja: 口調, en: Tone}, scale: [1, 5]}]}";
    let item = [json!({"prompt": "p", "answers": ["one", "two"]})];
    let place = asking("", &format!(", form: ratings, {sheet}"), &item);
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let mut seat = sit(&place, &[]);
    let text = seat.shows("Tone (1–5)").join("\n");
    assert!(text.contains("How good is it?") && text.contains("A:[·]  B: · "), "{text}");
    seat.press("4\r");
    seat.shows("A: 4   B:[·]");
    seat.press("2\r");
    seat.shows("Nothing is left for you");
    let line = kept(&place).pop().unwrap();
    let of = |answer: &str| {
        line["order"]
            .as_array()
            .unwrap()
            .iter()
            .position(|at| *at == json!(if answer == "one" { 0 } else { 1 }))
            .unwrap()
    };
    let ratings = &line["judgement"]["ratings"]["tone"];
    assert_eq!([&ratings[0], &ratings[1]], [&json!([4, 2][of("one")]), &json!([4, 2][of("two")])]);

    let place = asking("", ", form: edit", &[json!({"prompt": "p", "answers": ["a cold answer"]})]);
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let editor = place.at("my editor");
    fs::write(&editor, "#!/bin/sh\nsed -i \"s/cold/$1/\" \"$2\"\n").unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let quoted = format!("'{}' kind", editor.display());
    let mut seat = sit(&place, &[("EDITOR", &quoted), ("VISUAL", "")]);
    seat.shows("a cold answer");
    seat.press("1");
    seat.shows("a kind answer");
    assert!(!place.at("rlhf.labels").exists(), "nothing is said before it is sent");
    seat.press("\r");
    seat.shows("Nothing is left for you");
    assert_eq!(judgement(&kept(&place)[0]), &json!({"edit": {"answer": 0, "text": "a kind answer"}}));
}

#[test]
fn a_suggestion_comes_after_the_own_choice_and_both_are_kept() {
    let items: Vec<Value> =
        (0..2).map(|number| json!({"prompt": format!("p{number}"), "answers": ["cold", "kind"]})).collect();
    let place = asking(", suggest: ai.jsonl", ", form: pairs", &items);
    let suggested = |number: usize| {
        json!({"prompt": format!("p{number}"), "chosen": "kind", "rejected": "cold"}).to_string() + "\n"
    };
    place.write("ai.jsonl", &(0..2).map(suggested).collect::<String>());
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let mut seat = sit(&place, &[]);
    assert!(!seat.shows("0 of 2 labels").join("\n").contains("Suggested"));
    seat.press("1");
    seat.shows("Suggested by a model:");
    assert_eq!(kept(&place).len(), 1, "the own choice is on the disk before anything is suggested");
    seat.press("\r");
    seat.shows("p1");
    seat.press("1");
    seat.shows("Suggested by a model:");
    seat.press("2");
    seat.shows("Nothing is left for you");
    let lines = kept(&place);
    let hints: Vec<bool> = lines.iter().map(|line| line["after_hint"] == json!(true)).collect();
    assert_eq!(hints, [false, true, false, true]);
    assert_eq!(judgement(&lines[1]), judgement(&lines[0]));
    assert_ne!(judgement(&lines[3]), judgement(&lines[2]));
}

#[test]
fn without_a_terminal_nobody_is_asked_in_one() {
    let place = asking("", ", form: pairs", &pairs(2));
    place.run(&["run", "rlhf.yaml"]).expect_exit(3);
    let told = place.run(&["label", "rlhf.yaml", "people", "--terminal", "--as", "m"]).expect_exit(2).stderr;
    assert!(told.contains("`--terminal` asks at a terminal, and there is none"), "{told}");
    let told = place.run(&["label", "rlhf.yaml", "people", "--terminal"]).expect_exit(2).stderr;
    assert!(told.contains("--as"), "{told}");
}
