//! Bounds of how many requests go out at once and how fast: additive increase, multiplicative decrease (Chiu & Jain 1989), bounds by the
//! minute, and what may be spent in the whole.

use super::{Budget, ServerSettings, Usage};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The share that is left of what goes out at once after a refusal.
const DECREASE: f64 = 0.75;
const MINUTE: Duration = Duration::from_secs(60);
/// The longest pause that a server can ask for.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The traffic to one server, which several threads share.
pub struct RequestTraffic {
    most: f64,
    rpm: Option<u64>,
    tpm: Option<u64>,
    state: Mutex<TrafficState>,
    changed: Condvar,
}

struct TrafficState {
    allowed: f64,
    at_once: usize,
    /// The last decrease: requests that began before it say nothing new.
    lowered: Option<Instant>,
    /// The end of the pause that the server has asked for: nobody sends before it.
    paused: Option<Instant>,
    /// The number of requests that were answered.
    answers: u64,
    /// The reason why no other request goes out, if there is one.
    closed: Option<String>,
    /// The requests of the last minute, with their tokens.
    recent: VecDeque<SentRequest>,
    book: SpendingBook,
}

struct SentRequest {
    at: Instant,
    tokens: u64,
}

/// A request that is on its way.
pub struct OpenRequest {
    began: Instant,
    tokens: u64,
}

/// The end of a wait for room.
pub enum Admission {
    Open(OpenRequest),
    /// The budget is spent.
    Spent,
}

impl RequestTraffic {
    pub fn of(settings: &ServerSettings, book: SpendingBook) -> RequestTraffic {
        let most = settings.parallel as f64;
        let state = TrafficState {
            allowed: most,
            at_once: 0,
            lowered: None,
            paused: None,
            answers: 0,
            closed: None,
            recent: VecDeque::new(),
            book,
        };
        RequestTraffic { most, rpm: settings.rpm, tpm: settings.tpm, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, TrafficState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request of at most so many tokens may go out, and enters it in the book.
    ///
    /// # Errors
    /// The book cannot be written, or another request was refused for good.
    pub fn admit(&self, most: Usage) -> Result<Admission> {
        let tokens = most.prompt_tokens + most.completion_tokens;
        let mut state = self.state();
        loop {
            if let Some(reason) = &state.closed {
                bail!("{reason}");
            }
            if !state.book.allows(most) {
                // What is on its way may take less than was set aside for it.
                if state.at_once == 0 || !state.book.has_requests() {
                    return Ok(Admission::Spent);
                }
                state = self.changed.wait_timeout(state, MINUTE).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let now = Instant::now();
            if let Some(pause) =
                state.paused.map(|end| end.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
            {
                state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            while state.recent.front().is_some_and(|first| now.duration_since(first.at) >= MINUTE) {
                state.recent.pop_front();
            }
            let sent: u64 = state.recent.iter().map(|request| request.tokens).sum();
            let is_too_fast = self.rpm.is_some_and(|rpm| state.recent.len() as u64 >= rpm)
                || self.tpm.is_some_and(|tpm| sent + tokens > tpm && !state.recent.is_empty());
            if !is_too_fast && (state.at_once as f64) < state.allowed.max(1.0) {
                if !state.book.take(most)? {
                    continue;
                }
                state.at_once += 1;
                state.recent.push_back(SentRequest { at: now, tokens });
                return Ok(Admission::Open(OpenRequest { began: now, tokens }));
            }
            let first =
                state.recent.front().map_or(MINUTE, |first| MINUTE.saturating_sub(now.duration_since(first.at)));
            let pause = if is_too_fast { first } else { MINUTE };
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends a request that was answered; `usage` is what the server says that it took.
    ///
    /// # Errors
    /// The book cannot be written.
    pub fn answered(&self, request: OpenRequest, most: Usage, usage: Option<Usage>) -> Result<()> {
        let mut state = self.state();
        state.at_once -= 1;
        state.answers += 1;
        state.allowed = (state.allowed + 1.0 / state.allowed.max(1.0)).min(self.most);
        if let Some(usage) = usage {
            let used = usage.prompt_tokens + usage.completion_tokens;
            if let Some(sent) =
                state.recent.iter_mut().find(|sent| sent.at == request.began && sent.tokens == request.tokens)
            {
                sent.tokens = used;
            }
            state.book.settle(most, usage)?;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Ends a request that was refused for the time being; `pause` is what the server asks for.
    ///
    /// # Errors
    /// The book cannot be written.
    pub fn refused(&self, request: &OpenRequest, most: Usage, pause: Option<Duration>) -> Result<()> {
        let mut state = self.state();
        state.at_once -= 1;
        state.paused = state.paused.max(pause.map(|pause| Instant::now() + pause.min(LONGEST_PAUSE)));
        if state.lowered.is_none_or(|lowered| lowered < request.began) {
            state.allowed = (state.allowed * DECREASE).max(1.0);
            state.lowered = Some(Instant::now());
        }
        // It cost nothing but itself.
        state.book.settle(most, Usage::default())?;
        self.changed.notify_all();
        Ok(())
    }

    /// Waits, unless all traffic ends meanwhile.
    ///
    /// # Errors
    /// It has ended.
    pub fn pause(&self, pause: Duration) -> Result<()> {
        let until = Instant::now() + pause;
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match &state.closed {
                Some(reason) => bail!("{reason}"),
                None if left.is_zero() => return Ok(()),
                None => state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            }
        }
    }

    /// The number of requests that were answered so far.
    pub fn answers(&self) -> u64 {
        self.state().answers
    }

    pub fn is_closed(&self) -> bool {
        self.state().closed.is_some()
    }

    /// Ends all traffic: no other request goes out, and who waits is told the reason. The first one stays.
    pub fn close(&self, reason: &str) {
        self.state().closed.get_or_insert_with(|| reason.to_owned());
        self.changed.notify_all();
    }

    /// Ends a request that failed otherwise: it may have been paid for.
    pub fn failed(&self) {
        self.state().at_once -= 1;
        self.changed.notify_all();
    }
}

/// The book of what was spent: a file of entries, each on the disk before its request is sent. Processes that ask the same write
/// to one book. It is kept without a budget, too, for one that is set later.
pub struct SpendingBook {
    budget: Budget,
    spent: SpendingEntry,
    file: File,
    reader: File,
}

/// A change of what was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SpendingEntry {
    requests: i64,
    input: i64,
    output: i64,
}

impl SpendingEntry {
    fn sent(most: Usage) -> SpendingEntry {
        SpendingEntry { requests: 1, input: most.prompt_tokens as i64, output: most.completion_tokens as i64 }
    }

    /// The difference to what was entered when it was sent.
    fn settled(most: Usage, usage: Usage) -> SpendingEntry {
        SpendingEntry {
            requests: 0,
            input: usage.prompt_tokens as i64 - most.prompt_tokens as i64,
            output: usage.completion_tokens as i64 - most.completion_tokens as i64,
        }
    }

    fn plus(self, other: SpendingEntry) -> SpendingEntry {
        SpendingEntry {
            requests: self.requests + other.requests,
            input: self.input + other.input,
            output: self.output + other.output,
        }
    }
}

impl SpendingBook {
    /// # Errors
    /// It cannot be read or made.
    pub fn open(path: &Path, budget: Option<Budget>) -> Result<SpendingBook> {
        let read = || format!("read {}", path.display());
        path.parent().map_or(Ok(()), fs::create_dir_all).with_context(read)?;
        let file = files::to_append(path).with_context(read)?;
        let (reader, _) = files::regular(path).with_context(read)?;
        let mut book =
            SpendingBook { budget: budget.unwrap_or_default(), spent: SpendingEntry::default(), file, reader };
        book.locked(|_| Ok(())).with_context(read)?;
        Ok(book)
    }

    /// The number of requests that stand in a book, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn requests(path: &Path) -> Result<u64> {
        let text = files::found(files::text(path, u64::MAX)).with_context(|| format!("read {}", path.display()))?;
        let entries = entries(text.as_deref().unwrap_or_default());
        Ok(entries.map(|entry| entry.requests).sum::<i64>().max(0) as u64)
    }

    /// Does something while no other process writes to the book, with all that they have entered.
    fn locked<T>(&mut self, write: impl FnOnce(&mut SpendingBook) -> Result<T>) -> Result<T> {
        self.file.lock()?;
        let done = self.catch_up().and_then(|()| write(self));
        self.file.unlock()?;
        done
    }

    /// Counts what stands behind the place up to which it was read.
    fn catch_up(&mut self) -> Result<()> {
        let mut text = String::new();
        self.reader.read_to_string(&mut text)?;
        self.spent = entries(&text).fold(self.spent, SpendingEntry::plus);
        if !text.is_empty() && !text.ends_with('\n') {
            self.write("\n")?;
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data())?;
        self.reader.seek_relative(text.len() as i64)?;
        Ok(())
    }

    fn allows(&self, most: Usage) -> bool {
        let Budget { requests, tokens, cost, input_price, output_price } = self.budget;
        let after = self.spent.plus(SpendingEntry::sent(most));
        let money = (after.input as f64 * input_price + after.output as f64 * output_price) / 1e6;
        requests.is_none_or(|most| after.requests <= most as i64)
            && tokens.is_none_or(|most| after.input + after.output <= most as i64)
            && cost.is_none_or(|most| money <= most)
    }

    /// Whether another request may go out, as far as they are counted.
    fn has_requests(&self) -> bool {
        self.budget.requests.is_none_or(|most| self.spent.requests < most as i64)
    }

    /// Enters a request, unless it might take more than is left: another process may have taken it.
    fn take(&mut self, most: Usage) -> Result<bool> {
        let take = |book: &mut SpendingBook| match book.allows(most) {
            true => book.add(SpendingEntry::sent(most)).map(|()| true),
            false => Ok(false),
        };
        self.locked(take).context("write what is spent")
    }

    fn settle(&mut self, most: Usage, usage: Usage) -> Result<()> {
        self.locked(|book| book.add(SpendingEntry::settled(most, usage))).context("write what was spent")
    }

    fn add(&mut self, entry: SpendingEntry) -> Result<()> {
        self.write(&(serde_json::to_string(&entry)? + "\n"))?;
        self.spent = self.spent.plus(entry);
        Ok(())
    }
}

/// A kill may have cut the last line; it was about a request that was not sent yet.
fn entries(text: &str) -> impl Iterator<Item = SpendingEntry> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: Usage = Usage { prompt_tokens: 100, completion_tokens: 10 };

    fn traffic(settings: &ServerSettings, path: &Path) -> RequestTraffic {
        RequestTraffic::of(settings, SpendingBook::open(path, settings.budget).unwrap())
    }

    fn sends(traffic: &RequestTraffic) -> Option<OpenRequest> {
        match traffic.admit(NEXT).unwrap() {
            Admission::Open(request) => Some(request),
            Admission::Spent => None,
        }
    }

    fn with_budget(budget: Budget) -> ServerSettings {
        ServerSettings { parallel: 8, budget: Some(budget), ..ServerSettings::default() }
    }

    #[test]
    fn a_budget_holds_over_all_attempts_and_what_was_not_used_comes_back() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("spent/a.jsonl");
        let budget = Budget { requests: Some(3), tokens: Some(250), ..Budget::default() };
        let settings = with_budget(budget);
        let first = traffic(&settings, &path);
        let request = sends(&first).unwrap();
        first.answered(request, NEXT, Some(Usage { prompt_tokens: 20, completion_tokens: 2 })).unwrap();
        // This one is killed on its way: it counts as if it had been paid for.
        sends(&first).unwrap();
        let second = traffic(&settings, &path);
        assert!(sends(&second).is_some(), "22 + 110 + 110 tokens are within 250");
        assert!(sends(&second).is_none(), "three requests are sent");
        let raised = with_budget(Budget { requests: Some(4), tokens: None, ..budget });
        assert!(sends(&traffic(&raised, &path)).is_some());
    }

    #[test]
    fn two_that_ask_the_same_spend_one_budget_and_what_was_spent_without_one_counts() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("spent/a.jsonl");
        let without = traffic(&ServerSettings { parallel: 8, ..ServerSettings::default() }, &path);
        assert!(sends(&without).is_some());
        let budget = with_budget(Budget { requests: Some(4), ..Budget::default() });
        let (one, other) = (traffic(&budget, &path), traffic(&budget, &path));
        let sent = [&one, &other, &one, &other, &one].map(|traffic| {
            let request = sends(traffic);
            request.as_ref().inspect(|_| traffic.failed());
            request.is_some()
        });
        assert_eq!(sent, [true, true, true, false, false]);
    }

    #[test]
    fn fewer_go_out_at_once_after_a_refusal_and_more_again_after_answers() {
        let place = tempfile::tempdir().unwrap();
        let traffic = traffic(&ServerSettings { parallel: 8, ..ServerSettings::default() }, &place.path().join("none"));
        let requests: Vec<OpenRequest> = (0..8).map(|_| sends(&traffic).unwrap()).collect();
        // They began before the first of them was refused: one refusal counts.
        requests.iter().for_each(|request| traffic.refused(request, NEXT, None).unwrap());
        assert_eq!(traffic.state().allowed, 6.0);
        for _ in 0..40 {
            let request = sends(&traffic).unwrap();
            traffic.answered(request, NEXT, None).unwrap();
        }
        assert_eq!(traffic.state().allowed, 8.0);
    }
}
