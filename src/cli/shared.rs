//! The verbs of the remote: `cache push`, `pull` and `status`, and `gc --remote`.

use super::arguments::SharedArguments;
use super::check::{self, understand_whole};
use super::options::StoreArgument;
use super::refusal::refused;
use super::{configuration, terminal};
use crate::event::{Event, Outcome};
use crate::plan::{Plan, selection};
use crate::report::format;
use crate::settings::Settings;
use crate::{approvals, labels, ledger, progress, retention, run};
use anyhow::{Context, Result};
use cache::{Digest, Push, Remote, RemoteFailure, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;

/// The failures that are told; the rest is counted.
const LISTED: usize = 10;

/// The pipeline, the stages of it and the store that are meant.
struct SharedPlace<'a> {
    file: &'a Path,
    stages: &'a [String],
    overrides: Vec<String>,
    store: &'a StoreArgument,
}

impl<'a> SharedPlace<'a> {
    fn of(asked: &'a SharedArguments) -> SharedPlace<'a> {
        let SharedArguments { file, stages, changes, store } = asked;
        SharedPlace { file, stages, overrides: changes.all(), store }
    }
}

/// The results of a pipeline that a look found.
#[derive(Default)]
struct SeenResults {
    /// The name of each, and the bytes that are to be fetched if it is in the remote alone.
    found: BTreeMap<Digest, (String, Option<u64>)>,
    /// The number of stages that would run.
    missing: usize,
}

impl SeenResults {
    fn name(&self, key: &Digest) -> String {
        self.found.get(key).map_or_else(|| key.short(), |(name, _)| name.clone())
    }
}

/// The results that could not be pushed or fetched, as people are told.
#[derive(Default)]
struct Failures {
    count: usize,
    told: usize,
}

impl Failures {
    /// Counts one. A failure of the remote was told when it happened.
    fn add(&mut self, name: &str, error: &anyhow::Error) {
        self.count += 1;
        if !error.is::<RemoteFailure>() {
            self.tell(name, &error.root_cause().to_string());
        }
    }

    fn tell(&mut self, name: &str, why: &str) {
        self.told += 1;
        if self.told <= LISTED {
            terminal::remark(&format!("{name}: {why}\n"));
        }
    }
}

/// Looks at a pipeline. What is in the remote alone is seen as well: results that are here may stand on it.
fn see(plan: &Plan, of: &SharedPlace, remote: &Arc<Remote>) -> Result<SeenResults> {
    for stage in of.stages {
        if !plan.stages.iter().any(|known| known.name == *stage) {
            return Err(refused(format!("{} has no stage `{stage}`", of.file.display())));
        }
    }
    let options = run::Options {
        file: of.file.to_owned(),
        overrides: of.overrides.clone(),
        store: of.store.beside(of.file),
        decisions: approvals::decisions(&approvals::read(&approvals::path(of.file))?),
        looks: Some(ledger::file::folder(of.file)),
        labels: labels::folder(of.file),
        foretells: false,
        remote: Some(remote.clone()),
    };
    let everything = selection::select(plan, &selection::Filter::default()).map_err(refused)?;
    let mut seen = SeenResults::default();
    let mut fetched: BTreeMap<Digest, u64> = BTreeMap::new();
    let is_meant = |stage: &String| of.stages.is_empty() || of.stages.contains(stage);
    run::look(plan, &everything, &options, &mut |event| match event {
        Event::Fetched { key, from, .. } => fetched.extend(key.parse::<Digest>().ok().map(|key| (key, from.bytes))),
        Event::Hit { stage, part, key, .. } if is_meant(stage) => {
            let name = part.as_ref().map_or_else(|| stage.clone(), |part| format!("{stage}: {part}"));
            let key = key.parse::<Digest>().ok();
            seen.found.extend(key.map(|key| (key, (name, fetched.get(&key).copied()))));
        }
        Event::Ended { stage, outcome: Outcome::WouldRun { .. }, .. } if is_meant(stage) => seen.missing += 1,
        _ => {}
    })
    .map_err(configuration::without_place)?;
    Ok(seen)
}

fn opened(settings: &Settings) -> Result<Arc<Remote>> {
    let remote = configuration::open(settings)?;
    remote.ok_or_else(|| refused("there is no remote: name one by `cache: {remote: {url: …}}`".to_owned()))
}

/// The remote, after it answered.
fn reached(settings: &Settings) -> Result<Arc<Remote>> {
    let remote = opened(settings)?;
    remote.reach().map_err(|failure| refused(format!("the remote {}: {failure}", remote.settings().address)))?;
    Ok(remote)
}

pub fn push(asked: &SharedArguments, is_read: bool) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let of = SharedPlace::of(asked);
    let plan = understand_whole(of.file, &of.overrides, false)?;
    let remote = reached(&plan.settings)?;
    let address = &remote.settings().address;
    if remote.settings().is_read_only {
        return Err(refused(format!("the remote {address} is read-only: nothing is pushed")));
    }
    let seen = see(&plan, &of, &remote)?;
    let store = Store::open(&of.store.beside(of.file))?.with_remote(remote.clone());
    let _held = store.hold()?;
    // What an earlier run still owes goes with it, unless some stages are named.
    let owed = if of.stages.is_empty() { store.owed()? } else { Vec::new() };
    // What is there alone needs no push.
    let here = seen.found.iter().filter(|(_, (_, absent))| absent.is_none());
    let mut keys: Vec<Digest> = here.map(|(key, _)| *key).collect();
    keys.extend(owed.into_iter().filter(|key| !seen.found.contains_key(key)));
    let (mut new, mut known, mut other, mut large) = (0, 0, 0, 0);
    let mut failures = Failures::default();
    for (key, pushed) in keys.iter().zip(store.push_all(&keys, is_read)) {
        match pushed {
            Ok(Push::Written) => new += 1,
            Ok(Push::Same) => known += 1,
            Ok(Push::Different) => other += 1,
            Ok(Push::Nothing) => {}
            Ok(Push::TooLarge(reason)) => {
                large += 1;
                failures.tell(&seen.name(key), reason);
            }
            Err(error) => failures.add(&seen.name(key), &error),
        }
    }
    let mut said = vec![format!("{new} new"), format!("{known} known")];
    if other > 0 {
        said.push(format!("{other} with another result there, which stays"));
    }
    if large > 0 {
        said.push(format!("{large} too large"));
    }
    if failures.count > 0 {
        said.push(format!("{} failed", failures.count));
    }
    store.save_stats();
    terminal::say(&format!("pushed to {address}: {}\n", said.join(", ")))?;
    Ok(u8::from(failures.count > 0))
}

pub fn pull(asked: &SharedArguments) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let of = SharedPlace::of(asked);
    let plan = understand_whole(of.file, &of.overrides, false)?;
    let remote = reached(&plan.settings)?;
    let root = of.store.beside(of.file);
    let store = Store::open(&root)?.with_remote(remote.clone());
    let seen = see(&plan, &of, &remote)?;
    let held = store.hold()?;
    let (mut new, mut known, mut bytes) = (0, 0, 0);
    let mut failures = Failures::default();
    for (key, (name, absent)) in &seen.found {
        match (store.pull(key), absent) {
            (Ok(true), Some(absent)) => (new, bytes) = (new + 1, bytes + absent),
            (Ok(_), _) => known += 1,
            (Err(error), _) => failures.add(name, &error),
        }
    }
    // As long as no run uses them, nothing else keeps them from `gc`.
    retention::import(&root, seen.found.keys().copied())?;
    drop(held);
    store.save_stats();
    let failed = if failures.count > 0 { format!(", {} failed", failures.count) } else { String::new() };
    let missing = match seen.missing {
        0 => String::new(),
        missing => format!("; {missing} stages would run: their results are in neither"),
    };
    let (address, bytes) = (&remote.settings().address, format::bytes(bytes));
    terminal::say(&format!("pulled from {address}: {new} new ({bytes}), {known} here before{failed}{missing}\n"))?;
    Ok(u8::from(failures.count > 0))
}

pub fn status(file: Option<&Path>, stages: &[String], store: &StoreArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let plan = file.map(|file| understand_whole(file, &[], false)).transpose()?;
    let settings = plan.as_ref().map(|plan| plan.settings.clone()).unwrap_or_default();
    let remote = opened(&settings)?;
    let mode = if remote.settings().is_read_only { "read-only" } else { "read-write" };
    let mut text = format!("remote: {}, {mode}\n", remote.settings().address);
    if let Err(failure) = remote.reach() {
        terminal::say(&format!("{text}{failure}\n"))?;
        return Ok(1);
    }
    if let (Some(file), Some(plan)) = (file, &plan) {
        let of = SharedPlace { file, stages, overrides: Vec::new(), store };
        let seen = see(plan, &of, &remote)?;
        text += &of_results(&seen, &remote, &of)?;
    }
    terminal::say(&text)?;
    Ok(0)
}

fn of_results(seen: &SeenResults, remote: &Arc<Remote>, of: &SharedPlace) -> Result<String> {
    let root = of.store.beside(of.file);
    let is_there = files::exists(&root).context("look for the store")?;
    let store = is_there.then(|| Store::open(&root)).transpose()?.map(|store| store.with_remote(remote.clone()));
    let (mut both, mut here, mut there, mut bytes) = (0, Vec::new(), 0, 0);
    for (key, (name, absent)) in &seen.found {
        match (absent, &store) {
            (Some(absent), _) => (there, bytes) = (there + 1, bytes + absent),
            (_, Some(store)) if store.is_in_remote(key)? => both += 1,
            _ => here.push(name.as_str()),
        }
    }
    let bytes = format::bytes(bytes);
    let mut text = format!(
        "results: {both} here and there, {} here alone, {there} there alone ({bytes}); {} stages would run\n",
        here.len(),
        seen.missing
    );
    here.iter().take(LISTED).for_each(|name| text += &format!("  here alone: {name}\n"));
    let owed = store.as_ref().map(Store::owed).transpose()?.unwrap_or_default().len();
    if owed > 0 {
        let file = of.file.display();
        text += &format!("still to be pushed: {owed}; the next run does it, or `pipeline cache push {file}`\n");
    }
    Ok(text)
}

/// Gives up uploads to the remote that died.
pub fn collect(keep_days: Option<u32>, dry_run: bool, file: Option<&Path>) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let settings = file.map(|file| check::plan(file, &[], None)).transpose()?.map(|(plan, _)| plan.settings);
    let remote = reached(&settings.unwrap_or_default())?;
    if remote.settings().is_read_only {
        let address = &remote.settings().address;
        return Err(refused(format!("the remote {address} is read-only: nothing of it is given up")));
    }
    let age = Duration::from_secs(u64::from(keep_days.unwrap_or(1)) * DAY);
    let found = remote.collect_uploads(age, dry_run)?;
    let word = if dry_run { "would be given up" } else { "given up" };
    let bytes = if found.bytes > 0 { format!(" ({})", format::bytes(found.bytes)) } else { String::new() };
    let young = if found.young > 0 { format!("; {} younger ones may still go on", found.young) } else { String::new() };
    let (address, count) = (&remote.settings().address, found.old);
    terminal::say(&format!("{address}: {count} dead uploads {word}{bytes}{young}; results in a remote stay\n"))?;
    Ok(0)
}
