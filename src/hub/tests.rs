use super::*;
use anyhow::bail;
use expect_test::{Expect, expect};
use formats::weights::{INDEX, WEIGHTS};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const FIRST: &str = "1111111111111111111111111111111111111111";
const SECOND: &str = "2222222222222222222222222222222222222222";

/// A fault of the response with the weights.
enum Fault {
    Status(u16),
    /// Half of the promised bytes.
    Half,
    /// Half of the bytes, with no promised length.
    HalfUnnoticed,
    /// All bytes, whatever part was requested.
    All,
    /// Other bytes of the right length.
    Other,
}

/// The state of a hub with one repository, `o/n`, which is a model and a data set at once.
#[derive(Default)]
struct State {
    endpoint: String,
    /// The commit that `main` names.
    commit: String,
    files: BTreeMap<String, Vec<u8>>,
    /// Answered instead of files.
    status: Option<u16>,
    faults: VecDeque<Fault>,
    requests: Vec<String>,
}

struct Hub {
    state: Arc<Mutex<State>>,
    place: tempfile::TempDir,
    settings: HubSettings,
}

impl Hub {
    fn serving(files: &[(&str, Vec<u8>)]) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let state = State { endpoint: endpoint.clone(), commit: FIRST.to_owned(), files, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let of_server = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // The client may be gone.
                _ = answer(&mut of_server.lock().unwrap(), stream);
            }
        });
        let place = tempfile::tempdir().unwrap();
        let cache_root = place.path().join("hub");
        let settings = HubSettings { cache_root, endpoint, token: None, is_offline: false, pause: Duration::ZERO };
        Hub { state, place, settings }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn fetch(&self, model: &str) -> Result<Snapshot> {
        fetch(&Repository::model(model).unwrap(), &self.settings, &|_| Ok(()), &mut |_, _, _| {})
    }

    fn cached(&self, model: &str) -> Option<Snapshot> {
        cached(&Repository::model(model).unwrap(), &self.settings.cache_root).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.settings.cache_root.join("models--o--n")
    }

    /// The requests since the last call.
    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    fn refuses(&self, model: &str, expected: Expect) {
        let error = format!("{:#}", self.fetch(model).unwrap_err());
        // The error has another number on other systems.
        let error = error.replace(" (os error 111)", "").replace(" (os error 61)", "");
        let error = error.replace(&self.settings.endpoint, "ENDPOINT");
        expected.assert_eq(&error.replace(self.place.path().to_str().unwrap(), "PLACE"));
    }

    fn holds(&self, snapshot: &Snapshot) {
        for (name, bytes) in &self.state().files {
            assert!(fs::read(snapshot.directory.join(name)).unwrap() == *bytes, "{name}");
        }
    }
}

fn answer(state: &mut State, mut stream: TcpStream) -> std::io::Result<()> {
    let lines: Vec<String> =
        BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let range = lines.iter().find_map(|line| Some(line.to_lowercase().strip_prefix("range: bytes=")?.to_owned()));
    state.requests.push(format!("{path} {}", range.as_deref().unwrap_or("")).trim().to_owned());
    let mut head = |status: u16, headers: &str, body: &[u8]| {
        write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}\r\n")?;
        stream.write_all(body)
    };
    let none = "Content-Length: 0\r\n";
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let of_data = path.strip_prefix("/api/datasets/o/n/revision/");
    if let Some(revision) = path.strip_prefix("/api/models/o/n/revision/").or(of_data) {
        let sha = match revision {
            "main" => state.commit.as_str(),
            FIRST | SECOND => revision,
            "refs%2Fconvert%2Fparquet" | "team%2Ftrial" if of_data.is_some() => SECOND,
            _ => return head(404, none, b""),
        };
        let sibling = |(name, bytes): (&String, &Vec<u8>)| match query {
            "blobs=true" => serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": "0"}),
            _ => serde_json::json!({"rfilename": name}),
        };
        let siblings: Vec<Value> = state.files.iter().map(sibling).collect();
        let body = serde_json::json!({"sha": sha, "siblings": siblings}).to_string();
        return head(200, &format!("Content-Length: {}\r\n", body.len()), body.as_bytes());
    }
    if let Some(status) = state.status {
        return head(status, none, b"");
    }
    let resolved = path.strip_prefix("/o/n/resolve/").or(path.strip_prefix("/datasets/o/n/resolve/"));
    let name = resolved.map(|rest| &rest[41..]).or(path.strip_prefix("/cdn/"));
    let name = name.unwrap_or_default().replace("%20", " ");
    let Some(bytes) = state.files.get(&name) else { return head(404, none, b"") };
    let etag = format!("\"{:x}\"", Sha256::digest(bytes));
    if let Some(rest) = resolved {
        let commit = &rest[..40];
        let mut headers = format!("X-Repo-Commit: {commit}\r\nX-Linked-Etag: {etag}\r\n");
        if name.ends_with(".safetensors") {
            headers += &format!("Location: {}/cdn/{name}\r\n{none}", state.endpoint);
            return head(302, &headers, b"");
        }
        return head(206, &(headers + &ranged(bytes, range.as_deref().unwrap()).0), ranged(bytes, &range.unwrap()).1);
    }
    let range = range.unwrap();
    let (headers, body) = ranged(bytes, &range);
    match if range == "0-0" { None } else { state.faults.pop_front() } {
        None => head(206, &headers, body),
        Some(Fault::Status(status)) => head(status, none, b""),
        Some(Fault::Half) => head(206, &headers, &body[..body.len() / 2]),
        Some(Fault::HalfUnnoticed) => head(206, "", &body[..body.len() / 2]),
        Some(Fault::Other) => head(206, &headers, &vec![7; body.len()]),
        Some(Fault::All) => head(200, &format!("Content-Length: {}\r\n", bytes.len()), bytes),
    }
}

fn ranged<'a>(bytes: &'a [u8], range: &str) -> (String, &'a [u8]) {
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let body = &bytes[from..to.parse().map_or(bytes.len(), |to: usize| to + 1)];
    let (end, all, length) = (from + body.len() - 1, bytes.len(), body.len());
    (format!("Content-Range: bytes {from}-{end}/{all}\r\nContent-Length: {length}\r\n"), body)
}

fn weights(length: usize) -> Vec<u8> {
    let head = format!(r#"{{"w":{{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}"#);
    let values = (0..length).map(|value| u8::try_from(value % 251).unwrap());
    (head.len() as u64).to_le_bytes().into_iter().chain(head.into_bytes()).chain(values).collect()
}

fn small() -> Vec<(&'static str, Vec<u8>)> {
    ["config.json", "tokenizer.json", "generation_config.json", "README.md"].map(|name| (name, name.into())).into()
}

/// A hub with the files of a model and no others.
fn whole() -> Hub {
    let hub = Hub::serving(&[small(), vec![(WEIGHTS, weights(5000))]].concat());
    hub.state().files.remove("README.md");
    hub
}

fn sharded() -> Hub {
    let index = r#"{"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let shards =
        vec![(INDEX, index.into()), ("model-1.safetensors", weights(10)), ("model-2.safetensors", weights(20))];
    let hub = Hub::serving(&[small(), shards].concat());
    hub.state().files.remove("README.md");
    hub
}

#[test]
fn the_card_of_a_model_is_fetched_since_it_names_the_licence() {
    let hub = Hub::serving(&[small(), vec![(WEIGHTS, weights(50))]].concat());
    assert!(hub.fetch("hf://o/n").unwrap().directory.join("README.md").exists());
    // Without it the model is as complete.
    let hub = whole();
    assert!(!hub.fetch("hf://o/n").unwrap().directory.join("README.md").exists());
}

#[test]
fn what_was_fetched_once_is_never_asked_for_again() {
    let hub = whole();
    assert_eq!(hub.cached("hf://o/n"), None);
    let mut told = Vec::new();
    let model = Repository::model("hf://o/n").unwrap();
    let check = |directory: &Path| {
        assert!(directory.join("generation_config.json").exists() && !directory.join(WEIGHTS).exists());
        Ok(())
    };
    let mut progress = |file: &str, done: u64, all: u64| told.push((file.to_owned(), done, all));
    let snapshot = fetch(&model, &hub.settings, &check, &mut progress).unwrap();
    hub.holds(&snapshot);
    let all = weights(5000).len() as u64;
    assert_eq!(told.last().unwrap(), &(WEIGHTS.to_owned(), all, all));
    assert_eq!(snapshot, Snapshot { directory: hub.folder().join("snapshots").join(FIRST), commit: FIRST.to_owned() });
    // The revision is resolved once, and all files come from that commit.
    let requests = hub.requests();
    assert_eq!(requests.iter().filter(|request| request.starts_with("/api/")).count(), 1);
    assert!(
        requests[1..].iter().all(|request| request.contains(FIRST) || request.starts_with("/cdn/")),
        "{requests:?}"
    );

    // A push changes nothing here.
    hub.state().commit = SECOND.to_owned();
    for again in ["hf://o/n", "hf://o/n@main", &format!("hf://o/n@{FIRST}")] {
        assert_eq!(hub.fetch(again).unwrap(), snapshot);
        assert_eq!(hub.cached(again), Some(snapshot.clone()));
    }
    assert_eq!(hub.requests(), [""; 0]);
    let refs: Vec<_> =
        fs::read_dir(hub.folder().join("refs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(refs, ["main"]);
}

#[test]
fn equal_files_of_another_commit_are_linked_not_fetched() {
    let hub = whole();
    hub.fetch("hf://o/n").unwrap();
    hub.state().files.insert("config.json".to_owned(), "another".into());
    hub.requests();
    hub.holds(&hub.fetch(&format!("hf://o/n@{SECOND}")).unwrap());
    let bodies: Vec<String> = hub.requests().into_iter().filter(|request| request.ends_with(" 0-")).collect();
    assert_eq!(bodies, [format!("/o/n/resolve/{SECOND}/config.json 0-")]);
}

#[test]
fn a_configuration_that_will_not_do_costs_no_weights() {
    let hub = whole();
    let model = Repository::model("hf://o/n").unwrap();
    let check = |_: &Path| bail!("read config.json: `mamba` is not known");
    let error = fetch(&model, &hub.settings, &check, &mut |_, _, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "read config.json: `mamba` is not known");
    assert!(!hub.requests().iter().any(|request| request.contains("safetensors")));
    assert_eq!(hub.cached("hf://o/n"), None);
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_ended() {
    let hub = whole();
    hub.state().faults = std::iter::once(Fault::Half).chain((0..4).map(|_| Fault::Status(503))).collect();
    hub.refuses("hf://o/n", expect!["fetch hf://o/n@main: model.safetensors: request error: http status: 503; the bytes so far are kept: run again to resume"]);
    assert_eq!(hub.cached("hf://o/n"), None);
    hub.requests();
    hub.holds(&hub.fetch("hf://o/n").unwrap());
    let half = weights(5000).len() / 2;
    assert_eq!(hub.requests().last().unwrap(), &format!("/cdn/{WEIGHTS} {half}-"));
}

#[test]
fn what_came_otherwise_than_the_hub_has_it_is_fetched_again() {
    let hub = whole();
    hub.state().faults = [Fault::HalfUnnoticed, Fault::Half, Fault::All, Fault::Other].into();
    hub.holds(&hub.fetch("hf://o/n").unwrap());
}

#[test]
fn two_who_want_the_same_fetch_it_once() {
    let hub = whole();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| hub.fetch("hf://o/n").unwrap());
        assert_eq!(hub.fetch("hf://o/n").unwrap(), other.join().unwrap());
    });
    assert_eq!(hub.requests().iter().filter(|request| request.starts_with("/api/")).count(), 1);
}

#[test]
fn leftovers_do_not_stand_in_the_way() {
    let hub = whole();
    let snapshot = hub.fetch("hf://o/n").unwrap();
    let weights = snapshot.directory.join(WEIGHTS);
    let blob = fs::canonicalize(&weights).unwrap();
    // The fetch was killed before its last step; its link leads to a removed file.
    fs::rename(&blob, blob.with_extension("part")).unwrap();
    assert_eq!(hub.cached("hf://o/n"), None);
    hub.holds(&hub.fetch("hf://o/n").unwrap());
    // The file was cut short by another tool.
    File::options().write(true).open(&blob).unwrap().set_len(100).unwrap();
    assert_eq!(hub.cached("hf://o/n"), None);
    hub.holds(&hub.fetch("hf://o/n").unwrap());
}

#[test]
fn of_shards_only_the_missing_one_is_fetched() {
    let hub = sharded();
    let snapshot = hub.fetch("hf://o/n").unwrap();
    hub.holds(&snapshot);
    fs::remove_file(snapshot.directory.join("model-2.safetensors")).unwrap();
    fs::remove_dir_all(hub.folder().join("blobs")).unwrap();
    fs::create_dir(hub.folder().join("blobs")).unwrap();
    for file in ["config.json", "tokenizer.json", "generation_config.json", INDEX, "model-1.safetensors"] {
        fs::remove_file(snapshot.directory.join(file)).unwrap();
        fs::write(snapshot.directory.join(file), &hub.state().files[file]).unwrap();
    }
    assert_eq!(hub.cached("hf://o/n"), None);
    hub.requests();
    hub.holds(&hub.fetch("hf://o/n").unwrap());
    assert!(hub.requests()[1..].iter().all(|request| request.contains("model-2.safetensors")));
    fs::write(snapshot.directory.join(INDEX), "{\"weight_map\": {\"a\": \"../x.safetensors\"}}").unwrap();
    assert_eq!(hub.cached("hf://o/n"), None);
}

#[test]
fn what_another_loader_left_out_is_asked_for_at_the_same_commit() {
    let mut hub = whole();
    let snapshot = hub.settings.cache_root.join("models--o--n/snapshots").join(FIRST);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(hub.folder().join("refs")).unwrap();
    fs::write(hub.folder().join("refs/main"), FIRST).unwrap();
    for file in ["config.json", "tokenizer.json", WEIGHTS] {
        fs::write(snapshot.join(file), &hub.state().files[file]).unwrap();
    }
    hub.state().commit = SECOND.to_owned();
    assert_eq!(hub.cached("hf://o/n"), None);
    // Without a network it must do.
    hub.settings.is_offline = true;
    assert_eq!(hub.fetch("hf://o/n").unwrap().commit, FIRST);
    hub.settings.is_offline = false;
    hub.holds(&hub.fetch("hf://o/n").unwrap());
    let requests = hub.requests();
    assert_eq!(requests[0], format!("/api/models/o/n/revision/{FIRST}"));
    assert!(requests[1..].iter().all(|request| request.contains("generation_config.json")), "{requests:?}");
    assert!(hub.cached("hf://o/n").is_some());

    // A tool that fetched the whole repository left nothing out.
    fs::remove_dir_all(hub.folder().join(".no_exist")).unwrap();
    assert_eq!(hub.cached("hf://o/n"), None);
    fs::write(snapshot.join(".gitattributes"), "").unwrap();
    assert!(hub.cached("hf://o/n").is_some());
}

#[test]
fn where_nobody_can_be_asked_it_is_said_what_to_put_where() {
    let mut hub = sharded();
    let snapshot = hub.fetch("hf://o/n").unwrap();
    fs::remove_file(snapshot.directory.join("model-2.safetensors")).unwrap();
    hub.settings.is_offline = true;
    hub.refuses("hf://o/n", expect!["fetch hf://o/n@main: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and PLACE/hub/models--o--n lacks model-2.safetensors; run `hf download o/n --revision main` where there is a network and copy its models--o--n to PLACE/hub/models--o--n, or put these files into a directory and name that instead"]);
    hub.refuses("hf://o/n@v2", expect!["fetch hf://o/n@v2: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and PLACE/hub/models--o--n lacks config.json, model.safetensors (or its index and shards), tokenizer.json; run `hf download o/n --revision v2` where there is a network and copy its models--o--n to PLACE/hub/models--o--n, or put these files into a directory and name that instead"]);
    hub.settings.is_offline = false;
    // Nobody listens to this port.
    hub.settings.endpoint = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    hub.refuses("hf://o/n", expect!["fetch hf://o/n@main: request error: io: Connection refused, and PLACE/hub/models--o--n lacks model-2.safetensors; run `hf download o/n --revision main` where there is a network and copy its models--o--n to PLACE/hub/models--o--n, or put these files into a directory and name that instead"]);
}

#[test]
fn a_refusal_says_what_can_be_done() {
    let mut hub = whole();
    hub.refuses("hf://o/n@v2", expect!["fetch hf://o/n@v2: ENDPOINT has no model o/n with a revision `v2`"]);
    hub.refuses(
        "hf://o/other",
        expect!["fetch hf://o/other@main: ENDPOINT has no model o/other with a revision `main`"],
    );
    hub.state().status = Some(401);
    hub.refuses("hf://o/n", expect!["fetch hf://o/n@main: ENDPOINT answers 401: the model is gated or private, if there is one of this name, and no token was given; accept its licence at ENDPOINT/o/n, make a token at ENDPOINT/settings/tokens and set HF_TOKEN to it, or run `hf auth login`"]);
    hub.state().status = Some(403);
    hub.settings.token = Some("hf_of_somebody".to_owned());
    hub.refuses("hf://o/n", expect!["fetch hf://o/n@main: ENDPOINT answers 403: the model is gated or private, if there is one of this name, and the token that was given does not do; accept its licence at ENDPOINT/o/n, make a token at ENDPOINT/settings/tokens and set HF_TOKEN to it, or run `hf auth login`"]);
    fs::create_dir_all(hub.folder().join("refs")).unwrap();
    fs::write(hub.folder().join("refs/main"), FIRST.replace('1', "3")).unwrap();
    hub.refuses("hf://o/n", expect!["fetch hf://o/n@main: ENDPOINT no longer has its commit 3333333333333333333333333333333333333333; remove PLACE/hub/models--o--n/refs/main to ask what `main` is now"]);
}

#[test]
fn what_cannot_be_read_is_not_fetched() {
    let hub = Hub::serving(&[small(), vec![("pytorch_model.bin", vec![1])]].concat());
    hub.refuses("hf://o/n", expect![[r#"fetch hf://o/n@main: pickled weights can run code, so they are not read, and it has no others; save it as safetensors: `AutoModelForCausalLM.from_pretrained("o/n").save_pretrained(DIR)` in transformers does; and name DIR instead"#]]);
    hub.state().files = BTreeMap::from(["model.gguf", "config.json"].map(|name| (name.to_owned(), vec![1])));
    hub.refuses(
        "hf://o/n",
        expect!["fetch hf://o/n@main: it has no model.safetensors and no model.safetensors.index.json"],
    );
    hub.state().files.insert(WEIGHTS.to_owned(), weights(1));
    hub.refuses("hf://o/n", expect![[r#"fetch hf://o/n@main: it has no tokenizer.json; `AutoTokenizer.from_pretrained("o/n").save_pretrained(DIR)` in transformers makes one"#]]);
    hub.state().files = BTreeMap::from(["tokenizer.json", WEIGHTS].map(|name| (name.to_owned(), vec![1])));
    hub.refuses("hf://o/n", expect!["fetch hf://o/n@main: it has no config.json"]);
    assert!(hub.requests().iter().all(|request| request.starts_with("/api/")));
    // As the hub has it.
    hub.state().files =
        BTreeMap::from(["config.json", "tokenizer.json", WEIGHTS].map(|name| (name.to_owned(), vec![1])));
    hub.refuses(
        "hf://o/n",
        expect!["fetch hf://o/n@main: model.safetensors came as the hub has it and is damaged there"],
    );
}

/// A hub with a data set.
fn rows() -> Hub {
    let file = |name: &'static str, rows: usize| (name, "{\"text\": \"a\"}\n".repeat(rows).into_bytes());
    let names = ["data/train-1.jsonl", "data/train-2.jsonl", "data/test 1.jsonl", "README.md", "dataset_infos.json"];
    Hub::serving(&names.map(|name| file(name, name.len())))
}

impl Hub {
    /// The files of data, relative to the snapshot; `None` if not all are here.
    fn here(&self, data: &str) -> Option<Vec<String>> {
        let data = Dataset::parse(data).unwrap();
        files(&data, &self.settings.cache_root).unwrap().map(|files| self.shown(&files))
    }

    fn fetch_data(&self, data: &str) -> Result<Vec<String>> {
        let files = fetch_data(&Dataset::parse(data).unwrap(), &self.settings, &mut |_, _, _| {})?;
        Ok(self.shown(&files))
    }

    /// The names behind the commit; what lies there is what the hub has.
    fn shown(&self, files: &[PathBuf]) -> Vec<String> {
        let name = |path: &PathBuf| {
            let path = path.strip_prefix(self.settings.cache_root.join("datasets--o--n/snapshots")).unwrap();
            path.to_str().unwrap()[41..].to_owned()
        };
        for file in files {
            assert!(fs::read(file).unwrap() == self.state().files[&name(file)], "{}", file.display());
        }
        files.iter().map(name).collect()
    }

    fn refuses_data(&self, data: &str, expected: Expect) {
        let data = Dataset::parse(data).and_then(|data| fetch_data(&data, &self.settings, &mut |_, _, _| {}));
        let error = format!("{:#}", data.unwrap_err()).replace(&self.settings.endpoint, "ENDPOINT");
        expected.assert_eq(&error.replace(self.place.path().to_str().unwrap(), "PLACE"));
    }
}

#[test]
fn of_a_data_set_only_the_files_that_are_named_are_fetched_and_only_once() {
    let mut hub = rows();
    assert_eq!(hub.here("hf://datasets/o/n/data/train-1.jsonl"), None);
    assert_eq!(hub.fetch_data("hf://datasets/o/n/data/train-1.jsonl").unwrap(), ["data/train-1.jsonl"]);
    let requests = hub.requests();
    assert_eq!(requests[0], "/api/datasets/o/n/revision/main?blobs=true");
    let file = format!("/datasets/o/n/resolve/{FIRST}/data/train-1.jsonl");
    assert!(requests.len() > 1 && requests[1..].iter().all(|request| request.starts_with(&file)), "{requests:?}");
    // One file is here, and so is the list of all: the pattern is not mistaken for complete.
    for others in ["hf://datasets/o/n/data/*.jsonl", "hf://datasets/o/n/data", "hf://datasets/o/n"] {
        assert_eq!(hub.here(others), None, "{others}");
    }
    let all = ["data/test 1.jsonl", "data/train-1.jsonl", "data/train-2.jsonl"];
    // A push changes nothing here.
    hub.state().commit = SECOND.to_owned();
    assert_eq!(hub.fetch_data("hf://datasets/o/n/data/train-*.jsonl").unwrap(), all[1..]);
    assert!(hub.requests().iter().all(|request| request.contains(FIRST) && !request.contains("train-1")));
    assert_eq!(hub.fetch_data("hf://datasets/o/n").unwrap(), all);
    hub.requests();
    hub.settings.is_offline = true;
    for data in ["hf://datasets/o/n", "hf://datasets/o/n@main/data", &format!("hf://datasets/o/n@{FIRST}/data/*")] {
        assert_eq!(hub.fetch_data(data).unwrap(), all, "{data}");
        assert_eq!(hub.here(data).unwrap(), all, "{data}");
    }
    assert_eq!(hub.requests(), [""; 0]);
    let folder = hub.settings.cache_root.join("datasets--o--n");
    let link = fs::read_link(folder.join("snapshots").join(FIRST).join("data/test 1.jsonl")).unwrap();
    assert!(link.starts_with("../../../blobs"), "{}", link.display());
    assert!(!folder.join("snapshots").join(FIRST).join("README.md").exists());
    let refs = fs::read_dir(folder.join("refs")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(refs.collect::<Vec<_>>(), ["main"]);
}

#[test]
fn a_file_that_is_cut_short_or_gone_is_fetched_again() {
    let hub = rows();
    let file = hub.settings.cache_root.join("datasets--o--n/snapshots").join(FIRST).join("data/train-1.jsonl");
    hub.fetch_data("hf://datasets/o/n").unwrap();
    let blob = fs::canonicalize(&file).unwrap();
    File::options().write(true).open(&blob).unwrap().set_len(10).unwrap();
    assert_eq!(hub.here("hf://datasets/o/n"), None);
    hub.fetch_data("hf://datasets/o/n").unwrap();
    fs::remove_file(&blob).unwrap();
    assert_eq!(hub.here("hf://datasets/o/n"), None);
    hub.fetch_data("hf://datasets/o/n").unwrap();
}

#[test]
fn data_that_another_tool_fetched_is_used_where_it_is_surely_whole() {
    let mut hub = rows();
    hub.settings.is_offline = true;
    let folder = hub.settings.cache_root.join("datasets--o--n");
    let put = |name: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    };
    let snapshot = format!("snapshots/{FIRST}");
    put("refs/main");
    fs::write(folder.join("refs/main"), FIRST).unwrap();
    put(&format!("{snapshot}/train-00000-of-00002.parquet"));
    let here = |data: &str| {
        let found = files(&Dataset::parse(data).unwrap(), &hub.settings.cache_root).unwrap();
        found.map(|files| files.len())
    };
    assert_eq!(here("hf://datasets/o/n/train-00000-of-00002.parquet"), Some(1));
    assert_eq!(here("hf://datasets/o/n"), None, "nobody knows what else there is");
    put(&format!("{snapshot}/.gitattributes"));
    assert_eq!(here("hf://datasets/o/n"), None, "the second of two is missing");
    put(&format!("{snapshot}/train-00001-of-00002.parquet"));
    put("blobs/0123.incomplete");
    assert_eq!(here("hf://datasets/o/n"), None, "a download is under way");
    fs::remove_file(folder.join("blobs/0123.incomplete")).unwrap();
    assert_eq!(here("hf://datasets/o/n"), Some(2));
    assert_eq!(
        here("hf://datasets/o/n/*-00001-*"),
        None,
        "the first of two is not asked for, so the number does not do"
    );
}

#[test]
fn data_that_cannot_be_had_is_told_with_what_can_be_done() {
    let mut hub = rows();
    hub.refuses_data("hf://datasets/o/n/train-1.jsonl", expect!["`hf://datasets/o/n@main/train-1.jsonl`: the data set has no `train-1.jsonl`; did you mean `data/train-1.jsonl`?"]);
    hub.refuses_data("hf://datasets/o/n/data/train-3.jsonl", expect!["`hf://datasets/o/n@main/data/train-3.jsonl`: the data set has no `data/train-3.jsonl`; did you mean `data/train-1.jsonl`?"]);
    hub.refuses_data("hf://datasets/o/n/*.csv", expect!["`hf://datasets/o/n@main/*.csv`: the data set has no `*.csv`; there are: data/test 1.jsonl, data/train-1.jsonl, data/train-2.jsonl"]);
    hub.refuses_data(
        "hf://datasets/o/n@v2",
        expect!["fetch hf://datasets/o/n@v2: ENDPOINT has no data set o/n with a revision `v2`"],
    );
    hub.refuses_data(
        "hf://datasets/o/other",
        expect!["fetch hf://datasets/o/other@main: ENDPOINT has no data set o/other with a revision `main`"],
    );
    hub.state().status = Some(403);
    hub.refuses_data("hf://datasets/o/n/data", expect!["fetch hf://datasets/o/n@main: ENDPOINT answers 403: the data set is gated or private, if there is one of this name, and no token was given; accept its licence at ENDPOINT/datasets/o/n, make a token at ENDPOINT/settings/tokens and set HF_TOKEN to it, or run `hf auth login`"]);
    hub.state().status = None;
    hub.fetch_data("hf://datasets/o/n/data/train-1.jsonl").unwrap();
    hub.settings.is_offline = true;
    hub.refuses_data("hf://datasets/o/n/data", expect!["fetch hf://datasets/o/n@main/data: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and PLACE/hub/datasets--o--n lacks data/test 1.jsonl, data/train-2.jsonl; run `hf download o/n --repo-type dataset --revision main` where there is a network and copy its datasets--o--n to PLACE/hub/datasets--o--n, or put these files into a directory and name that instead"]);
    hub.refuses_data("hf://datasets/o/n@v2/data/train-1.jsonl", expect!["fetch hf://datasets/o/n@v2/data/train-1.jsonl: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and PLACE/hub/datasets--o--n lacks data/train-1.jsonl; run `hf download o/n 'data/train-1.jsonl' --repo-type dataset --revision v2` where there is a network and copy its datasets--o--n to PLACE/hub/datasets--o--n, or put these files into a directory and name that instead"]);
    hub.refuses_data("hf://datasets/o/n@v2", expect!["fetch hf://datasets/o/n@v2: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and PLACE/hub/datasets--o--n lacks its files; run `hf download o/n --repo-type dataset --revision v2` where there is a network and copy its datasets--o--n to PLACE/hub/datasets--o--n, or put these files into a directory and name that instead"]);
}

#[test]
fn a_reference_of_data_is_a_repository_a_revision_and_a_path() {
    let parsed = |text: &str| match Dataset::parse(text) {
        Ok(data) => format!("{data} = {:?} {:?}", data.repository.revision, data.path),
        Err(error) => error.to_string(),
    };
    let texts = [
        "hf://datasets/o/n",
        "hf://datasets/o/n/",
        "hf://datasets/o/n/a.jsonl",
        "hf://datasets/o/n@v1/data/train-*.parquet",
        "hf://datasets/o/n@refs/convert/parquet/default/train/0.parquet",
        "hf://datasets/o/n@refs/pr/3",
        "hf://datasets/o/n@team%2Ftrial/a b@c.csv",
        "hf://datasets/o/n@team/trial.csv",
        "hf://datasets/squad",
        "hf://datasets/o/n@",
        "hf://datasets/o/n@../x",
        "hf://datasets/o/n/../x",
        "hf://datasets/o/n//x",
        "hf://o/n",
    ];
    expect![[r#"
        hf://datasets/o/n@main = "main" ""
        hf://datasets/o/n@main = "main" ""
        hf://datasets/o/n@main/a.jsonl = "main" "a.jsonl"
        hf://datasets/o/n@v1/data/train-*.parquet = "v1" "data/train-*.parquet"
        hf://datasets/o/n@refs/convert/parquet/default/train/0.parquet = "refs/convert/parquet" "default/train/0.parquet"
        hf://datasets/o/n@refs/pr/3 = "refs/pr/3" ""
        hf://datasets/o/n@team%2Ftrial/a b@c.csv = "team/trial" "a b@c.csv"
        hf://datasets/o/n@team/trial.csv = "team" "trial.csv"
        `hf://datasets/squad`: the name is missing; write hf://datasets/owner/name, and where needed hf://datasets/owner/name@revision/path
        `hf://datasets/o/n@`: the revision is empty; write hf://datasets/owner/name, and where needed hf://datasets/owner/name@revision/path
        `hf://datasets/o/n@../x`: the revision has `..` in it; write hf://datasets/owner/name, and where needed hf://datasets/owner/name@revision/path
        `hf://datasets/o/n/../x`: the path has the part `..`; write hf://datasets/owner/name, and where needed hf://datasets/owner/name@revision/path
        hf://datasets/o/n@main/x = "main" "x"
        `hf://o/n`: it does not begin with hf://datasets/; write hf://datasets/owner/name, and where needed hf://datasets/owner/name@revision/path"#]].assert_eq(&texts.map(parsed).join("\n"));
}

#[test]
fn a_revision_with_slashes_is_asked_for_and_kept_as_other_tools_do() {
    let hub = rows();
    for (data, revision) in [
        ("hf://datasets/o/n@refs/convert/parquet/data", "refs/convert/parquet"),
        ("hf://datasets/o/n@team%2Ftrial/data", "team/trial"),
    ] {
        assert_eq!(hub.fetch_data(data).unwrap().len(), 3);
        let kept = hub.settings.cache_root.join("datasets--o--n/refs").join(revision);
        assert_eq!(fs::read_to_string(kept).unwrap(), SECOND);
        let asked = format!("/api/datasets/o/n/revision/{}?blobs=true", revision.replace('/', "%2F"));
        assert_eq!(hub.requests()[0], asked);
    }
}

#[test]
fn a_reference_is_an_owner_a_name_and_a_revision() {
    let parsed = |text: &str| match Repository::model(text) {
        Ok(model) => model.to_string(),
        Err(error) => error.to_string(),
    };
    let texts = [
        "hf://o/n",
        "hf://llm-jp/llm-jp-3-150m.v2@refs/pr/1",
        "o/n",
        "hf://",
        "hf://gpt2",
        "hf:///n",
        "hf://o/",
        "hf://o/n@",
        "hf://o/n@a//b",
        "hf://o/n@../../x",
        "hf://o/n@-x",
        "hf://o/n@v1@v2",
        "hf://../n",
        "hf://o/..",
        "hf://o/n/config.json",
        "hf://o/a--b",
        "hf://o/モデル",
        "hf://o/n?x",
    ];
    expect![[r#"
        hf://o/n@main
        hf://llm-jp/llm-jp-3-150m.v2@refs/pr/1
        `o/n`: it does not begin with hf://; write hf://owner/name or hf://owner/name@revision
        `hf://`: the owner is missing; write hf://owner/name or hf://owner/name@revision
        `hf://gpt2`: the owner is missing; write hf://owner/name or hf://owner/name@revision
        `hf:///n`: the owner is missing; write hf://owner/name or hf://owner/name@revision
        `hf://o/`: the name is missing; write hf://owner/name or hf://owner/name@revision
        `hf://o/n@`: the revision is empty; write hf://owner/name or hf://owner/name@revision
        `hf://o/n@a//b`: the revision is empty; write hf://owner/name or hf://owner/name@revision
        `hf://o/n@../../x`: the revision has `..` in it; write hf://owner/name or hf://owner/name@revision
        `hf://o/n@-x`: the revision begins with `-`; write hf://owner/name or hf://owner/name@revision
        `hf://o/n@v1@v2`: the revision has `@` in it; write hf://owner/name or hf://owner/name@revision
        `hf://../n`: the owner has `..` in it; write hf://owner/name or hf://owner/name@revision
        `hf://o/..`: the name has `..` in it; write hf://owner/name or hf://owner/name@revision
        `hf://o/n/config.json`: the name has `/` in it; write hf://owner/name or hf://owner/name@revision
        `hf://o/a--b`: the name has `--` in it; write hf://owner/name or hf://owner/name@revision
        `hf://o/モデル`: the name has `モ` in it; write hf://owner/name or hf://owner/name@revision
        `hf://o/n?x`: the name has `?` in it; write hf://owner/name or hf://owner/name@revision"#]]
    .assert_eq(&texts.map(parsed).join("\n"));
}

#[test]
fn the_environment_means_what_it_means_to_the_python_library() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("token"), "of_file\n").unwrap();
    let home = place.path().to_str().unwrap();
    let check = |variables: &[(&str, &str)], expected: Expect| {
        let env = |name: &str| Some(OsString::from(variables.iter().find(|(known, _)| *known == name)?.1));
        let said = match HubSettings::from(env) {
            Ok(settings) => format!(
                "{} {} {} {}",
                settings.cache_root.display(),
                settings.endpoint,
                settings.token.as_deref().unwrap_or("-"),
                if settings.is_offline { "offline" } else { "online" }
            ),
            Err(error) => format!("{error:#}"),
        };
        expected.assert_eq(&said.replace(home, "HOME"));
    };
    check(&[("HOME", home)], expect!["HOME/.cache/huggingface/hub https://huggingface.co - online"]);
    check(
        &[("HOME", home), ("XDG_CACHE_HOME", "/xdg"), ("HF_TOKEN_PATH", "~/token")],
        expect!["/xdg/huggingface/hub https://huggingface.co of_file online"],
    );
    check(
        &[("HF_HOME", home), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/nobody")],
        expect!["HOME/hub https://huggingface.co of_file online"],
    );
    check(
        &[("HF_HOME", home), ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_TOKEN", " mine ")],
        expect!["/old https://huggingface.co mine online"],
    );
    check(
        &[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old"), ("HUGGING_FACE_HUB_TOKEN", "mine")],
        expect!["/new https://huggingface.co mine online"],
    );
    check(
        &[("HOME", home), ("HF_ENDPOINT", "http://mirror/"), ("HF_HUB_OFFLINE", "True")],
        expect!["HOME/.cache/huggingface/hub http://mirror - offline"],
    );
    check(
        &[("HOME", home), ("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")],
        expect!["HOME/.cache/huggingface/hub https://huggingface.co - online"],
    );
    check(
        &[("HOME", home), ("HF_HOME", ""), ("TRANSFORMERS_OFFLINE", "1")],
        expect!["HOME/.cache/huggingface/hub https://huggingface.co - offline"],
    );
    check(&[], expect!["find the Hugging Face cache: HF_HUB_CACHE, HF_HOME and HOME are not set"]);
}
