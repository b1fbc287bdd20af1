//! Held to the libraries that people use, and to published tables: `tests/golden/SOURCE.md` says where they come from.

#[path = "../../../tests/support/annotators.rs"]
mod annotators;

use super::aggregate::{Comparisons, Votes, plackett_luce};
use super::agreement::{CodedUnits, Distance, NoValue, kendall_distance, kendall_w};
use super::form::Form;
use super::interval::{clopper_pearson, labels_needed};
use super::label::{EffectiveLabels, Judgement, Label, PairChoice};
use super::person::{Doubt, people};
use super::progress::LabelCount;
use super::sitting::{Sitting, Task};
use super::tally::LabelTally;
use super::worklist::{Questionnaire, WorkItem, Worklist};
use crate::draw::Draw;
use annotators::{Annotator, Lots, worth};
use formats::dialogue::Prompt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/people-golden.json")).unwrap()
}

fn pandalm() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/agreement.json")).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn places(value: &Value) -> Vec<usize> {
    list(value).iter().map(|one| one.as_u64().unwrap() as usize).collect()
}

fn close(ours: f64, theirs: &Value, within: f64) {
    let theirs = number(theirs);
    assert!((ours - theirs).abs() <= within, "{ours} is not {theirs}");
}

/// Ratings by person as values of items.
fn units(data: &Value) -> Vec<Vec<usize>> {
    let rows: Vec<&Vec<Value>> = list(data).iter().map(list).collect();
    let of = |item: usize| rows.iter().filter_map(|row| row[item].as_f64()).map(|value| value as usize).collect();
    (0..rows[0].len()).map(of).collect()
}

#[test]
fn alpha_is_that_of_krippendorff_with_gaps_and_on_every_scale() {
    for case in list(&golden()["alpha"]) {
        let values = case["values"].as_u64().unwrap() as usize;
        let scales = [
            ("nominal", Distance::Nominal),
            ("ordinal", Distance::Ordinal),
            ("interval", Distance::Interval((0..values).map(|value| value as f64).collect())),
        ];
        for (name, distance) in scales {
            let coded = CodedUnits { values, units: units(&case["data"]), distance };
            close(coded.alpha().unwrap(), &case[name], 1e-9);
        }
    }
}

/// The labels of PandaLM by their patterns: 0 tie, 1 the first, 2 the second; `-` is a gap.
fn pandalm_units(patterns: &Value) -> Vec<Vec<usize>> {
    let of = |(pattern, times): (&String, &Value)| {
        // In the order first, tie, second.
        let values = pattern.chars().filter(|letter| *letter != '-').map(|letter| match letter {
            '1' => 0,
            '0' => 1,
            _ => 2,
        });
        vec![values.collect::<Vec<usize>>(); times.as_u64().unwrap() as usize]
    };
    patterns.as_object().unwrap().iter().flat_map(of).collect()
}

#[test]
fn agreement_on_pandalm_is_the_published_one() {
    let golden = pandalm();
    let coded = |distance| CodedUnits { values: 3, units: pandalm_units(&golden["patterns"]), distance };
    let (three, nominal) = (&golden["three_raters"], coded(Distance::Nominal));
    close(nominal.alpha().unwrap(), &three["krippendorff_alpha"]["nominal"], 1e-6);
    close(coded(Distance::Ordinal).alpha().unwrap(), &three["krippendorff_alpha"]["ordinal_order_1_0_2"], 1e-6);
    let interval = coded(Distance::Interval(vec![1.0, 2.0, 3.0]));
    close(interval.alpha().unwrap(), &three["krippendorff_alpha"]["interval_order_1_0_2"], 1e-6);
    close(nominal.ac1().unwrap(), &three["gwet_ac1"]["value"], 1e-6);
    let agreement: f64 = nominal.units.iter().map(|unit| nominal.agreement_of(unit).unwrap()).sum();
    close(agreement / nominal.units.len() as f64, &three["pairwise_agreement"], 1e-6);
    let gaps = CodedUnits { units: pandalm_units(&golden["missing"]["patterns"]), ..nominal.clone() };
    close(gaps.alpha().unwrap(), &golden["missing"]["krippendorff_alpha_nominal"], 1e-6);
    close(gaps.ac1().unwrap(), &golden["missing"]["gwet_ac1_irrCAC"], 1e-5);
}

#[test]
fn the_spread_of_the_shares_of_items_in_alpha_is_the_jackknife() {
    let golden = pandalm();
    let coded = CodedUnits { values: 3, units: pandalm_units(&golden["patterns"]), distance: Distance::Nominal };
    let groups: Vec<usize> = (0..coded.units.len()).collect();
    let shares: Vec<f64> = coded.alpha_by_group(&groups).unwrap().into_iter().flatten().collect();
    let n = shares.len() as f64;
    let mean = shares.iter().sum::<f64>() / n;
    assert!((mean - coded.alpha().unwrap()).abs() < 1e-9);
    let error = (shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt();
    close(error, &golden["three_raters"]["krippendorff_alpha"]["jackknife_se_items_nominal"], 1e-6);
}

#[test]
fn the_bootstrap_interval_is_that_of_numpy_but_for_chance() {
    let golden = pandalm();
    let coded = CodedUnits { values: 3, units: pandalm_units(&golden["patterns"]), distance: Distance::Nominal };
    let theirs = numbers(&golden["three_raters"]["percentile_bootstrap95_items_10000_numpy_seed0"]["alpha"]);
    let ours = coded.bootstrap(Draw { seed: 1, kind: "label", purpose: "bootstrap" }, 10_000).unwrap();
    ours.iter().zip(theirs).for_each(|(ours, theirs)| assert!((ours - theirs).abs() < 0.001, "{ours} is not {theirs}"));
}

#[test]
fn what_is_undefined_is_a_word() {
    let nominal = |units: &[&[usize]]| CodedUnits {
        values: 2,
        units: units.iter().map(|unit| unit.to_vec()).collect(),
        distance: Distance::Nominal,
    };
    assert_eq!(nominal(&[&[0], &[1]]).alpha(), Err(NoValue::NoPairs));
    assert_eq!(nominal(&[&[0, 0], &[0, 0]]).alpha(), Err(NoValue::OneValue));
    assert_eq!(nominal(&[&[0, 0], &[1, 1]]).alpha(), Ok(1.0));
    assert_eq!(nominal(&[&[0, 0], &[0, 0]]).ac1(), Err(NoValue::OneValue));
    assert_eq!(kendall_w(&[vec![1.0, 1.0], vec![1.0, 1.0]]), Err(NoValue::NoRanks));
    assert!(NoValue::OneValue.to_string().starts_with("undefined: "));
}

#[test]
fn concordance_is_that_of_friedmans_test() {
    for case in list(&golden()["kendall"]) {
        let ranks: Vec<Vec<f64>> = list(&case["ranks"]).iter().map(numbers).collect();
        close(kendall_w(&ranks).unwrap(), &case["w"], 1e-9);
    }
}

#[test]
fn rankings_turned_round_are_as_far_apart_as_can_be() {
    let ranks = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(kendall_distance(&ranks, &ranks), 0.0);
    assert_eq!(kendall_distance(&ranks, &[4.0, 3.0, 2.0, 1.0]), 1.0);
    assert_eq!(kendall_distance(&ranks, &[1.0, 1.0, 1.0, 1.0]), 0.5);
}

#[test]
fn strengths_are_those_of_choix() {
    for case in list(&golden()["bradley_terry"]) {
        let mut comparisons = Comparisons::new(case["things"].as_u64().unwrap() as usize);
        list(&case["wins"]).iter().map(places).for_each(|pair| comparisons.add_win(pair[0], pair[1]));
        for (has_prior, name) in [(false, "logs"), (true, "with_prior")] {
            let ours = comparisons.strengths(has_prior);
            assert_eq!(ours.log_nu, None);
            ours.logs.iter().zip(list(&case[name])).for_each(|(ours, theirs)| close(*ours, theirs, 1e-6));
        }
    }
    for case in list(&golden()["plackett_luce"]) {
        let things = case["things"].as_u64().unwrap() as usize;
        let rankings: Vec<Vec<usize>> = list(&case["rankings"]).iter().map(places).collect();
        for (has_prior, name) in [(false, "logs"), (true, "with_prior")] {
            let ours = plackett_luce(things, &rankings, has_prior);
            ours.iter().zip(list(&case[name])).for_each(|(ours, theirs)| close(*ours, theirs, 1e-6));
        }
    }
}

#[test]
fn strengths_with_ties_are_davidsons() {
    let golden = &pandalm()["bradley_terry_davidson"];
    let names: Vec<&str> = list(&golden["models"]).iter().map(|name| name.as_str().unwrap()).collect();
    let place: BTreeMap<&str, usize> = names.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let mut comparisons = Comparisons::new(names.len());
    for (pair, counts) in golden["counts_first_win_tie_second_win"].as_object().unwrap() {
        let (one, other) = pair.split_once('|').unwrap();
        let ([one, other], counts) = ([place[one], place[other]], places(counts));
        (0..counts[0]).for_each(|_| comparisons.add_win(one, other));
        (0..counts[1]).for_each(|_| comparisons.add_tie(one, other));
        (0..counts[2]).for_each(|_| comparisons.add_win(other, one));
    }
    let ours = comparisons.strengths(false);
    close(ours.log_nu.unwrap(), &golden["log_nu"], 1e-6);
    ours.logs.iter().zip(list(&golden["theta"])).for_each(|(one, theirs)| close(one - ours.logs[0], theirs, 1e-6));
}

#[test]
fn what_nothing_connects_is_said_and_what_never_lost_stays_finite() {
    let mut comparisons = Comparisons::new(4);
    comparisons.add_win(0, 1);
    comparisons.add_tie(2, 3);
    assert_eq!(comparisons.parts(), [[0, 1].into(), [2, 3].into()]);
    let logs = comparisons.strengths(true).logs;
    assert!(logs.iter().all(|log| log.abs() < 3.0) && logs[0] > logs[1], "{logs:?}");
}

#[test]
fn the_consensus_of_one_coin_is_that_of_crowd_kit() {
    for case in list(&golden()["one_coin"]) {
        let mut of: Vec<Vec<(usize, usize)>> = Vec::new();
        for vote in list(&case["votes"]).iter().map(places) {
            of.resize(of.len().max(vote[0] + 1), Vec::new());
            of[vote[0]].push((vote[1], vote[2]));
        }
        let ours = Votes { choices: case["values"].as_u64().unwrap() as usize, of }.consensus();
        ours.skills.iter().zip(list(&case["skills"])).for_each(|(ours, theirs)| close(*ours, theirs, 1e-6));
        for (ours, theirs) in ours.chances.iter().zip(list(&case["chances"])) {
            ours.iter().zip(list(theirs)).for_each(|(ours, theirs)| close(*ours, theirs, 1e-6));
        }
    }
}

#[test]
fn fleiss_kappa_is_that_of_statsmodels() {
    let golden = &golden()["fleiss"];
    let table: Vec<Vec<usize>> = list(&golden["table"]).iter().map(places).collect();
    close(crate::rl::fleiss(&table).kappa, &golden["kappa"], 1e-12);
}

#[test]
fn exact_intervals_are_those_of_statsmodels() {
    for case in list(&golden()["clopper_pearson"]) {
        let [times, all] = ["times", "all"].map(|name| case[name].as_u64().unwrap() as usize);
        let ours = clopper_pearson(times, all, 0.95);
        ours.iter().zip(list(&case["interval"])).for_each(|(ours, theirs)| close(*ours, theirs, 1e-9));
    }
}

#[test]
fn the_labels_that_settle_a_rule_are_those_of_exact_power() {
    for case in list(&golden()["samples"]) {
        let needed = labels_needed(number(&case["bound"]), number(&case["truth"]));
        assert_eq!(needed, case["needed"].as_u64().map(|needed| needed as usize), "{case}");
    }
    assert_eq!(labels_needed(0.6, 0.6), None);
}

/// A worklist of pairs of which the last `gold` are gold; one of two answers is better, and one is longer.
fn worklist(items: usize, overlapped: usize, gold: usize, seed: u64) -> Worklist {
    let mut lots = Lots::new(seed + 1);
    let item = |number: usize| {
        let mut answers = vec![
            format!("a good answer, number {number}{}", if lots.uniform() < 0.5 { ", and more" } else { "" }),
            format!("an answer, number {number}{}", if lots.uniform() < 0.5 { ", and so on" } else { "" }),
        ];
        answers.sort_by_key(|answer| blake3::hash(answer.as_bytes()).to_hex().to_string());
        let prompt = Prompt::Text(format!("prompt {number}"));
        let known = answers.iter().map(|answer| -(worth(answer) as f64)).collect();
        WorkItem {
            id: number.to_string(),
            is_overlapped: number < overlapped,
            is_gold: number >= items,
            known: Some(known),
            ..WorkItem::of(prompt, answers)
        }
    };
    let all = (0..items + gold).map(item).collect();
    let asked = Questionnaire {
        form: Form::Pairs,
        items,
        overlapped,
        gold_share: if gold > 0 { 0.05 } else { 0.0 },
        repeats: if gold > 0 { 0.05 } else { 0.0 },
        seed,
        is_active: false,
        criteria: None,
    };
    Worklist::new("w".to_owned(), asked, all)
}

fn labelled(worklist: &Worklist, by: &str, number: usize, task: Task, choice: usize, seconds: f64) -> Label {
    let shown = [PairChoice::First, PairChoice::Second][choice];
    Label {
        item: worklist.items[task.item].digest.clone(),
        criteria: String::new(),
        by: by.to_owned(),
        round: task.round,
        judgement: Judgement::Pair(shown).of_shown(&task.order),
        order: task.order,
        before_hint: None,
        seconds,
        at: format!("2026-11-30T{:02}:{:02}:{:02}Z", number / 3600, number / 60 % 60, number % 60),
        client: format!("{by}-{number}"),
        note: None,
    }
}

/// Everything that a person labels, at most `most`.
fn session(
    worklist: &Worklist,
    labels: &mut EffectiveLabels,
    by: &str,
    annotator: Annotator,
    most: usize,
    seed: u64,
) -> Vec<Task> {
    let (nobody, tally) = (BTreeSet::new(), LabelTally::of(worklist, labels));
    let mut sitting = Sitting::new(worklist, &tally, by, &nobody);
    let (mut lots, mut tasks) = (Lots::new(seed + 99), Vec::new());
    while let Some(task) = sitting.next_task().filter(|_| tasks.len() < most) {
        let item = &worklist.items[task.item];
        let shown = [0, 1].map(|side| item.answers[task.order[side]].as_str());
        let (choice, seconds) = annotator.choose(shown, shown.map(worth), tasks.len() as f64 / most as f64, &mut lots);
        labels.add(labelled(worklist, by, tasks.len(), task.clone(), choice, seconds));
        tasks.push(task);
    }
    tasks
}

fn lean(tasks: &[Task]) -> i64 {
    tasks.iter().map(|task| if task.order == [0, 1] { 1 } else { -1 }).sum()
}

#[test]
fn sides_are_balanced_at_every_moment_with_gold_and_repeats_among_the_items() {
    for seed in 0..20 {
        let (worklist, mut labels) = (worklist(100, 20, 20, seed), EffectiveLabels::default());
        let tasks = session(&worklist, &mut labels, "m", Annotator::Careful, 500, seed);
        for done in 0..=tasks.len() {
            assert!(lean(&tasks[..done]).abs() <= 1, "seed {seed}, after {done}");
        }
        let again = tasks.iter().filter(|task| task.round == 1).count();
        let gold = tasks.iter().filter(|task| worklist.items[task.item].is_gold).count();
        assert!((3..=7).contains(&again) && (4..=7).contains(&gold), "{again} repeats, {gold} gold");
        let new: BTreeSet<usize> = tasks.iter().filter(|task| task.round == 0).map(|task| task.item).collect();
        assert_eq!(new.len() + again, tasks.len(), "nothing is shown twice but repeats");
    }
}

#[test]
fn a_second_person_sees_the_items_of_an_overlap_the_other_way_round_and_no_others() {
    for seed in 0..20 {
        let (worklist, mut labels) = (worklist(60, 15, 0, seed), EffectiveLabels::default());
        let first = session(&worklist, &mut labels, "m", Annotator::Careful, 500, seed);
        let second = session(&worklist, &mut labels, "n", Annotator::Careful, 500, seed);
        assert_eq!((first.len(), second.len()), (60, 15));
        for task in &second {
            let before = first.iter().find(|other| other.item == task.item).unwrap();
            assert!(worklist.items[task.item].is_overlapped && before.order != task.order);
        }
        assert!(lean(&second).abs() <= 1, "seed {seed}: {}", lean(&second));
        assert!(LabelTally::of(&worklist, &labels).progress(&worklist).is_enough());
        assert!(session(&worklist, &mut labels, "o", Annotator::Careful, 500, seed).is_empty());
    }
}

#[test]
fn people_who_label_at_once_meet_the_overlap_exactly() {
    let (worklist, mut labels) = (worklist(80, 16, 0, 3), EffectiveLabels::default());
    let names: Vec<String> = (0..8).map(|number| format!("p{number}")).collect();
    let mut number = 0;
    let mut is_open = true;
    while is_open {
        is_open = false;
        let mut taken = BTreeSet::new();
        let mut round = Vec::new();
        let tally = LabelTally::of(&worklist, &labels);
        for by in &names {
            if let Some(task) = Sitting::new(&worklist, &tally, by, &taken).next_task() {
                taken.insert(task.item);
                round.push((by, task));
            }
        }
        for (by, task) in round {
            is_open = true;
            number += 1;
            labels.add(labelled(&worklist, by, number, task, 0, 5.0));
        }
    }
    assert_eq!(
        (labels.len(), LabelTally::of(&worklist, &labels).progress(&worklist)),
        (96, LabelCount { done: 96, needed: 96 })
    );
}

#[test]
fn a_label_of_another_tool_is_judged_by_a_second_person_in_some_order() {
    let (worklist, mut labels) = (worklist(10, 10, 0, 3), EffectiveLabels::default());
    for item in 0..10 {
        labels.add(labelled(&worklist, "tool", item, Task { item, round: 0, order: Vec::new() }, 0, 0.0));
    }
    let tasks = session(&worklist, &mut labels, "m", Annotator::Careful, 500, 1);
    assert!(tasks.len() == 10 && tasks.iter().all(|task| task.order.len() == 2));
}

/// The doubts about a person of this kind after `most` labels, in so many sessions.
fn doubts(annotator: Annotator, most: usize, sessions: u64) -> Vec<Vec<Doubt>> {
    let of_session = |seed: u64| {
        let (worklist, mut labels) = (worklist(most, 0, most, seed), EffectiveLabels::default());
        session(&worklist, &mut labels, "m", annotator, most, seed);
        people(&worklist, &labels).remove(0).doubts
    };
    (0..sessions).map(of_session).collect()
}

#[test]
fn careless_people_are_told_apart_from_careful_ones() {
    let share = |annotator: Annotator, sessions: u64, is: &dyn Fn(&Vec<Doubt>) -> bool| {
        let all = doubts(annotator, 200, sessions);
        all.iter().filter(|doubts| is(doubts)).count() as f64 / sessions as f64
    };
    let any = |doubts: &Vec<Doubt>| !doubts.is_empty();
    let has = |doubt: Doubt| move |doubts: &Vec<Doubt>| doubts.contains(&doubt);
    let alarms = share(Annotator::Careful, 1000, &any);
    assert!(alarms <= 0.05, "{alarms} of the careful are doubted");
    assert!(share(Annotator::AlwaysLeft, 100, &has(Doubt::OneSide)) == 1.0);
    assert!(share(Annotator::Sleepy, 100, &has(Doubt::TooFast)) == 1.0);
    let random = share(Annotator::Random, 200, &has(Doubt::Wavers));
    assert!(random > 0.85, "{random} of those who draw lots are doubted");
}

#[test]
fn who_falls_asleep_in_a_long_session_is_told_by_what_can_be_checked_alone() {
    // A tenth of the labels can be checked: of 200, a third has six or seven, which tell nearly nothing.
    let share = |annotator: Annotator, sessions: u64| {
        let all = doubts(annotator, 500, sessions);
        all.iter().filter(|found| found.contains(&Doubt::Drifts)).count() as f64 / sessions as f64
    };
    let (sleepy, awake) = (share(Annotator::Sleepy, 100), share(Annotator::Careful, 200));
    assert!(sleepy > 0.35 && awake < 0.02, "{sleepy} {awake}");
}

#[test]
fn who_always_takes_the_left_is_known_after_twenty_labels() {
    assert!(doubts(Annotator::AlwaysLeft, 20, 200).iter().all(|doubts| doubts.contains(&Doubt::OneSide)));
}

#[test]
fn a_tally_that_is_kept_is_that_of_all_labels() {
    let (worklist, mut labels) = (worklist(30, 10, 5, 1), EffectiveLabels::default());
    let mut all = EffectiveLabels::default();
    session(&worklist, &mut all, "m", Annotator::Careful, 500, 1);
    session(&worklist, &mut all, "n", Annotator::Careful, 500, 2);
    let mut tally = LabelTally::of(&worklist, &labels);
    let mut lots = Lots::new(5);
    let all: Vec<Label> = all.iter().cloned().collect();
    for step in 0..3 * all.len() {
        let label = &all[(lots.uniform() * all.len() as f64) as usize];
        let old = labels.of(&label.item, &label.by, label.round).cloned();
        if step % 4 == 3 {
            let gone = labels.remove_item(&label.item);
            gone.iter().for_each(|label| tally.exchange(&worklist, &labels, Some(label), None));
        } else {
            let later = Label { at: format!("2026-12-01T00:{:02}:{:02}Z", step / 60, step % 60), ..label.clone() };
            labels.add(later.clone());
            tally.exchange(&worklist, &labels, old.as_ref(), Some(&later));
        }
        let anew = LabelTally::of(&worklist, &labels);
        assert_eq!(tally.progress(&worklist), anew.progress(&worklist));
        for by in ["m", "n"] {
            assert!(tally.own(by).eq(anew.own(by)));
        }
        assert_eq!((&tally.fresh, &tally.once), (&anew.fresh, &anew.once));
    }
}

#[test]
fn the_same_labels_in_another_order_are_the_same_set() {
    let (worklist, mut labels) = (worklist(30, 10, 0, 1), EffectiveLabels::default());
    session(&worklist, &mut labels, "m", Annotator::Careful, 500, 1);
    session(&worklist, &mut labels, "n", Annotator::Careful, 500, 2);
    let mut all: Vec<Label> = labels.iter().cloned().collect();
    all.reverse();
    let mut other = EffectiveLabels::default();
    all.into_iter().for_each(|label| other.add(label));
    assert_eq!((other.digest(), other.len()), (labels.digest(), 40));
    let read = EffectiveLabels::read(std::str::from_utf8(&labels.lines()).unwrap()).unwrap();
    assert_eq!(read.digest(), labels.digest());
}

/// Two labels of each of 2000 items, of so many values.
fn two_thousand(values: usize, distance: Distance) -> CodedUnits {
    let mut lots = Lots::new(3);
    let mut value = || (lots.uniform() * values as f64) as usize;
    CodedUnits { values, units: (0..2000).map(|_| vec![value(), value()]).collect(), distance }
}

#[test]
fn patterns_drawn_whole_and_items_drawn_one_by_one_give_the_same_interval() {
    let draw = Draw { seed: 1, kind: "label", purpose: "bootstrap" };
    let few = two_thousand(3, Distance::Nominal);
    let spread = |[low, high]: [f64; 2]| (high - low) / 2.0;
    let ends = few.bootstrap(draw, 20_000).unwrap();
    let alpha = few.alpha().unwrap();
    let groups: Vec<usize> = (0..few.units.len()).collect();
    let shares: Vec<f64> = few.alpha_by_group(&groups).unwrap().into_iter().flatten().collect();
    let n = shares.len() as f64;
    let error = (shares.iter().map(|share| (share - alpha).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt();
    assert!((spread(ends) / (1.96 * error) - 1.0).abs() < 0.03, "{ends:?} beside {error}");
    // The same, where each value has several names: more patterns than are drawn whole.
    let table = (0..400).map(|at| f64::from(u8::from(at / 20 % 3 != at % 20 % 3))).collect();
    let mut lots = Lots::new(8);
    let mut again = |value: usize| value + 3 * (lots.uniform() * 6.0) as usize;
    let units = few.units.iter().map(|unit| unit.iter().map(|value| again(*value)).collect()).collect();
    let many = CodedUnits { values: 20, units, distance: Distance::Table(table) };
    let others = many.bootstrap(draw, 20_000).unwrap();
    ends.iter().zip(others).for_each(|(one, other)| assert!((one - other).abs() < 0.1 * error, "{one} is not {other}"));
}

#[test]
#[ignore = "a measurement: `cargo test --release --lib -- --ignored --nocapture ten_thousand`"]
fn ten_thousand_resamples_of_two_thousand_items_take_this_long() {
    let draw = Draw { seed: 1, kind: "label", purpose: "bootstrap" };
    let rankings = Distance::Table((0..75 * 75).map(|at| (at / 75_usize).abs_diff(at % 75) as f64 / 74.0).collect());
    for (name, values, distance) in [("pairs", 3, Distance::Nominal), ("rankings of four with ties", 75, rankings)] {
        let coded = two_thousand(values, distance);
        let began = std::time::Instant::now();
        assert!(coded.bootstrap(draw, 10_000).is_some());
        let took = began.elapsed();
        let bytes = vec![7_u8; 100 << 20];
        let began = std::time::Instant::now();
        std::hint::black_box(blake3::hash(&bytes));
        println!("{name}: {took:?}, beside {:?} for the hash of 100 MiB", began.elapsed());
    }
}
