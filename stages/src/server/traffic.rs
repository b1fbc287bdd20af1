//! Bounds of how many requests go out at once and how fast: additive increase, multiplicative decrease (Chiu & Jain 1989), bounds by the
//! minute, and what may be spent in the whole.

use super::{Budget, ServerSettings, Usage};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
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
        let state =
            TrafficState { allowed: most, at_once: 0, lowered: None, paused: None, recent: VecDeque::new(), book };
        RequestTraffic { most, rpm: settings.rpm, tpm: settings.tpm, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, TrafficState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request of at most so many tokens may go out, and enters it in the book.
    ///
    /// # Errors
    /// The book cannot be written.
    pub fn admit(&self, most: Usage) -> Result<Admission> {
        let tokens = most.prompt_tokens + most.completion_tokens;
        let mut state = self.state();
        loop {
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
                state.at_once += 1;
                state.recent.push_back(SentRequest { at: now, tokens });
                state.book.enter(SpendingEntry::sent(most))?;
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
        state.allowed = (state.allowed + 1.0 / state.allowed.max(1.0)).min(self.most);
        if let Some(usage) = usage {
            let used = usage.prompt_tokens + usage.completion_tokens;
            if let Some(sent) =
                state.recent.iter_mut().find(|sent| sent.at == request.began && sent.tokens == request.tokens)
            {
                sent.tokens = used;
            }
            state.book.enter(SpendingEntry::settled(most, usage))?;
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
        state.book.enter(SpendingEntry::settled(most, Usage::default()))?;
        self.changed.notify_all();
        Ok(())
    }

    /// Ends a request that failed otherwise: it may have been paid for.
    pub fn failed(&self) {
        self.state().at_once -= 1;
        self.changed.notify_all();
    }
}

/// The book of what the attempts at one action have spent: a file of entries, each on the disk before the request is sent.
pub struct SpendingBook {
    budget: Budget,
    spent: SpendingEntry,
    file: Option<File>,
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
    /// Opens the book; without a budget there is none.
    ///
    /// # Errors
    /// It cannot be read or made.
    pub fn open(path: &Path, budget: Option<Budget>) -> Result<SpendingBook> {
        let Some(budget) = budget else {
            return Ok(SpendingBook { budget: Budget::default(), spent: SpendingEntry::default(), file: None });
        };
        let read = || format!("read {}", path.display());
        path.parent().map_or(Ok(()), fs::create_dir_all).with_context(read)?;
        let text = files::found(fs::read_to_string(path)).with_context(read)?.unwrap_or_default();
        // A kill may have cut the last line; it was about a request that was not sent yet.
        let entries = text.lines().filter_map(|line| serde_json::from_str::<SpendingEntry>(line).ok());
        let spent = entries.fold(SpendingEntry::default(), SpendingEntry::plus);
        let mut file = files::to_append(path).with_context(read)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").with_context(read)?;
        }
        Ok(SpendingBook { budget, spent, file: Some(file) })
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

    fn enter(&mut self, entry: SpendingEntry) -> Result<()> {
        self.spent = self.spent.plus(entry);
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(&entry)? + "\n";
            file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).context("write what was spent")?;
        }
        Ok(())
    }
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
