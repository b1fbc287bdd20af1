//! GPUs that a stage asks for and cannot use.

use super::draft::Draft;
use crate::diagnostic::Diagnostic;

/// Warns of stages that compute, and ask for more GPUs than their work can be shared by.
pub fn check(drafts: &[Draft], mistakes: &mut Vec<Diagnostic>) {
    for draft in drafts {
        let (Some(kind), Some(parameters), Some(asked)) = (draft.kind, &draft.parameters, draft.spec.resources.gpu)
        else {
            continue;
        };
        let most = kind.most_devices(&parameters.value());
        if !kind.computes || asked <= most.max(1) {
            continue;
        }
        let (name, has) = (
            &draft.spec.name,
            if most == 1 {
                "its work is in one part".to_owned()
            } else {
                format!("its batch is cut into {most} shards")
            },
        );
        let message = format!("`{}` asks for gpu: {asked}, and {has}: {} stay idle", name.value, asked - most);
        let warning = Diagnostic::warning(name.span, message);
        mistakes.push(match kind.can_be_shared() {
            true => warning.help(format!(
                "`with: {{shards: {asked}}}` lets all of them work; the result is then the same on any number of GPUs, and differs from \
                 that of other shards in the last bits"
            )),
            false => warning.help(format!("`{}` computes on one GPU", kind.name)),
        });
    }
}
