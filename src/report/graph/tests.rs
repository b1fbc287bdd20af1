//! Drawings of one plan, and of names that are not made for drawing.

use super::super::page::print;
use super::super::sample::PAGE;
use super::*;
use crate::diagnostic::SourceText;
use expect_test::expect;
use stages::kinds::KINDS;
use std::fs;

fn plan(text: &str) -> Plan {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a \"b\" <c>#1.txt"), "x").unwrap();
    fs::write(folder.path().join("words.txt"), "x").unwrap();
    let source = SourceText { path: "toy.yaml".into(), text: text.to_owned(), overrides: Vec::new(), rule: None };
    let spec = crate::spec::read(&source, &|_| None).unwrap();
    let mut plan = crate::plan::resolve(spec, folder.path(), KINDS).ok().unwrap();
    for source in plan.stages.iter_mut().flat_map(|stage| &mut stage.inputs).flat_map(|input| &mut input.sources) {
        if let Source::Path(path) = source {
            *path = path.strip_prefix(folder.path()).unwrap().to_owned();
        }
    }
    plan
}

const TOY: &str = r#"
name: a "toy"
stages:
  end:
    kind: exec
    from: {data: words.txt, odd: './a "b" <c>#1.txt'}
    metrics: {score: higher}
    with: {command: [sh, -c, "true"]}
  tuned:
    kind: exec
    from: {policy: end}
    incumbent: policy
    metrics: {score: higher, cost: lower}
    with: {command: [sh, -c, "true"]}
    gate: {select: {best: score}, require: score > end.score, warn: cost < 3, on_fail: keep}
  after:
    kind: exec
    from: {policy: tuned, before: tuned@last, all: [end, "tuned@4"]}
    with: {command: [sh, -c, "true"]}
"#;

#[test]
fn a_person_reads_one_stage_a_line() {
    expect![[r#"
        stage  kind  from                                      gate
        ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        end    exec  <- data: words.txt; odd: a "b" <c>#1.txt
        tuned  exec  <- policy: end                            selects a checkpoint; score > end.score; warn cost < 3; else
                                                               keep what is on `policy`
        after  exec  <- policy: tuned; before: tuned@last;
                     all: end, tuned@4
    "#]].assert_eq(&print(&[list(&plan(TOY))], PAGE));
}

#[test]
fn dot_escapes_names_and_tells_edges_apart() {
    expect![[r#"
        digraph "a \"toy\"" {
          rankdir=LR;
          node [shape=box];
          "a \"b\" <c>#1.txt" [shape=note];
          "words.txt" [shape=note];
          "end" [label="end\nexec"];
          "tuned" [label="tuned\nexec", peripheries=2];
          "after" [label="after\nexec"];
          "words.txt" -> "end" [label="data"];
          "a \"b\" <c>#1.txt" -> "end" [label="odd"];
          "end" -> "tuned" [label="policy"];
          "end" -> "tuned" [label="rule", style=dotted];
          "tuned" -> "after" [label="policy"];
          "tuned" -> "after" [label="before @last"];
          "end" -> "after" [label="all"];
          "tuned" -> "after" [label="all @4"];
        }
    "#]]
    .assert_eq(&dot(&plan(TOY)));
}

#[test]
fn mermaid_escapes_names_and_knows_no_words() {
    expect![[r#"
        flowchart LR
          f0[/"a #quot;b#quot; #lt;c#gt;#35;1.txt"/]
          f1[/"words.txt"/]
          s0["end<br/>exec"]
          s1[["tuned<br/>exec"]]
          s2["after<br/>exec"]
          f1 -->|"data"| s0
          f0 -->|"odd"| s0
          s0 -->|"policy"| s1
          s0 -.->|"rule"| s1
          s1 -->|"policy"| s2
          s1 -->|"before @last"| s2
          s0 -->|"all"| s2
          s1 -->|"all @4"| s2
    "#]]
    .assert_eq(&mermaid(&plan(TOY)));
}
