//! A job that does nothing but prove what work needs: that a node sees the directory, and the program, and what time it is there.

use super::clients::{self, Submission};
use super::{book, request};
use crate::executor::Job;
use crate::plan::SlurmSettings;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// The answer of a probe.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// The node that did it, by how much its clock is ahead of this one's, and whether it sees the store as well.
    Seen { node: String, ahead: i64, sees_store: bool },
    /// The node cannot start this program.
    NoProgram { node: String },
    /// The job ended, and nothing that it wrote is seen here.
    Unseen,
    /// The job has not begun in the time that was given to it: the reason, as Slurm tells it.
    Waits(String),
}

/// The interval at which the answer is looked for.
const TICK: Duration = Duration::from_millis(500);

/// Submits a probe that writes into a directory, and waits so long for it to begin. `of_store` is a directory beside the store.
pub fn probe(settings: &SlurmSettings, directory: &Path, of_store: &Path, patience: Duration) -> Result<Probe> {
    let program = std::env::current_exe().context("find this program")?;
    let answer = directory.join("answer");
    let job = Job { directory: directory.to_owned(), title: "doctor".to_owned(), ..Job::default() };
    let settings = &SlurmSettings { time: Some(Duration::from_secs(60)), ..settings.clone() };
    let quoted =
        |path: &Path| String::from_utf8_lossy(&request::quoted(path.as_os_str().as_encoded_bytes())).into_owned();
    let script = format!(
        "#!/bin/bash -l\n{}\nruns=no sees=no\n{} --version >/dev/null 2>&1 && runs=yes\ntest -d {} && sees=yes\n\
         printf '%s %s %s %s\\n' \"$(hostname)\" \"$(date +%s)\" $runs $sees > {answer}.new\n\
         mv {answer}.new {answer}\n",
        settings.prelude.trim_end(),
        quoted(&program),
        quoted(of_store),
        answer = quoted(&answer),
    );
    book::write(&directory.join(book::SCRIPT), script.as_bytes())?;
    let name = format!("pl-doctor-{:08x}", book::random()?);
    let wanted = request::wanted(&job, settings);
    match clients::submit(&request::of_one(&name, "doctor", directory, &wanted)) {
        Submission::Accepted(_) => {}
        Submission::Refused(why) | Submission::Full(why) | Submission::TooLarge(why) | Submission::Unclear(why) => {
            bail!("submit a job: {}", why.trim())
        }
    }
    let until = Instant::now() + patience;
    let mut ended: Option<Instant> = None;
    loop {
        if let Ok(text) = fs::read_to_string(&answer) {
            return Ok(read(&text, SystemTime::now()).unwrap_or(Probe::Unseen));
        }
        let found = clients::queue().ok().and_then(|rows| rows.into_iter().rfind(|row| row.name == name));
        let lives = found.as_ref().is_some_and(|row| super::listing::may_live(&row.state));
        if found.is_some() && !lives && ended.get_or_insert_with(Instant::now).elapsed() >= settings.visibility_wait {
            return Ok(Probe::Unseen);
        }
        if ended.is_none() && Instant::now() >= until {
            clients::cancel(&[&name])?;
            let reason = found.map(|row| format!("{} {}", row.state, row.reason)).unwrap_or_default();
            return Ok(Probe::Waits(reason.trim().to_owned()));
        }
        thread::sleep(TICK);
    }
}

fn read(text: &str, now: SystemTime) -> Option<Probe> {
    let mut words = text.split_whitespace();
    let (node, at) = (words.next()?.to_owned(), words.next()?.parse::<i64>().ok()?);
    let [runs, sees_store] = [words.next()? == "yes", words.next()? == "yes"];
    let here = i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()?;
    Some(if runs { Probe::Seen { node, ahead: at - here, sees_store } } else { Probe::NoProgram { node } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_the_node_its_clock_and_whether_the_program_starts_there() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let node = || "n1".to_owned();
        let seen = |sees_store| Some(Probe::Seen { node: node(), ahead: 7, sees_store });
        assert_eq!(read("n1 1007 yes yes\n", now), seen(true));
        assert_eq!(read("n1 1007 yes no\n", now), seen(false));
        assert_eq!(read("n1 1000 no yes\n", now), Some(Probe::NoProgram { node: node() }));
        assert_eq!(read("n1 \n", now), None);
    }
}
