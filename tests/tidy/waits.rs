//! Tests wait for facts, and not for a time that is thought to be long enough.

use super::{CRATES, is_test, read, rust_files};

/// The one place where tests sleep, and this file, which has the word as a text.
const ALLOWED: [&str; 2] = ["tests/support/wait.rs", "tests/tidy/waits.rs"];

/// The seconds from which on a command in a test sleeps for good: it is there to be ended.
const FOR_GOOD: f64 = 60.0;

/// The code of tests: whole files, and the modules at the end of other files.
fn code_of_tests() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for directory in CRATES.into_iter().chain(["tests", "stages/tests"]) {
        for name in rust_files(directory, true).into_iter().filter(|name| !ALLOWED.contains(&name.as_str())) {
            let text = read(&name);
            let is_whole = is_test(&name) || !name.contains("/src/") && !name.starts_with("src/");
            let code = match is_whole {
                true => text,
                false => {
                    text.split_once("\n#[cfg(test)]\nmod tests {").map_or_else(String::new, |(_, tests)| tests.into())
                }
            };
            files.push((name, code));
        }
    }
    files
}

/// The commands that sleep for a while, outside a loop that looks for a fact: `do sleep 0.1` or `sleep 0.1; done`.
fn waits(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, word) in code.match_indices("sleep ") {
        let rest = &code[at + word.len()..];
        let number: String = rest.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
        let is_in_loop = code[..at].ends_with("do ") || rest[number.len()..].starts_with("; done");
        if number.parse::<f64>().is_ok_and(|seconds| seconds < FOR_GOOD) && !is_in_loop {
            found.push(format!("{word}{number}"));
        }
    }
    found.extend(code.match_indices("sleep(").map(|(_, word)| word.to_owned()));
    found
}

#[test]
fn waits_of_a_fixed_length_are_found() {
    for code in ["sh -c \"sleep 0.1; echo\"", "trap 'sleep 3' TERM", "thread::sleep(TICK)"] {
        assert_eq!(waits(code).len(), 1, "{code}");
    }
    for code in ["while ! test -e a; do sleep 0.1; done", "do test -e a && exit; sleep 0.1; done", "sleep 600"] {
        assert!(waits(code).is_empty(), "{code}");
    }
}

#[test]
fn tests_wait_for_facts() {
    let found: Vec<String> = code_of_tests()
        .into_iter()
        .flat_map(|(name, code)| waits(&code).into_iter().map(move |wait| format!("{name}: {wait}")))
        .collect();
    assert!(found.is_empty(), "`wait_for` of {} waits for a fact:\n{}", ALLOWED[0], found.join("\n"));
}
