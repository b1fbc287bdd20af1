//! Rows that are too long: which part of them gives way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The treatment of rows that are too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Truncate {
    #[default]
    End,
    Start,
    Middle,
    Drop,
}

impl Truncate {
    /// Whether prompts lose something so that answers have room.
    pub fn cuts_prompts(self) -> bool {
        matches!(self, Truncate::Start | Truncate::Middle)
    }

    /// Cuts a prompt to `room` tokens, if it is one that gives way. Its first `front` tokens and one more stay.
    pub fn cut(self, ids: &mut Vec<u32>, front: usize, room: usize) {
        let front = front.min(ids.len());
        let kept = room.max(front + 1) - front;
        if ids.len() <= front + kept {
            return;
        }
        let first = if self == Truncate::Middle { kept / 2 } else { 0 };
        let last = kept - first;
        ids.drain(front + first..ids.len() - last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_keeps_its_front_and_its_end_or_both_its_ends() {
        let cut = |truncate: Truncate, room: usize| {
            let mut ids: Vec<u32> = (0..8).collect();
            truncate.cut(&mut ids, 1, room);
            ids
        };
        assert_eq!(cut(Truncate::Start, 4), [0, 5, 6, 7]);
        assert_eq!(cut(Truncate::Middle, 5), [0, 1, 2, 6, 7]);
        assert_eq!(cut(Truncate::Start, 8), (0..8).collect::<Vec<u32>>());
        assert_eq!(cut(Truncate::Start, 0), [0, 7], "one token stays beside the front");
    }
}
