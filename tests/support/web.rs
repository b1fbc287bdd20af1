//! A browser without a screen: requests to the page of a run, one connection each.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

use crate::program::{Live, Watched};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A page that is served: `127.0.0.1:PORT`.
#[derive(Clone, Debug)]
pub struct Site {
    pub address: String,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Site {
    /// The page that a program says it serves.
    pub fn of(remark: &str) -> Site {
        let at = remark.find("http://").expect(remark);
        let address = remark[at + "http://".len()..].split(['/', ' ', '\n']).next().unwrap();
        Site { address: address.to_owned() }
    }

    pub fn of_run(run: &Live) -> Site {
        Site::of(&run.remarks("live page: "))
    }

    pub fn of_watched(page: &Watched) -> Site {
        Site::of(&page.remarks("live page: "))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    /// A request as the page itself makes it.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let origin = format!("http://{}", self.address);
        let headers = [("Origin", &*origin), ("X-Pipeline", "page"), ("Content-Type", "application/json")];
        self.ask("POST", path, &headers, &body.to_string())
    }

    /// A request with these headers; `Host` is the page's own unless one is given.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.answer(self.connect(), method, path, headers, body)
    }

    fn answer(&self, mut stream: TcpStream, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        self.send(&mut stream, method, path, headers, body);
        let mut text = String::new();
        // A refused body may be answered and closed before it is read.
        let _ = stream.read_to_string(&mut text);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// As [`Site::get`], from a server that may be away, or go away before it has answered.
    pub fn asks(&self, path: &str) -> Option<Answer> {
        self.try_ask("GET", path, &[], "")
    }

    /// As [`Site::post`], to a server that may be away.
    pub fn tries(&self, path: &str, body: &Value) -> Option<Answer> {
        let origin = format!("http://{}", self.address);
        let headers = [("Origin", &*origin), ("X-Pipeline", "page"), ("Content-Type", "application/json")];
        self.try_ask("POST", path, &headers, &body.to_string())
    }

    fn try_ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
        let stream = TcpStream::connect(&self.address).ok()?;
        Some(self.answer(stream, method, path, headers, body))
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    fn send(&self, stream: &mut TcpStream, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text += &format!("Host: {}\r\n", self.address);
        }
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        // A server that has refused by the headers may have closed.
        let _ = stream.write_all(format!("{text}\r\n{body}").as_bytes());
    }

    /// The states that the stream of events tells, each as it comes.
    pub fn events(&self) -> impl Iterator<Item = Value> + use<> {
        let mut stream = self.connect();
        self.send(&mut stream, "GET", "/events", &[], "");
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
    }
}
