//! The stages of a plan that may run: `--only`, `--from`, `--force`.

use super::{Plan, StageId};
use stages::stage::did_you_mean;
use std::collections::BTreeSet;

/// The names given on the command line. Without any, every stage runs.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these stages.
    pub only: Vec<String>,
    /// These stages and all that depend on them.
    pub from: Vec<String>,
    /// Stages to execute again although they have a result.
    pub force: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Run,
    /// Its result is needed and must exist.
    Find,
    /// Not part of this run.
    Leave,
}

pub struct Selection {
    roles: Vec<Role>,
    forced: BTreeSet<StageId>,
    typed: String,
}

impl Selection {
    /// `--only sft --from rm_1` if the run has only some of the stages; else empty.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    pub fn role(&self, id: StageId) -> Role {
        self.roles[id]
    }

    pub fn is_forced(&self, id: StageId) -> bool {
        self.forced.contains(&id)
    }
}

/// The role of every stage. An unknown name is refused, with the nearest one suggested.
pub fn select(plan: &Plan, asked: &Filter) -> Result<Selection, String> {
    let ids = |names: &[String]| names.iter().map(|name| id(plan, name)).collect::<Result<BTreeSet<_>, _>>();
    let (only, from, forced) = (ids(&asked.only)?, ids(&asked.from)?, ids(&asked.force)?);
    let is_all = only.is_empty() && from.is_empty();
    let mut roles = vec![if is_all { Role::Run } else { Role::Leave }; plan.stages.len()];
    if !is_all {
        only.iter().chain(&from).for_each(|id| roles[*id] = Role::Run);
        // Every stage comes after all it needs: one pass forward marks what runs, one backward what is needed.
        let mut below: BTreeSet<StageId> = from;
        for (id, stage) in plan.stages.iter().enumerate() {
            if stage.needs.iter().any(|need| below.contains(need)) {
                below.insert(id);
                roles[id] = Role::Run;
            }
        }
        for id in (0..roles.len()).rev() {
            for need in &plan.stages[id].needs {
                if roles[id] != Role::Leave && roles[*need] == Role::Leave {
                    roles[*need] = Role::Find;
                }
            }
        }
    }
    if let Some(left_out) = forced.iter().find(|id| roles[**id] != Role::Run) {
        let name = &plan.stages[*left_out].name;
        return Err(format!("`{name}` is to be forced, but it is left out by `--only` or `--from`"));
    }
    let typed = [("--only", &asked.only), ("--from", &asked.from)];
    let typed = typed.iter().flat_map(|(flag, names)| names.iter().map(move |name| format!("{flag} {name}")));
    Ok(Selection { roles, forced, typed: typed.collect::<Vec<_>>().join(" ") })
}

fn id(plan: &Plan, name: &str) -> Result<StageId, String> {
    plan.stages.iter().position(|stage| stage.name == name).ok_or_else(|| {
        let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
        format!("the file has no stage `{name}`; {}", did_you_mean(name, &names))
    })
}
