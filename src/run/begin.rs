//! Begins actions once resources are free, no other run is doing the action, and its inputs are placed.

use super::attempt::{LeftAttempt, Place};
use super::session::Session;
use super::slots::{self, Demand, Share};
use super::{Run, Task, Work, attempt, gpus, now, places, space};
use crate::cause::{Cause, SkipReason};
use crate::event::Event;
use crate::executor::Job;
use crate::executor::slurm::book::JobBook;
use crate::failure::Failure;
use crate::plan::{Resources, Stage};
use crate::schedule::{News, Request};
use anyhow::{Context, Result};
use cache::{ClaimResult, Damage, Hold, Owner, Store, is_interruption};
use stages::io::{DeviceChoice, Handover, Host};
use stages::kinds;
use stages::stage::Kind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The result of trying to begin an action.
enum Start {
    Running,
    /// Another run has finished it in the meantime.
    Found(News),
    /// Another run is doing it, or this run is to stop.
    Elsewhere(Box<Work>),
    Failed(Failure),
    Lost,
}

/// Where an action can begin now.
enum Room {
    Here(Share),
    /// On a cluster, which has resources of its own.
    Elsewhere,
    None,
}

impl Run<'_> {
    /// Begins the work that fits the free resources, in the order it was asked for; work that waits for many resources
    /// lets smaller work pass.
    pub fn begin_what_fits(&mut self) -> Result<Vec<News>> {
        let mut news = Vec::new();
        let now = Instant::now();
        let due = self.retries.extract_if(.., |(at, _)| *at <= now).map(|(_, work)| work);
        self.pending.extend(due);
        let keeps_going = self.session.as_ref().is_some_and(|session| session.execution.keeps_going);
        if let (Some(failed), false) = (&self.failed, keeps_going) {
            let because = SkipReason::NotBegun(failed.clone());
            let left = self.pending.drain(..).chain(self.retries.drain(..).map(|(_, work)| work));
            news.extend(left.map(|work| News::LeftOut { key: work.request.action.key, because: because.clone() }));
        }
        let mut waiting = Vec::new();
        let may_be_elsewhere = self.plan.stages.iter().any(|stage| stage.executor.is_some());
        while (self.slots.has_job() || may_be_elsewhere) && !self.is_content_lost {
            let Some(work) = self.pending.pop_front() else { break };
            let Some(work) = self.fetches_inputs(work) else { continue };
            let share = match self.room(&work.request) {
                Ok(Room::Here(share)) => Some(share),
                Ok(Room::Elsewhere) => None,
                Ok(Room::None) => {
                    waiting.push(work);
                    continue;
                }
                Err(cause) => {
                    news.push(self.fail(&work.request, cause)?);
                    continue;
                }
            };
            let request = work.request.clone();
            match self.begin(work, share.as_ref())? {
                Start::Running => continue,
                Start::Found(found) => news.push(found),
                Start::Elsewhere(work) => waiting.push(*work),
                Start::Failed(cause) => news.push(self.fail(&request, cause)?),
                Start::Lost => self.is_content_lost = true,
            }
            self.give_back(share);
        }
        if self.is_content_lost {
            self.pending.clear();
            self.retries.clear();
        } else {
            waiting.into_iter().rev().for_each(|work| self.pending.push_front(work));
        }
        Ok(news)
    }

    /// Ends an action that cannot begin.
    fn fail(&mut self, request: &Request, cause: Failure) -> Result<News> {
        let (key, (stage, part)) = (request.action.key, self.name(request));
        let (told, log) = (cause.clone(), String::new());
        self.tell(Event::Failed { stage, part, key: key.to_string(), cause: told, log })?;
        Ok(News::Failed { key, cause })
    }

    /// Finds room for an action, and takes what it is to have of this machine.
    fn room(&mut self, request: &Request) -> Result<Room, Failure> {
        let stage = &self.plan.stages[request.limits_of];
        if let Some(cluster) = self.session.as_mut().and_then(|session| session.cluster(stage)) {
            return Ok(if cluster.executor.has_room() { Room::Elsewhere } else { Room::None });
        }
        if !self.slots.has_job() {
            return Ok(Room::None);
        }
        let wanted = self.demand(request)?;
        Ok(self.slots.take(wanted).map_or(Room::None, Room::Here))
    }

    /// The resources that an action is to have. Where they depend on the devices of this machine, these are found out.
    fn demand(&mut self, request: &Request) -> Result<Demand, Failure> {
        let Some(Session { execution, .. }) = &self.session else { return Ok(Demand::default()) };
        let stage = &self.plan.stages[request.limits_of];
        // A stage may have actions that compute and others that do not.
        let kind = self.kind(request);
        let computes = kind.computes && !is_all_asked(stage, kind);
        let may_compute = computes && execution.device != DeviceChoice::Cpu;
        if self.devices.is_none() && (may_compute || stage.resources.gpu > Some(0)) {
            let found = gpus::resolve(&execution.device, execution.capacity.gpu).map_err(|error| format!("{error:#}"));
            found.iter().for_each(|found| self.slots.add(&found.gpus));
            self.devices = Some(found);
        }
        let (device, there) = match &self.devices {
            None => (&DeviceChoice::Cpu, &[][..]),
            Some(Ok(found)) => (&found.device, &*found.gpus),
            Some(Err(error)) if may_compute || stage.resources.gpu > Some(0) => return Err(error.clone().into()),
            Some(Err(_)) => (&DeviceChoice::Cpu, &[][..]),
        };
        let computes = computes && *device != DeviceChoice::Cpu;
        let gpus = stage.resources.gpu.unwrap_or(u64::from(computes));
        let Resources { cpu, memory, .. } = stage.resources;
        let demand = Demand { gpus, computes: computes && gpus > 0, cpu: cpu.unwrap_or(0), memory };
        match slots::choose(there, demand) {
            Some(_) => Ok(demand),
            None if stage.resources.gpu.is_none() => Err(format!(
                "`{}` computes on {device} and takes a GPU, and `--resources` leaves none: give it one, or take --device cpu",
                stage.name
            )
            .into()),
            None => Err(slots::too_many(&stage.name, gpus, there.len() as u64).into()),
        }
    }

    /// The device of a stage that has this share.
    fn device(&self, share: &Share, choice: &DeviceChoice) -> DeviceChoice {
        match (&self.devices, share.gpus.first()) {
            (Some(Ok(_)), Some(gpu)) if gpu.computes => DeviceChoice::Adapter(gpu.number),
            (Some(Ok(found)), _) => found.device.clone(),
            _ => choice.clone(),
        }
    }

    /// The devices of a share beside its first, as far as an action can use them.
    fn beside(&self, share: Option<&Share>, stage: &Stage, device: &DeviceChoice) -> Vec<DeviceChoice> {
        let most = usize::try_from(stage.kind.most_devices(&stage.parameters.value())).unwrap_or(usize::MAX);
        match share {
            Some(share) => {
                let more = share.gpus.iter().filter(|gpu| gpu.computes).skip(1).take(most - 1);
                more.map(|gpu| DeviceChoice::Adapter(gpu.number)).collect()
            }
            // Which they are is found out on the node.
            None => {
                let asked = stage.resources.gpu.map_or(1, |gpu| usize::try_from(gpu).unwrap_or(usize::MAX));
                vec![device.clone(); asked.min(most).saturating_sub(1)]
            }
        }
    }

    /// Takes the lock of the store. `None`: the run was interrupted while another process had it.
    pub fn hold(&mut self) -> Result<Option<Hold>> {
        match self.impatient().hold() {
            Err(error) if is_interruption(&error) => {
                self.is_stopping = true;
                Ok(None)
            }
            held => held.map(Some),
        }
    }

    /// The store for what is not begun any more after an interrupt.
    fn impatient(&self) -> Store {
        self.store.interruptible(self.interrupt)
    }

    /// Starts an attempt. A fault of this machine (no space, no permission) fails the stage, not the run.
    fn begin(&mut self, mut work: Work, share: Option<&Share>) -> Result<Start> {
        let Some(Session { worker, execution, .. }) = self.session.as_ref() else {
            return Ok(Start::Failed("nothing is executed by a look".to_owned().into()));
        };
        let (worker, execution) = (*worker, *execution);
        let request = work.request.clone();
        let limited = &self.plan.stages[request.limits_of];
        let device = match is_all_asked(limited, limited.kind) {
            true => DeviceChoice::Cpu,
            false => share.map_or_else(|| on_node(&execution.device), |share| self.device(share, &execution.device)),
        };
        let key = request.action.key;
        if work.claim.is_none() {
            match self.impatient().claim(&key) {
                Ok(ClaimResult::Mine(claim)) => work.claim = Some(claim),
                Ok(ClaimResult::Theirs(owner)) => {
                    if !std::mem::replace(&mut work.is_told, true) {
                        self.note(&request, waits_for(&owner))?;
                    }
                    return Ok(Start::Elsewhere(Box::new(work)));
                }
                Err(error) if is_interruption(&error) => return Ok(Start::Elsewhere(Box::new(work))),
                Err(error) => return Ok(Start::Failed(error.context("claim the action").into())),
            }
            // The previous owner of the claim may have done the work.
            if let Some(news) = self.look_up(&request)? {
                return Ok(Start::Found(news));
            }
        }
        if let Some(reason) = execution.disowns.as_ref().filter(|_| self.is_forced(&request))
            && self.store.disown(&key, reason, &now())?
        {
            self.note(&request, format!("its earlier result is disowned: {reason}"))?;
        }
        let stage = &self.plan.stages[request.limits_of];
        let shares = shared_by(&work, &device);
        let computes = self.kind(&request).computes && device != DeviceChoice::Cpu;
        let root = match self.work_root(stage) {
            Ok(root) => root,
            Err(error) => return Ok(Start::Failed(error.into())),
        };
        let left = attempt::left(&places::all(&self.options.store)?, &key.to_string())?;
        if let Some(LeftAttempt { book, .. }) =
            left.as_ref().filter(|left| Some(&left.book.executor) != stage.executor.as_ref())
        {
            return Ok(Start::Failed(is_elsewhere(book).into()));
        }
        // A stage that computes is told its device; a command finds its GPUs in its environment.
        let gpus =
            share.filter(|_| !stage.kind.computes).map_or_else(BTreeMap::new, |share| gpus::variables(&share.gpus));
        let beside = self.beside(share, stage, &device);
        let host = Host {
            device,
            beside,
            gpus,
            secrets: stage.needed_secrets().to_vec(),
            is_forced: self.is_forced(&request),
            audit: stage.audit,
            replies: stage.kind.keeps_replies().then(|| made_replies(&self.options.store)).transpose()?,
            parameters: stage.beside_key.clone(),
            called: request.called.clone(),
            skip_bad_rows: self.plan.skip_bad_rows,
        };
        let store = self.impatient();
        let place = if share.is_some() { Place::Here } else { Place::OnNode };
        let (is_attached, prepared) = match left {
            Some(LeftAttempt { attempt, word, .. }) => (Some(word), Ok(attempt)),
            None => (None, attempt::prepare(&root, &store, &request.action, host, self.contents, place)),
        };
        let attempt = match prepared {
            Ok(attempt) => attempt,
            Err(error) if is_interruption(&error) => return Ok(Start::Elsewhere(Box::new(work))),
            Err(error) if error.is::<Damage>() && self.may_start_over() => {
                tracing::warn!("{error:#}; it is made again");
                return Ok(Start::Lost);
            }
            Err(error) => return Ok(Start::Failed(error.context("prepare the stage").into())),
        };
        space::shed_earlier(self.store, &attempt);
        // Preparing may take seconds, and nothing begins after an interrupt.
        if self.interrupt.load(Ordering::Relaxed) {
            return Ok(Start::Elsewhere(Box::new(work)));
        }
        let mut why = match work.is_first() {
            true => self.why(&request)?,
            false => vec![Cause::Retried],
        };
        if attempt.is_resumed {
            why.push(Cause::Resumed);
        }
        if is_attached.is_some() {
            why.push(Cause::Other("the job of the run before goes on".to_owned()));
        }
        let (name, part) = self.name(&request);
        self.tell(Event::Started {
            stage: name,
            part,
            key: key.to_string(),
            action: request.action.action.clone(),
            attempt: attempt.number,
            why,
            log: absolute(&attempt.log())?.display().to_string(),
            at: Some(now()),
        })?;
        if let Some(Ok(found)) = &mut self.devices
            && let Some(remark) = found.remark.take()
        {
            self.note(&request, remark)?;
        }
        let directory = absolute(&attempt.directory)?;
        let secrets = execution.secrets_of(stage);
        let handover = is_attached.clone().unwrap_or_else(|| Handover { nonce: attempt.nonce.clone(), secrets }.word());
        let title = self.named(&request);
        let session = self.session.as_mut().expect("it was there above");
        let mut job = Job {
            directory,
            command: worker.to_vec(),
            timeout: stage.timeout,
            handover,
            shares,
            pipeline: self.plan.name.clone(),
            title,
            resources: stage.resources,
            gpus: 0,
        };
        let submitted = match session.cluster(stage) {
            None => session.executor.submit(job),
            Some(cluster) => {
                job.gpus = stage.resources.gpu.unwrap_or(u64::from(computes && cluster.has_gpus));
                match is_attached {
                    Some(_) => cluster.executor.attach(job),
                    None => cluster.executor.submit(job),
                }
            }
        };
        match submitted {
            Ok(id) => {
                self.running.insert(id, Task { work, attempt, share: share.cloned(), started: Instant::now() });
                if share.is_some() && self.remaining > self.running.len() {
                    session.executor.expect(worker);
                }
                Ok(Start::Running)
            }
            Err(error) => Ok(Start::Failed(error.into())),
        }
    }

    /// The kind of an action.
    fn kind(&self, request: &Request) -> &'static Kind {
        let of_part = request.part.as_ref().and_then(|part| kinds::kind_or_part(&part.kind));
        of_part.unwrap_or(self.plan.stages[request.limits_of].kind)
    }

    /// The directory that holds the work of a stage.
    pub fn work_root(&self, stage: &Stage) -> Result<PathBuf> {
        let of_cluster = stage.executor.as_ref().and_then(|name| self.plan.settings.executors.get(name));
        places::root(&self.options.store, of_cluster.and_then(|settings| settings.work_dir.as_deref()))
    }
}

/// The device that work on a node asks for: what one machine numbers or names, another has not.
fn on_node(choice: &DeviceChoice) -> DeviceChoice {
    match choice {
        DeviceChoice::Cpu => DeviceChoice::Cpu,
        DeviceChoice::Wgpu => DeviceChoice::Wgpu,
        DeviceChoice::Auto | DeviceChoice::Adapter(_) | DeviceChoice::Named(_) => DeviceChoice::Auto,
    }
}

/// The folder of the replies of endpoints, in `.pipeline`: beside the store, since they are no results of actions, and nothing
/// but a person removes them.
const REPLIES: &str = "replies";

pub fn replies(root: &Path) -> Result<std::path::PathBuf> {
    absolute(&root.join(REPLIES))
}

/// The same folder, which is made where this machine sees it: a node makes none.
fn made_replies(root: &Path) -> Result<PathBuf> {
    let replies = replies(root)?;
    files::make_directory(&replies, cache::is_shared(root)?)
        .with_context(|| format!("create {}", replies.display()))?;
    Ok(replies)
}

/// Whether a server does all the work of an action of this kind.
fn is_all_asked(stage: &Stage, kind: &Kind) -> bool {
    (kind.is_all_asked)(&stage.parameters.value())
}

/// The name of the worker that may do this work among others: those of kinds that share one share it by device. Work that
/// failed before gets a process of its own.
fn shared_by(work: &Work, device: &DeviceChoice) -> Option<String> {
    let part = work.request.part.as_ref().filter(|_| work.is_first())?;
    stages::kinds::kind_or_part(&part.kind).filter(|kind| kind.shares_worker)?;
    serde_json::to_string(device).ok()
}

/// A path that is valid from any directory.
pub fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

/// Another executor has a job that does the same, which nobody but people can give up.
fn is_elsewhere(book: &JobBook) -> String {
    let JobBook { name, executor, .. } = book;
    format!(
        "job {name} on `{executor}` may still do the same work: with `executor: {executor}` its result is taken, and `pipeline run --cancel` \
         ends it"
    )
}

fn waits_for(owner: &Owner) -> String {
    format!("waits: process {} on {} is at it, and its result will be taken", owner.pid, owner.host)
}
