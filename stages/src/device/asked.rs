//! The last that this process asked of its device, in words: a driver that is out of memory says so later, at the next read,
//! and names nothing.

use std::cell::RefCell;

#[derive(Default)]
struct LastRequest {
    /// The part of the stage: `step 3`.
    part: String,
    /// The work: `a pass forward through the model, of 512 tokens in 4 rows`.
    work: String,
}

thread_local! {
    static ASKED: RefCell<LastRequest> = RefCell::default();
}

/// Notes the part of its work that a stage is in.
pub fn note_part(part: impl FnOnce() -> String) {
    ASKED.set(LastRequest { part: part(), work: String::new() });
}

/// Notes what the device is asked for.
pub fn note(work: impl FnOnce() -> String) {
    ASKED.with_borrow_mut(|asked| asked.work = work());
}

/// The last request, and the part of the stage that made it; `None` if there was none.
pub fn last() -> Option<String> {
    ASKED.with_borrow(|LastRequest { part, work }| match (part.is_empty(), work.is_empty()) {
        (_, true) => None,
        (true, false) => Some(work.clone()),
        (false, false) => Some(format!("{work}, in {part}")),
    })
}
