//! The graph of a plan: a list for people, drawings for Graphviz and Mermaid.

use super::sheet::{Grid, Header, Sheet, TOGETHER, Tone, cell, plain};
use crate::plan::{ArtifactName, Gate, OnFail, Pin, Plan, Source, Stage};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A connection from a stage or a path to a stage.
struct Arrow {
    from: Origin,
    to: usize,
    label: String,
    kind: ArrowKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ArrowKind {
    Input,
    /// From the stage whose candidate the judge measures.
    Judge,
    /// From a stage that a gate rule names.
    Rule,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Stage(usize),
    Path(String),
}

fn arrows(plan: &Plan) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for (to, stage) in plan.stages.iter().enumerate() {
        for input in &stage.inputs {
            for source in &input.sources {
                let (from, part) = match source {
                    Source::Stage { stage, pin } => (Origin::Stage(*stage), pinned(*pin)),
                    Source::File { stage, pin, path } => (Origin::Stage(*stage), format!("{} :{path}", pinned(*pin))),
                    Source::Path(path) => (Origin::Path(path.display().to_string()), String::new()),
                };
                arrows.push(Arrow { from, to, label: format!("{}{part}", input.port), kind: ArrowKind::Input });
            }
        }
        let Some(gate) = &stage.gate else { continue };
        for judge in &gate.judges {
            arrows.push(Arrow {
                from: Origin::Stage(to),
                to: *judge,
                label: "judged by".to_owned(),
                kind: ArrowKind::Judge,
            });
        }
        for (_, named) in gate.stages.iter().filter(|(_, named)| *named != to) {
            arrows.push(Arrow { from: Origin::Stage(*named), to, label: "rule".to_owned(), kind: ArrowKind::Rule });
        }
    }
    arrows
}

fn pinned(pin: Pin) -> String {
    match pin {
        Pin::Open => String::new(),
        Pin::Last => " @last".to_owned(),
        Pin::Step(step) => format!(" @{step}"),
    }
}

fn paths(arrows: &[Arrow]) -> Vec<&str> {
    let paths = arrows.iter().filter_map(|arrow| match &arrow.from {
        Origin::Path(path) => Some(path.as_str()),
        Origin::Stage(_) => None,
    });
    paths.collect::<BTreeSet<_>>().into_iter().collect()
}

/// One row for each stage, after all it needs.
pub fn list(plan: &Plan) -> Sheet {
    let mut grid = Grid::new([Header::name("stage"), Header::name("kind"), Header::text("from"), Header::text("gate")]);
    for stage in &plan.stages {
        let from = stage.inputs.iter().map(|input| {
            let sources = plan.sources(input).iter().map(ArtifactName::to_string).collect::<Vec<_>>();
            let sources = sources.join(&format!(",{TOGETHER}"));
            format!("{}:{TOGETHER}{sources}", input.port)
        });
        let from: Vec<String> = from.collect();
        grid.add([
            plain(&stage.name),
            cell(stage.kind.name, Tone::Quiet),
            plain(if from.is_empty() { String::new() } else { format!("<- {}", from.join("; ")) }),
            plain(stage.gate.as_ref().map_or(String::new(), |gate| gate_text(plan, stage, gate))),
        ]);
    }
    grid.into()
}

/// The gate in one line: `judged by eval; mean_score > incumbent.mean_score; else stop`.
fn gate_text(plan: &Plan, stage: &Stage, gate: &Gate) -> String {
    let mut parts = Vec::new();
    let judges: Vec<&str> = gate.judges.iter().map(|judge| plan.stages[*judge].name.as_str()).collect();
    if !judges.is_empty() {
        parts.push(format!("judged by {}", judges.join(", ")));
    }
    if gate.select.is_some() {
        parts.push("selects a checkpoint".to_owned());
    }
    parts.extend(gate.require.iter().map(|rule| rule.text.clone()));
    parts.extend(gate.warn.iter().map(|rule| format!("warn {}", rule.text)));
    parts.extend(gate.observe.iter().map(|rule| format!("observe {}", rule.text)));
    match (gate.require.is_empty() && gate.select.is_none(), gate.on_fail) {
        (true, _) => {}
        (_, OnFail::Stop) => parts.push("else stop".to_owned()),
        (_, OnFail::Hold) => parts.push("else a person decides".to_owned()),
        (_, OnFail::Keep) => {
            let port = stage.incumbent.as_deref().unwrap_or("incumbent");
            parts.push(format!("else keep what is on `{port}`"));
        }
    }
    parts.join("; ")
}

pub fn dot(plan: &Plan) -> String {
    let arrows = arrows(plan);
    let mut text = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(&plan.name));
    let mut line = |line: String| writeln!(text, "  {line}").expect("a string takes all that is written");
    for path in paths(&arrows) {
        line(format!("{} [shape=note];", quoted(path)));
    }
    for stage in &plan.stages {
        let gate = if stage.gate.is_some() { ", peripheries=2" } else { "" };
        // `\n` is an escape of dot, so it must not be escaped itself.
        let label = format!("{}\\n{}", escaped(&stage.name), escaped(stage.kind.name));
        line(format!("{} [label=\"{label}\"{gate}];", quoted(&stage.name)));
    }
    for arrow in &arrows {
        let from = match &arrow.from {
            Origin::Stage(stage) => &plan.stages[*stage].name,
            Origin::Path(path) => path,
        };
        // Judging alone does not place a judge downstream: the arrow must not influence the layout.
        let look = match arrow.kind {
            ArrowKind::Input => "",
            ArrowKind::Judge => ", style=dashed, constraint=false",
            ArrowKind::Rule => ", style=dotted",
        };
        let to = &plan.stages[arrow.to].name;
        line(format!("{} -> {} [label={}{look}];", quoted(from), quoted(to), quoted(&arrow.label)));
    }
    text.push_str("}\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// The drawing for Mermaid. Nodes are numbered, because a stage may be called `end` or `style`, words of Mermaid.
pub fn mermaid(plan: &Plan) -> String {
    let arrows = arrows(plan);
    let paths = paths(&arrows);
    let mut text = String::from("flowchart LR\n");
    let mut line = |line: String| writeln!(text, "  {line}").expect("a string takes all that is written");
    for (n, path) in paths.iter().enumerate() {
        line(format!("f{n}[/\"{}\"/]", entities(path)));
    }
    for (n, stage) in plan.stages.iter().enumerate() {
        let label = format!("\"{}<br/>{}\"", entities(&stage.name), entities(stage.kind.name));
        line(if stage.gate.is_some() { format!("s{n}[[{label}]]") } else { format!("s{n}[{label}]") });
    }
    for arrow in &arrows {
        let from = match &arrow.from {
            Origin::Stage(stage) => format!("s{stage}"),
            Origin::Path(path) => format!("f{}", paths.iter().position(|known| known == path).unwrap_or_default()),
        };
        // Mermaid has one dashed line; the label distinguishes a judge from a rule.
        let stroke = if arrow.kind == ArrowKind::Input { "-->" } else { "-.->" };
        line(format!("{from} {stroke}|\"{}\"| s{}", entities(&arrow.label), arrow.to));
    }
    text
}

fn entities(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '#' => escaped.push_str("#35;"),
            '"' => escaped.push_str("#quot;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            '&' => escaped.push_str("#amp;"),
            '`' => escaped.push_str("#96;"),
            '\n' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
