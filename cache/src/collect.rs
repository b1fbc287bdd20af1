//! Garbage collection: removes content that is not needed. The caller says which is.

use crate::{
    content::Content,
    digest::Digest,
    inventory::{Item, Tally, flat, remove},
    lock::ExclusiveHold,
    open,
    record::{Record, unseal},
    store::Store,
    tree::Tree,
    write,
};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::Metadata,
    time::{Duration, SystemTime},
};

/// Records and content that stay, with everything they refer to, whatever the policy says.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// Keys of records. Their variants and extras stay as well.
    pub keys: BTreeSet<Digest>,
    pub contents: BTreeSet<Content>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Keeps files written more recently than this.
    pub keep_newer_than: Option<Duration>,
    /// Removes the oldest files that are not needed until records, trees and blobs take at most this many bytes. `None`
    /// removes all of it. What is needed stays, even if it is larger.
    pub max_size: Option<u64>,
}

/// The files that were removed, or would be. `bytes` counts the space that became free: not a blob that has another
/// name in a work directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    pub records: Tally,
    pub trees: Tally,
    pub blobs: Tally,
    pub verdicts: Tally,
    pub claims: Tally,
    pub drafts: Tally,
}

impl Collection {
    pub fn bytes(&self) -> u64 {
        [self.records, self.trees, self.blobs, self.verdicts, self.claims, self.drafts].iter().map(|t| t.bytes).sum()
    }
}

/// A verdict is recomputed in milliseconds, so without a policy it stays only for a month.
const LIFE_OF_A_VERDICT: Duration = Duration::from_secs(30 * 86_400);

/// A draft untouched for this long belongs to no writer any more.
const LIFE_OF_A_DRAFT: Duration = Duration::from_secs(3_600);

/// A file of the store that other files may refer to: a tree or a blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Node {
    Tree(Digest),
    Blob(Digest),
}

/// The files of the store and their references.
struct Graph {
    nodes: BTreeMap<Node, Item>,
    /// The blobs of each tree.
    blobs: HashMap<Digest, Vec<Digest>>,
    records: Vec<(Item, Vec<Node>)>,
}

impl Store {
    /// 1. Everything that the roots and young records refer to is needed, and so are young files themselves.
    /// 2. Of the rest, what no record refers to goes first; then records, the oldest first, each with what only it
    ///    refers to.
    /// 3. All records go before all trees, and those before all blobs: a process that is killed in between leaves what
    ///    would be there if something had never been recorded.
    pub fn collect(&self, _alone: &ExclusiveHold, roots: &Roots, policy: &Policy, dry_run: bool) -> Result<Collection> {
        let now = SystemTime::now();
        let graph = self.graph().context("look through the store")?;
        let (records, nodes) = choose(&graph, roots, policy, now);
        let mut collected = Collection::default();
        for item in &records {
            collected.records += freed(&item.metadata);
        }
        for (node, item) in &nodes {
            *(if matches!(node, Node::Tree(_)) { &mut collected.trees } else { &mut collected.blobs }) +=
                freed(&item.metadata);
        }
        if !dry_run {
            let of = |is_tree: bool| {
                nodes.iter().filter(move |(node, _)| matches!(node, Node::Tree(_)) == is_tree).map(|(_, item)| *item)
            };
            self.remove_all(records.iter().copied())?;
            self.remove_all(of(true))?;
            self.remove_all(of(false))?;
        }
        self.collect_notes(policy, now, dry_run, &mut collected)?;
        Ok(collected)
    }

    /// Removals must reach the disk in the order in which they are made.
    fn remove_all<'a>(&self, items: impl Iterator<Item = &'a Item>) -> Result<()> {
        let mut directories = BTreeSet::new();
        for item in items {
            remove(&item.path)?;
            directories.insert(item.path.parent().map(ToOwned::to_owned));
        }
        for directory in directories.into_iter().flatten() {
            // Any name in the directory serves.
            write::sync_parent(&directory.join("x"), self.is_durable)?;
        }
        Ok(())
    }

    fn collect_notes(&self, policy: &Policy, now: SystemTime, dry_run: bool, collected: &mut Collection) -> Result<()> {
        let life = policy.keep_newer_than.unwrap_or(LIFE_OF_A_VERDICT);
        for item in self.items("verdicts")? {
            if age(&item.metadata, now) >= life {
                collected.verdicts += freed(&item.metadata);
                if !dry_run {
                    remove(&item.path)?;
                }
            }
        }
        for item in flat(&self.path_of_drafts())? {
            if item.metadata.is_file() && age(&item.metadata, now) >= LIFE_OF_A_DRAFT {
                collected.drafts += freed(&item.metadata);
                if !dry_run {
                    remove(&item.path)?;
                }
            }
        }
        for item in self.items("claims")? {
            if self.drop_dead_claim(&item.path, dry_run)? {
                collected.claims += freed(&item.metadata);
            }
        }
        Ok(())
    }

    fn graph(&self) -> Result<Graph> {
        let mut graph = Graph { nodes: BTreeMap::new(), blobs: HashMap::new(), records: Vec::new() };
        for item in self.items("blobs")? {
            // Names that the store never gives are reported by `verify`, not removed here.
            if let (Some(digest), "") = (item.digest, item.suffix.as_str()) {
                graph.nodes.insert(Node::Blob(digest), item);
            }
        }
        for item in self.items("trees")? {
            if let (Some(digest), ".json") = (item.digest, item.suffix.as_str()) {
                // A damaged tree refers to nothing.
                let tree = open::read(&item.path).ok().filter(|bytes| Digest::of(bytes) == digest);
                let tree = tree.and_then(|bytes| Tree::parse(&bytes).ok()).unwrap_or_default();
                graph.blobs.insert(digest, tree.files.values().map(|entry| entry.blob).collect());
                graph.nodes.insert(Node::Tree(digest), item);
            }
        }
        for item in self.items("actions")?.into_iter().chain(self.notes()?) {
            if let (Some(key), true) = (item.digest, item.suffix.ends_with(".json")) {
                let page = open::read(&item.path).ok().and_then(|bytes| unseal(&bytes));
                let record = page.filter(|page| page.key == key).map(|page| page.record);
                let nodes = record.iter().flat_map(contents).map(node_of).collect();
                graph.records.push((item, nodes));
            }
        }
        Ok(graph)
    }
}

fn contents(record: &Record) -> impl Iterator<Item = &Content> {
    record.contents.iter().chain(&record.extras)
}

fn node_of(content: &Content) -> Node {
    match content {
        Content::Tree(digest) => Node::Tree(*digest),
        Content::File { blob, .. } => Node::Blob(*blob),
    }
}

impl Graph {
    /// The node and, if it is a tree, its blobs.
    fn closure(&self, node: Node) -> impl Iterator<Item = Node> {
        let below = match node {
            Node::Tree(digest) => self.blobs.get(&digest).map_or(&[][..], Vec::as_slice),
            Node::Blob(_) => &[],
        };
        std::iter::once(node).chain(below.iter().map(|blob| Node::Blob(*blob)))
    }

    fn size(&self) -> u64 {
        let nodes: u64 = self.nodes.values().map(|item| item.metadata.len()).sum();
        nodes + self.records.iter().map(|(item, _)| item.metadata.len()).sum::<u64>()
    }
}

/// Chooses the records and nodes to remove.
fn choose<'a>(
    graph: &'a Graph,
    roots: &Roots,
    policy: &Policy,
    now: SystemTime,
) -> (Vec<&'a Item>, Vec<(Node, &'a Item)>) {
    let is_young = |item: &Item| policy.keep_newer_than.is_some_and(|limit| age(&item.metadata, now) < limit);
    let is_root = |item: &Item| item.digest.is_some_and(|key| roots.keys.contains(&key));
    let (kept, mut loose): (Vec<_>, Vec<_>) =
        graph.records.iter().partition(|(item, _)| is_root(item) || is_young(item));
    let young = graph.nodes.iter().filter(|(_, item)| is_young(item)).map(|(node, _)| *node);
    let needed: HashSet<Node> = (kept.iter().flat_map(|(_, nodes)| nodes.iter().copied()))
        .chain(roots.contents.iter().map(node_of))
        .chain(young)
        .flat_map(|node| graph.closure(node))
        .collect();

    // Counts, for each node that is not needed, the removable records that refer to it.
    let mut uses: HashMap<Node, u32> = HashMap::new();
    let nodes_of = |nodes: &[Node]| -> HashSet<Node> {
        nodes.iter().flat_map(|node| graph.closure(*node)).filter(|node| !needed.contains(node)).collect()
    };
    for (_, nodes) in &loose {
        nodes_of(nodes).into_iter().for_each(|node| *uses.entry(node).or_default() += 1);
    }
    let mut size = graph.size();
    let is_enough = |size: u64| policy.max_size.is_some_and(|most| size <= most);
    let (mut records, mut nodes) = (Vec::new(), Vec::new());

    let mut orphans: Vec<_> =
        graph.nodes.iter().filter(|(node, _)| !needed.contains(node) && !uses.contains_key(node)).collect();
    orphans.sort_by_key(|(node, item)| (std::cmp::Reverse(age(&item.metadata, now)), **node));
    // A tree that stays needs its blobs, so trees go before them whatever their ages.
    orphans.sort_by_key(|(node, _)| matches!(node, Node::Blob(_)));
    for (node, item) in orphans {
        if is_enough(size) {
            return (records, nodes);
        }
        size -= item.metadata.len();
        nodes.push((*node, item));
    }
    loose.sort_by_key(|(item, _)| (std::cmp::Reverse(age(&item.metadata, now)), &item.path));
    for (item, refers_to) in loose {
        if is_enough(size) {
            break;
        }
        size -= item.metadata.len();
        records.push(item);
        for node in nodes_of(refers_to) {
            let left = uses.get_mut(&node).expect("every node of every loose record was counted");
            *left -= 1;
            if let (0, Some(item)) = (*left, graph.nodes.get(&node)) {
                size -= item.metadata.len();
                nodes.push((node, item));
            }
        }
    }
    nodes.sort_by_key(|(node, _)| *node);
    (records, nodes)
}

/// The time since the last change. A file from the future is new.
fn age(metadata: &Metadata, now: SystemTime) -> Duration {
    metadata.modified().ok().and_then(|time| now.duration_since(time).ok()).unwrap_or_default()
}

#[cfg(unix)]
fn freed(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    if metadata.nlink() == 1 { metadata.len() } else { 0 }
}

#[cfg(not(unix))]
fn freed(metadata: &Metadata) -> u64 {
    metadata.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClaimResult, sample};
    use serde_json::json;
    use std::{fs, path::Path};

    /// A child that a test beside this one starts holds every lock for a moment, between its fork and its exec.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn key(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn roots(names: &[&str]) -> Roots {
        Roots { keys: names.iter().map(|name| key(name)).collect(), contents: BTreeSet::new() }
    }

    /// A record of a directory that holds a file of its own and one that all share, and a log.
    fn put(store: &Store, home: &Path, name: &str) -> Record {
        sample::write(home, &format!("{name}/own.txt"), &name.repeat(1000));
        sample::write(home, &format!("{name}/shared.txt"), &"shared".repeat(1000));
        let content = store.capture(&home.join(name)).unwrap();
        let log = store.capture(&sample::write(home, "log.txt", &format!("log of {name}"))).unwrap();
        let record = Record { result: json!(name), telemetry: json!(null), contents: vec![content], extras: vec![log] };
        store.commit(&key(name), &record).unwrap();
        record
    }

    fn grow_old(store: &Store, ago: Duration, is_meant: impl Fn(&Path) -> bool) {
        for file in sample::files(store.root().to_owned()).into_iter().filter(|file| is_meant(file)) {
            fs::File::open(file).unwrap().set_modified(SystemTime::now() - ago).unwrap();
        }
    }

    fn collect(store: &Store, roots: &Roots, policy: Policy) -> Collection {
        let dry = store.collect(&store.hold_alone(PATIENCE).unwrap(), roots, &policy, true).unwrap();
        let before = store.usage().unwrap();
        let collected = store.collect(&store.hold_alone(PATIENCE).unwrap(), roots, &policy, false).unwrap();
        assert_eq!(dry, collected);
        let after = store.usage().unwrap();
        assert_eq!(before.blobs.bytes - after.blobs.bytes, collected.blobs.bytes, "nothing is linked elsewhere");
        assert_eq!(before.records.count - after.records.count, collected.records.count);
        let alone = store.hold_alone(PATIENCE).unwrap();
        assert_eq!(store.collect(&alone, roots, &policy, false).unwrap(), Collection::default(), "a second time");
        collected
    }

    #[test]
    fn what_the_roots_need_stays_and_the_rest_goes() {
        let (home, store) = sample::store();
        let [one, _two] = ["one", "two"].map(|name| put(&store, home.path(), name));
        let other = Record { result: json!("another result"), ..one.clone() };
        store.commit(&key("one"), &other).unwrap();
        let kept = store.capture(&sample::write(home.path(), "kept.txt", "kept")).unwrap();
        store.capture(&sample::write(home.path(), "orphan.txt", "orphan")).unwrap();
        let roots = Roots { contents: BTreeSet::from([kept.clone()]), ..roots(&["one"]) };
        let collected = collect(&store, &roots, Policy::default());
        assert_eq!([collected.records, collected.trees, collected.blobs].map(|tally| tally.count), [1, 1, 3]);
        assert_eq!(collected.blobs.bytes, 3000 + 10 + 6);
        assert_eq!(store.lookup(&key("one")).unwrap().as_ref(), Some(&one));
        assert!(store.has(&one.extras[0]) && store.has(&kept));
        assert_eq!(store.lookup(&key("two")).unwrap(), None);
        assert_eq!(store.usage().unwrap().records.count, 2, "the variant is a record of the key");
        let placed = home.path().join("placed");
        store.place(&one.contents[0], &placed).unwrap();
        fs::remove_dir_all(placed).unwrap();
        collect(&store, &Roots::default(), Policy::default());
        assert_eq!(store.usage().unwrap(), crate::Usage::default());
    }

    #[test]
    fn what_is_young_stays_with_all_it_needs() {
        let (home, store) = sample::store();
        let old = Duration::from_secs(10 * 86_400);
        put(&store, home.path(), "old");
        grow_old(&store, old, |_| true);
        let young = put(&store, home.path(), "young");
        // Its blobs are as old as the others: the record alone must hold them.
        grow_old(&store, old, |file| !file.starts_with(store.part("actions")));
        let policy = Policy { keep_newer_than: Some(Duration::from_secs(86_400)), max_size: None };
        let collected = collect(&store, &Roots::default(), policy);
        assert_eq!([collected.records, collected.trees, collected.blobs].map(|tally| tally.count), [1, 1, 2]);
        assert_eq!(store.lookup(&key("young")).unwrap(), Some(young));
    }

    #[test]
    fn the_oldest_go_until_the_store_is_small_enough_and_no_more() {
        let (home, store) = sample::store();
        for (age, name) in ["third", "first", "second"].into_iter().enumerate() {
            put(&store, home.path(), name);
            let path = store.path("actions", &key(name), ".json");
            let ago = Duration::from_secs([10, 30, 20][age]);
            fs::File::open(path).unwrap().set_modified(SystemTime::now() - ago).unwrap();
        }
        let total = |store: &Store| {
            let usage = store.usage().unwrap();
            usage.records.bytes + usage.trees.bytes + usage.blobs.bytes
        };
        let is_there = |name: &str| store.lookup(&key(name)).unwrap().is_some();
        let most = |bytes: u64| Policy { keep_newer_than: None, max_size: Some(bytes) };
        assert_eq!(collect(&store, &Roots::default(), most(total(&store))), Collection::default());
        collect(&store, &Roots::default(), most(total(&store) - 1));
        assert!(!is_there("first") && is_there("second") && is_there("third"));
        // A root stays though it is the oldest and the store too big.
        collect(&store, &roots(&["second"]), most(0));
        assert!(is_there("second") && !is_there("third"));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_linked_elsewhere_frees_nothing() {
        let (home, store) = sample::store();
        let file = sample::write(home.path(), "a.bin", "bytes");
        let content = store.adopt(&file).unwrap();
        let alone = store.hold_alone(PATIENCE).unwrap();
        let collected = store.collect(&alone, &Roots::default(), &Policy::default(), false).unwrap();
        assert_eq!(collected.blobs, Tally { count: 1, bytes: 0 });
        assert!(!store.has(&content) && fs::read(file).unwrap() == b"bytes");
    }

    #[test]
    fn old_drafts_and_verdicts_and_dead_claims_go() {
        let (_home, store) = sample::store();
        let draft = |name: &str| fs::write(store.path_of_drafts().join(name), "half").unwrap();
        draft("old");
        store.remember(&key("old"), &json!(1)).unwrap();
        grow_old(&store, Duration::from_secs(40 * 86_400), |_| true);
        draft("new");
        store.remember(&key("new"), &json!(2)).unwrap();
        let ClaimResult::Mine(_claim) = store.claim(&key("alive")).unwrap() else { panic!() };
        let torn = store.path("claims", &key("torn"), ".json");
        fs::create_dir_all(torn.parent().unwrap()).unwrap();
        fs::write(&torn, "{").unwrap();
        let collected = collect(&store, &Roots::default(), Policy::default());
        assert_eq!(collected.drafts.count, 1);
        assert_eq!(collected.verdicts.count, 1);
        assert_eq!(collected.claims.count, 1);
        assert_eq!(store.recall(&key("new")), Some(json!(2)));
        assert!(!torn.exists() && store.owner(&key("alive")).unwrap().is_some());
    }

    #[test]
    fn stopped_at_any_step_every_record_that_is_left_is_whole() {
        for step in 0.. {
            let (home, store) = sample::store();
            for name in ["one", "two", "three"] {
                put(&store, home.path(), name);
            }
            let alone = store.hold_alone(PATIENCE).unwrap();
            let outcome =
                write::tests::failing_at(step, || store.collect(&alone, &roots(&["three"]), &Policy::default(), false));
            for item in store.items("actions").unwrap() {
                let record = store.lookup(&item.digest.unwrap()).unwrap();
                assert!(record.is_some(), "stopped at step {step}: {}", item.path.display());
                assert!(store.has(&record.unwrap().extras[0]));
            }
            for item in store.items("trees").unwrap() {
                assert!(store.has(&Content::Tree(item.digest.unwrap())), "stopped at step {step}");
            }
            assert!(store.lookup(&key("three")).unwrap().is_some());
            if outcome.is_ok() {
                assert!(step > 8, "{step} steps");
                break;
            }
        }
    }
}
