//! Names: a type name once in a crate, and no tuples as parameters.

use super::{CRATES, sources};
use std::collections::BTreeMap;

/// The words after `keyword ` at the start of an item: `struct Name`, `pub(crate) enum Name`.
fn types(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
            Some(rest) => rest.trim_start(),
            None => line,
        };
        let (keyword, rest) = line.split_once(' ')?;
        let name = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
        // An associated `type` of a trait's implementation is not a new name.
        let is_type = ["struct", "enum", "trait", "union"].contains(&keyword)
            || keyword == "type"
                && !["type Err ", "type Error ", "type Value "].iter().any(|own| line.starts_with(own));
        (is_type && name.starts_with(|letter: char| letter.is_uppercase())).then_some(name)
    })
}

#[test]
fn a_type_name_occurs_once_in_a_crate() {
    let mut twice = Vec::new();
    for directory in CRATES {
        let mut places = BTreeMap::<String, Vec<String>>::new();
        for file in sources(directory) {
            for name in types(&file.code) {
                places.entry(name.to_owned()).or_default().push(file.name.clone());
            }
        }
        let repeated = places.into_iter().filter(|(_, files)| files.len() > 1);
        twice.extend(repeated.map(|(name, files)| format!("{name}: {}", files.join(", "))));
    }
    assert!(twice.is_empty(), "type names that stand for two things:\n{}", twice.join("\n"));
}

/// The parameters of every function, as written between its parentheses.
fn parameters(code: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let rest = &code[at + "fn ".len()..];
        let name = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default();
        let Some(open) = rest.find('(').filter(|_| !name.is_empty()) else { continue };
        let mut depth = 0;
        let close = rest[open..].char_indices().find(|(_, letter)| {
            depth += i32::from(*letter == '(') - i32::from(*letter == ')');
            depth == 0
        });
        if let Some((length, _)) = close {
            found.push((name, &rest[open + 1..open + length]));
        }
    }
    found
}

/// A tuple that is taken apart where it is declared, `(a, b): (A, B)`, is two parameters that are counted as one.
#[test]
fn no_parameter_is_a_tuple_of_parameters() {
    let mut found = Vec::new();
    for directory in CRATES {
        for file in sources(directory) {
            for (function, list) in parameters(&file.code) {
                let is_tuple = |part: &str| part.trim_start().starts_with('(') && part.contains("): (");
                let mut depth = 0;
                let parts = list.split(|letter: char| {
                    depth += i32::from("(<[".contains(letter)) - i32::from(")>]".contains(letter));
                    letter == ',' && depth == 0
                });
                if parts.into_iter().any(is_tuple) {
                    found.push(format!("{}: {function}", file.name));
                }
            }
        }
    }
    assert!(found.is_empty(), "tuples as parameters:\n{}", found.join("\n"));
}

/// A participle says what happened to a thing, and leaves open what it is.
#[test]
fn no_type_is_named_by_a_participle() {
    const OTHERS: [&str; 13] = [
        "Seen", "Told", "Kept", "Made", "Found", "Said", "Held", "Begun", "Given", "Written", "Chosen", "Known",
        "Taken",
    ];
    let mut participles = Vec::new();
    for directory in CRATES {
        for file in sources(directory) {
            let is_participle = |name: &&str| OTHERS.contains(name) || name.ends_with("ed") && *name != "Need";
            participles.extend(types(&file.code).filter(is_participle).map(|name| format!("{}: {name}", file.name)));
        }
    }
    assert!(participles.is_empty(), "{}", participles.join("\n"));
}
