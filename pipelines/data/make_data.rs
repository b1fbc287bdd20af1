//! Makes the toy world of `pipelines/data`: short remarks of an elderly person about a memory, and the answers
//! of a listener. Knows nothing of tokens, models or training.
//! `cargo run --release --example make_data [FOLDER]`

mod words;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, io};
use words::{ENGLISH, JAPANESE, World};

const SEED: u64 = 2;
/// Rows per language; every file holds both languages.
const PLAIN: usize = 125;
const DIALOGUES: usize = 1125;
const SFT: usize = 450;
const RANKINGS: usize = 250;
const PAIRS: usize = 300;
const JUDGED: usize = 110;
const PROMPTS: usize = 200;
const HELDOUT: usize = 60;
const STUDY: usize = 210;
/// The folder is part of the repository.
const MOST_BYTES: usize = 1_000_000;
/// Percent of rankings in which two neighbours change places (about 8 % of the pairs come out wrong), and of
/// pairs turned round.
const LABEL_NOISE: usize = 42;
const PAIR_NOISE: usize = 6;

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "pipelines/data".to_owned()));
    let mut draw = Draw(SEED);
    let [mut corpus, mut sft, mut rankings, mut pairs, mut prompts, mut heldout] = [const { Vec::new() }; 6];
    let mut never = BTreeSet::new();
    let mut noise = Noise { wrong: 0, all: 0 };
    for world in [&JAPANESE, &ENGLISH] {
        let topics: Vec<Topic> = world.topics.lines().map(read_topic).collect();
        let remarks = heldout_remarks(world, &topics, HELDOUT, |_| false, &mut draw);
        for (index, remark) in remarks.into_iter().enumerate() {
            let id = format!("{}-{:03}", world.id, index + 1);
            heldout.push(row(&[("id", json!(id)), ("prompt", json!(remark.prompt))]));
            never.insert(remark.prompt);
        }
        let remarks = |count, draw: &mut Draw| training_remarks(world, &topics, &never, count, draw);
        corpus.extend((0..PLAIN).map(|_| plain(world, &draw.choose(&topics), &mut draw)).collect::<Vec<_>>());
        corpus.extend(remarks(DIALOGUES, &mut draw).iter().map(|remark| dialogue(remark, &mut draw)));
        sft.extend(remarks(SFT, &mut draw).iter().map(|remark| example(remark, &mut draw)));
        rankings.extend(remarks(RANKINGS, &mut draw).iter().map(|remark| ranking(remark, &mut noise, &mut draw)));
        pairs.extend(remarks(PAIRS, &mut draw).iter().map(|remark| pair(remark, &mut draw)));
        prompts.extend(remarks(PROMPTS, &mut draw).iter().map(|remark| row(&[("prompt", json!(remark.prompt))])));
    }
    println!("rankings: {} of {} pairs mislabelled", noise.wrong, noise.all);

    let mut bytes = 0;
    let training = [&mut corpus, &mut sft, &mut rankings, &mut pairs, &mut prompts];
    for (name, rows) in ["corpus", "sft", "rankings", "pairs", "prompts"].into_iter().zip(training) {
        for prompt in &never {
            assert!(!holds(rows, prompt), "a held-out prompt is in {name}: {prompt}");
        }
        draw.shuffle(rows);
        bytes += write(&folder, name, rows)?;
    }
    bytes += write(&folder, "heldout", &heldout)?;
    // Drawn after all others, which stay as they were.
    let mut judged = Vec::new();
    for world in [&JAPANESE, &ENGLISH] {
        let topics: Vec<Topic> = world.topics.lines().map(read_topic).collect();
        let remarks = training_remarks(world, &topics, &never, JUDGED, &mut draw);
        judged.extend(remarks.iter().map(|remark| ranking(remark, &mut noise, &mut draw)));
    }
    draw.shuffle(&mut judged);
    bytes += write(&folder, "judged", &judged)?;
    // More held-out prompts, for a study that compares models that differ little; none is in a file above.
    let mut study = Vec::new();
    for world in [&JAPANESE, &ENGLISH] {
        let topics: Vec<Topic> = world.topics.lines().map(read_topic).collect();
        let told = [&corpus, &sft, &rankings, &pairs, &prompts, &judged, &heldout];
        let is_told = |prompt: &str| told.iter().any(|rows| holds(rows, prompt));
        for (index, remark) in heldout_remarks(world, &topics, STUDY, is_told, &mut draw).into_iter().enumerate() {
            let id = format!("{}-s{:03}", world.id, index + 1);
            study.push(row(&[("id", json!(id)), ("prompt", json!(remark.prompt))]));
        }
    }
    bytes += write(&folder, "study", &study)?;
    assert!(bytes < MOST_BYTES, "{bytes} bytes are too many");
    println!("all: {bytes} bytes; no held-out prompt in a training file");
    Ok(())
}

// ---- rows ----

fn plain(world: &World, topic: &Topic, draw: &mut Draw) -> String {
    row(&[("text", json!(topic.fill(draw.choose(world.plain), draw.choose(&topic.places))))])
}

/// The base model meets every manner of answer, the warm one most.
fn dialogue(remark: &Remark, draw: &mut Draw) -> String {
    let answer = match draw.below(100) {
        0..60 => remark.warm(draw),
        60..80 => remark.polite(draw),
        80..96 => remark.curt(draw),
        _ => remark.rude(draw),
    };
    row(&[("text", json!(remark.prompt.clone() + &answer))])
}

/// The likeliest answer is mediocre, so greedy decoding gives no warm one: what is left for RL to change.
/// In a third of the topics it is the polite one, elsewhere the curt one.
fn example(remark: &Remark, draw: &mut Draw) -> String {
    let curt_below = if remark.index.is_multiple_of(3) { 32 } else { 54 };
    let answer = match draw.below(100) {
        0..22 => remark.warm(draw),
        roll if roll < 22 + curt_below => remark.curt(draw),
        _ => remark.polite(draw),
    };
    row(&[("prompt", json!(remark.prompt)), ("completion", json!(answer))])
}

/// Warm and on topic > polite, or warm about another topic > curt > rude. Equal manners tie.
fn ranking(remark: &Remark, noise: &mut Noise, draw: &mut Draw) -> String {
    let fourth = [WARM, WARM, MIDDLING, MIDDLING, CURT, RUDE, RUDE, RUDE][draw.below(8)];
    let mut answers: Vec<(usize, String)> = Vec::new();
    for manner in [WARM, MIDDLING, CURT, fourth] {
        let answer = loop {
            let answer = match manner {
                WARM => remark.warm(draw),
                MIDDLING if draw.percent(60) => remark.off_topic(draw).warm(draw),
                MIDDLING => remark.polite(draw),
                CURT => remark.curt(draw),
                _ => remark.rude(draw),
            };
            if answers.iter().all(|(_, other)| *other != answer) {
                break answer;
            }
        };
        answers.push((manner, answer));
    }
    draw.shuffle(&mut answers);

    let manners: Vec<usize> = answers.iter().map(|(manner, _)| *manner).collect();
    let better = |manner: usize| (WARM..manner).filter(|other| manners.contains(other)).count();
    let mut ranks: Vec<usize> = manners.iter().map(|manner| better(*manner) + 1).collect();
    if draw.percent(LABEL_NOISE) {
        let (first, second) = loop {
            let (first, second) = (draw.below(4), draw.below(4));
            if ranks[first] + 1 == ranks[second] {
                break (first, second);
            }
        };
        ranks.swap(first, second);
    }
    noise.count(&manners, &ranks);
    let answers: Vec<&String> = answers.iter().map(|(_, answer)| answer).collect();
    row(&[("prompt", json!(remark.prompt)), ("completion", json!(answers)), ("ranking", json!(ranks))])
}

/// Among warm answers: one that asks about the very topic > one that only empathises, asks about something
/// else, or rambles.
fn pair(remark: &Remark, draw: &mut Draw) -> String {
    let (mut chosen, mut rejected) = match draw.below(100) {
        0..45 => (remark.asking(draw), remark.empathy(draw)),
        45..60 => (remark.asking(draw), remark.asking_elsewhere(draw)),
        60..80 => (remark.asking(draw), remark.rambling(draw)),
        80..90 => (remark.empathy(draw), remark.rambling(draw)),
        90..95 => (remark.asking(draw), remark.polite(draw)),
        _ => (remark.empathy(draw), remark.curt(draw)),
    };
    if draw.percent(PAIR_NOISE) {
        (chosen, rejected) = (rejected, chosen);
    }
    row(&[("prompt", json!(remark.prompt)), ("chosen", json!(chosen)), ("rejected", json!(rejected))])
}

/// One line of JSON with its fields in this order, whatever the features of serde_json.
fn row(fields: &[(&str, Value)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn write(folder: &Path, name: &str, rows: &[String]) -> io::Result<usize> {
    let text = rows.join("\n") + "\n";
    fs::write(folder.join(name).with_extension("jsonl"), &text)?;
    println!("{name}: {} rows, {} bytes", rows.len(), text.len());
    Ok(text.len())
}

// ---- remarks and answers ----

/// A prompt, and what an answer needs to know of it.
struct Remark<'w> {
    world: &'w World,
    topics: &'w [Topic],
    index: usize,
    prompt: String,
}

#[derive(Clone, Copy)]
struct Topic {
    name: &'static str,
    past: &'static str,
    base: &'static str,
    places: [&'static str; 4],
    questions: [&'static str; 2],
}

const WARM: usize = 0;
const MIDDLING: usize = 1;
const CURT: usize = 2;
const RUDE: usize = 3;

fn read_topic(line: &'static str) -> Topic {
    let fields: Vec<&str> = line.split('|').collect();
    let [name, past, base, near, far, other, held, first, second] = fields[..] else {
        panic!("nine fields in {line}");
    };
    Topic { name, past, base, places: [near, far, other, held], questions: [first, second] }
}

/// Whether a row holds this prompt.
fn holds(rows: &[String], prompt: &str) -> bool {
    let text = json!(prompt).to_string();
    rows.iter().any(|row| row.contains(text.trim_matches('"')))
}

/// Combinations that no training file holds. Every fifth is at a place, and every tenth in company, that
/// no other remark has with an answer.
fn heldout_remarks<'w>(
    world: &'w World,
    topics: &'w [Topic],
    count: usize,
    is_told: impl Fn(&str) -> bool,
    draw: &mut Draw,
) -> Vec<Remark<'w>> {
    let (cousin, known) = world.people.split_last().expect("people are written above");
    let mut seen = BTreeSet::new();
    let mut remarks = Vec::new();
    while remarks.len() < count {
        let (number, index) = (remarks.len(), remarks.len() % topics.len());
        let place = if number % 5 == 4 { 3 } else { draw.below(3) };
        let person = if number % 10 == 2 { cousin } else { draw.choose(known) };
        let prompt = prompt(world, &topics[index], person, place, draw);
        if !is_told(&prompt) && seen.insert(prompt.clone()) {
            remarks.push(Remark { world, topics, index, prompt });
        }
    }
    remarks
}

/// `count` different remarks, all topics equally often.
fn training_remarks<'w>(
    world: &'w World,
    topics: &'w [Topic],
    never: &BTreeSet<String>,
    count: usize,
    draw: &mut Draw,
) -> Vec<Remark<'w>> {
    let (_, known) = world.people.split_last().expect("people are written above");
    let mut seen = never.clone();
    let mut remarks = Vec::new();
    while remarks.len() < count {
        let index = remarks.len() % topics.len();
        let (person, place) = (draw.choose(known), draw.below(3));
        let prompt = prompt(world, &topics[index], person, place, draw);
        if seen.insert(prompt.clone()) {
            remarks.push(Remark { world, topics, index, prompt });
        }
    }
    remarks
}

fn prompt(world: &World, topic: &Topic, person: &str, place: usize, draw: &mut Draw) -> String {
    let template = draw.choose(world.remarks).replace("{opening}", draw.choose(world.openings));
    topic.fill(&template.replace("{person}", person), topic.places[place])
}

impl Remark<'_> {
    fn warm(&self, draw: &mut Draw) -> String {
        if draw.percent(60) { self.asking(draw) } else { self.empathy(draw) }
    }

    fn asking(&self, draw: &mut Draw) -> String {
        self.say(draw.choose(self.world.before_question), "") + draw.choose(&self.topic().questions)
    }

    fn asking_elsewhere(&self, draw: &mut Draw) -> String {
        self.say(draw.choose(self.world.before_question), "") + self.other_question(draw)
    }

    fn empathy(&self, draw: &mut Draw) -> String {
        self.say(draw.choose(self.world.empathy), "")
    }

    fn rambling(&self, draw: &mut Draw) -> String {
        let question = self.other_question(draw);
        self.say(draw.choose(self.world.rambling), question)
    }

    fn other_question(&self, draw: &mut Draw) -> &'static str {
        let other = self.off_topic(draw);
        draw.choose(&other.topic().questions)
    }

    fn polite(&self, draw: &mut Draw) -> String {
        self.world.polite[draw.falling()].to_owned()
    }

    fn curt(&self, draw: &mut Draw) -> String {
        self.world.curt[draw.falling()].to_owned()
    }

    fn rude(&self, draw: &mut Draw) -> String {
        draw.choose(self.world.rude).to_string()
    }

    /// The same prompt with another topic in mind.
    fn off_topic(&self, draw: &mut Draw) -> Self {
        let index = (self.index + 1 + draw.below(self.topics.len() - 1)) % self.topics.len();
        Remark { index, prompt: self.prompt.clone(), ..*self }
    }

    fn say(&self, template: &str, other_question: &str) -> String {
        self.topic().fill(&template.replace("{other question}", other_question), "")
    }

    fn topic(&self) -> &Topic {
        &self.topics[self.index]
    }
}

impl Topic {
    fn fill(&self, template: &str, place: &str) -> String {
        let (first, rest) = self.name.split_at(self.name.chars().next().map_or(0, char::len_utf8));
        template
            .replace("{topic}", self.name)
            .replace("{Topic}", &(first.to_uppercase() + rest))
            .replace("{past}", self.past)
            .replace("{base}", self.base)
            .replace("{place}", place)
            .replace("{question}", self.questions[0])
    }
}

// ---- chance ----

/// Pairs of a ranking whose order contradicts the manners of the answers.
struct Noise {
    wrong: usize,
    all: usize,
}

impl Noise {
    fn count(&mut self, manners: &[usize], ranks: &[usize]) {
        let pairs = (0..manners.len()).flat_map(|i| (0..manners.len()).map(move |j| (i, j)));
        for (i, j) in pairs.filter(|(i, j)| manners[*i] < manners[*j] && ranks[*i] != ranks[*j]) {
            self.all += 1;
            self.wrong += usize::from(ranks[i] > ranks[j]);
        }
    }
}

/// SplitMix64: integers only, so the files are the same on every machine.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((u128::from(bits) * bound as u128) >> 64) as usize
    }

    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    fn choose<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// An index below 4; 0 is the likeliest.
    fn falling(&mut self) -> usize {
        match self.below(100) {
            0..45 => 0,
            45..70 => 1,
            70..85 => 2,
            _ => 3,
        }
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
