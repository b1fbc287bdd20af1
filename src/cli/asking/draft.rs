//! The choice of a person while they make it, key by key; pure. The keys are those of the page.

use console::Key;
use stages::people::criteria::{Criterion, Sheet};
use stages::people::form::Form;
use stages::people::label::{Judgement, PairChoice};

/// A choice that is being made. Answers are named by the places in which they are shown.
#[derive(Clone, Debug, PartialEq)]
pub enum FormDraft {
    Pairs,
    Ranking(RankingDraft),
    Ratings(RatingsDraft),
    Edit(EditDraft),
}

/// Answers from the best on, as far as they are chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RankingDraft {
    pub answers: usize,
    pub order: Vec<RankedPlace>,
    /// Whether the next one ties with the one before.
    pub has_tie: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankedPlace {
    pub answer: usize,
    pub is_tied: bool,
}

/// A rating of each answer by each criterion, as far as they are given.
#[derive(Clone, Debug, PartialEq)]
pub struct RatingsDraft {
    pub answers: usize,
    pub scales: Vec<RatingScale>,
    /// By criterion, then by answer.
    pub ratings: Vec<Option<i64>>,
    /// The rating that keys are about.
    pub at: usize,
    /// Whether digits go on in the rating that is there.
    is_typing: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RatingScale {
    pub name: String,
    pub low: i64,
    pub high: i64,
}

/// A better text in the place of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct EditDraft {
    pub answers: usize,
    pub answer: usize,
    pub text: Option<String>,
}

/// The effect of a key on a choice.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyEffect {
    /// The key is none of the form.
    Foreign,
    Changed,
    Judged(Judgement),
    /// The answer is to be edited.
    Edits(usize),
}

impl FormDraft {
    pub fn new(form: Form, answers: usize, sheet: Option<&Sheet>) -> FormDraft {
        let scale = |criterion: &Criterion| {
            let [low, high] = criterion.scale;
            RatingScale { name: criterion.name.clone(), low, high }
        };
        match form {
            Form::Pairs => FormDraft::Pairs,
            Form::Ranking => FormDraft::Ranking(RankingDraft { answers, ..RankingDraft::default() }),
            Form::Ratings => {
                let scales: Vec<RatingScale> = sheet.iter().flat_map(|sheet| &sheet.criteria).map(scale).collect();
                let ratings = vec![None; scales.len() * answers];
                FormDraft::Ratings(RatingsDraft { answers, scales, ratings, at: 0, is_typing: false })
            }
            Form::Edit => FormDraft::Edit(EditDraft { answers, answer: 0, text: None }),
        }
    }

    /// Whether nothing is chosen yet.
    pub fn is_untouched(&self) -> bool {
        match self {
            FormDraft::Pairs => true,
            FormDraft::Ranking(draft) => draft.order.is_empty(),
            FormDraft::Ratings(draft) => draft.ratings.iter().all(Option::is_none),
            FormDraft::Edit(draft) => draft.text.is_none(),
        }
    }

    pub fn press(&mut self, key: &Key) -> KeyEffect {
        match self {
            FormDraft::Pairs => pair(key),
            FormDraft::Ranking(draft) => draft.press(key),
            FormDraft::Ratings(draft) => draft.press(key),
            FormDraft::Edit(draft) => draft.press(key),
        }
    }
}

/// A key as it means the same under a Japanese input method, whose letters and digits are wide.
pub fn narrow(key: &Key) -> Key {
    match key {
        Key::Char('　') => Key::Char(' '),
        Key::Char(wide @ '\u{ff01}'..='\u{ff5e}') => {
            Key::Char(char::from_u32(*wide as u32 - 0xfee0).unwrap_or(*wide).to_ascii_lowercase())
        }
        Key::Char(letter) => Key::Char(letter.to_ascii_lowercase()),
        other => other.clone(),
    }
}

fn pair(key: &Key) -> KeyEffect {
    KeyEffect::Judged(Judgement::Pair(match key {
        Key::Char('1') | Key::ArrowLeft => PairChoice::First,
        Key::Char('2') | Key::ArrowRight => PairChoice::Second,
        Key::Char('=') | Key::ArrowDown => PairChoice::Tie,
        Key::Char('b') => PairChoice::BothBad,
        _ => return KeyEffect::Foreign,
    }))
}

/// The place of an answer that a digit names.
fn place(key: &Key, answers: usize) -> Option<usize> {
    let Key::Char(letter) = key else { return None };
    let number = letter.to_digit(10)? as usize;
    (1..=answers).contains(&number).then(|| number - 1)
}

impl RankingDraft {
    fn press(&mut self, key: &Key) -> KeyEffect {
        match (key, place(key, self.answers)) {
            (_, Some(answer)) => {
                if !self.order.iter().any(|one| one.answer == answer) {
                    let is_tied = std::mem::take(&mut self.has_tie);
                    self.order.push(RankedPlace { answer, is_tied });
                }
            }
            (Key::Char('='), _) => self.has_tie = !self.order.is_empty() && !self.has_tie,
            (Key::Backspace, _) => *self = RankingDraft { answers: self.answers, ..RankingDraft::default() },
            // None can be sent that is not chosen as a whole: nobody ranks by doing nothing.
            (Key::Enter, _) if self.order.len() == self.answers => return KeyEffect::Judged(self.judgement()),
            (Key::Enter, _) => {}
            _ => return KeyEffect::Foreign,
        }
        KeyEffect::Changed
    }

    fn judgement(&self) -> Judgement {
        let (mut ranks, mut rank) = (vec![0; self.answers], 0);
        for RankedPlace { answer, is_tied } in &self.order {
            rank += u32::from(!is_tied);
            ranks[*answer] = rank;
        }
        Judgement::Ranking(ranks)
    }
}

impl RatingsDraft {
    fn press(&mut self, key: &Key) -> KeyEffect {
        let last = self.ratings.len().saturating_sub(1);
        match key {
            Key::ArrowUp | Key::BackTab => self.go(self.at.saturating_sub(1)),
            Key::ArrowDown | Key::Tab => self.go((self.at + 1).min(last)),
            Key::ArrowLeft => self.step(-1),
            Key::ArrowRight => self.step(1),
            Key::Backspace => {
                if let Some(rating) = self.ratings.get_mut(self.at) {
                    *rating = None;
                }
                self.is_typing = false;
            }
            Key::Char(letter) if letter.is_ascii_digit() => {
                self.type_digit(i64::from(letter.to_digit(10).unwrap_or_default()));
            }
            Key::Enter => match self.ratings.iter().position(Option::is_none) {
                Some(open) => self.go(open),
                None => return KeyEffect::Judged(self.judgement()),
            },
            _ => return KeyEffect::Foreign,
        }
        KeyEffect::Changed
    }

    fn go(&mut self, at: usize) {
        (self.at, self.is_typing) = (at, false);
    }

    fn scale(&self) -> Option<&RatingScale> {
        self.scales.get(self.at / self.answers.max(1))
    }

    fn step(&mut self, step: i64) {
        let Some(RatingScale { low, high, .. }) = self.scale().cloned() else { return };
        let first = if step > 0 { low } else { high };
        self.ratings[self.at] = Some(self.ratings[self.at].map_or(first, |rating| (rating + step).clamp(low, high)));
        self.is_typing = false;
    }

    /// Takes a digit: of a scale with larger numbers, it goes on in the one that was typed. Where no other could follow, the next
    /// rating is up.
    fn type_digit(&mut self, digit: i64) {
        let Some(RatingScale { low, high, .. }) = self.scale().cloned() else { return };
        let before = self.ratings[self.at].filter(|_| self.is_typing).unwrap_or_default();
        let typed = [before * 10 + digit, digit].into_iter().find(|number| *number <= high);
        let Some(typed) = typed else { return };
        self.ratings[self.at] = Some(typed);
        self.is_typing = true;
        if typed >= low && typed * 10 > high && self.at + 1 < self.ratings.len() {
            self.go(self.at + 1);
        }
    }

    fn judgement(&self) -> Judgement {
        let of = |(number, scale): (usize, &RatingScale)| {
            let ratings = &self.ratings[number * self.answers..(number + 1) * self.answers];
            (scale.name.clone(), ratings.iter().flatten().copied().collect())
        };
        Judgement::Ratings(self.scales.iter().enumerate().map(of).collect())
    }
}

impl EditDraft {
    fn press(&mut self, key: &Key) -> KeyEffect {
        match (key, place(key, self.answers), &self.text) {
            (_, Some(answer), _) => KeyEffect::Edits(answer),
            (Key::Enter, _, Some(text)) => {
                KeyEffect::Judged(Judgement::Edit { answer: self.answer, text: text.clone() })
            }
            (Key::Enter, _, None) => KeyEffect::Changed,
            _ => KeyEffect::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The effect of the last of some keys.
    fn pressed(draft: &mut FormDraft, keys: &str) -> KeyEffect {
        let key = |letter: char| match letter {
            '⏎' => Key::Enter,
            '⌫' => Key::Backspace,
            '→' => Key::ArrowRight,
            '↑' => Key::ArrowUp,
            letter => narrow(&Key::Char(letter)),
        };
        keys.chars().map(|letter| draft.press(&key(letter))).last().unwrap()
    }

    #[test]
    fn a_pair_is_judged_by_one_key_also_under_an_input_method() {
        for (keys, choice) in
            [("1", PairChoice::First), ("２", PairChoice::Second), ("＝", PairChoice::Tie), ("Ｂ", PairChoice::BothBad)]
        {
            assert_eq!(pressed(&mut FormDraft::Pairs, keys), KeyEffect::Judged(Judgement::Pair(choice)));
        }
        assert_eq!(pressed(&mut FormDraft::Pairs, "3"), KeyEffect::Foreign);
    }

    #[test]
    fn a_ranking_is_typed_with_ties_and_cannot_be_sent_before_it_is_whole() {
        let mut draft = FormDraft::new(Form::Ranking, 4, None);
        assert_eq!(pressed(&mut draft, "⏎"), KeyEffect::Changed);
        assert_eq!(pressed(&mut draft, "3⌫21=33⏎"), KeyEffect::Changed);
        assert_eq!(pressed(&mut draft, "4⏎"), KeyEffect::Judged(Judgement::Ranking(vec![2, 1, 2, 3])));
    }

    #[test]
    fn ratings_are_typed_one_after_the_other_and_stay_on_their_scales() {
        let scale = |name: &str, low, high| RatingScale { name: name.to_owned(), low, high };
        let scales = vec![scale("long", 1, 5), scale("percent", 0, 50)];
        let ratings = vec![None; 4];
        let mut draft = FormDraft::Ratings(RatingsDraft { answers: 2, scales, ratings, at: 0, is_typing: false });
        // 9 is on no scale of five; 4 then 2 is 42, which nothing can follow.
        assert_eq!(pressed(&mut draft, "935⏎42⏎"), KeyEffect::Changed);
        let ratings = |percent| {
            Judgement::Ratings(BTreeMap::from([("long".to_owned(), vec![3, 5]), ("percent".to_owned(), percent)]))
        };
        assert_eq!(pressed(&mut draft, "→⏎"), KeyEffect::Judged(ratings(vec![42, 0])));
        assert_eq!(pressed(&mut draft, "↑→⏎"), KeyEffect::Judged(ratings(vec![43, 0])));
    }
}
