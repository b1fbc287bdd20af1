//! The report of a run as one HTML file, as a person makes it and sends it on.

#[path = "support/program.rs"]
mod program;

use program::{Place, files, place};
use std::fs;
use std::path::PathBuf;

/// Answers of two models to 60 prompts: the second is better in most of them, and one of its answers is hostile.
fn write(place: &Place, gate: &str) {
    let rows = |is_tuned: bool| {
        let row = |at: usize| {
            let text = match (is_tuned, at) {
                (true, 7) => "</script><script>alert(1)</script>\u{202e}".to_owned(),
                (true, _) if !at.is_multiple_of(5) => format!("a warmer answer {at}"),
                _ => format!("answer {at}"),
            };
            let score = (at % 7) as f64 / 10.0 + if is_tuned && !at.is_multiple_of(5) { 0.4 } else { 0.0 };
            serde_json::json!({"id": at, "prompt": format!("question {at}"), "text": text, "score": score}).to_string()
        };
        (0..60).map(|at| row(at) + "\n").collect::<String>()
    };
    place.write("base.jsonl", &rows(false));
    place.write("tuned.jsonl", &rows(true));
    let curve = |peak: usize| {
        let point = |step: usize| {
            let loss = if step == peak { 9.75 } else { 1.0 / (step + 1) as f64 };
            format!("{{\"step\":{step},\"loss\":{loss},\"metrics\":{{\"kl\":null}}}}\n")
        };
        (0..5_000).map(point).collect::<String>()
    };
    place.write("curve.jsonl", &curve(3_333));
    let command = |name: &str, score: f64| {
        format!(
            "cp in/rows.jsonl items.jsonl; cp in/curve.jsonl metrics.jsonl; echo {name} > model; \
             echo '{{\\\"score\\\": {score}}}' > metrics.json"
        )
    };
    let (base, tuned) = (command("base", 0.3), command("tuned", 0.62));
    let text = format!(
        r#"name: toy
stages:
  base:
    kind: exec
    from: {{rows: ./base.jsonl, curve: ./curve.jsonl}}
    metrics: {{score: higher}}
    with: {{command: [sh, -c, "{base}"], outputs: [model]}}
  tuned:
    kind: exec
    from: {{policy: base, rows: ./tuned.jsonl, curve: ./curve.jsonl}}
    incumbent: policy
    metrics: {{score: higher}}
    with: {{command: [sh, -c, "{tuned}"], outputs: [model]}}
    gate: {gate}
  broken:
    kind: exec
    from: {{policy: tuned}}
    with: {{command: [sh, -c, "echo no disk; exit 3"], outputs: [model]}}
"#
    );
    place.write("toy.yaml", &text);
}

const PROMOTE: &str = "{require: score > incumbent.score, on_fail: keep}";

fn run(place: &Place) {
    place.run(&["run", "toy.yaml"]).expect_exit(1);
}

/// The page that the report of the last run writes.
fn page(place: &Place, options: &[&str], exit: i32) -> String {
    let line = [&["report", "toy.yaml", "-o", "page.html"], options].concat();
    let ran = place.run(&line).expect_exit(exit);
    let page = place.read("page.html");
    let digest = blake3::hash(page.as_bytes()).to_string();
    assert!(
        ran.stdout.starts_with("page.html: ") && ran.stdout.ends_with(&format!("blake3 {digest}\n")),
        "{}",
        ran.stdout
    );
    page
}

fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let rest = page.split(&format!("data-fragment=\"{name}\"")).nth(1).unwrap_or_else(|| panic!("no section {name}"));
    rest.split("</section>").next().unwrap()
}

#[test]
fn a_run_is_one_page_that_holds_all_of_it() {
    let place = place();
    write(&place, PROMOTE);
    run(&place);
    let english = page(&place, &["--lang", "en"], 0);
    let names = ["verdict", "health", "graph", "gates", "curves", "answers", "dark", "provenance", "glossary"];
    let places: Vec<usize> =
        names.iter().map(|name| english.find(&format!("data-fragment=\"{name}\"")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(english.len() < 200_000, "{}", english.len());
    assert!(section(&english, "verdict").contains("toy failed at broken"), "{}", section(&english, "verdict"));
    assert!(section(&english, "gates").contains("score 0.62 &gt; incumbent.score 0.3"));
    assert!(section(&english, "dark").contains("exit status: 3"));
    // The peak of 5,000 points is the top of the drawing: the first whole path of the figure reaches its upper edge.
    let curves = section(&english, "curves");
    assert!(curves.contains("9.750") && curves.contains("5000 points, min–max drawn"), "{curves}");
    // What a model wrote is text, in its own direction.
    let answers = section(&english, "answers");
    assert!(answers.contains("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;<span class=\"mark\">U+202E</span>"));
    assert_eq!(english.matches("<script>").count(), 1);
    assert!(!english.contains('\u{202e}'));

    // Both languages say the same of it.
    let japanese = page(&place, &["--lang", "ja"], 0);
    assert!(japanese.contains("<html lang=\"ja\">") && japanese.contains("toy は broken で失敗しました"));
    let mut command = place.command(&["report", "toy.yaml", "-o", "page.html"]);
    command.env("LC_ALL", "ja_JP.UTF-8");
    program::ran(command).expect_exit(0);
    assert_eq!(place.read("page.html"), japanese);
}

#[test]
fn the_same_facts_are_the_same_bytes_in_whatever_folder() {
    let place = place();
    write(&place, PROMOTE);
    run(&place);
    let first = page(&place, &[], 0);
    assert_eq!(page(&place, &[], 0), first);
    let copy = place.copy();
    assert_eq!(page(&copy, &[], 0), first);
    assert!(!first.contains(place.path().to_str().unwrap()));
    // The curves belong to the records: the work directories may go.
    fs::remove_dir_all(copy.at(".pipeline/work")).unwrap();
    assert_eq!(page(&copy, &["--strict"], 0), first);
}

#[test]
fn a_rejected_stage_is_shown_with_the_nearest_rule_that_would_have_passed() {
    let place = place();
    write(&place, "{require: score > incumbent.score by 0.5, on_fail: keep}");
    run(&place);
    let page = page(&place, &[], 0);
    let dark = section(&page, "dark");
    assert!(dark.contains("kept the incumbent"), "{dark}");
    assert!(dark.contains("<code>score &gt; incumbent.score by 0.319</code>"), "{dark}");
    // And it does pass.
    let what_if =
        place.run(&["gate", "what-if", "tuned", "score > incumbent.score by 0.319", "toy.yaml"]).expect_exit(0);
    assert!(what_if.stdout.contains("pass"), "{}", what_if.stdout);
}

/// The blob of the store that holds these bytes.
fn blob(place: &Place, beginning: &str) -> PathBuf {
    let all = files(&place.at(".pipeline/store/v1/blobs"));
    let holds = |path: &&PathBuf| path.is_file() && fs::read(path).unwrap().starts_with(beginning.as_bytes());
    all.iter().find(holds).unwrap().clone()
}

fn journal(place: &Place) -> PathBuf {
    files(&place.at(".pipeline/runs")).into_iter().find(|path| path.ends_with("journal.jsonl")).unwrap()
}

#[test]
fn a_damaged_store_or_journal_has_a_page_that_says_what_it_lacks() {
    let whole = place();
    write(&whole, PROMOTE);
    run(&whole);
    page(&whole, &["--strict"], 0);
    type Damage = fn(&Place);
    let damages: [(&str, &str, Damage); 5] = [
        ("a curve", "The curve of base is not in the store", |place| {
            fs::remove_dir_all(place.at(".pipeline/work")).unwrap();
            fs::remove_file(blob(place, "{\"step\":0")).unwrap();
        }),
        ("a table", "The record of tuned is not in the store", |place| {
            let table = place.read("tuned.jsonl");
            fs::remove_file(blob(place, &table[..table.len() / 2])).unwrap();
        }),
        ("the store", "The store cannot be read", |place| fs::remove_dir_all(place.at(".pipeline/store")).unwrap()),
        ("an unknown event", "1 lines of the journal", |place| {
            let path = journal(place);
            let text = fs::read_to_string(&path).unwrap();
            let (first, rest) = text.split_once('\n').unwrap();
            fs::write(&path, format!("{first}\n{{\"event\":\"dreamt\",\"of\":\"sheep\"}}\n{rest}")).unwrap();
        }),
        ("a line torn in the middle", "1 lines of the journal", |place| {
            let path = journal(place);
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let half = &lines[2][..lines[2].len() / 2];
            fs::write(&path, format!("{}\n{}\n{half}\n{}\n", lines[0], lines[1], lines[3..].join("\n"))).unwrap();
        }),
    ];
    for (name, says, damage) in damages {
        let place = whole.copy();
        damage(&place);
        let shown = page(&place, &["--lang", "en"], 0);
        assert!(section(&shown, "verdict").contains(says), "{name}: {}", section(&shown, "verdict"));
        page(&place, &["--strict"], 1);
    }
    // A run that was killed while it wrote its last line is broken off, which its first sentence says.
    let place = whole.copy();
    let path = journal(&place);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 20]).unwrap();
    assert!(section(&page(&place, &["--lang", "en"], 0), "verdict").contains("broke off"));
}
