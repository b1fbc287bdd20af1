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
    let damages: [(&str, &str, &str, Damage); 7] = [
        (
            "a curve",
            "Curves that are not in the store: base, tuned.",
            "<code>pipeline run toy.yaml --force base --force tuned</code>",
            |place| {
                fs::remove_dir_all(place.at(".pipeline/work")).unwrap();
                fs::remove_file(blob(place, "{\"step\":0")).unwrap();
            },
        ),
        ("a table", "Records that are not in the store: tuned.", "<code>pipeline run toy.yaml</code>", |place| {
            let table = place.read("tuned.jsonl");
            fs::remove_file(blob(place, &table[..table.len() / 2])).unwrap();
        }),
        ("the store", "The store cannot be read", "<code>pipeline run toy.yaml</code>", |place| {
            fs::remove_dir_all(place.at(".pipeline/store")).unwrap();
        }),
        (
            "every blob",
            "Records that are not in the store: base, tuned.",
            "<code>pipeline run toy.yaml</code>",
            |place| fs::remove_dir_all(place.at(".pipeline/store/v1/blobs")).unwrap(),
        ),
        (
            "an unknown event",
            "Lines of the journal that were made by a newer version of pipeline: 1. Update pipeline",
            "",
            |place| {
                let path = journal(place);
                let text = fs::read_to_string(&path).unwrap();
                let (first, rest) = text.split_once('\n').unwrap();
                fs::write(&path, format!("{first}\n{{\"event\":\"dreamt\",\"of\":\"sheep\"}}\n{rest}")).unwrap();
            },
        ),
        (
            "a line torn in the middle",
            "Damaged lines of the journal: 1.",
            "<code>pipeline run toy.yaml</code>",
            |place| {
                let path = journal(place);
                let text = fs::read_to_string(&path).unwrap();
                let lines: Vec<&str> = text.lines().collect();
                let half = &lines[2][..lines[2].len() / 2];
                fs::write(&path, format!("{}\n{}\n{half}\n{}\n", lines[0], lines[1], lines[3..].join("\n"))).unwrap();
            },
        ),
        (
            "half a last line",
            "The last line of the journal is cut short",
            "<code>pipeline run toy.yaml</code>",
            |place| {
                let path = journal(place);
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, &text[..text.len() - 20]).unwrap();
            },
        ),
    ];
    for (name, says, way_back, damage) in damages {
        let place = whole.copy();
        damage(&place);
        let ran = place.run(&["report", "toy.yaml", "-o", "page.html", "--lang", "en"]).expect_exit(0);
        let shown = place.read("page.html");
        let verdict = section(&shown, "verdict");
        assert!(verdict.contains(says) && verdict.contains(way_back), "{name}: {verdict}");
        // One notice, and none of every record that it is about.
        assert!(
            ran.stderr.starts_with("something is missing:\n  ") && !ran.stderr.contains("WARN"),
            "{name}: {}",
            ran.stderr
        );
        assert!(ran.stderr.lines().count() <= 4, "{name}: {}", ran.stderr);
        page(&place, &["--strict"], 1);
    }
    // A run that was killed while it wrote its last line is broken off, which its first sentence says.
    let place = whole.copy();
    let path = journal(&place);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 20]).unwrap();
    assert!(section(&page(&place, &["--lang", "en"], 0), "verdict").contains("broke off"));
}

/// The records of a CSV file, its header first.
fn records(place: &Place, name: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(place.at(name)).unwrap();
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn what_the_page_leaves_out_is_whole_in_its_tables() {
    let place = place();
    write(&place, PROMOTE);
    run(&place);
    place.run(&["report", "toy.yaml", "--csv", "tables"]).expect_exit(0);
    // All points of a curve are those that the stage wrote.
    let curve = records(&place, "tables/curves/tuned.csv");
    let written: Vec<serde_json::Value> =
        place.read("curve.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(curve.len(), written.len() + 1);
    let loss = curve[0].iter().position(|name| name == "loss").unwrap();
    for (row, point) in curve[1..].iter().zip(&written) {
        assert_eq!(row[0].parse::<f64>().unwrap(), point["step"].as_f64().unwrap());
        assert_eq!(row[loss].parse::<f64>().unwrap(), point["loss"].as_f64().unwrap());
    }
    // All answers, with their texts as they are.
    let answers = records(&place, "tables/answers/tuned.tuned@0.against.base.csv");
    assert_eq!(answers.len(), 61);
    let text = answers[0].iter().position(|name| name == "answer").unwrap();
    assert!(answers.iter().any(|row| row[text] == "</script><script>alert(1)</script>\u{202e}"));
    // The gate, its numbers, and the stages.
    let rules = records(&place, "tables/rules.csv");
    assert_eq!(rules[1][..4], ["tuned", "require", "score > incumbent.score", "pass"]);
    assert_eq!(records(&place, "tables/stages.csv").len(), 4);
    let metrics = records(&place, "tables/metrics.csv");
    assert!(metrics.iter().any(|row| row[0] == "base" && row[2] == "score" && row[3] == "0.3"), "{metrics:?}");
    let health = records(&place, "tables/health.csv");
    assert_eq!(health.len(), 6);

    // The same facts as one document.
    place.run(&["report", "toy.yaml", "--format", "json", "--lang", "en"]).expect_exit(0);
    let document: serde_json::Value = serde_json::from_str(&place.read("report.json")).unwrap();
    assert_eq!((document["schema"].as_str(), document["version"].as_u64()), (Some("pipeline.report"), Some(1)));
    assert_eq!(document["tables"]["rules"][0]["decision"], "pass");
    assert!(document["verdict"].as_str().unwrap().contains("toy failed at broken"));
    // Figures, each with its colours in it.
    place.run(&["report", "toy.yaml", "--format", "svg"]).expect_exit(0);
    for name in ["stages.svg", "tuned.loss.svg"] {
        let svg = place.read(&format!("report-figures/{name}"));
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && !svg.contains("var("), "{name}: {svg}");
    }
}

/// A run whose second stage answers as its script says, and scores what it answered.
fn write_compared(place: &Place) {
    let row = |at: usize| {
        let score = (at % 7) as f64 / 10.0;
        let row = serde_json::json!({"id": at, "prompt": format!("question {at}"), "text": format!("answer {at}"), "score": score});
        row.to_string() + "\n"
    };
    place.write("base.jsonl", &(0..60).map(row).collect::<String>());
    place.write("tune.sh", "cp in/rows.jsonl items.jsonl\n");
    // The mean of what was written, so that the metric is that of the table.
    let mean = r#"awk -F'"score":' '{split($2, a, ","); sum += a[1]} END {printf "{\"score\": %.9f}", sum / NR}'"#;
    place.write("mean.sh", &format!("{mean} items.jsonl > metrics.json; echo model > model\n"));
    let text = r#"name: toy
vars: {by: 0}
stages:
  base:
    kind: exec
    from: {rows: ./base.jsonl, mean: ./mean.sh}
    metrics: {score: higher}
    with: {command: [sh, -c, "cp in/rows.jsonl items.jsonl; sh in/mean.sh"], outputs: [model]}
  tuned:
    kind: exec
    from: {policy: base, rows: ./base.jsonl, script: ./tune.sh, mean: ./mean.sh}
    incumbent: policy
    metrics: {score: higher}
    with: {command: [sh, -c, "sh in/script.sh; sh in/mean.sh"], outputs: [model]}
    gate: {require: "score >= incumbent.score by ${by}", on_fail: keep}
"#;
    place.write("toy.yaml", text);
}

#[test]
fn two_runs_are_one_page_with_what_was_asked_otherwise_and_how_sure_the_difference_is() {
    let place = place();
    write_compared(&place);
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    // Most answers get another word and a higher score; one of them is hostile, and one stays as it was.
    let tune = r#"sed -e 's/answer/kinder answer/; s/"score":0.[1-5]/&5/; s/answer 8"/<\/script>\\u202e"/' -e '1s/kinder //' \
        in/rows.jsonl > items.jsonl"#;
    place.write("tune.sh", tune);
    place.run(&["run", "toy.yaml", "--set", "vars.by=0.5"]).expect_exit(0);
    let compare = |place: &Place, options: &[&str]| {
        let line = [&["report", "toy.yaml", "--compare", "last~1", "last", "-o", "two.html"], options].concat();
        place.run(&line).expect_exit(0);
        place.read("two.html")
    };
    let page = compare(&place, &["--lang", "en", "--strict"]);
    assert!(
        section(&page, "verdict")
            .contains("1 of 2 stages differ. Metrics: 1 better, 0 worse, 0 within noise, 0 not comparable.")
    );
    let asked = section(&page, "asked");
    for says in
        ["--set vars.by=0.5", "inputs.script: ", "no longer: require score &gt;= incumbent.score by 0", "now: require"]
    {
        assert!(asked.contains(says), "{says}: {asked}");
    }
    let metrics = section(&page, "metrics");
    assert!(metrics.contains("better") && metrics.contains("<span class=\"range\">+0.0"), "{metrics}");
    assert!(metrics.contains(">60<"), "{metrics}");
    let verdicts = section(&page, "verdicts");
    assert!(verdicts.contains("pass") && verdicts.contains("fail") && verdicts.contains("✓"), "{verdicts}");
    let answers = section(&page, "answers");
    assert!(answers.contains("59 of 60 changed") && answers.contains("kinder answer 9"), "{answers}");
    assert!(answers.contains("&lt;/script&gt;<span class=\"mark\">U+202E</span>"), "{answers}");
    assert!(page.contains("id=\"search\"") && page.matches("<script>").count() == 1);

    // The same facts are the same bytes, in whatever folder; both languages say the same.
    assert_eq!(compare(&place.copy(), &["--lang", "en"]), page);
    let japanese = compare(&place, &["--lang", "ja"]);
    assert!(japanese.contains("<html lang=\"ja\">") && japanese.contains("2 ステージのうち 1 が異なります"));
    // A run beside itself.
    place.run(&["report", "--compare", "last", "last", "toy.yaml", "-o", "same.html", "--lang", "en"]).expect_exit(0);
    assert!(section(&place.read("same.html"), "verdict").contains("Nothing differs between the two runs: 2 stages"));
}

#[test]
fn numbers_that_were_measured_on_other_rows_are_not_compared() {
    let place = place();
    write_compared(&place);
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    let rows = place.read("base.jsonl");
    place.write("base.jsonl", &rows.replace("question", "another question").replace("0.6", "0.9"));
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    place.run(&["report", "toy.yaml", "--compare", "last~1", "last", "-o", "two.html", "--lang", "en"]).expect_exit(0);
    let page = place.read("two.html");
    let verdict = section(&page, "verdict");
    assert!(verdict.contains("0 better, 0 worse, 0 within noise, 2 not comparable"), "{verdict}");
    assert!(verdict.contains("other rows: base.score, tuned.score"), "{verdict}");
    let metrics = section(&page, "metrics");
    assert!(metrics.contains("not compared: other rows") && !metrics.contains("class=\"range\""), "{metrics}");
    assert!(section(&page, "answers").contains("has two different prompts"), "{}", section(&page, "answers"));
}

#[test]
fn two_runs_of_the_same_seeds_are_compared_by_their_means() {
    let place = place();
    place.write(
        "seeds.yaml",
        r#"
name: seeds
vars: {gain: 0}
stages:
  ppo_${seed}:
    for: {seed: 1..3}
    kind: exec
    metrics: {score: higher}
    with: {command: "echo '{\"score\": ${gain + 0.1 * seed}}' > metrics.json"}
"#,
    );
    place.run(&["run", "seeds.yaml"]).expect_exit(0);
    place.run(&["run", "seeds.yaml", "--set", "vars.gain=1"]).expect_exit(0);
    place.run(&["report", "--compare", "last~1", "last", "--lang", "en", "-o", "two.html"]).expect_exit(0);
    let page = place.read("two.html");
    let section = page.split("data-fragment=\"families\"").nth(1).unwrap().split("</section>").next().unwrap();
    // Welch's t of [0.1, 0.2, 0.3] and the same plus 1: 1 ± 2.776 · 0.1 · √(2/3).
    for said in ["0.20 ± 0.10 (3 of 3)", "1.20 ± 0.10 (3 of 3)", "+0.773 – +1.227"] {
        assert!(section.contains(said), "no {said} in {section}");
    }
    place.run(&["report", "--compare", "last", "last", "--lang", "en", "-o", "same.html"]).expect_exit(0);
    assert!(!place.read("same.html").contains("data-fragment=\"families\""));
}
