//! Keys that would go over a network in the open.

use crate::diagnostic::Diagnostic;
use crate::spec::{Node, StageSpec};
use stages::server;

/// Where the parameters of a kind have the address of a server.
const ADDRESS: &str = "endpoint.url";

/// Warns of a secret that is sent without TLS to another machine.
pub fn warn(stage: &StageSpec, with: &Node, parameters: &serde_json::Value, mistakes: &mut Vec<Diagnostic>) {
    let address = ADDRESS.split('.').try_fold(parameters, |at, key| at.get(key)).and_then(serde_json::Value::as_str);
    if let (Some(address), Some(secret)) = (address.filter(|address| server::is_open(address)), stage.secrets.first()) {
        let message = format!(
            "the key `{}` goes to {} over plain `http://`: whoever is on the way can read it",
            secret.value,
            server::host(address)
        );
        let help = "write `https://`, or let a tunnel end on this machine (`http://127.0.0.1:PORT`)";
        mistakes.push(Diagnostic::warning(with.find(ADDRESS).value, message).help(help));
    }
}
