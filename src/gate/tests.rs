//! The language as a whole: any text is either judged or refused with a message, within bounds.

use super::*;
use ::stages::stage::{Bounds, Direction};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

const RULES: &[&str] = &[
    "score > incumbent.score by 5% and not a > 1e-3",
    "win_rate(sft over changed) >= .5 or (a + b) * -a / 2 != max(1, abs(sft.a), 3)",
    "0.1 < self.a <= judge.score and b improves over sft by 0.02 || a between 0.1 and 0.2",
    "delta(score, sft) == 0.1 && changed(incumbent) > 0 with 95% confidence",
    "score > best(sft.score, incumbent.score) with 99% confidence or share(score > -1) > 0.5 with 95% confidence",
    "median(score) < 1.5 * quantile(sft.score, 0.9) with 95% confidence or count(a < 2) >= 3 and slope(b) > 0",
    "not (ratio(score, sft) < 1.5 with 95% confidence and a - b between -1 and 1 with 90% confidence)",
    "eval.score improves over sft by 2% with 95% confidence or eval.win_rate(sft over changed) > 0.5",
    "score > sft.score with 95% confidence up to 20 items or a between 0 and 9 with 90% confidence assuming bounds",
    "win_rate(sft over changed) > 0.5 with 95% confidence over 4 looks up to items and b < 3 with 95% confidence",
];
const PIECES: &[&str] = &[
    "(",
    ")",
    " and ",
    "not ",
    "by ",
    "%",
    ".",
    ",",
    "-",
    ">",
    "=",
    "1e",
    "9",
    "over",
    "（",
    "é",
    "\u{0}",
    "😀",
    "sft",
    " with 95% confidence",
    " or ",
    "median(",
    "eval.",
    " up to items",
    " assuming bounds",
];

/// xorshift64*: enough to mangle text, the same on every machine.
fn below(state: &mut u64, bound: usize) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
}

fn mangled(state: &mut u64) -> String {
    let mut characters: Vec<char> = RULES[below(state, RULES.len())].chars().collect();
    for _ in 0..below(state, 6) {
        let at = below(state, characters.len().max(1)).min(characters.len());
        let end = (at + below(state, 12)).min(characters.len());
        match below(state, 4) {
            0 => drop(characters.drain(at..end)),
            1 => drop(characters.splice(at..at, PIECES[below(state, PIECES.len())].chars())),
            2 => drop(characters.splice(at..at, characters[at..end].to_vec())),
            _ => characters.rotate_left(at),
        }
    }
    characters.into_iter().collect()
}

fn scope() -> RuleScope {
    let bounds = Some(Bounds { low: -10.0, high: 10.0 });
    let metric = |name: &str| MetricName {
        name: name.to_owned(),
        direction: Direction::Higher,
        field: Some(name.to_owned()),
        bounds,
        has_own_rows: false,
    };
    let own = vec![metric("a"), metric("b")];
    let judges = vec![JudgeScope { name: "eval".to_owned(), metrics: vec![metric("score")], has_items: true }];
    let seeds = ["seed_1", "seed_2"];
    let stages: BTreeMap<_, _> = ["sft"].into_iter().chain(seeds).map(|name| (name.to_owned(), own.clone())).collect();
    let families = BTreeMap::from([("seeds".to_owned(), seeds.map(str::to_owned).to_vec())]).into();
    RuleScope { incumbent: Some(own.clone()), own, judges, stages: stages.into(), families, ..RuleScope::default() }
}

fn subject(salt: usize) -> Subject {
    let row = |at: usize| {
        let text = (at * salt) % 3;
        format!(r#"{{"id":{at},"text":"{text}","a":{at},"b":{salt},"score":{}}}"#, (at * 7 + salt) % 5)
    };
    let items = Items::read(&(0..8).map(row).collect::<Vec<_>>().join("\n")).unwrap();
    let mean = |field: &str| items.fields[field].iter().flatten().sum::<f64>() / 8.0;
    let metrics = ["a", "b", "score"].map(|name| (name.to_owned(), Some(mean(name)))).into();
    let measured = Readings { metrics, items: Some(Arc::new(items)) };
    Subject { own: measured.clone(), judged: vec![measured], ..Subject::default() }
}

#[test]
fn mangled_rules_are_refused_in_good_order_or_judged() {
    let (candidate, incumbent, sft) = (subject(1), subject(2), subject(3));
    let stages = BTreeMap::from([("sft".to_owned(), sft)]);
    let checkpoints = [(10, subject(4)), (20, candidate.clone())];
    let chosen_among = [(RecordOrigin::Judge(0), 3)];
    let subjects = Subjects {
        checkpoints: &checkpoints,
        chosen_among: &chosen_among,
        ..Subjects::of(&candidate, Some(&incumbent), &stages)
    };
    let (mut state, scope) = (7, scope());
    let (mut judged, mut refused) = (0, 0);
    for _ in 0..6_000 {
        let text = mangled(&mut state);
        let mut mistakes = Vec::new();
        match parse(&text) {
            Err(mistake) => mistakes.push(mistake),
            Ok(mut rule) => {
                mistakes = check(&mut rule, &scope);
                let judgement = evaluate(&rule, &subjects);
                judged += usize::from(mistakes.is_empty());
                // A checked rule with all its numbers is decided; an unchecked one is an error.
                assert!(!judgement.explanation.contains("NaN"), "{text:?}: {judgement:?}");
            }
        }
        refused += usize::from(!mistakes.is_empty());
        for mistake in mistakes {
            assert!(text.get(mistake.range.clone()).is_some(), "{text:?}: {mistake:?}");
        }
    }
    assert!(judged > 500 && refused > 1000, "{judged} judged, {refused} refused");
}

#[test]
fn nesting_and_length_are_bounded() {
    for opening in ["(", "-", "not ", "abs(", "max(1, ", "not (", "median("] {
        let message = parse(&opening.repeat(1000)).unwrap_err().message;
        assert_eq!(message, "nested more than 50 deep", "{opening}");
    }
    assert!(parse(&format!("{}a > 1{}", "(".repeat(50), ")".repeat(50))).is_ok());
    assert!(parse(&format!("a > 1{}", " + a".repeat(2000))).is_ok());
    assert_eq!(parse(&"a".repeat(10_001)).unwrap_err().message, "the rule is longer than 10000 bytes");
}

/// Holm's correction looks at every claim twice, however deep it lies; it must not look twice at each depth.
#[test]
fn claims_nested_as_deep_as_can_be_are_judged_at_once() {
    let claim = "score > sft.score with 95% confidence";
    let text = (0..49).fold(claim.to_owned(), |inner, _| format!("({inner} or {claim})"));
    let mut rule = parse(&text).unwrap();
    assert_eq!(check(&mut rule, &scope()), []);
    let (candidate, stages) = (subject(1), BTreeMap::from([("sft".to_owned(), subject(3))]));
    let subjects = Subjects::of(&candidate, None, &stages);
    let started = Instant::now();
    evaluate(&rule, &subjects);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
#[test]
fn words_of_the_language_are_no_names_of_stages() {
    for word in ["and", "by", "self", "incumbent", "win_rate", "changed", "best"] {
        assert!(is_word(word), "{word}");
    }
    for name in ["sft", "rm_1", "eval", "mean_score"] {
        assert!(!is_word(name), "{name}");
    }
}
