//! Rules for the source itself: the layers, circles, names, the table of kinds, the length of files, and the maps of
//! ARCHITECTURE.md. They read text, and understand no Rust beyond `crate::…`, `super::…` and comments.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/waits.rs"]
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The sources of our crates.
const CRATES: [&str; 5] = ["src", "cache/src", "files/src", "stages/formats/src", "stages/src"];

/// Lines of a file without its tests. More is a second duty.
const LINES: usize = 430;

/// The modules of `src/` in layers, each of which may use those above it and its own: as `lib.rs` declares them.
const LAYERS: [(&str, &[&str]); 7] = [
    ("what stands on nothing", &["canonical", "gate", "ledger"]),
    ("what the user typed", &["diagnostic", "hub", "settings", "spec"]),
    ("what it means", &["plan", "schema"]),
    ("what is to be done", &["action", "cause", "event", "failure", "schedule"]),
    (
        "doing it",
        &[
            "approvals",
            "executor",
            "gate_test",
            "inheritance",
            "journal",
            "labels",
            "live",
            "retention",
            "run",
            "tail",
            "worker",
        ],
    ),
    ("showing it", &["chapter", "progress", "report"]),
    ("the verbs", &["cli"]),
];

struct File {
    /// Relative to the root.
    name: String,
    /// Without comments and without the tests at its end.
    code: String,
}

/// Every Rust file below `directory` that is no test.
fn sources(directory: &str) -> Vec<File> {
    let mut files: Vec<File> = rust_files(directory, true)
        .into_iter()
        .filter(|name| !is_test(name))
        .map(|name| File { code: code(&read(&name)), name })
        .collect();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!files.is_empty(), "nothing in {directory}");
    files
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

fn rust_files(directory: &str, is_deep: bool) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(ROOT).join(directory)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{directory}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            names.extend(if is_deep { rust_files(&name, true) } else { Vec::new() });
        } else if name.ends_with(".rs") {
            names.push(name);
        }
    }
    names
}

fn is_test(name: &str) -> bool {
    let is_sample = ["cache/src/hostile.rs", "cache/src/sample.rs", "src/report/sample.rs"].contains(&name);
    is_sample || name.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// The text up to `#[cfg(test)] mod … {`, comments taken out. The `//` of an address (`https://`) is none; another one
/// inside a text is taken for one, which can only hide the rest of that line.
fn code(text: &str) -> String {
    let lines = text.lines().collect::<Vec<_>>();
    let end = lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].ends_with('{'));
    let lines = &lines[..end.unwrap_or(lines.len())];
    let comment = |line: &str| line.match_indices("//").map(|(at, _)| at).find(|at| !line[..*at].ends_with(':'));
    lines.iter().map(|line| &line[..comment(line).unwrap_or(line.len())]).collect::<Vec<_>>().join("\n")
}

/// The names after every `prefix::` of the code, also those in braces: `crate::{a, b::c}` names a and b.
fn named(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, found) in code.match_indices(prefix) {
        if code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':') {
            continue;
        }
        let rest = &code[at + found.len()..];
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let word = |text: &str| text.trim().chars().take_while(|letter| is_word(*letter)).collect::<String>();
        match rest.strip_prefix('{') {
            None => drop(names.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for letter in list.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => drop(names.insert(word(&std::mem::take(&mut item)))),
                        _ if depth == 0 => item.push(letter),
                        _ => {}
                    }
                }
                names.insert(word(&item));
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn names_are_found_in_every_form_of_a_path() {
    let code = "use crate::{action, gate::{self, Value}, plan::Plan};\nlet x: crate::event::Event; not_crate::no::way";
    assert_eq!(named(code, "crate::"), ["action", "event", "gate", "plan"].map(str::to_owned).into());
}

/// The module of `src/` that a file belongs to.
fn module(name: &str) -> &str {
    name.trim_start_matches("src/").trim_end_matches(".rs").split('/').next().unwrap()
}

#[test]
fn the_layers_are_those_of_the_library() {
    let library = read("src/lib.rs");
    // What only tests use is in no layer.
    let program = library.split("#[cfg(test)]").next().unwrap();
    let declared = program.lines().map(|line| line.strip_prefix("pub ").unwrap_or(line));
    let declared: Vec<&str> = declared.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let layered: Vec<&str> = LAYERS.iter().flat_map(|(_, modules)| *modules).copied().collect();
    assert_eq!(declared, layered, "`lib.rs` and the layers of this test differ");
}

#[test]
fn the_modules_of_the_program_use_only_what_lies_above_them() {
    let layer = |module: &str| LAYERS.iter().position(|(_, modules)| modules.contains(&module));
    let mut against = BTreeMap::<(String, String), Vec<String>>::new();
    for file in sources("src").iter().filter(|file| !["src/main.rs", "src/lib.rs"].contains(&file.name.as_str())) {
        for used in named(&file.code, "crate::") {
            let own = module(&file.name);
            let (Some(from), Some(to)) = (layer(own), layer(&used)) else {
                panic!("{}: `crate::{used}` is in no layer", file.name);
            };
            if to > from {
                against.entry((own.to_owned(), used)).or_default().push(file.name.clone());
            }
        }
    }
    assert!(against.is_empty(), "against the layers: {against:?}");
}

#[test]
fn burn_stays_in_the_stages() {
    for directory in ["src", "cache/src", "files/src", "stages/formats/src"] {
        for file in sources(directory) {
            assert!(!file.code.to_lowercase().contains("burn"), "{} speaks of burn", file.name);
        }
    }
    for manifest in ["Cargo.toml", "cache/Cargo.toml", "stages/formats/Cargo.toml"] {
        let text = read(manifest);
        let dependencies = text.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        let named = dependencies.lines().filter(|line| !line.starts_with('#')).collect::<String>();
        assert!(!named.contains("burn"), "{manifest} depends on burn");
    }
}

/// A backend is chosen once, by the device: nothing else asks where numbers lie.
#[test]
fn only_the_kernels_tell_one_backend_from_another() {
    for file in sources("stages/src") {
        let is_kernel = file.name == "stages/src/kernel.rs" || file.name.starts_with("stages/src/kernel/");
        for word in ["is_host", "HostLoops", "BurnTensors", "burn_flex", "try_into_primitive"] {
            assert!(is_kernel || !file.code.contains(word), "{} speaks of `{word}`", file.name);
        }
    }
}

#[test]
fn one_file_prints_tables() {
    for file in sources("src") {
        let names_it = file.code.contains("comfy_table");
        assert_eq!(names_it, file.name == "src/report/page.rs", "{} and the crate `comfy_table`", file.name);
    }
}

#[test]
fn the_crates_below_know_nothing_of_those_above() {
    for (directory, manifest, strangers) in [
        ("files/src", "files/Cargo.toml", &["cache", "formats", "stages", "pipeline"][..]),
        ("cache/src", "cache/Cargo.toml", &["stages", "pipeline"]),
        ("stages/src", "stages/Cargo.toml", &["cache", "pipeline", "granit_parser", "petgraph"]),
        ("stages/formats/src", "stages/formats/Cargo.toml", &["stages", "cache", "pipeline"]),
    ] {
        for stranger in strangers {
            let uses =
                |line: &str| line.starts_with(&format!("{stranger} =")) || line.starts_with(&format!("{stranger}."));
            assert!(!read(manifest).lines().any(uses), "{manifest} depends on {stranger}");
            for file in sources(directory) {
                // A local name may be the same word; a path of the crate is not.
                assert!(!file.code.contains(&format!("use {stranger}::")), "{} uses {stranger}", file.name);
            }
        }
    }
}

/// `kinds/*` use nothing of each other. The computations they share are in `train`, `rl`, `generate` and `model`.
#[test]
fn kinds_do_not_use_each_other() {
    for file in sources("stages/src/kinds") {
        let mut used = named(&file.code, "crate::kinds::");
        // In a kind's own directory `super` is the kind itself.
        if !file.name.trim_start_matches("stages/src/kinds/").contains('/') {
            used.extend(named(&file.code, "super::"));
        }
        assert!(used.is_empty(), "{} uses its siblings {used:?}", file.name);
    }
    // Nothing below the kinds names any of them, either.
    for file in sources("stages/src").iter().filter(|file| !file.name.starts_with("stages/src/kinds")) {
        assert!(!named(&file.code, "crate::").contains("kinds"), "{} knows the kinds", file.name);
    }
}

#[test]
fn the_names_in_a_work_directory_are_spelled_in_one_file() {
    const NAMES: &str = "stages/src/work.rs";
    let names = read(NAMES);
    let names: Vec<&str> =
        names.lines().filter_map(|line| line.split_once("&str = \"")?.1.strip_suffix("\";")).collect();
    assert!(names.contains(&"action.json") && names.contains(&"in"), "{names:?}");
    let mut spelled = Vec::new();
    for file in ["src", "cache/src", "files/src", "stages/src", "stages/formats/src"]
        .into_iter()
        .flat_map(sources)
        .filter(|file| file.name != NAMES)
    {
        for name in &names {
            // A plain word may mean something else, unless it is made a path.
            let forms = match name.contains('.') {
                true => vec![format!("\"{name}\""), format!("/{name}\"")],
                false => ["join", "Path::new", "file_name"].map(|call| format!("{call}(\"{name}\")")).into(),
            };
            if forms.iter().any(|form| file.code.contains(form)) {
                spelled.push(format!("{}: {name}", file.name));
            }
        }
    }
    assert!(spelled.is_empty(), "{NAMES} has these names: {spelled:?}");
}

/// A kind is found by its row: its name as a text stands in its own file. Prose for users may speak of kinds.
#[test]
fn a_kind_is_named_in_its_own_file_alone() {
    // Fields of rows, a port, and a parameter of `eval` have these names as well.
    const OTHERS: [&str; 5] = ["best_of", "label", "rank", "reward", "score"];
    for kind in stages::kinds::KINDS.iter().filter(|kind| !OTHERS.contains(&kind.name)) {
        let (own, text) = (format!("stages/src/kinds/{}", kind.name), format!("\"{}\"", kind.name));
        for file in ["src", "cache/src", "stages/formats/src", "stages/src"].into_iter().flat_map(sources) {
            let is_own = file.name.strip_prefix(&own).is_some_and(|rest| rest.starts_with(['.', '/']));
            assert!(is_own || !file.code.contains(&text), "{} names the kind {text}", file.name);
        }
    }
}

#[test]
fn the_kinds_on_disk_are_the_kinds_in_the_table() {
    let of_files: BTreeSet<String> = rust_files("stages/src/kinds", false)
        .iter()
        .map(|name| name.rsplit('/').next().unwrap().trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(of_files, stages::kinds::KINDS.iter().map(|kind| kind.name.to_owned()).collect());
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for directory in ["src", "cache/src", "files/src", "stages/src", "stages/formats/src"] {
        for File { name, .. } in sources(directory) {
            // Comments count: they are read as well.
            let text = read(&name);
            let lines: Vec<&str> = text.lines().collect();
            let tests = lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].ends_with('{'));
            let count = tests.unwrap_or(lines.len());
            if count > LINES {
                long.push(format!("{name}: {count} lines, at most {LINES}"));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn no_path_of_this_machine_is_in_the_source() {
    let home = std::env::var("HOME").unwrap_or_default();
    let homes = ["/home/", "/Users/", "/root/", ROOT, home.as_str()];
    // A root directory that is `/` or empty says nothing.
    let telling: Vec<&str> = homes.into_iter().filter(|path| path.len() > 2).collect();
    // Made-up paths that tests speak of.
    let made_up = "/home/me";
    let mut found = Vec::new();
    for name in texts() {
        let text = read(&name).replace(made_up, "");
        let is_this_test = name == "tests/tidy.rs";
        for (n, line) in text.lines().enumerate() {
            if !is_this_test && telling.iter().any(|path| line.contains(path)) {
                found.push(format!("{name}:{}: {}", n + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Every text file that belongs to this project.
fn texts() -> Vec<String> {
    let is_text = |name: &str| [".rs", ".yaml", ".toml", ".md", ".sh"].iter().any(|end| name.ends_with(end));
    let mut open: Vec<PathBuf> = [
        "benches",
        "build.rs",
        "src",
        "cache",
        "files",
        "stages",
        "pipelines",
        "tests",
        "docs",
        "README.md",
        "README.ja.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.toml",
        ".ci",
    ]
    .iter()
    .map(|name| Path::new(ROOT).join(name))
    .collect();
    let mut names = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let is_ours = |path: &PathBuf| !path.ends_with("target") && !path.ends_with(".pipeline");
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).filter(is_ours));
        } else {
            let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
            if path.exists() && (is_text(&name) || name.starts_with(".ci/")) {
                names.push(name);
            }
        }
    }
    names.sort();
    names
}

/// A section of ARCHITECTURE.md.
fn section(name: &str) -> String {
    let page = read("ARCHITECTURE.md");
    let section = page.split(&format!("\n## {name}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("ARCHITECTURE.md has no section `## {name}`"));
    section.split("\n## ").next().unwrap().to_owned()
}

#[test]
fn the_code_map_is_the_tree() {
    let section = section("Code map");
    let map = section.split("```").nth(1).expect("the code map is a fenced block");
    // The first line is what stands after the fence: the language.
    let named: Vec<&str> = map.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();

    let mut wrong = Vec::new();
    let directories = ["src", "cache/src", "files/src", "stages/formats/src", "stages/src", "stages/src/kinds"];
    let on_disk: BTreeSet<String> = directories.iter().flat_map(|directory| rust_files(directory, false)).collect();
    for name in &on_disk {
        match named.iter().filter(|other| *other == name).count() {
            0 => wrong.push(format!("+ {name}   is not in the map")),
            1 => {}
            n => wrong.push(format!("- {name}   is in the map {n} times")),
        }
    }
    for name in &named {
        if !Path::new(ROOT).join(name).exists() {
            wrong.push(format!("- {name}   is in the map and not on disk"));
        } else if name.ends_with(".rs") && !on_disk.contains(*name) {
            wrong.push(format!("- {name}   is no file of the top: the map names {}", directories.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "the code map of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

/// `src/executor/NAME.rs` stands for a file of any name in a directory that is there.
/// Threads that run together are 8 on one driver and 32 or 64 on others: a kernel that knew how many would add in another order.
#[test]
fn no_kernel_of_a_gpu_depends_on_the_size_of_a_plane() {
    let files = sources("stages/src/kernel/gpu");
    assert!(files.iter().filter(|file| file.code.contains("#[cube(launch)]")).count() > 10);
    let words = ["plane", "subgroup", "warp"];
    let is_word = |code: &str| words.iter().any(|word| code.to_lowercase().contains(word));
    let found: Vec<&str> = files.iter().filter(|file| is_word(&file.code)).map(|file| file.name.as_str()).collect();
    assert_eq!(found, [""; 0]);
    // What the words are of: an operation, and a number, of cubecl.
    assert!(is_word("let sum = plane_sum(x);") && is_word("if UNIT_POS_PLANE == 0 {"));
}

#[test]
fn what_is_to_be_touched_is_there() {
    let section = section("To add …");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 6, "{rows:?}");
    for row in rows {
        let paths: Vec<&str> = row.split('`').skip(1).step_by(2).filter(|path| path.contains('/')).collect();
        assert!(!paths.is_empty(), "no file is named: {row}");
        for path in paths {
            let path = path.split("NAME").next().unwrap();
            assert!(Path::new(ROOT).join(path).exists(), "{path} is not there: {row}");
        }
    }
}
