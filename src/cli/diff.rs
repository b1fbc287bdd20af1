//! `diff`: two runs of one store side by side.

use super::find::{self, RunQuery};
use super::options::StoreArgument;
use super::terminal;
use crate::cli::configuration;
use crate::progress;
use crate::report::diff;
use crate::report::fold::ActionRun;
use crate::run::answers::device_class;
use anyhow::Result;
use cache::Store;
use std::path::Path;

pub fn diff(runs: [&str; 2], file: Option<&Path>, store: &StoreArgument, is_json: bool) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let wanted = RunQuery { file, store: store.chosen(), ..RunQuery::default() };
    let [old, new] = find::two(Path::new("."), runs, &wanted)?;
    let stores = [&old, &new].map(|found| configuration::store(&found.root).ok());
    let diff = diff::diff(&old.run, &new.run, &class(&stores));
    if is_json { terminal::say_json(&diff::json(&diff)) } else { terminal::show(&diff::sheets(&diff)) }?;
    Ok(0)
}

/// The device class of an action, as the first of these stores that knows it says.
pub fn class(stores: &[Option<Store>; 2]) -> impl Fn(&ActionRun) -> Option<String> + '_ {
    |action| {
        let key = action.key.parse().ok()?;
        stores.iter().flatten().find_map(|store| device_class(store, &key))
    }
}
