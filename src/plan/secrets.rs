//! The settings of a stage's process: `secret` and `audit`, which do not affect its result, and what this machine can do
//! of `sandbox`. Values of secrets are never read.

use super::draft::Draft;
use super::graph::StageId;
use super::source::Source;
use crate::diagnostic::Diagnostic;
use crate::spec::node::Value;
use crate::spec::{Node, StageSpec};
use stages::stage::{Gives, Kind, is_variable};
use stages::{audit, sandbox};
use std::collections::BTreeMap;

/// Variables that every command gets: they decide which programs and files it finds, so their values belong in the key.
const GIVEN: [&str; 4] = ["PATH", "LANG", "HOME", "TMPDIR"];

/// A reward that a stage asks.
#[derive(Clone, Debug)]
pub struct ToldReward {
    pub stage: StageId,
    /// Its parameters that are in no key, by their paths.
    pub beside_key: BTreeMap<String, serde_json::Value>,
    /// The names of the secrets that it gets, and nobody else.
    pub secrets: Vec<String>,
}

/// Things that a stage is told beside its action, since they change no result.
pub struct ToldBeside {
    /// The names of its own secrets, and of those of the rewards that it asks.
    pub secrets: Vec<String>,
    pub called: Vec<ToldReward>,
}

/// The things that each stage is told.
pub fn told(drafts: &[Draft]) -> Vec<ToldBeside> {
    let own = |draft: &Draft| draft.spec.secrets.iter().map(|name| name.value.clone()).collect::<Vec<_>>();
    let called = |stage: StageId| -> Option<ToldReward> {
        let draft = &drafts[stage];
        draft.kind.filter(|kind| kind.gives == Gives::Scorer)?;
        Some(ToldReward { stage, beside_key: draft.beside_key.clone(), secrets: own(draft) })
    };
    let all = drafts.iter().map(|draft| {
        let sources = draft.inputs.iter().flat_map(|input| &input.sources).filter_map(Source::stage);
        let called: Vec<ToldReward> = sources.filter_map(called).collect();
        let mut secrets = Vec::new();
        for name in own(draft).into_iter().chain(called.iter().flat_map(|called| called.secrets.clone())) {
            if !secrets.contains(&name) {
                secrets.push(name);
            }
        }
        ToldBeside { secrets, called }
    });
    all.collect()
}

pub fn check(stage: &StageSpec, with: &Node, kind: &Kind, mistakes: &mut Vec<Diagnostic>) {
    for (n, secret) in stage.secrets.iter().enumerate() {
        let name = &secret.value;
        let (message, help) = if !kind.takes_any_port && !kind.asks_endpoint {
            let message = format!("`{}` starts no command and asks nobody that could be given a secret", kind.name);
            (message, "`secret` is for stages of kind `exec`, and for those that ask an endpoint".to_owned())
        } else if kind.asks_endpoint && with.get("endpoint").is_none() || n > 0 && with.get("endpoint").is_some() {
            (
                format!("`{name}` is told to nobody"),
                "the one secret of the stage is the key of its `endpoint`".to_owned(),
            )
        } else if !is_variable(name) {
            let message = format!("`{name}` cannot name a variable of the environment");
            (message, "write the name of the variable, never its value: `secret: [HF_TOKEN]`".to_owned())
        } else if GIVEN.contains(&name.as_str()) {
            let help = format!("write `with: {{env: {{{name}: …}}}}`");
            (format!("`{name}` is no secret: it decides what the command finds"), help)
        } else if with.get("env").and_then(|env| env.get(name)).is_some() {
            let help = "what stands in `env` is part of the key and of reports: take it out there, or here";
            (format!("`{name}` is both in `env` and a secret"), help.to_owned())
        } else if stage.secrets[..n].iter().any(|other| other.value == *name) {
            (format!("`{name}` is named twice"), "name it once".to_owned())
        } else {
            continue;
        };
        mistakes.push(Diagnostic::error(secret.span, message).help(help));
    }
    let confined =
        with.get("sandbox").filter(|_| kind.takes_any_port).filter(|asked| matches!(asked.value, Value::Bool(true)));
    if let Some((asked, obstacle)) = confined.and_then(|asked| Some((asked, sandbox::obstacle()?))) {
        let message = format!("this machine cannot confine a command: {obstacle}");
        mistakes.push(Diagnostic::error(asked.span, message).help(sandbox::HELP));
    }
    let Some(asked) = stage.audit.as_ref().filter(|audit| audit.value) else { return };
    if !kind.is_command() {
        let message = format!("`{}` starts no command that could be audited", kind.name);
        mistakes.push(Diagnostic::error(asked.span, message).help("`audit` is for stages of kind `exec`"));
    } else if !audit::IS_POSSIBLE {
        let message = "this system cannot say which files a command reads";
        mistakes.push(Diagnostic::error(asked.span, message).help("`audit` is for Linux"));
    } else if confined.is_some() {
        let message = "what a command in a sandbox can read is declared: there is nothing to audit";
        mistakes.push(Diagnostic::error(asked.span, message).help("take out `audit`, or `sandbox`"));
    }
}
