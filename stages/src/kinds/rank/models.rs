//! Replies of an endpoint by the models that the server says it was: one name may stand for another model tomorrow.

use crate::judge::hearing::Hearing;
use crate::judge::measures;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Numbers by model, where several replied.
pub struct ModelSplit {
    /// The numbers about items of which one model alone spoke, with its name as their subset.
    pub rows: Vec<Value>,
    pub remark: String,
}

/// `None` where one model replied.
pub fn split(hearings: &[Hearing]) -> Option<ModelSplit> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for model in hearings.iter().flat_map(|hearing| &hearing.replies).filter_map(|reply| reply.model.as_deref()) {
        *counts.entry(model).or_default() += 1;
    }
    if counts.len() < 2 {
        return None;
    }
    let (mut rows, mut said) = (Vec::new(), Vec::new());
    for (model, count) in counts {
        let is_own = |hearing: &&Hearing| hearing.replies.iter().all(|reply| reply.model.as_deref() == Some(model));
        let own: Vec<Hearing> = hearings.iter().filter(is_own).cloned().collect();
        let consistency = measures::measures(&own).into_iter().find(|(name, _)| *name == "order_consistency");
        let consistency = consistency.map_or_else(String::new, |(name, value)| format!(", {name} {value:.3}"));
        said.push(format!("{model} ({count} replies{consistency})"));
        // All numbers about an item stand in one row: rules about a subset want each of its rows to have their field.
        let mut of_items: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for row in measures::table(&own) {
            let Value::Object(mut row) = row else { continue };
            let metric = row.insert("subset".to_owned(), json!(model));
            let metric = metric.as_ref().and_then(Value::as_str).unwrap_or_default();
            let id = row["id"].as_str().unwrap_or_default();
            let id = format!("{model}/{}", id.strip_prefix(metric).unwrap_or(id).trim_start_matches('/'));
            row.insert("id".to_owned(), json!(id));
            of_items.entry(id).or_default().extend(row);
        }
        rows.extend(of_items.into_values().map(Value::Object));
    }
    let remark = format!(
        "the server named several models: {}; a rule asks for the items of one of them by `where subset = \"NAME\"`",
        said.join("; ")
    );
    Some(ModelSplit { rows, remark })
}
