//! A small S3 server in this process, by plain HTTP, that can be told to fail. Used by the tests of the program and by those
//! of the crate `cache`.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

pub const BUCKET: &str = "lab";
pub const KEY: &str = "AKIATESTTEST";
pub const SECRET: &str = "secretsecretsecretsecret";

/// The pieces of a body that trickles, and the pause before each.
const PIECE: usize = 8 << 10;
const PAUSE: Duration = Duration::from_millis(100);

/// A fault of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and code.
    Coded(u16, &'static str),
    /// Says that the bucket is in another region.
    Elsewhere(&'static str),
    /// Answers everything with a page for people, as a portal does that wants a password.
    Page,
    /// Gives the body in small pieces, with pauses.
    Trickle,
    /// Does not answer.
    Hang,
    /// Takes the request, carries it out, and does not answer.
    HangAfter,
    /// Ends the connection in the middle of the body, of a request or of an answer.
    Cut,
    /// Gives the last byte of a body with another bit.
    Flip,
    /// Overwrites what is there, whatever was asked for.
    IgnoreCondition,
    /// Says that its clock is so many seconds ahead.
    Skew(i64),
}

#[derive(Default)]
pub struct State {
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Uploads that go on: name and parts.
    pub uploads: BTreeMap<String, (String, BTreeMap<u32, Vec<u8>>)>,
    /// When uploads say that they began.
    pub begun: String,
    /// Each applies to methods and paths that hold its texts; the number of times it still does.
    pub faults: Vec<(&'static str, &'static str, usize, Fault)>,
    /// `GET v1/actions/…`.
    pub log: Vec<String>,
    numbers: u64,
}

pub struct Server {
    pub address: String,
    state: Arc<Mutex<State>>,
    is_over: Arc<AtomicBool>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { begun: "2020-01-01T00:00:00.000Z".to_owned(), ..State::default() }));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (state.clone(), is_over.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), state) = (stream, shared.clone()) else { continue };
                thread::spawn(move || serve(stream, &state));
            }
        });
        Server { address, state, is_over }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Fails the next `times` requests whose method and path hold these texts.
    pub fn fail(&self, method: &'static str, path: &'static str, times: usize, fault: Fault) {
        self.state().faults.push((method, path, times, fault));
    }

    pub fn heal(&self) {
        self.state().faults.clear();
    }

    pub fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }
}

struct Asked {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let query = query.split('&').filter(|pair| !pair.is_empty());
    let query = query
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)));
    let path = decoded(path);
    let fault = {
        let mut state = state.lock().unwrap();
        state.log.push(format!("{method} {}", path.trim_start_matches(&format!("/{BUCKET}/"))));
        let at = state
            .faults
            .iter()
            .position(|(of, within, times, _)| method.contains(of) && path.contains(within) && *times > 0);
        at.map(|at| {
            state.faults[at].2 -= 1;
            state.faults[at].3
        })
    };
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; if fault == Some(Fault::Cut) { length / 2 } else { length }];
    if reader.read_exact(&mut body).is_err() || (fault == Some(Fault::Cut) && length > 0) {
        return;
    }
    // Until whoever asked gives up.
    let mut wait = || drop(reader.read(&mut [0]));
    if fault == Some(Fault::Hang) {
        return wait();
    }
    let asked = Asked { method, path, query: query.collect(), headers, body };
    let (status, mut headers, mut body) = match fault {
        Some(Fault::Status(status)) => (status, Vec::new(), error("Told", "so")),
        Some(Fault::Coded(status, code)) => (status, Vec::new(), error(code, "so")),
        Some(Fault::Elsewhere(region)) => (301, vec![("x-amz-bucket-region", region.to_owned())], Vec::new()),
        Some(Fault::Page) => (200, vec![("ETag", "\"page\"".to_owned())], b"<html>Please log in</html>".to_vec()),
        fault => answer(&asked, &mut state.lock().unwrap(), fault),
    };
    if fault == Some(Fault::HangAfter) {
        return wait();
    }
    if fault == Some(Fault::Flip)
        && let Some(last) = body.last_mut()
    {
        *last ^= 1;
    }
    let skew = if let Some(Fault::Skew(seconds)) = fault { seconds } else { 0 };
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(skew);
    headers.push(("Last-Modified", now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()));
    let mut head = format!("HTTP/1.1 {status} Told\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        headers.push(("Content-Length", body.len().to_string()));
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if fault == Some(Fault::Cut) {
        body.truncate(body.len() / 2);
    }
    if asked.method == "HEAD" {
        body.clear();
    }
    let mut stream = reader.into_inner();
    let piece = if fault == Some(Fault::Trickle) { PIECE } else { body.len().max(1) };
    let _ = stream.set_read_timeout(Some(PAUSE));
    let mut sent = stream.write_all(format!("{head}\r\n").as_bytes());
    for piece in body.chunks(piece) {
        // A pause, which ends early if nobody listens any more.
        if fault == Some(Fault::Trickle) && stream.read(&mut [0]).is_ok() {
            return;
        }
        sent = sent.and_then(|()| stream.write_all(piece));
    }
}

fn answer(asked: &Asked, state: &mut State, fault: Option<Fault>) -> (u16, Vec<(&'static str, String)>, Vec<u8>) {
    let none = Vec::new;
    let is_known =
        asked.headers.get("authorization").is_some_and(|value| value.contains(&format!("Credential={KEY}/")));
    if !is_known {
        return (403, none(), error("InvalidAccessKeyId", KEY));
    }
    let rest = asked.path.trim_start_matches('/');
    let (bucket, name) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket != BUCKET {
        return (404, none(), error("NoSuchBucket", bucket));
    }
    let has = |key: &str| asked.query.contains_key(key);
    let upload = asked.query.get("uploadId").cloned();
    match (asked.method.as_str(), upload) {
        ("GET", _) if has("list-type") => (200, none(), list(state, &asked.query)),
        ("GET", _) if has("uploads") => {
            let prefix = asked.query.get("prefix").cloned().unwrap_or_default();
            let begun = &state.begun;
            let uploads =
                state.uploads.iter().filter(|(_, (name, _))| name.starts_with(&prefix)).map(|(id, (name, _))| {
                    format!("<Upload><Key>{name}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>")
                });
            let all: String = uploads.collect();
            (
                200,
                none(),
                format!(
                    "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{all}</ListMultipartUploadsResult>"
                )
                .into(),
            )
        }
        ("POST", None) if has("uploads") => {
            state.numbers += 1;
            let id = format!("upload-{}", state.numbers);
            state.uploads.insert(id.clone(), (name.to_owned(), BTreeMap::new()));
            (
                200,
                none(),
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
                    .into(),
            )
        }
        ("PUT", Some(id)) => {
            let number: u32 = asked.query["partNumber"].parse().unwrap();
            match state.uploads.get_mut(&id) {
                Some((_, parts)) => {
                    parts.insert(number, asked.body.clone());
                    (200, vec![("ETag", format!("\"part-{number}\""))], Vec::new())
                }
                None => (404, none(), error("NoSuchUpload", &id)),
            }
        }
        ("POST", Some(id)) => match state.uploads.remove(&id) {
            Some((name, parts)) => {
                state.objects.insert(name, parts.into_values().flatten().collect());
                (
                    200,
                    none(),
                    b"<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>".to_vec(),
                )
            }
            None => (404, none(), error("NoSuchUpload", &id)),
        },
        ("DELETE", Some(id)) => match state.uploads.remove(&id) {
            Some(_) => (204, none(), Vec::new()),
            None => (404, none(), error("NoSuchUpload", &id)),
        },
        ("PUT", None) => {
            let is_conditional = asked.headers.contains_key("if-none-match") && fault != Some(Fault::IgnoreCondition);
            if is_conditional && state.objects.contains_key(name) {
                return (412, none(), error("PreconditionFailed", name));
            }
            state.objects.insert(name.to_owned(), asked.body.clone());
            (200, vec![("ETag", "\"one\"".to_owned())], Vec::new())
        }
        ("GET" | "HEAD", None) => {
            let Some(bytes) = state.objects.get(name) else { return (404, none(), error("NoSuchKey", name)) };
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            let mut headers = vec![("ETag", format!("\"{:x}\"", hasher.finish()))];
            let range = asked.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
            let Some((from, to)) = range else {
                headers.push(("Content-Length", bytes.len().to_string()));
                return (200, headers, bytes.clone());
            };
            let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
            if from >= bytes.len() {
                return (416, none(), error("InvalidRange", name));
            }
            let to = (to + 1).min(bytes.len());
            headers.push(("Content-Range", format!("bytes {from}-{}/{}", to - 1, bytes.len())));
            (206, headers, bytes[from..to].to_vec())
        }
        ("DELETE", None) => {
            state.objects.remove(name);
            (204, none(), Vec::new())
        }
        _ => (400, none(), error("NotKnown", name)),
    }
}

fn list(state: &State, query: &BTreeMap<String, String>) -> Vec<u8> {
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let names = state.objects.iter().filter(|(name, _)| name.starts_with(&prefix));
    let contents: String = names
        .map(|(name, bytes)| {
            let size = bytes.len();
            format!("<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag><Size>{size}</Size></Contents>")
        })
        .collect();
    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>").into()
}

/// As servers do, it repeats who asked.
fn error(code: &str, what: &str) -> Vec<u8> {
    format!("<Error><Code>{code}</Code><Message>{what}</Message><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>").into()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&hex, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
