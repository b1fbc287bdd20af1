//! Replies of a judge as judgements: what it is asked to write, and what of that counts. Never a number that happens to stand
//! in a text.

use crate::people::criteria::Criterion;
use crate::people::label::{Judgement, PairChoice};
use serde::Deserialize;
use serde_json::{Value, json};

/// The letters by which a judge names answers, in the order in which they are shown.
pub fn letter(place: usize) -> String {
    let (letter, round) = (char::from(b'A' + (place % 26) as u8), place / 26);
    if round == 0 { letter.to_string() } else { format!("{letter}{round}") }
}

/// The form of a reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplyForm<'a> {
    /// Which of two is better.
    Better,
    /// An order of so many, the best first.
    Order(usize),
    /// A rating of one answer by a criterion.
    Rating(&'a Criterion),
}

/// A judgement as shown, or a rating.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// That of the answers in the order in which they were shown.
    Judgement(Judgement),
    Rating(i64),
}

#[derive(Deserialize)]
struct BetterReply {
    better: String,
}

#[derive(Deserialize)]
struct OrderReply {
    ranking: Vec<String>,
}

#[derive(Deserialize)]
struct RatingReply {
    rating: i64,
}

impl ReplyForm<'_> {
    /// The name and the JSON Schema of the reply.
    pub fn schema(self) -> Value {
        let (field, value) = match self {
            ReplyForm::Better => ("better", json!({"type": "string", "enum": ["A", "B", "tie"]})),
            ReplyForm::Order(count) => {
                let letters: Vec<String> = (0..count).map(letter).collect();
                ("ranking", json!({"type": "array", "items": {"type": "string", "enum": letters}}))
            }
            ReplyForm::Rating(criterion) => {
                let [low, high] = criterion.scale;
                ("rating", json!({"type": "integer", "minimum": low, "maximum": high}))
            }
        };
        json!({"type": "object", "properties": {field: value}, "required": [field], "additionalProperties": false})
    }

    /// # Errors
    /// What is wrong with the reply, in words that the judge is told.
    pub fn read(self, text: &str) -> Result<Reading, String> {
        let whole = serde_json::from_str::<Value>(text.trim()).ok().filter(Value::is_object);
        let value = whole.or_else(|| last_object(text)).ok_or("the reply holds no JSON object")?;
        match self {
            ReplyForm::Better => {
                let BetterReply { better } = typed(value)?;
                let choice = match better.as_str() {
                    "A" => PairChoice::First,
                    "B" => PairChoice::Second,
                    "tie" => PairChoice::Tie,
                    _ => return Err("`better` is neither \"A\", \"B\" nor \"tie\"".to_owned()),
                };
                Ok(Reading::Judgement(Judgement::Pair(choice)))
            }
            ReplyForm::Order(count) => {
                let OrderReply { ranking } = typed(value)?;
                let rank = |place: usize| ranking.iter().position(|named| *named == letter(place));
                let ranks: Option<Vec<u32>> = (0..count).map(|place| Some(rank(place)? as u32 + 1)).collect();
                let ranks = ranks.filter(|_| ranking.len() == count);
                let ranks = ranks.ok_or_else(|| format!("`ranking` does not name each of the {count} answers once"))?;
                Ok(Reading::Judgement(Judgement::Ranking(ranks)))
            }
            ReplyForm::Rating(criterion) => {
                let RatingReply { rating } = typed(value)?;
                let [low, high] = criterion.scale;
                if rating < low || rating > high {
                    return Err(format!("`rating` is {rating}, not on the scale from {low} to {high}"));
                }
                Ok(Reading::Rating(rating))
            }
        }
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// The last object that stands alone in a fenced block of a text.
fn last_object(text: &str) -> Option<Value> {
    // What stands between two fences; the text before the first one and behind the last one is in none.
    let pieces: Vec<&str> = text.split("```").collect();
    let inner = pieces.get(1..pieces.len().saturating_sub(1))?;
    inner.iter().rev().find_map(|block| {
        // The language stands behind the fence.
        let body =
            block.split_once('\n').map_or(*block, |(first, rest)| if first.contains('{') { block } else { rest });
        serde_json::from_str::<Value>(body.trim()).ok().filter(Value::is_object)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::criteria::Bilingual;

    fn better(text: &str) -> Result<Reading, String> {
        ReplyForm::Better.read(text)
    }

    const FIRST: Result<Reading, String> = Ok(Reading::Judgement(Judgement::Pair(PairChoice::First)));

    #[test]
    fn a_reply_counts_as_the_object_that_it_is_or_as_the_last_one_in_fences() {
        assert_eq!(better(" {\"better\": \"A\"}\n"), FIRST);
        assert_eq!(better("Both are fine.\n```json\n{\"better\": \"A\"}\n```\nI hope it helps."), FIRST);
        assert_eq!(better("```\n{\"better\": \"B\"}\n```\nNo:\n```json\n{\"better\": \"A\"}\n```"), FIRST);
        assert_eq!(better("```{\"better\": \"A\"}```"), FIRST);
        assert_eq!(better("```json\n{\"better\": \"A\"}\n```\nIn code:\n```python\nprint(1)\n```"), FIRST);
        assert_eq!(better("```json\n{\"better\": \"A\"}\n``` and an open ```fence"), FIRST);
    }

    #[test]
    fn prose_numbers_cut_replies_and_refusals_count_as_nothing() {
        let long = "A".repeat(1 << 20);
        for text in [
            "",
            "A",
            "The better one is A.",
            "{\"better\": \"A\"",
            "{\"better\": \"C\"}",
            "{\"best\": \"A\"}",
            "1",
            &long,
            "[\"A\"]",
            "I cannot judge that. {\"better\": \"A\"}",
        ] {
            assert!(better(text).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }

    #[test]
    fn a_rating_beyond_its_scale_is_none() {
        let criterion = Criterion {
            name: "kind".to_owned(),
            question: Bilingual::default(),
            scale: [1, 5],
            anchors: std::collections::BTreeMap::new(),
        };
        let read = |text: &str| ReplyForm::Rating(&criterion).read(text);
        assert_eq!(read("{\"rating\": 5}"), Ok(Reading::Rating(5)));
        assert_eq!(read("{\"rating\": 10}"), Err("`rating` is 10, not on the scale from 1 to 5".to_owned()));
        assert!(read("{\"rating\": 4.5}").is_err() && read("{\"rating\": \"4\"}").is_err());
    }

    #[test]
    fn an_order_names_every_answer_once() {
        let read = |text: &str| ReplyForm::Order(3).read(text);
        assert_eq!(
            read("{\"ranking\": [\"C\", \"A\", \"B\"]}"),
            Ok(Reading::Judgement(Judgement::Ranking(vec![2, 3, 1])))
        );
        for wrong in
            ["[\"C\", \"A\"]", "[\"C\", \"A\", \"A\"]", "[\"C\", \"A\", \"B\", \"A\"]", "[\"C\", \"A\", \"D\"]"]
        {
            assert!(read(&format!("{{\"ranking\": {wrong}}}")).is_err(), "{wrong}");
        }
    }
}
