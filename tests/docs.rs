//! What the pages say is what the program does. `UPDATE_EXPECT=1` writes the parts that are made from tables anew.

#[path = "support/program.rs"]
mod program;

use pipeline::gate::{FUNCTIONS, GRAMMAR, statistics};
use program::{ROOT, copy_into, place};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/gates.md";

/// What stands between `<!-- name -->` and the next `<!-- end -->`.
fn part<'a>(page: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let (before, rest) = page.split_once(&format!("<!-- {name} -->\n")).unwrap_or_else(|| panic!("no part `{name}`"));
    let (inner, after) = rest.split_once("<!-- end -->").unwrap();
    (before, inner, after)
}

fn is_made_of(name: &str, expected: &str) {
    let path = Path::new(ROOT).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (before, inner, after) = part(&page, name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, format!("{before}<!-- {name} -->\n{expected}<!-- end -->{after}")).unwrap();
    } else {
        assert_eq!(inner, expected, "{name}: `UPDATE_EXPECT=1 cargo test --release --test docs` writes it");
    }
}

/// `(wins needed, of so many, a table row)`.
fn wins() -> String {
    let mut table = "| changed answers | wins needed | win rate | changed answers | wins needed | win rate |\n\
        |---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let cells = |changed: u64| match statistics::wins_needed(changed, 0.05) {
        None => format!("| {changed} | not even all | – "),
        Some(wins) => format!("| {changed} | {wins} | {:.1} % ", 100.0 * wins as f64 / changed as f64),
    };
    for (left, right) in [(4, 80), (5, 100), (10, 150), (15, 200), (20, 300), (30, 400), (40, 500), (60, 1000)] {
        writeln!(table, "{}{}|", cells(left), cells(right)).unwrap();
    }
    table
}

/// One test, since all three write to one page.
#[test]
fn grammar_functions_and_wins_are_those_of_the_program() {
    is_made_of("grammar", &format!("```text\n{GRAMMAR}```\n"));
    let mut table = "| function | what it is |\n|---|---|\n".to_owned();
    for function in FUNCTIONS {
        writeln!(table, "| `{}` | {} |", function.signature, function.doc).unwrap();
    }
    is_made_of("functions", &table);
    is_made_of("wins", &wins());
}

/// The table's own numbers, by the definition: so few wins of fair coins are rare, one less is not.
#[test]
fn wins_needed_is_the_first_count_that_a_fair_coin_rarely_reaches() {
    for changed in [5_u64, 10, 20, 30, 50] {
        let wins = statistics::wins_needed(changed, 0.05).unwrap();
        let ways = |k: u64| (0..k).fold(1_u128, |ways, i| ways * u128::from(changed - i) / u128::from(i + 1));
        let at_least = |least: u64| (least..=changed).map(ways).sum::<u128>();
        let all = 1_u128 << changed;
        assert!(20 * at_least(wins) <= all && 20 * at_least(wins - 1) > all, "{wins} of {changed}");
    }
}

#[test]
fn the_six_rules_are_a_pipeline_without_mistakes() {
    let page = fs::read_to_string(Path::new(ROOT).join(PAGE)).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let whole: Vec<&&str> = blocks.iter().filter(|block| block.starts_with("name:")).collect();
    assert_eq!(whole.len(), 1);
    let place = place();
    copy_into(&Path::new(ROOT).join("pipelines/data"), &place.at("data"));
    place.write("rules.yaml", whole[0]);
    let checked = place.run(&["check", "rules.yaml"]).expect_exit(0);
    assert!(
        checked.stdout.contains("no mistakes; 5 stages, 4 gates") && checked.stderr.is_empty(),
        "{}",
        checked.stderr
    );
}
