//! `diff`: two runs of one store side by side.

use super::find::{self, RunQuery};
use super::options::StoreArgument;
use super::terminal;
use crate::progress;
use crate::report::diff;
use crate::report::fold::ActionRun;
use crate::run::answers::device_class;
use anyhow::Result;
use cache::Store;
use std::path::Path;

pub fn diff(runs: [&str; 2], file: Option<&Path>, store: &StoreArgument, is_json: bool) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let wanted = |run| RunQuery { file, store: store.chosen(), run: Some(run), ..RunQuery::default() };
    let find = |run| find::run(Path::new("."), wanted(run));
    let [old, new] = [find(runs[0])?, find(runs[1])?];
    let stores = [&old, &new].map(|found| Store::open(&found.root));
    let class = |action: &ActionRun| {
        let key = action.key.parse().ok()?;
        stores.iter().flatten().find_map(|store| device_class(store, &key))
    };
    let diff = diff::diff(&old.run, &new.run, &class);
    if is_json { terminal::say(&diff::json(&diff)) } else { terminal::show(&diff::sheets(&diff)) }?;
    Ok(0)
}
