//! People who label, made up: what each of them chooses of the answers that are shown, and how long it takes.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Annotator {
    /// Reads, and errs once in twenty times.
    Careful,
    /// Draws lots, as fast as anybody.
    Random,
    AlwaysLeft,
    /// Careful for a third of the session, then whatever comes, without reading.
    Sleepy,
    /// Takes the longer answer two times out of three.
    LikesLength,
    /// Errs with this chance.
    Noisy(f64),
}

/// The truth: the answer that says `good` more often is better.
pub fn worth(answer: &str) -> usize {
    answer.matches("good").count()
}

/// The truth of the toy world: what is warm is better than what is polite, that than what is curt, and anything than what is rude.
pub fn warmth(answer: &str) -> usize {
    const KINDS: [&[&str]; 3] = [
        &["そうですか", "なるほど", "わかりました", "次をどうぞ", "I see", "Okay", "Is that so"],
        &["いい思い出", "よかったですね", "ありがとう", "何より", "nice", "Thank you", "good memory"],
        &[
            "いいですね",
            "すてき",
            "楽しかったでしょう",
            "なつかしい",
            "あたたま",
            "lovely",
            "wonderful",
            "warm",
            "I love hearing",
        ],
    ];
    KINDS.iter().rposition(|words| words.iter().any(|word| answer.contains(word))).map_or(0, |kind| kind + 1)
}

/// A sequence of numbers that is the same each time.
pub struct Lots(u64);

impl Lots {
    pub fn new(seed: u64) -> Lots {
        Lots(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Annotator {
    /// The place of the chosen answer among the two that are shown, and the seconds that it took. `worths` are what is true of
    /// the two, and `done` is the share of the session that is over.
    pub fn choose(self, shown: [&str; 2], worths: [usize; 2], done: f64, lots: &mut Lots) -> (usize, f64) {
        let better = usize::from(worths[1] > worths[0]);
        let erring = |chance: f64, lots: &mut Lots| if lots.uniform() < chance { 1 - better } else { better };
        let seconds = 4.0 + 4.0 * lots.uniform();
        match self {
            Annotator::Careful => (erring(0.05, lots), seconds),
            Annotator::Noisy(chance) => (erring(chance, lots), seconds),
            Annotator::Random => (usize::from(lots.uniform() < 0.5), seconds),
            Annotator::AlwaysLeft => (0, seconds),
            Annotator::Sleepy if done < 1.0 / 3.0 => (erring(0.05, lots), seconds),
            Annotator::Sleepy => (usize::from(lots.uniform() < 0.5), 0.4),
            Annotator::LikesLength => {
                let longer = usize::from(shown[1].len() > shown[0].len());
                (if lots.uniform() < 2.0 / 3.0 { longer } else { better }, seconds)
            }
        }
    }
}
