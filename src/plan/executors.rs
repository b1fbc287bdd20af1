//! Where each stage runs.

use crate::diagnostic::Diagnostic;
use crate::spec::executors::LOCAL;
use crate::spec::{Spec, StageSpec, WithSpan};
use stages::stage::did_you_mean;

/// Reports executors that are named and not configured.
pub fn check(spec: &Spec, mistakes: &mut Vec<Diagnostic>) {
    let executors = &spec.settings.executors;
    let named = spec.stages.iter().filter_map(|stage| stage.executor.as_ref()).chain(&spec.settings.executor);
    let is_unknown = |name: &&WithSpan<String>| name.value != LOCAL && !executors.contains_key(&name.value);
    for name in named.filter(is_unknown) {
        let known: Vec<&str> = [LOCAL].into_iter().chain(executors.keys().map(String::as_str)).collect();
        let message = format!("no executor `{}` is configured", name.value);
        let help = match known.len() {
            1 => {
                format!("`executors: {{{}: {{type: slurm, partition: …}}}}`, here or in your configuration", name.value)
            }
            _ => did_you_mean(&name.value, &known),
        };
        mistakes.push(Diagnostic::error(name.span, message).help(help));
    }
}

/// The executor of a stage, or that of the pipeline; `None`: this machine.
pub fn of(stage: &StageSpec, spec: &Spec) -> Option<String> {
    let named = stage.executor.as_ref().or(spec.settings.executor.as_ref());
    named.map(|name| name.value.clone()).filter(|name| name != LOCAL)
}
