//! The pages agree with the program. `UPDATE_EXPECT=1` writes the parts that are made from tables anew.

#[path = "support/program.rs"]
mod program;

use clap::{Arg, Command};
use formats::data::OPTIONS;
use formats::data::row::FORMATS;
use pipeline::gate::{FUNCTIONS, GRAMMAR, statistics};
use program::{ROOT, copy_into, place};
use serde_json::Value;
use stages::kinds::KINDS;
use stages::stage::{Accepts, Direction, Kind};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/gates.md";

/// A page in three: before `<!-- name -->`, from there to the next `<!-- end -->`, and after it.
fn part<'a>(page: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let (before, rest) = page.split_once(&format!("<!-- {name} -->\n")).unwrap_or_else(|| panic!("no part `{name}`"));
    let (inner, after) = rest.split_once("<!-- end -->").unwrap();
    (before, inner, after)
}

fn is_made_of(page: &str, name: &str, expected: &str) {
    let path = Path::new(ROOT).join(page);
    let page = fs::read_to_string(&path).unwrap();
    let (before, inner, after) = part(&page, name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, format!("{before}<!-- {name} -->\n{expected}<!-- end -->{after}")).unwrap();
    } else {
        assert_eq!(inner, expected, "{name}: `UPDATE_EXPECT=1 cargo test --release --test docs` writes it");
    }
}

/// The table of the wins needed for each number of changed answers.
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
    is_made_of(PAGE, "grammar", &format!("```text\n{GRAMMAR}```\n"));
    let mut table = "| function | what it is |\n|---|---|\n".to_owned();
    for function in FUNCTIONS {
        writeln!(table, "| `{}` | {} |", function.signature, function.doc).unwrap();
    }
    is_made_of(PAGE, "functions", &table);
    is_made_of(PAGE, "wins", &wins());
}

/// The number of prompts, in tens, that show what is true in 80 % of the cases, by the formulas of the tests that the rules
/// use. The level is 5 %, or a quarter of it: the first of four declared looks.
mod prompts {
    use pipeline::gate::statistics::{least_differing, normal_above, wins_needed};
    use std::collections::HashMap;

    pub const LEVELS: [f64; 2] = [0.05, 0.0125];
    const POWER: f64 = 0.8;

    /// Prompts for a win rate: the exact sign test among the answers that change, of which there is a share of `changed`. Where
    /// fewer than `least` change, nothing passes.
    pub fn of_wins(changed: f64, wins: f64, level: f64, least: u64) -> u64 {
        let mut known: HashMap<u64, f64> = HashMap::new();
        let passes_with = |differ: u64| {
            let enough = wins_needed(differ, level).filter(|_| differ >= least);
            enough.map_or(0.0, |enough| binomial(differ, wins).filter(|(won, _)| *won >= enough).map(|(_, p)| p).sum())
        };
        let mut passes = |items: u64| {
            let given = |(differ, p)| p * *known.entry(differ).or_insert_with(|| passes_with(differ));
            binomial(items, changed).map(given).sum::<f64>()
        };
        (1..).map(|tens| 10 * tens).find(|items| passes(*items) >= POWER).unwrap()
    }

    /// Items for a paired metric of 0 and 1 that rises by `gain` where a share of `changed` of the items differs (McNemar 1947).
    pub fn of_accuracy(changed: f64, gain: f64, level: f64) -> u64 {
        of_wins(changed, (changed + gain) / (2.0 * changed), level, least_differing(level) as u64)
    }

    /// Items for a mean of normal differences, `effect` standard deviations above the threshold: the t test (Guenther 1981, The
    /// American Statistician 35:243), of which the rule is short by less than two points (`cargo bench --bench power`).
    pub fn of_mean(effect: f64, level: f64) -> u64 {
        let (at_level, at_power) = (quantile(level), quantile(1.0 - POWER));
        let items = ((at_level + at_power) / effect).powi(2) + 0.5 * at_level * at_level;
        ((items / 10.0).ceil() as u64 * 10).max(30)
    }

    fn quantile(tail: f64) -> f64 {
        let (mut low, mut high) = (0.0, 40.0);
        for _ in 0..80 {
            let middle = 0.5 * (low + high);
            if normal_above(middle) > tail { low = middle } else { high = middle }
        }
        low
    }

    /// The counts of a binomial with their chances, without those that are next to nothing.
    fn binomial(trials: u64, share: f64) -> impl Iterator<Item = (u64, f64)> {
        let (n, spread) = (trials as f64, 7.0 * (trials as f64 * share * (1.0 - share)).sqrt() + 3.0);
        let (from, to) = ((n * share - spread).max(0.0) as u64, ((n * share + spread) as u64).min(trials));
        let log = move |k: u64| {
            let k = k as f64;
            libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
                + k * share.ln()
                + (n - k) * (1.0 - share).ln()
        };
        (from..=to).map(move |k| (k, log(k).exp()))
    }
}

/// The tables of the page for people who know no statistics. `words`: of its language, in the order in which they occur.
fn numbers_of_prompts(words: [&str; 8]) -> String {
    let [wins, half, most, looks, accuracy, accuracy_row, mean, sd] = words;
    let mut text = format!("| {wins} | {half} | {looks} | {most} | {looks} |\n|---|---:|---:|---:|---:|\n");
    for percent in [55, 60, 65, 70] {
        let cell =
            |changed: f64, level: f64| prompts::of_wins(changed, f64::from(percent) / 100.0, level, 0).to_string();
        let cells = [0.5, 0.8].map(|changed| prompts::LEVELS.map(|level| cell(changed, level)).join(" | "));
        writeln!(text, "| {percent} % | {} |", cells.join(" | ")).unwrap();
    }
    write!(text, "\n| {accuracy} | 95 % | {looks} |\n|---|---:|---:|\n").unwrap();
    for (gain, changed) in [(5, 10), (5, 20), (10, 15), (10, 25)] {
        let row = accuracy_row.replace("GAIN", &gain.to_string()).replace("CHANGED", &changed.to_string());
        let share = |percent: i32| f64::from(percent) / 100.0;
        let cells = prompts::LEVELS.map(|level| prompts::of_accuracy(share(changed), share(gain), level).to_string());
        writeln!(text, "| {row} | {} |", cells.join(" | ")).unwrap();
    }
    write!(text, "\n| {mean} | 95 % | {looks} |\n|---|---:|---:|\n").unwrap();
    for effect in [0.1, 0.2, 0.3, 0.5] {
        let cells = prompts::LEVELS.map(|level| prompts::of_mean(effect, level).to_string());
        writeln!(text, "| {effect} {sd} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

#[test]
fn the_numbers_of_prompts_are_those_of_the_formulas() {
    let english = [
        "wins, of the answers that change",
        "half change: 95 %",
        "80 % change: 95 %",
        "95 %, first of 4 looks",
        "right answers, on the same items",
        "GAIN points more, CHANGED % of the items differ",
        "the mean score rises by",
        "sd of the differences",
    ];
    let japanese = [
        "変わった回答での勝率",
        "半分が変わる：95 %",
        "80 % が変わる：95 %",
        "95 %、4 回のうち最初",
        "正解率（同じ問題で比較）",
        "GAIN ポイント上昇、CHANGED % の問題で正誤が変わる",
        "平均スコアの上昇",
        "× 差の標準偏差",
    ];
    is_made_of("docs/deciding.md", "prompts", &numbers_of_prompts(english));
    is_made_of("docs/deciding.ja.md", "prompts", &numbers_of_prompts(japanese));
    // Both pages show the same files and commands.
    assert_eq!(commands("docs/deciding.md"), commands("docs/deciding.ja.md"));
    let blocks = |page: &str| {
        let page = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
        let blocks = page.split("```").skip(1).step_by(2).map(str::to_owned);
        blocks.collect::<Vec<String>>()
    };
    assert_eq!(blocks("docs/deciding.md").len(), blocks("docs/deciding.ja.md").len());
}

/// The table's own numbers, by the definition: this many wins of fair coins are rare, one less is not.
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
        checked.stdout.contains("no mistakes; 6 stages, 4 gates") && checked.stderr.is_empty(),
        "{}",
        checked.stderr
    );
}

/// A table of Markdown; nothing where there are no rows.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
    let cell = |text: &String| text.replace('|', "\\|");
    let mut text = line(heads.iter().map(|head| (*head).to_owned()).collect());
    text += &format!("|{}\n", "---|".repeat(heads.len()));
    text.extend(rows.iter().map(|row| line(row.iter().map(cell).collect())));
    text + "\n"
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// Every verb that is not hidden, those below a verb under its name: `gate show`.
fn verbs(command: &Command, above: &str, text: &mut String) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = format!("{above} {}", verb.get_name());
        if verb.has_subcommands() {
            verbs(verb, &name, text);
            continue;
        }
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let positional: String = verb.get_positionals().map(|argument| format!(" {}", usage(argument))).collect();
        writeln!(text, "### `pipeline{name}{positional}`\n\n{about}.\n").unwrap();
        let shown = verb.get_arguments().filter(|argument| !argument.is_hide_set());
        let rows: Vec<Vec<String>> = shown.map(argument).collect();
        *text += &table(&["argument", "default", "what it does"], &rows);
    }
}

/// `FILE`, `[FILE]`, `FILE…`
fn usage(argument: &Arg) -> String {
    let name = argument.get_value_names().map_or_else(String::new, |names| names.join(" ").to_uppercase());
    let many = if argument.get_num_args().is_some_and(|count| count.max_values() > 1) { "…" } else { "" };
    if argument.is_required_set() { format!("{name}{many}") } else { format!("[{name}{many}]") }
}

fn argument(argument: &Arg) -> Vec<String> {
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let name = [long, short].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let takes = argument.get_action().takes_values().then(|| usage(argument).trim_matches(['[', ']']).to_owned());
    let possible: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| value.get_name().to_owned())
        .collect();
    let takes = if possible.is_empty() || takes.is_none() { takes } else { Some(possible.join("|")) };
    let name = [Some(name).filter(|name| !name.is_empty()), takes].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let default: Vec<String> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    // A flag that is not given has no default worth printing.
    let default = if argument.get_action().takes_values() { default.join(" ") } else { String::new() };
    vec![code(&name), code(&default), argument.get_help().map(ToString::to_string).unwrap_or_default()]
}

fn kind(kind: &Kind) -> String {
    let mut text = format!("### `{}`\n\n{}{}.\n\n", kind.name, kind.doc[..1].to_uppercase(), &kind.doc[1..]);
    let ports: Vec<Vec<String>> = kind
        .ports
        .iter()
        .map(|port| {
            let takes = match port.accepts {
                Accepts::Model => "a model",
                Accepts::RewardModel => "a reward model",
                Accepts::Reward => "a reward",
                Accepts::Judge => "judge",
                Accepts::Tokenizer => "a tokenizer",
                Accepts::Data { .. } => "data",
                Accepts::Criteria => "a criteria sheet",
                Accepts::Evaluation => "an evaluation with a baseline",
                Accepts::ModelAnswers => "an evaluation",
                Accepts::Any => "anything",
            };
            let many = if port.takes_many { ", or a list" } else { "" };
            let optional = match port.or {
                Some(other) => format!("or `{other}`: "),
                None if port.is_optional => "optional: ".to_owned(),
                None => String::new(),
            };
            vec![code(port.name), format!("{optional}{takes}{many}"), port.doc.to_owned()]
        })
        .collect();
    text += &table(&["`from`", "takes", "what it is"], &ports);
    let defaults = (kind.defaults)();
    let parameters: Vec<Vec<String>> = (kind.docs)()
        .into_iter()
        .map(|(path, doc)| {
            let default = path.split('.').try_fold(&defaults, |value, key| value.get(key)).unwrap_or(&Value::Null);
            let default = if default.is_null() { String::new() } else { default.to_string() };
            vec![code(&path), code(&default), doc]
        })
        .collect();
    text += &table(&["`with`", "default", "what it does"], &parameters);
    if !kind.beside_key.is_empty() {
        let named: Vec<String> = kind.beside_key.iter().map(|path| code(path)).collect();
        text += &format!("In no key, so that another value runs nothing again: {}.\n\n", named.join(", "));
    }
    let metrics: Vec<Vec<String>> = kind
        .metrics()
        .map(|metric| {
            let better = match metric.direction {
                Direction::Higher => "higher",
                Direction::Lower => "lower",
                Direction::Neutral => "–",
            };
            let bounds = metric.bounds.map(|bounds| format!("; each item within {} to {}", bounds.low, bounds.high));
            vec![code(metric.name), better.to_owned(), format!("{}{}", metric.doc, bounds.unwrap_or_default())]
        })
        .collect();
    text + &table(&["metric", "better is", "what it is"], &metrics)
}

/// The properties of an object of the schema, with what each says; those within a property below it: `retry.times`.
fn keys(object: &Value) -> String {
    fn rows(object: &Value, above: &str, found: &mut Vec<Vec<String>>) {
        for (key, value) in object["properties"].as_object().into_iter().flatten() {
            let description = value["description"].as_str().unwrap_or_default();
            found.push(vec![code(&format!("{above}{key}")), description.to_owned()]);
            rows(value, &format!("{above}{key}."), found);
        }
    }
    let mut found = Vec::new();
    rows(object, "", &mut found);
    assert!(!found.is_empty(), "the schema has changed its form");
    table(&["key", "what it says"], &found)
}

/// One test, since all write to one page.
#[test]
fn the_reference_is_made_of_the_program() {
    const REFERENCE: &str = "docs/reference.md";
    let mut text = String::new();
    verbs(&pipeline::command(), "", &mut text);
    is_made_of(REFERENCE, "verbs", &text);
    is_made_of(REFERENCE, "kinds", &KINDS.iter().copied().map(kind).collect::<String>());
    let schema = fs::read_to_string(Path::new(ROOT).join("pipelines/schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    is_made_of(REFERENCE, "keys of a file", &keys(&schema));
    is_made_of(REFERENCE, "keys of a stage", &keys(&schema["$defs"]["stage"]));
    let options = OPTIONS.map(|(key, doc)| vec![code(key), doc.to_owned()]);
    is_made_of(REFERENCE, "options of data", &table(&["option", "what it says"], &options));
    let formats = FORMATS.iter().filter(|format| !format.reads.is_empty());
    let formats: Vec<Vec<String>> = formats.map(|format| vec![format.name.to_owned(), format.doc.to_owned()]).collect();
    is_made_of(REFERENCE, "rows of data", &table(&["rows", "their fields"], &formats));
    is_made_of(REFERENCE, "keys of a gate", &keys(&schema["$defs"]["gate"]["then"]));
}

/// The commands of a page: the lines of its blocks of shell, without their comments.
fn commands(page: &str) -> Vec<String> {
    let page = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).map(|line| line.split(" # ").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn both_readmes_show_the_same_commands() {
    let english = commands("README.md");
    assert!(english.len() >= 5, "{english:?}");
    assert_eq!(english, commands("README.ja.md"));
}

/// Everything in the sentences of a page that stands as code: commands, options, files, keys.
fn inline_code(page: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let sentences: String = page.split("```").step_by(2).collect();
    sentences.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")).collect()
}

#[test]
fn both_readmes_name_the_same_commands_in_their_sentences() {
    let (english, japanese) = (inline_code("README.md"), inline_code("README.ja.md"));
    assert!(english.iter().any(|code| code.starts_with("pipeline plan ")), "{english:?}");
    let differing: Vec<&String> = english.symmetric_difference(&japanese).collect();
    assert!(differing.is_empty(), "only in one of README.md and README.ja.md: {differing:?}");
}

#[test]
fn every_verb_and_argument_has_a_help_text() {
    fn without_help(command: &Command, above: &str, found: &mut Vec<String>) {
        for verb in command.get_subcommands() {
            let name = format!("{above} {}", verb.get_name());
            let arguments = verb.get_arguments().filter(|argument| argument.get_help().is_none());
            found.extend(arguments.map(|argument| format!("{name}: {}", argument.get_id())));
            found.extend(verb.get_about().is_none().then(|| name.clone()));
            without_help(verb, &name, found);
        }
    }
    let mut found = Vec::new();
    without_help(&pipeline::command(), "pipeline", &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap().lines().count();
    assert!(lines <= 120, "README.md has {lines} lines; the reference has room");
}
