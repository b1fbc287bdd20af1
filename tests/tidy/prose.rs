//! No code reads a message to find out what happened: a fact is a value, and its text is for people. Doc comments are
//! sentences that begin with a noun or a verb.

use super::{read, sources, texts};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const DIRECTORIES: [&str; 4] = ["src", "cache/src", "stages/src", "stages/formats/src"];

/// Functions that look into a text.
const READERS: [&str; 13] = [
    "contains",
    "ends_with",
    "find",
    "match_indices",
    "matches",
    "rfind",
    "rsplit_once",
    "split",
    "split_once",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
    "trim_start_matches",
];

/// Files that read prose all the same, each with its reason.
const ALLOWED: [(&str, &str); 11] = [
    ("src/cause.rs", "journals hold causes as texts: this is the file that reads them back"),
    ("src/run/machine.rs", "/proc/cpuinfo"),
    (
        "src/executor/slurm/clients.rs",
        "sbatch has one exit code for every refusal, and says only in words whether it may be heard",
    ),
    ("src/gate/lexer.rs", "spellings of a rule that are not ours, each with what to write in its place"),
    ("src/gate/items.rs", "serde_json says the line of a fault in its message as well"),
    ("src/plan/parameters.rs", "serde has no other form for the type that it found and the one it expected"),
    ("src/run/foreign.rs", "drivers and the Rust runtime say only in words what the log of a worker shows"),
    ("src/spec/yaml.rs", "the YAML reader has one kind of error"),
    ("stages/src/people/identity.rs", "answers of models, in which their names are looked for"),
    ("stages/formats/src/data/file.rs", "first bytes of files"),
    ("stages/formats/src/data/file/text.rs", "serde_json has one kind of error for all that is no JSON"),
];

/// The code of a file, with its texts apart.
struct Code<'a> {
    code: &'a str,
    /// The code with every byte of its texts replaced by a space: as long as the code.
    blank: String,
    /// The places of the texts, without their quotes.
    texts: Vec<Range<usize>>,
}

impl Code<'_> {
    fn of(code: &str) -> Code<'_> {
        let (mut blank, mut texts, mut start) = (String::new(), Vec::new(), None);
        let (mut is_escaped, mut is_raw, mut before) = (false, false, ' ');
        for (at, letter) in code.char_indices() {
            match (letter, start) {
                // The letter '"' is no text.
                ('"', None) if before != '\'' => {
                    (start, is_raw) = (Some(at + 1), code[..at].ends_with("r#"));
                }
                ('"', Some(from)) if !is_escaped && (!is_raw || code[at + 1..].starts_with('#')) => {
                    texts.push(from..at);
                    start = None;
                }
                // A text that goes on ends its line with a backslash; another was cut at a `//`.
                ('\n', Some(_)) if !is_escaped && !is_raw => start = None,
                _ => {}
            }
            is_escaped = start.is_some() && !is_raw && letter == '\\' && !is_escaped;
            before = letter;
            let is_text = start.is_some_and(|start| at >= start) && letter != '\n';
            blank.extend(if is_text { vec![' '; letter.len_utf8()] } else { vec![letter] });
        }
        Code { code, blank, texts }
    }

    /// Whether a text in this part of the code holds a word and a space.
    fn has_prose(&self, part: Range<usize>) -> bool {
        let within = self.texts.iter().filter(|text| part.start <= text.start && text.end <= part.end);
        within
            .map(|text| &self.code[text.clone()])
            .any(|text| text.contains(' ') && text.chars().any(char::is_alphabetic))
    }

    /// The constants of the file, and whether there is prose in each.
    fn constants(&self) -> BTreeMap<String, bool> {
        let declared = ["const ", "static "]
            .into_iter()
            .flat_map(|keyword| self.blank.match_indices(keyword).map(move |(at, _)| at + keyword.len()));
        let constant = |at: usize| {
            let end = self.blank[at..].find(';').map_or(self.blank.len(), |end| at + end);
            // The type of an array holds a `;` as well.
            let end = self.blank[at..].find('=').map_or(end, |value| {
                self.blank[at + value..].find(';').map_or(self.blank.len(), |end| at + value + end)
            });
            (word(&self.blank[at..]).to_owned(), self.has_prose(at..end))
        };
        declared.map(constant).filter(|(name, _)| is_constant(name)).collect()
    }

    /// Whether a function that looks into a text is given prose: as it stands, or from a list or a constant.
    fn reads_prose(&self, constants: &BTreeMap<String, bool>) -> bool {
        let own = self.constants();
        let is_prose = |name: &str| own.get(name).or_else(|| constants.get(name)).is_some_and(|is_prose| *is_prose);
        let has_prose = |part: Range<usize>| {
            let mut words = self.blank[part.clone()].split(|letter: char| !is_of_word(letter));
            words.any(is_prose) || self.has_prose(part)
        };
        READERS.iter().any(|reader| {
            self.blank.match_indices(&format!(".{reader}(")).any(|(at, call)| {
                let start = at + call.len();
                let argument = start..self.closes(start);
                // A closure looks at what it is given by its own calls.
                if self.blank[start..].trim_start().starts_with(['|', '\'']) {
                    return false;
                }
                let given = word(self.blank[start..].trim_start_matches(['&', '*', ' ', '\n']));
                has_prose(argument) || self.binding(given, at).is_some_and(has_prose)
            })
        })
    }

    /// The end of the argument that begins here.
    fn closes(&self, start: usize) -> usize {
        let mut depth = 0;
        let end = self.blank[start..].find(|letter| {
            depth += i32::from(['(', '['].contains(&letter)) - i32::from([')', ']'].contains(&letter));
            depth < 0 || depth == 0 && letter == ','
        });
        end.map_or(self.blank.len(), |end| start + end)
    }

    /// The code that gives a name its value, the last one before a place: the list of a `for`, what stands before a
    /// closure, the text or list of a `let`.
    fn binding(&self, name: &str, before: usize) -> Option<Range<usize>> {
        if name.is_empty() || name == "self" || is_constant(name) {
            return None;
        }
        let bound = self.blank[..before].match_indices(name).filter_map(|(at, _)| {
            let after = at + name.len();
            if self.blank[after..].starts_with(is_of_word) {
                return None;
            }
            // The pattern that the name may be a part of.
            let is_of_pattern = |letter: char| is_of_word(letter) || ['&', '(', ')', ',', ' '].contains(&letter);
            let left = self.blank[..at].trim_end_matches(is_of_pattern).len();
            let right = after + self.blank[after..].find(|letter| !is_of_pattern(letter))?;
            let pattern = &self.blank[left..right];
            let until = |end: char| self.blank[after..].find(end).map_or(before, |end| (after + end).min(before));
            let is_closure = self.blank[..left].ends_with('|') && self.blank[right..].starts_with(['|', ':']);
            if is_closure {
                let start = self.blank[..at].rfind([';', '{', '}']).map_or(0, |start| start + 1);
                Some(start..at)
            } else if pattern.trim_start().starts_with("for ") && self.blank[after..right].contains(" in ") {
                Some(after..until('{'))
            } else if pattern.trim_start().starts_with("let ") && self.blank[right..].starts_with('=') {
                // A value that is computed may speak of errors on its way.
                let is_given = self.code[right + 1..].trim_start_matches([' ', '&']).starts_with(['"', '[']);
                is_given.then(|| after..until(';'))
            } else {
                None
            }
        });
        bound.last()
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The word at the beginning of some code.
fn word(code: &str) -> &str {
    code.split(|letter| !is_of_word(letter)).next().unwrap_or_default()
}

fn is_constant(name: &str) -> bool {
    name.starts_with(char::is_uppercase) && !name.contains(char::is_lowercase)
}

#[test]
fn prose_is_found_where_it_is_read() {
    let reads = |code: &str| Code::of(code).reads_prose(&BTreeMap::from([("THEIRS".to_owned(), true)]));
    for code in [
        r#"line.strip_suffix(" would run")"#,
        r#"error.contains("out of memory")"#,
        r#"const FULL: &str = "out of memory"; fn f() { error.contains(FULL) }"#,
        r#"["out of memory", "full"].iter().any(|sign| error.contains(sign))"#,
        r#"const SIGNS: [&str; 1] = ["out of memory"]; fn f() { SIGNS.iter().any(|sign| error.contains(*sign)) }"#,
        r#"for (sign, cause) in [("out of memory", 1)] { if error.contains(sign) {} }"#,
        r#"for (cause, sign) in &[(1, "out of memory")] { if error.contains(sign) {} }"#,
        r#"[(1, "out of memory")].iter().find(|(_, sign)| error.contains(sign))"#,
        r#"let sign = "out of memory"; error.split_once(sign)"#,
        "error.starts_with(THEIRS)",
        r#"error.contains(&format!("{name} would run"))"#,
        r#"error.find(["a b", "c"])"#,
    ] {
        assert!(reads(code), "{code}");
    }
    for code in [
        r#"line.split_once(": ")"#,
        r#"path.starts_with("inputs.")"#,
        r#"text.push_str("out of memory")"#,
        r#"if !names.contains(&name) { bail!("out of memory") }"#,
        r#"let told = "out of memory"; names.contains(name) && told.is_empty()"#,
        r#"let name = first().context("read the name")?; names.contains(name)"#,
        r#"for name in names { say("out of memory"); text.contains(name); }"#,
        r#"say("out of memory"); names.iter().any(|name| text.contains(name))"#,
        r#"const ENDS: [&str; 1] = [".bin"]; const SAID: &str = "a b"; fn f() { ENDS.iter().any(|end| name.ends_with(end)) }"#,
    ] {
        assert!(!reads(code), "{code}");
    }
}

#[test]
fn no_message_is_parsed() {
    let files: Vec<_> = DIRECTORIES.iter().flat_map(|directory| sources(directory)).collect();
    let codes: Vec<(&str, Code)> = files.iter().map(|file| (file.name.as_str(), Code::of(&file.code))).collect();
    let constants: BTreeMap<String, bool> = codes.iter().flat_map(|(_, code)| code.constants()).collect();
    let reading: BTreeSet<&str> =
        codes.iter().filter(|(_, code)| code.reads_prose(&constants)).map(|(name, _)| *name).collect();
    let allowed: BTreeSet<&str> = ALLOWED.iter().map(|(file, _)| *file).collect();
    let new: Vec<_> = reading.difference(&allowed).collect();
    assert!(new.is_empty(), "these files read messages: {new:?}");
    let gone: Vec<_> = allowed.difference(&reading).collect();
    assert!(gone.is_empty(), "these files read no message any more, so take them out of this test: {gone:?}");
}

/// The words with which a doc comment would begin as half a sentence: "Of several runs", "What it takes to …".
const HALVES: [&str; 9] = ["Of", "What", "How", "Who", "Whoever", "Whom", "Whose", "So many", "So often"];

/// The first lines of the doc comments that begin with such a word.
fn half_sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for mark in ["///", "//!"] {
        let is_doc = |line: &str| line.trim_start().starts_with(mark);
        let mut before = "";
        for line in text.lines() {
            let is_first = is_doc(line) && (!is_doc(before) || before.trim() == mark);
            let begins = |half: &&str| line.trim_start()[mark.len()..].trim_start().starts_with(&format!("{half} "));
            if is_first && HALVES.iter().any(begins) {
                found.push(line.trim());
            }
            before = line;
        }
    }
    found
}

#[test]
fn half_a_sentence_is_found_at_the_beginning_of_a_comment_alone() {
    for text in ["/// What is lost", "code\n    /// Of several runs.", "//! So many rows.\n//!\n//! How it is done."] {
        assert_eq!(half_sentences(text).len(), 1 + usize::from(text.contains("How")), "{text}");
    }
    assert!(half_sentences("/// A long sentence that says\n/// what it is.\n// What of it?").is_empty());
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let files = texts().into_iter().filter(|name| name.ends_with(".rs"));
    let found: Vec<String> = files
        .flat_map(|name| {
            let text = read(&name);
            half_sentences(&text).into_iter().map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
