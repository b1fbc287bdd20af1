//! Names and submits jobs: those that ask for the same as tasks of one array. A name is on the disk, and in the journal, before
//! it is submitted.

use super::clients::{SlurmQuestion, Submission};
use super::course::{JobNews, Phase};
use super::{LARGEST, Slurm, array, book, first_line, request};
use crate::executor::{JobId, Update};
use crate::failure::Loss;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

impl Slurm {
    /// Names what has no name yet.
    pub fn name_new(&mut self) {
        let is_new = |phase: &Phase| *phase == Phase::Unnamed;
        let new = self.jobs.iter().filter(|(_, running)| is_new(&running.course.phase)).map(|(job, _)| *job);
        let new: Vec<JobId> = new.collect();
        self.name(new);
    }

    /// Draws names for jobs: those that ask for the same are tasks of one array.
    fn name(&mut self, jobs: Vec<JobId>) {
        let mut groups: Vec<Vec<JobId>> = Vec::new();
        for job in jobs {
            let wanted = |job: &JobId| self.jobs.get(job).map(|running| &running.wanted);
            let is_alike = |group: &&mut Vec<JobId>| {
                group.len() < self.largest_array && group.first().and_then(wanted) == wanted(&job)
            };
            match groups.iter_mut().find(is_alike) {
                Some(group) => group.push(job),
                None => groups.push(vec![job]),
            }
        }
        for group in groups {
            if let Err(error) = self.name_group(&group) {
                self.give_up(&group, &Loss::Unprepared(format!("{error:#}")));
            }
        }
    }

    fn name_group(&mut self, group: &[JobId]) -> Result<()> {
        let first = group.first().and_then(|job| self.jobs.get(job)).context("find a job to name")?;
        let of_all = book::name(&first.directory, book::random()?);
        for (number, job) in group.iter().enumerate() {
            let Some(running) = self.jobs.get_mut(job) else { continue };
            array::forget(&running.directory, &running.book.name)?;
            running.book.name = if group.len() == 1 { of_all.clone() } else { array::task(&of_all, number) };
            book::write(&running.directory.join(book::HANDOVER), running.handover.as_bytes())?;
            let text = serde_json::to_vec(&running.book).context("write the book of a job")?;
            book::write(&running.directory.join(book::JOB), &text)?;
            running.placement.job.clone_from(&running.book.name);
            (running.course.phase, running.is_told) = (Phase::Named, false);
        }
        Ok(())
    }

    /// Submits one job, or what waits of one array.
    pub fn submit_some(&mut self) {
        let now = Instant::now();
        if now < self.next_submission {
            return;
        }
        let mut named = self.jobs.iter().filter(|(_, running)| running.is_told && running.course.phase == Phase::Named);
        let Some((job, first)) = named.next() else { return };
        let array = array::parts(&first.book.name).map(|(array, _)| array.to_owned());
        let of_array = named.filter(|(_, running)| {
            let is_task =
                array.is_some() && array::submitted_name(&running.book.name) == array.as_deref().unwrap_or("");
            is_task && running.wanted == first.wanted
        });
        let group: Vec<JobId> = [*job].into_iter().chain(of_array.map(|(job, _)| *job)).take(self.at_once).collect();
        match self.request(&group, array.as_deref()) {
            Ok(question) => self.clients.ask(question),
            Err(error) => return self.give_up(&group, &Loss::Unprepared(format!("{error:#}"))),
        }
        for job in &group {
            if let Some(running) = self.jobs.get_mut(job) {
                running.course.phase = Phase::Asked;
            }
        }
        self.next_submission = now + Duration::from_secs(1).div_f64(self.settings.submit_rate as f64);
    }

    fn request(&self, group: &[JobId], array: Option<&str>) -> Result<SlurmQuestion> {
        let watches: Vec<_> = group.iter().filter_map(|job| self.jobs.get(job)).collect();
        let first = watches.first().context("find a job to submit")?;
        let names = watches.iter().map(|running| running.book.name.clone()).collect();
        let about = format!("{}/{}", first.book.pipeline, first.book.title);
        let arguments = match array {
            None => request::of_one(&first.book.name, &about, &first.directory, &first.wanted),
            Some(array) => {
                let folder: PathBuf =
                    array::folder(&first.directory, array).context("find the directory of an array")?;
                let number = |name| array::parts(name).map_or("", |(_, number)| number);
                let members: Vec<(&str, &Path)> =
                    watches.iter().map(|running| (number(&running.book.name), &*running.directory)).collect();
                array::make(&folder, &members, &request::array_script(&folder))?;
                let about = match members.len() - 1 {
                    0 => about,
                    more => format!("{about} and {more} more"),
                };
                let numbers: Vec<&str> = members.iter().map(|(number, _)| *number).collect();
                request::of_tasks(array, &about, &folder, &numbers.join(","), &first.wanted)
            }
        };
        Ok(SlurmQuestion::Submit { names, arguments })
    }

    /// Hears the answer to a submission.
    pub fn submitted(&mut self, group: &[JobId], answer: Submission) {
        let Some(first) = group.first() else { return };
        match answer {
            Submission::Accepted(id) => {
                self.at_once = (self.at_once * 2).min(LARGEST);
                group.iter().for_each(|job| self.accepted(*job, &id));
                let [shortest, _] = self.settings.poll;
                self.interval = shortest;
                self.next_question = self.next_question.min(Instant::now() + shortest);
            }
            Submission::Refused(why) => group.iter().for_each(|job| self.news(*job, JobNews::Refused(why.clone()))),
            Submission::Full(why) => {
                let note = format!("waits for a place in the queue: {}", first_line(&why));
                self.updates.push(Update::Noted(*first, note));
                self.next_submission = Instant::now() + self.settings.poll[1];
                // There may be room for some.
                self.at_once = (group.len() / 2).max(1);
                group.iter().for_each(|job| self.news(*job, JobNews::Full));
            }
            // None of them was taken, and nobody knows their names.
            Submission::TooLarge(why) => {
                let is_task =
                    |job| self.jobs.get(job).is_some_and(|running| array::parts(&running.book.name).is_some());
                if !is_task(first) {
                    return self.news(*first, JobNews::Refused(why));
                }
                self.largest_array = (group.len() / 2).max(1);
                self.name(group.to_vec());
            }
            Submission::Unclear(why) => {
                let name = self.jobs.get(first).map_or("", |running| array::submitted_name(&running.book.name));
                let note = format!("was it submitted? `{name}` is searched for: {}", first_line(&why));
                self.updates.push(Update::Noted(*first, note));
                group.iter().for_each(|job| self.news(*job, JobNews::Unclear));
            }
        }
    }

    fn accepted(&mut self, job: JobId, id: &str) {
        let Some(running) = self.jobs.get_mut(&job) else { return };
        running.placement.id = array::id(id, &running.book.name);
        // Without it the job is found by its name.
        if let Err(error) = book::write(&running.directory.join(book::ID), running.placement.id.as_bytes()) {
            tracing::warn!("{error:#}");
        }
        self.updates.push(Update::Placed(job, running.placement.clone()));
        self.news(job, JobNews::Accepted);
    }

    fn give_up(&mut self, group: &[JobId], loss: &Loss) {
        for job in group {
            self.jobs.remove(job);
            self.updates.push(Update::Gone { job: *job, worked_in: None, end: Err(loss.clone()) });
        }
    }
}
