//! The stages of the run as a drawing: what stands on what, how each ended, what its gate said.

mod layers;

use super::facts::Facts;
use super::standing::{Standing, decision_class, decision_word, time};
use super::table::{TableEntry, table, words as plain};
use super::text::place;
use super::words::{self, Language};
use crate::report::fold::{ActionState, StageRun};
use layers::{Layout, layout};
use maud::{Markup, html};
use std::collections::HashMap;

/// The size of a stage in the drawing, and the room that one takes.
const BOX: [f64; 2] = [132.0, 46.0];
const ROOM: [f64; 2] = [168.0, 62.0];

/// Stages up to which a run is drawn: a larger one is a list.
const DRAWN: usize = 120;

/// Letters of a name that fit into a box.
const LETTERS: usize = 17;

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let stages = &facts.run.stages;
    (!stages.is_empty()).then(|| {
        html! {
            @if stages.len() <= DRAWN {
                figure.graph { (drawing(facts, language)) }
                details {
                    summary { (words::AS_A_TABLE.say(language)) }
                    (list(facts, language))
                }
            } @else {
                p.note { (words::TOO_MANY_TO_DRAW.fill(language, &[("count", &stages.len().to_string())])) }
                (list(facts, language))
            }
        }
    })
}

/// A row for each stage.
fn list(facts: &Facts, language: Language) -> Markup {
    let heads = [words::STAGE, words::KIND, words::FROM, words::STATE, words::TIME, words::GATE];
    let headers = heads.map(|phrase| phrase.say(language));
    let row = |stage: &StageRun| {
        let from = stage.head.from.iter().map(|(port, sources)| {
            let sources: Vec<String> = sources.iter().map(|source| place(&source.to_string()).to_owned()).collect();
            format!("{port}: {}", sources.join(", "))
        });
        let gate = stage.verdict.as_deref().map_or("", |verdict| decision_word(verdict.decision, language));
        vec![
            plain(&stage.head.name),
            plain(&stage.head.kind),
            plain(&from.collect::<Vec<_>>().join("; ")),
            TableEntry::Text(Standing::of(stage, facts.is_alive).mark(language)),
            plain(&time(stage)),
            plain(gate),
        ]
    };
    let rows: Vec<Vec<TableEntry>> = facts.run.stages.iter().map(row).collect();
    table(words::STAGES.say(language), &headers, &rows)
}

/// Arrows between stages: from what a stage needs, and from the one that judges it.
fn arrows(facts: &Facts) -> [Vec<(usize, usize)>; 2] {
    let stages = &facts.run.stages;
    let index: HashMap<&str, usize> =
        stages.iter().enumerate().map(|(at, stage)| (stage.head.name.as_str(), at)).collect();
    let (mut inputs, mut judges) = (Vec::new(), Vec::new());
    for (to, stage) in stages.iter().enumerate() {
        let sources = stage.head.from.iter().flat_map(|(_, sources)| sources);
        for from in sources.filter_map(|source| index.get(source.name.as_str())) {
            if !inputs.contains(&(*from, to)) {
                inputs.push((*from, to));
            }
        }
        let seen = stage.verdict.iter().flat_map(|verdict| &verdict.evidence.candidates);
        for judge in seen.flat_map(|seen| seen.judged.keys()).filter_map(|judge| index.get(judge.as_str())) {
            if *judge != to && !judges.contains(&(to, *judge)) {
                judges.push((to, *judge));
            }
        }
    }
    [inputs, judges]
}

fn drawing(facts: &Facts, language: Language) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-label=(words::STAGES.say(language)) { (plot(facts, language)) }
        figcaption { (words::GRAPH_CAPTION.say(language)) }
    }
}

/// The drawing alone.
pub fn plot(facts: &Facts, language: Language) -> Markup {
    let stages = &facts.run.stages;
    let [inputs, judges] = arrows(facts);
    let Layout { places, ways, layers, rows } = layout(stages.len(), &inputs);
    let size = [layers as f64 * ROOM[0] - (ROOM[0] - BOX[0]) + 14.0, rows as f64 * ROOM[1] - (ROOM[1] - BOX[1]) + 4.0];
    let corner = |place: [f64; 2]| [2.0 + place[0] * ROOM[0], 2.0 + place[1] * ROOM[1]];
    let says = words::GRAPH_SAYS.fill(language, &[("count", &stages.len().to_string())]);
    html! {
        svg.dag width=(size[0]) height=(size[1]) viewBox={ "0 0 " (size[0]) " " (size[1]) } role="img" {
            title { (words::STAGES.say(language)) }
            desc { (says) }
            @for way in &ways { path.arrow d=(curve(way)) {} }
            @for (from, to) in &judges {
                @let (from, to) = (corner(places[*from]), corner(places[*to]));
                path.judge d={ "M" (from[0] + BOX[0] / 2.0) " " (from[1] + BOX[1]) "Q" (from[0] + BOX[0] / 2.0) " "
                    (to[1] + BOX[1] / 2.0 + 12.0) " " (to[0]) " " (to[1] + BOX[1] / 2.0 + 12.0) } {}
            }
            @for (stage, place) in stages.iter().zip(&places) { (node(stage, corner(*place), facts, language)) }
        }
    }
}

/// A stage: its name, its kind and time, its mark, and a notch with what its gate said.
fn node(stage: &StageRun, [x, y]: [f64; 2], facts: &Facts, language: Language) -> Markup {
    let name = &stage.head.name;
    let (sign, tone, word) = Standing::of(stage, facts.is_alive).sign();
    let short: String = match name.chars().count() > LETTERS {
        true => name.chars().take(LETTERS - 1).chain(['…']).collect(),
        false => name.clone(),
    };
    let share = match stage.actions.last().map(|action| &action.state) {
        Some(ActionState::Running { done, total, .. }) if *total > 0 && stage.outcome.is_none() => {
            format!("{} %", done * 100 / total)
        }
        _ => time(stage),
    };
    let below = [stage.head.kind.as_str(), &share].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let gate = stage.verdict.as_deref().map(|verdict| verdict.decision);
    html! {
        g class={ "node " (tone) } transform={ "translate(" (x) " " (y) ")" } {
            title { (name) ": " (word.say(language)) }
            rect width=(BOX[0]) height=(BOX[1]) rx="5" {}
            text.stage x="10" y="19" { (short) }
            text.kind x="10" y="36" { (below.join(" · ")) }
            text.sign x=(BOX[0] - 12.0) y="19" text-anchor="middle" { (sign) }
            @if let Some(decision) = gate {
                g class={ "gate " (decision_class(decision)) } {
                    title { (words::GATE.say(language)) ": " (decision_word(decision, language)) }
                    path d={ "M" (BOX[0]) " 26l8 8l-8 8l-8 -8z" } {}
                }
            } @else if stage.head.has_gate {
                g.gate.quiet { path d={ "M" (BOX[0]) " 26l8 8l-8 8l-8 -8z" } {} }
            }
        }
    }
}

/// A smooth way through these places: from the right side of the first box to the left side of the last.
fn curve(way: &[[f64; 2]]) -> String {
    let (Some(first), Some(last)) = (way.first(), way.last()) else { return String::new() };
    let middle = |place: &[f64; 2]| 2.0 + place[1] * ROOM[1] + BOX[1] / 2.0;
    let left = |place: &[f64; 2]| 2.0 + place[0] * ROOM[0];
    let mut at = [left(first) + BOX[0], middle(first)];
    let mut path = format!("M{} {}", at[0], at[1]);
    let mut to = |x: f64, y: f64| {
        let half = (at[0] + x) / 2.0;
        path += &format!("C{half} {} {half} {y} {x} {y}", at[1]);
        at = [x, y];
    };
    for passed in &way[1..way.len() - 1] {
        to(left(passed), middle(passed));
        to(left(passed) + BOX[0], middle(passed));
    }
    to(left(last), middle(last));
    path
}
