//! One job of cheap commands, as each tool wants it written down. Knows nothing of how anything is run or timed.

use clap::ValueEnum;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Shape {
    /// Each stage needs the one before.
    Chain,
    /// All stages need the first.
    Fan,
    /// All but the last need the first, and the last needs all of them.
    Diamond,
}

impl Shape {
    pub fn word(self) -> &'static str {
        match self {
            Shape::Chain => "chain",
            Shape::Fan => "fan",
            Shape::Diamond => "diamond",
        }
    }
}

#[derive(Clone, Copy)]
pub struct Job {
    pub shape: Shape,
    pub stages: usize,
}

impl Job {
    pub fn needs(&self, stage: usize) -> Vec<usize> {
        match self.shape {
            _ if stage == 0 => Vec::new(),
            Shape::Chain => vec![stage - 1],
            Shape::Diamond if stage + 1 == self.stages && stage > 1 => (1..stage).collect(),
            Shape::Fan | Shape::Diamond => vec![0],
        }
    }

    /// Builtins of the shell only, so that a stage is one process: reads the first of what it needs, writes a line.
    fn command(&self, stage: usize, input: &str, output: &str) -> String {
        let read = if stage == 0 { String::new() } else { format!("read x < {input}; ") };
        format!("{read}echo {stage} > {output}")
    }

    /// With every output in a directory `o`.
    pub fn plain_command(&self, stage: usize) -> String {
        let first = self.needs(stage).first().copied().unwrap_or_default();
        self.command(stage, &format!("o/{first}"), &format!("o/{stage}"))
    }

    /// The names of what a stage needs, `before` in front of each and `between` them.
    fn named(&self, stage: usize, before: &str, between: &str) -> String {
        self.needs(stage).iter().map(|need| format!("{before}{need}")).collect::<Vec<_>>().join(between)
    }

    pub fn pipeline(&self) -> String {
        let mut text = "name: noop\nstages:\n".to_owned();
        for stage in 0..self.stages {
            let is_many = self.needs(stage).len() > 1;
            let needs = self.named(stage, "s", ", ");
            let from = match (stage, is_many) {
                (0, _) => String::new(),
                (_, false) => format!("from: {{a: {needs}}}, "),
                (_, true) => format!("from: {{a: [{needs}]}}, "),
            };
            let command = self.command(stage, if is_many { "in/a/0/n" } else { "in/a/n" }, "n");
            let with = format!("with: {{command: [/bin/sh, -euc, \"{command}\"], outputs: [n]}}");
            writeln!(text, "  s{stage}: {{kind: exec, {from}{with}}}").expect("a text takes all");
        }
        text
    }

    pub fn dvc(&self) -> String {
        let mut text = "stages:\n".to_owned();
        for stage in 0..self.stages {
            let deps = match stage {
                0 => String::new(),
                _ => format!("\n    deps: [{}]", self.named(stage, "o/", ", ")),
            };
            let command = self.plain_command(stage);
            writeln!(text, "  s{stage}:\n    cmd: 'set -eu; {command}'{deps}\n    outs: [o/{stage}]")
                .expect("a text takes all");
        }
        text
    }

    pub fn ninja(&self) -> String {
        let mut text = "rule stage\n  command = set -eu; $c\n".to_owned();
        for stage in 0..self.stages {
            let (needs, command) = (self.named(stage, "o/", " "), self.plain_command(stage));
            writeln!(text, "build o/{stage}: stage {needs}\n  c = {command}").expect("a text takes all");
        }
        text
    }

    /// One rule with a wildcard, as its users write it; a rule a stage costs it more.
    pub fn snakemake(&self) -> String {
        let last = self.stages - 1;
        let needs = match self.shape {
            Shape::Chain => "[n - 1] if n else []".to_owned(),
            Shape::Fan => "[0] if n else []".to_owned(),
            Shape::Diamond => format!("list(range(1, n)) if n == {last} and n > 1 else [0] if n else []"),
        };
        let wanted = match self.shape {
            Shape::Fan => format!("[f\"o/{{n}}\" for n in range({})]", self.stages),
            Shape::Chain | Shape::Diamond => format!("\"o/{last}\""),
        };
        format!(
            r#"rule all:
    input: {wanted}

def needs(n):
    return {needs}

rule stage:
    input: lambda wildcards: [f"o/{{n}}" for n in needs(int(wildcards.n))]
    output: "o/{{n}}"
    wildcard_constraints: n="[0-9]+"
    params: read=lambda wildcards, input: f"read x < {{input[0]}}; " if input else ""
    shell: "{{params.read}}echo {{wildcards.n}} > {{output}}"
"#
        )
    }
}
