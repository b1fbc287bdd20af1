//! A server that speaks the API of OpenAI's chat completions, as a test needs it: it counts what it is asked, and replies,
//! refuses or breaks off as it is told.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// An answer to a request: a status with a body, and what it asks to wait for.
pub struct Reply {
    pub status: u16,
    pub body: String,
    pub retry_after: Option<f64>,
    pub after: Duration,
}

/// A request, and the number of those before it.
pub struct Asked {
    pub body: Value,
    pub number: usize,
}

impl Asked {
    /// The text of the first message.
    pub fn text(&self) -> &str {
        self.body["messages"][0]["content"].as_str().unwrap()
    }

    /// The answers as they are shown.
    pub fn answers(&self) -> Vec<String> {
        let fenced: Vec<&str> = self.text().split("<data-").skip(1).collect();
        // The first two stand in the sentence about the lines, and the next is the question.
        let inside =
            |part: &str| part.split_once(">\n").map(|(_, text)| text.split("\n</data-").next().unwrap().to_owned());
        fenced.into_iter().filter_map(inside).skip(1).collect()
    }
}

/// A completion with this text.
pub fn says(text: &str) -> Reply {
    says_as(text, "judge-1")
}

pub fn says_as(text: &str, model: &str) -> Reply {
    let body = json!({
        "model": model,
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 5},
    });
    answers(200, &body.to_string())
}

pub fn answers(status: u16, body: &str) -> Reply {
    Reply { status, body: body.to_owned(), retry_after: None, after: Duration::ZERO }
}

/// The better of two answers, as a judge that looks at them says it: the one with more of the word `good`.
pub fn better(asked: &Asked) -> Reply {
    let worth: Vec<usize> = asked.answers().iter().map(|text| text.matches("good").count()).collect();
    let choice = match worth[0].cmp(&worth[1]) {
        std::cmp::Ordering::Greater => "A",
        std::cmp::Ordering::Less => "B",
        std::cmp::Ordering::Equal => "tie",
    };
    says(&json!({"better": choice}).to_string())
}

/// A server that runs until it is dropped.
pub struct Judge {
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    is_over: AtomicBool,
    requests: AtomicUsize,
    /// The times that each body came.
    bodies: Mutex<BTreeMap<String, usize>>,
    headers: Mutex<Vec<String>>,
}

impl Judge {
    pub fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Judge {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            is_over: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            bodies: Mutex::default(),
            headers: Mutex::default(),
        });
        let (own, reply) = (Arc::clone(&shared), Arc::new(reply));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if own.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let (own, reply) = (Arc::clone(&own), Arc::clone(&reply));
                let Ok(stream) = stream else { continue };
                thread::spawn(move || {
                    let _ = serve(&stream, &own, &*reply);
                });
            }
        });
        Judge { address, shared }
    }

    /// The requests so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The times that each different body came.
    pub fn bodies(&self) -> BTreeMap<String, usize> {
        self.shared.bodies.lock().unwrap().clone()
    }

    /// All lines of headers.
    pub fn headers(&self) -> Vec<String> {
        self.shared.headers.lock().unwrap().clone()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

fn serve(stream: &TcpStream, shared: &Shared, reply: &dyn Fn(&Asked) -> Reply) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut length, mut line) = (0, String::new());
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            shared.headers.lock().unwrap().push(header.to_owned());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let number = shared.requests.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8_lossy(&body).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        *shared.bodies.lock().unwrap().entry(text).or_default() += 1;
        let Reply { status, body, retry_after, after } = reply(&Asked { body, number });
        thread::park_timeout(after);
        let pause = retry_after.map_or(String::new(), |seconds| format!("retry-after: {seconds}\r\n"));
        let place = if (300..400).contains(&status) { "location: http://127.0.0.1:1/\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{pause}{place}content-length: {}\r\n\r\n",
            body.len()
        );
        let mut out = stream;
        out.write_all(head.as_bytes())?;
        out.write_all(body.as_bytes())?;
        out.flush()?;
    }
}
