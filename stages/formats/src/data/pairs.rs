//! The preferences among the answers to one prompt. There may be many answers to one: thousands of rated reviews of one
//! film make millions of pairs, so pairs are counted first and then drawn.

use crate::dialogue::Prompt;
use std::collections::{BTreeSet, HashMap};

/// One prompt, its answers, and the preferences among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    pub id: String,
    /// The field `prompt_group`, else the `id`.
    pub group: String,
    pub prompt: Prompt,
    pub answers: Vec<String>,
    /// `(chosen, rejected)` as indices of `answers`.
    pub pairs: Vec<(usize, usize)>,
    /// The margin of each pair, where its row has one.
    pub margins: Vec<Option<f64>>,
    /// The number of times the prompt is learned in an epoch, by its first row.
    pub weight: f64,
}

/// A prompt with its answers, before pairs are made of their ratings.
#[derive(Clone, Debug)]
pub struct JudgedAnswers {
    pub preference: Preference,
    /// Rated answers, as indices of the preference's answers.
    rated: Vec<(usize, f64)>,
    /// The place of each answer.
    places: HashMap<String, usize>,
    /// Rows of the file.
    pub rows: u64,
}

impl JudgedAnswers {
    pub fn new(id: String, group: String, prompt: Prompt) -> JudgedAnswers {
        let (answers, pairs, margins) = (Vec::new(), Vec::new(), Vec::new());
        let preference = Preference { id, group, prompt, answers, pairs, margins, weight: 1.0 };
        JudgedAnswers { preference, rated: Vec::new(), places: HashMap::new(), rows: 0 }
    }

    /// The place of an answer. Equal answers are one answer.
    pub fn place(&mut self, answer: String) -> usize {
        let next = self.preference.answers.len();
        *self.places.entry(answer).or_insert_with_key(|answer| {
            self.preference.answers.push(answer.clone());
            next
        })
    }

    /// A preference of an answer to itself says nothing.
    pub fn prefer(&mut self, pairs: impl IntoIterator<Item = (usize, usize)>, margin: Option<f64>) {
        let pairs = pairs.into_iter().filter(|(better, worse)| better != worse);
        self.preference.pairs.extend(pairs);
        self.preference.margins.resize(self.preference.pairs.len(), margin);
    }

    pub fn rate(&mut self, place: usize, rating: f64) {
        self.rated.push((place, rating));
    }

    /// The number of pairs.
    pub fn pairs(&self) -> usize {
        self.preference.pairs.len() + Ranks::of(&self.rated).pairs()
    }

    /// The preference with all its pairs, or with `most` of them, drawn by `below(n)`, which draws a number below n. Answers
    /// that are in none of the drawn pairs are left out.
    pub fn with_pairs(self, most: usize, mut below: impl FnMut(usize) -> usize) -> Preference {
        let JudgedAnswers { mut preference, rated, .. } = self;
        let ranks = Ranks::of(&rated);
        let (written, total) = (preference.pairs.len(), preference.pairs.len() + ranks.pairs());
        if total <= most {
            preference.pairs.extend(ranks.all(&rated));
            preference.margins.resize(preference.pairs.len(), None);
            return preference;
        }
        let mut drawn = BTreeSet::new();
        // The method of Floyd: as many different numbers as draws.
        for last in total - most..total {
            let number = below(last + 1);
            drawn.insert(if drawn.contains(&number) { last } else { number });
        }
        let pair = |number: usize| match number.checked_sub(written) {
            None => (preference.pairs[number], preference.margins[number]),
            Some(number) => (ranks.pair(number, &rated), None),
        };
        let (pairs, margins): (Vec<(usize, usize)>, Vec<Option<f64>>) =
            drawn.into_iter().map(pair).filter(|((better, worse), _)| better != worse).unzip();
        let used: BTreeSet<usize> = pairs.iter().flat_map(|(better, worse)| [*better, *worse]).collect();
        let places: HashMap<usize, usize> = used.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        preference.answers = used.iter().map(|place| std::mem::take(&mut preference.answers[*place])).collect();
        preference.pairs = pairs.iter().map(|(better, worse)| (places[better], places[worse])).collect();
        preference.margins = margins;
        preference
    }
}

/// Ratings in rising order, and how many are below each.
struct Ranks {
    order: Vec<usize>,
    below: Vec<usize>,
    /// Sums of `below` so far.
    sums: Vec<usize>,
}

impl Ranks {
    fn of(rated: &[(usize, f64)]) -> Ranks {
        let mut order: Vec<usize> = (0..rated.len()).collect();
        order.sort_by(|one, other| rated[*one].1.total_cmp(&rated[*other].1));
        let mut below: Vec<usize> = Vec::with_capacity(order.len());
        for (at, rank) in order.iter().enumerate() {
            let ties = at > 0 && rated[order[at - 1]].1 == rated[*rank].1;
            below.push(if ties { below[at - 1] } else { at });
        }
        let sum = |sum: &mut usize, below: &usize| {
            *sum += below;
            Some(*sum)
        };
        let sums = below.iter().scan(0, sum).collect();
        Ranks { order, below, sums }
    }

    fn pairs(&self) -> usize {
        self.sums.last().copied().unwrap_or(0)
    }

    /// The pair of a number: the answers are places of the preference.
    fn pair(&self, number: usize, rated: &[(usize, f64)]) -> (usize, usize) {
        let at = self.sums.partition_point(|sum| *sum <= number);
        let lower = number - (self.sums[at] - self.below[at]);
        (rated[self.order[at]].0, rated[self.order[lower]].0)
    }

    /// All pairs, in the order of the answers.
    fn all(&self, rated: &[(usize, f64)]) -> Vec<(usize, usize)> {
        let lower = |at: usize| (0..self.below[at]).map(move |lower| (self.order[at], self.order[lower]));
        let mut pairs: Vec<(usize, usize)> = (0..self.order.len()).flat_map(lower).collect();
        pairs.sort_unstable_by_key(|(better, worse)| (better.min(worse).to_owned(), better.max(worse).to_owned()));
        let places = pairs.into_iter().map(|(better, worse)| (rated[better].0, rated[worse].0));
        places.filter(|(better, worse)| better != worse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ratings: &[f64]) -> JudgedAnswers {
        let mut known = JudgedAnswers::new("1".to_owned(), "1".to_owned(), Prompt::Text("p".to_owned()));
        for (number, rating) in ratings.iter().enumerate() {
            let place = known.place(format!("answer {number}"));
            known.rate(place, *rating);
        }
        known
    }

    /// A sequence that is no random one: whatever it draws, the pairs are different and true.
    fn drawn() -> impl FnMut(usize) -> usize {
        let mut last = 12_345_u64;
        move |n| {
            last = last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (last >> 33) as usize % n
        }
    }

    #[test]
    fn all_pairs_come_in_the_order_of_the_answers() {
        let all = judged(&[2.0, 3.0, 2.0, 1.0]).with_pairs(5, |_| panic!("nothing is drawn"));
        assert_eq!(all.pairs, [(1, 0), (0, 3), (1, 2), (1, 3), (2, 3)]);
        assert_eq!(all.margins, [None; 5]);
    }

    #[test]
    fn some_pairs_are_different_ones_with_their_answers_alone() {
        let ratings: Vec<f64> = (0..1000).map(|number| f64::from(number % 7)).collect();
        let mut known = judged(&ratings);
        let pair = (known.place("x".to_owned()), known.place("y".to_owned()));
        known.prefer([pair], Some(0.5));
        let total = known.pairs();
        let true_total = (0..1000).flat_map(|i| (0..i).map(move |j| (i, j))).filter(|(i, j)| i % 7 != j % 7).count();
        assert_eq!(total, true_total + 1);
        let some = known.with_pairs(50, drawn());
        let number =
            |place: usize| some.answers[place].strip_prefix("answer ").map(|n| n.parse::<usize>().unwrap() % 7);
        assert_eq!(some.pairs.iter().collect::<BTreeSet<_>>().len(), 50);
        for (better, worse) in &some.pairs {
            assert!(number(*better) > number(*worse), "{} {}", some.answers[*better], some.answers[*worse]);
        }
        let used: BTreeSet<usize> = some.pairs.iter().flat_map(|(better, worse)| [*better, *worse]).collect();
        assert_eq!(used.len(), some.answers.len(), "an answer in no pair is left out");
    }

    #[test]
    fn a_drawn_pair_keeps_its_margin() {
        let mut known = judged(&[]);
        for number in 0..20 {
            let pair = (known.place(format!("good {number}")), known.place("bad".to_owned()));
            known.prefer([pair], Some(f64::from(number)));
        }
        let some = known.with_pairs(3, drawn());
        for ((better, _), margin) in some.pairs.iter().zip(&some.margins) {
            assert_eq!(some.answers[*better], format!("good {}", margin.unwrap()));
        }
    }
}
