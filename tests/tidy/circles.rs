//! Circles: files of one crate that import each other, directly or through others.
//!
//! A file imports the file that *defines* what it names; re-exports are followed to it. `mod x;` and `pub use` alone
//! are no imports: they only say where a name is found. Files that exist for tests alone are left out.

use super::{code, read, rust_files};
use std::collections::{BTreeMap, BTreeSet};

/// A module by its path below the crate's root: `["gate", "evaluate"]`; the root is empty.
type Path = Vec<String>;

struct Module {
    code: String,
    /// Every `use`, as the name it brings and the path behind it.
    uses: Vec<(String, Path)>,
    /// Those of them that are `pub`.
    exports: BTreeMap<String, Path>,
}

/// The modules of a crate, by their paths.
struct Crate(BTreeMap<Path, Module>);

impl Crate {
    fn read(directory: &str) -> Crate {
        let path_of = |name: &str| -> Path {
            let inner = name.strip_prefix(directory).unwrap().trim_start_matches('/').trim_end_matches(".rs");
            if inner == "lib" { Path::new() } else { inner.split('/').map(str::to_owned).collect() }
        };
        let files: BTreeMap<Path, String> = rust_files(directory, true)
            .into_iter()
            .filter(|name| !name.ends_with("/main.rs"))
            .map(|name| (path_of(&name), read(&name)))
            .collect();
        // A module declared for tests, or below one that is.
        let is_for_tests = |path: &Path| {
            (1..=path.len()).any(|length| {
                let parent = files.get(&path[..length - 1]);
                parent.is_some_and(|text| text.contains(&format!("#[cfg(test)]\nmod {};", path[length - 1])))
            })
        };
        let modules = files.iter().filter(|(path, _)| !is_for_tests(path));
        Crate(modules.map(|(path, text)| (path.clone(), Module::parse(&without_texts(&code(text))))).collect())
    }

    /// A path as written in a module, from the crate's root; `None` for other crates, locals and types.
    fn absolute(&self, module: &Path, written: &[String]) -> Option<Path> {
        let (first, rest) = written.split_first()?;
        let child = [&module[..], std::slice::from_ref(first)].concat();
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let ups = written.iter().take_while(|word| *word == "super").count();
                Some([&module[..module.len().checked_sub(ups)?], &written[ups..]].concat())
            }
            _ if self.0.contains_key(&child) => Some([module, written].concat()),
            _ => {
                let (_, found) = self.0[module].uses.iter().find(|(name, _)| name == first)?;
                let is_of_crate = ["crate", "super", "self"].contains(&found.first()?.as_str());
                is_of_crate.then(|| self.absolute(module, found).map(|found| [&found, rest].concat()))?
            }
        }
    }

    /// The module that defines what lies at a path.
    fn definer(&self, path: &[String]) -> Path {
        let length = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length])).unwrap();
        let (module, rest) = path.split_at(length);
        let module = module.to_vec();
        let export = rest.first().and_then(|name| self.0[&module].exports.get(name));
        match export.and_then(|export| self.absolute(&module, export)) {
            Some(export) if export != path => self.definer(&[&export, &rest[1..]].concat()),
            _ => module,
        }
    }

    /// The modules whose definitions a module names, each with one such name.
    fn imports(&self, path: &Path) -> BTreeMap<Path, String> {
        let module = &self.0[path];
        let is_export = |name: &str| module.exports.contains_key(name);
        let used = module.uses.iter().filter(|(name, _)| !is_export(name)).map(|(_, written)| written.clone());
        let mut imports = BTreeMap::new();
        for written in used.chain(paths(&module.code)) {
            let Some(absolute) = self.absolute(path, &written) else { continue };
            // A module brought in by its name alone: the code shows which of its items are used.
            if self.0.contains_key(&absolute) {
                continue;
            }
            let definer = self.definer(&absolute);
            if definer != *path && !definer.is_empty() {
                imports.entry(definer).or_insert_with(|| written.join("::"));
            }
        }
        imports
    }
}

impl Module {
    fn parse(code: &str) -> Module {
        let mut module = Module { code: String::new(), uses: Vec::new(), exports: BTreeMap::new() };
        for statement in code.split_inclusive(';') {
            // `use` begins a line, after `pub` or `pub(…)`.
            let line = statement.rfind("\nuse ").or_else(|| statement.rfind(" use ")).map(|at| at + 1);
            let Some(at) = line.or_else(|| statement.starts_with("use ").then_some(0)) else {
                module.code += statement;
                continue;
            };
            let (before, tree) = (&statement[..at], &statement[at + "use ".len()..]);
            let is_public = before.lines().last().is_some_and(|line| line.trim_start().starts_with("pub"));
            module.code += before;
            for (name, path) in leaves(tree.trim_end_matches(';')) {
                if is_public {
                    module.exports.insert(name.clone(), path.clone());
                }
                module.uses.push((name, path));
            }
        }
        module
    }
}

/// The names that a `use` brings, each with its path: `a::{self, b as c}` brings `a` and `c`.
fn leaves(tree: &str) -> Vec<(String, Path)> {
    let tree = tree.trim();
    let Some((prefix, list)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name.trim())));
        let mut path: Path = path.trim().split("::").map(|word| word.trim().to_owned()).collect();
        if path.len() > 1 && path.last().is_some_and(|word| word == "self") {
            path.pop();
        }
        return vec![(name.unwrap_or(path.last().unwrap()).to_owned(), path)];
    };
    let prefix: Path = prefix.split("::").map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
    let mut depth = 0;
    let mut items = vec![String::new()];
    for letter in list[..list.rfind('}').unwrap()].chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if letter == ',' && depth == 0 {
            items.push(String::new());
        } else {
            items.last_mut().unwrap().push(letter);
        }
    }
    let inner = items.iter().filter(|item| !item.trim().is_empty()).flat_map(|item| leaves(item));
    inner
        .map(|(name, mut path)| match path.as_slice() {
            [word] if word == "self" => (prefix.last().unwrap().clone(), prefix.clone()),
            _ => {
                path.splice(0..0, prefix.iter().cloned());
                (name, path)
            }
        })
        .collect()
}

/// Every `a::b…` of the code.
fn paths(code: &str) -> Vec<Path> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut paths = Vec::new();
    for part in code.split(|letter: char| !is_word(letter) && letter != ':') {
        let words: Path = part.split("::").map(str::to_owned).collect();
        if words.len() > 1 && words.iter().all(|word| !word.is_empty() && word.chars().all(is_word)) {
            paths.push(words);
        }
    }
    paths
}

/// The code with its texts emptied, so that no word of a message is taken for a path. A raw text may hold quotes;
/// the words that are then left of it name no module.
fn without_texts(code: &str) -> String {
    let mut kept = String::new();
    let mut is_inside = false;
    let mut letters = code.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if is_inside => drop(letters.next()),
            // The letter '"' is no text.
            '"' if kept.ends_with('\'') && letters.peek() == Some(&'\'') => {}
            '"' => is_inside = !is_inside,
            _ if !is_inside => kept.push(letter),
            _ => {}
        }
    }
    kept
}

type Imports<'a> = BTreeMap<&'a Path, BTreeMap<Path, String>>;

/// Every module that one imports, directly or through others.
fn reached<'a>(imports: &'a Imports, start: &'a Path) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(path) = open.pop() {
        open.extend(imports[path].keys().filter(|next| reached.insert(*next)));
    }
    reached
}

/// The imports between modules that reach each other, each with one name that it brings.
fn circles(modules: &Crate) -> Vec<String> {
    let imports: Imports = modules.0.keys().map(|path| (path, modules.imports(path))).collect();
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        modules.0.keys().map(|path| (path, reached(&imports, path))).collect();
    let are_tied = |one: &Path, other: &Path| reached[one].contains(other) && reached[other].contains(one);
    let mut circles = Vec::new();
    for (from, imports) in &imports {
        for (to, name) in imports.iter().filter(|(to, _)| are_tied(from, to)) {
            circles.push(format!("{} -> {} by `{name}`", from.join("::"), to.join("::")));
        }
    }
    circles
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    for directory in super::CRATES {
        let found = circles(&Crate::read(directory));
        assert!(found.is_empty(), "circles in {directory}:\n{}", found.join("\n"));
    }
}

#[test]
fn circles_are_found_through_every_form_of_a_path() {
    let module = |name: &str, code: &str| {
        let path: Path = name.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect();
        (path, Module::parse(code))
    };
    let found = |files: &[(&str, &str)]| circles(&Crate(files.iter().map(|(name, code)| module(name, code)).collect()));
    let lib = ("", "mod a;\nmod b;");
    let one_way = found(&[lib, ("a", "use crate::b::B;\nstruct A;"), ("b", "struct B;")]);
    assert!(one_way.is_empty(), "{one_way:?}");
    for back in ["use crate::{a::A as C};", "use super::a;\nfn f(x: a::A) {}", "fn f() { crate::a::A::new() }"] {
        let both = found(&[lib, ("a", "use crate::b::B;\nstruct A;"), ("b", back)]);
        assert_eq!(both.len(), 2, "{back}: {both:?}");
    }
    // A child and its parent, directly and through what the parent hands on.
    let parent = ("a", "mod one;\nmod two;\npub use one::One;\nuse two::Two;\nstruct A;");
    let handed_on = found(&[lib, parent, ("a::one", "struct One;"), ("a::two", "use super::One;\nstruct Two;")]);
    assert!(handed_on.is_empty(), "{handed_on:?}");
    let parent_used = found(&[lib, parent, ("a::one", "struct One;"), ("a::two", "use super::A;\nstruct Two;")]);
    assert_eq!(parent_used, ["a -> a::two by `two::Two`", "a::two -> a by `super::A`"]);
}
