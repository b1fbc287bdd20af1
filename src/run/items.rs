//! Per-item tables as they lie in the store. Knows nothing of who reads them.

use crate::event::Table;
use crate::gate::Items;
use anyhow::{Context, Result};
use cache::Store;

pub fn read(store: &Store, table: &Table) -> Result<Items> {
    let name = if table.file.is_empty() { "a table of items" } else { &table.file };
    let text = String::from_utf8(store.read(&table.content, &table.file)?).with_context(|| format!("read {name}"))?;
    Items::read(&text).map_err(|reason| anyhow::anyhow!("read {name}: {reason}"))
}
