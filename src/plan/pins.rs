//! Checks pins such as `ppo_1@7` against the steps at which the stage hands over candidates, as far as its parameters
//! tell them. No kind is known by name.

use super::draft::Draft;
use super::graph::StageId;
use crate::diagnostic::Diagnostic;
use crate::spec::{Pin, Reference};
use serde_json::Value;
use std::collections::HashMap;

/// The steps of candidates, by the parameters that say so.
struct Steps {
    /// Steps between candidates; 0: one candidate, at the end.
    every: u64,
    /// The number of steps, which is that of the last candidate; `None` if it depends on the data.
    last: Option<u64>,
}

impl Steps {
    fn of(parameters: &Value) -> Option<Steps> {
        let number = |name: &str| parameters.get(name).and_then(Value::as_u64);
        let last = number("steps");
        let every = number("checkpoint_every").or(last.map(|_| 0))?;
        Some(Steps { every, last })
    }

    fn may_be(&self, step: u64) -> bool {
        let is_between = step > 0 && step.is_multiple_of(self.every);
        self.last.is_none_or(|last| step == last || is_between && step < last)
    }

    /// The steps in words: `5, 10, … and 20`.
    fn said(&self) -> String {
        let last = self.last.map_or_else(|| "the last".to_owned(), |last| last.to_string());
        match self.every {
            0 => last,
            every if self.last.is_some_and(|last| last <= every) => last,
            every if self.last.is_some_and(|last| last <= 2 * every) => format!("{every} and {last}"),
            every => format!("{every}, {}, … and {last}", 2 * every),
        }
    }
}

pub fn check(drafts: &[Draft], ids: &HashMap<&str, StageId>, mistakes: &mut Vec<Diagnostic>) {
    for source in drafts.iter().flat_map(|draft| &draft.spec.from).flat_map(|port| &port.sources) {
        let Reference::Stage { name, pin: Pin::Step(step), .. } = &source.reference else { continue };
        let pinned = ids.get(name.as_str()).and_then(|id| drafts[*id].parameters.as_ref());
        let Some(steps) = pinned.and_then(|parameters| Steps::of(&parameters.value())) else { continue };
        if !steps.may_be(*step) {
            let message = format!("`{name}@{step}`: `{name}` hands over no candidate of step {step}");
            let (said, many) = (steps.said(), if steps.said().contains(' ') { "s" } else { "" });
            let help =
                format!("it has step{many} {said}, as its `checkpoint_every` says; `{name}@last` is the last one");
            mistakes.push(Diagnostic::error(source.span, message).help(help));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn candidates_come_at_every_so_many_steps_and_at_the_end() {
        let steps = |parameters: Value| Steps::of(&parameters);
        let some = steps(json!({"steps": 22, "checkpoint_every": 5})).unwrap();
        let may_be: Vec<u64> = (0..30).filter(|step| some.may_be(*step)).collect();
        assert_eq!((may_be, some.said()), (vec![5, 10, 15, 20, 22], "5, 10, … and 22".to_owned()));
        let one = steps(json!({"steps": 22})).unwrap();
        assert_eq!(
            ((0..30).filter(|step| one.may_be(*step)).collect::<Vec<u64>>(), one.said()),
            (vec![22], "22".into())
        );
        // Without the data, the last step of a training by epochs may be any.
        assert!(steps(json!({"epochs": 2, "checkpoint_every": 5})).unwrap().may_be(7));
        assert!(steps(json!({"command": "ls"})).is_none());
    }
}
