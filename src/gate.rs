//! Gate rules: text → [`Rule`] → names and types checked against a [`Scope`] → judged by the numbers of [`Facts`].
//! Pure. It knows nothing of YAML, the store, the order of stages, or where a number was measured.
//!
//! ```text
//! rule   := rule ("and"|"or") rule | "not" rule | "(" rule ")" | sum cmp sum {cmp sum} [margin]
//!         | sum "between" sum "and" sum | metric "improves" "over" artifact [margin]
//! margin := "by" num ["%"]
//! cmp    := > >= < <= = !=                                           (`==` is read as `=`)
//! sum    := + - * / and unary minus over numbers, names, function(…)
//! name   := metric | self.metric | judge.metric | stage.metric | incumbent.metric
//! ```

mod check;
mod evaluate;
mod functions;
mod lexer;
mod pairs;
mod parser;
mod resolve;
mod select;
mod show;
mod tree;

pub use check::{check, check_best, check_where, warnings};
pub use evaluate::{Facts, Subject, evaluate};
pub use pairs::{Counts, Item, fold};
pub use parser::{parse, parse_expression};
pub use resolve::{JudgeScope, MetricName, Scope};
pub use select::{Chosen, Select, choose, survivors};
pub use tree::{Rule, Who};

use std::ops::Range;

/// A mistake in the text of a rule; `range` counts bytes of that text.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    pub range: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

impl Mistake {
    fn new(range: &Range<usize>, message: impl Into<String>) -> Mistake {
        Mistake { range: range.clone(), message: message.into(), help: None }
    }
    fn help(self, help: impl Into<String>) -> Mistake {
        Mistake { help: Some(help.into()), ..self }
    }
}

/// Whether the rule language gives the word a meaning of its own; no stage may be called so.
pub fn is_word(word: &str) -> bool {
    lexer::is_keyword(word) || lexer::OWN_NAMES.contains(&word) || functions::function(word).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_language_are_no_names_of_stages() {
        for word in ["and", "by", "self", "incumbent", "win_rate", "changed", "best"] {
            assert!(is_word(word), "{word}");
        }
        for name in ["sft", "rm_1", "eval", "mean_score"] {
            assert!(!is_word(name), "{name}");
        }
    }
}
