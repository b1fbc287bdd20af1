//! The guard at the door of a page. On loopback the page belongs to the user who started it; beyond it, to those who hold its token. A name that
//! is not this machine's is refused, since a foreign site may give its own name the address of this machine.

use anyhow::{Context, Result};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The rule that a request is held against.
pub struct Guard {
    pub port: u16,
    /// 256 bits in hex. `None`: only this machine can ask, and its user need not say who it is.
    pub token: Option<String>,
    /// The scope of the invitations that it takes: those of another pipeline are none here.
    pub scope: String,
    /// The policy of the browser, sent with every answer.
    pub policy: String,
}

/// The one who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// The user who serves the page, or who holds its token.
    Owner,
    /// A person who was invited to label for a stage, by their pseudonym.
    Invited { stage: String, person: String },
}

/// The other end of a connection, looked at when it is made: every request of it is asked by the same user.
#[derive(Clone, Copy)]
pub struct Peer {
    pub address: SocketAddr,
    /// Whether it belongs to the user of this process, as far as this machine can tell.
    is_of_this_user: bool,
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Peer {
        let address = *stream.remote_addr();
        // Nobody asks this of other machines.
        let is_of_this_user = !address.ip().is_loopback() || is_of_this_user(address);
        Peer { address, is_of_this_user }
    }
}

/// The header that a page of another site cannot add without asking first.
const MARK: HeaderName = HeaderName::from_static("x-pipeline");

/// The token of the store's pages. It is kept, so that a page that is open goes on after a restart.
pub fn token(root: &Path) -> Result<String> {
    let path = root.join("page-token");
    let known = files::found(files::read(&path, 1024)).with_context(|| format!("read {}", path.display()))?;
    if let Some(known) = known.and_then(|known| String::from_utf8(known).ok()).filter(|known| known.len() == 64) {
        return Ok(known);
    }
    let mut random = [0; 32];
    let drawn = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random));
    drawn.context("draw a token for the page")?;
    let token = hex(&random);
    files::make_directory(root, false).with_context(|| format!("create {}", root.display()))?;
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(root)?;
        std::io::Write::write_all(&mut file, token.as_bytes())?;
        file.persist(&path)?;
        Ok(())
    };
    write().with_context(|| format!("write {}", path.display()))?;
    Ok(token)
}

/// The token of a person who is invited to label for a stage: it opens nothing else. The owner has that of the pages.
pub fn invitation(token: &str, scope: &str, visitor: &Visitor) -> String {
    let Visitor::Invited { stage, person } = visitor else { return token.to_owned() };
    let key = blake3::derive_key("pipeline: invitations to label", token.as_bytes());
    let proof = blake3::keyed_hash(&key, format!("{scope}\n{stage}\n{person}").as_bytes());
    format!("{}.{}.{}", hex(stage.as_bytes()), hex(person.as_bytes()), proof.to_hex())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The text that digits stand for.
fn of_hex(digits: &str) -> Option<String> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>()?).ok()
}

impl Visitor {
    /// The pseudonym of somebody who was invited.
    pub fn invited(&self) -> Option<&str> {
        match self {
            Visitor::Owner => None,
            Visitor::Invited { person, .. } => Some(person),
        }
    }

    fn may_ask(&self, path: &str) -> bool {
        match self {
            Visitor::Owner => true,
            Visitor::Invited { stage, .. } => path == "/favicon.ico" || path.starts_with(&format!("/label/{stage}/")),
        }
    }
}

/// Lets a request through, or answers it with a refusal.
pub async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let answer = match guard.admit(&request) {
        Err(refusal) => *refusal,
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
    };
    guard.with_headers(answer)
}

impl Guard {
    fn admit(&self, request: &Request) -> Result<Visitor, Box<Response>> {
        let refuse = |status: StatusCode, says: &'static str| Err(Box::new((status, says).into_response()));
        let (headers, path) = (request.headers(), request.uri().path());
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.is_own(host) {
            return refuse(StatusCode::FORBIDDEN, "this name is not one of this machine\n");
        }
        let asking = match &self.token {
            Some(token) => {
                // Whoever tries an invitation in their own browser stays the owner there.
                let cookies = ["pipeline", "pipeline-invited"].map(|name| format!("{name}-{}", self.port));
                if let Some(typed) = typed_token(request.uri().query().unwrap_or_default()) {
                    return match self.visitor(&typed, token) {
                        Some(Visitor::Owner) => Err(Box::new(welcome(&cookies[0], &typed, path))),
                        Some(Visitor::Invited { .. }) => Err(Box::new(welcome(&cookies[1], &typed, path))),
                        None => refuse(StatusCode::FORBIDDEN, "this is not a token of the page\n"),
                    };
                }
                let shown = |cookie| cookie_of(headers, cookie).and_then(|shown| self.visitor(&shown, token));
                let Some(asking) = cookies.iter().find_map(|cookie| shown(cookie)) else {
                    return refuse(StatusCode::UNAUTHORIZED, "open the link that you were given: it has a token\n");
                };
                asking
            }
            None => {
                let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| *peer);
                if peer.is_none_or(|peer| !peer.is_of_this_user) {
                    return refuse(StatusCode::FORBIDDEN, "the page belongs to another user of this machine\n");
                }
                Visitor::Owner
            }
        };
        if !asking.may_ask(path) {
            return refuse(StatusCode::FORBIDDEN, "your link opens the page for labels alone\n");
        }
        match *request.method() {
            Method::GET | Method::HEAD => Ok(asking),
            Method::POST => {
                let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
                if origin != format!("http://{host}") || !headers.contains_key(MARK) {
                    return refuse(StatusCode::FORBIDDEN, "only the page itself may ask for this\n");
                }
                Ok(asking)
            }
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "GET and POST are all there is\n"),
        }
    }

    /// The visitor who shows a token.
    fn visitor(&self, shown: &str, token: &str) -> Option<Visitor> {
        if is_same(shown, token) {
            return Some(Visitor::Owner);
        }
        let (stage, rest) = shown.split_once('.')?;
        let (person, _) = rest.split_once('.')?;
        let invited = Visitor::Invited { stage: of_hex(stage)?, person: of_hex(person)? };
        is_same(shown, &invitation(token, &self.scope, &invited)).then_some(invited)
    }

    /// Whether a `Host` is this machine by an address, which no foreign site can stand behind, or by its own name.
    fn is_own(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port),
            _ => (host, "80"),
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let is_address = name.parse::<IpAddr>().is_ok_and(|ip| self.token.is_some() || ip.is_loopback());
        let is_named = || {
            let own = cache::host().to_lowercase();
            let name = name.to_lowercase();
            let is_machine = !own.is_empty() && (name == own || name.strip_suffix(".local") == Some(&own));
            name == "localhost" || (self.token.is_some() && is_machine)
        };
        // A tunnel (`ssh -L`) may have another port at its other end.
        port.parse::<u16>().is_ok() && (is_address || is_named())
    }

    /// Headers that every answer has.
    fn with_headers(&self, mut answer: Response) -> Response {
        let headers = answer.headers_mut();
        let policy = HeaderValue::from_str(&self.policy).expect("a policy is plain text");
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        answer
    }
}

/// Exchanges the token in the address for a cookie, and leads to the same page without it.
fn welcome(cookie: &str, token: &str, path: &str) -> Response {
    let cookie = format!("{cookie}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000");
    (StatusCode::SEE_OTHER, [(LOCATION, path.to_owned()), (SET_COOKIE, cookie)]).into_response()
}

fn typed_token(query: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix("token=")).map(str::to_owned)
}

fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = all.flat_map(|cookies| cookies.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// Compares in a time that does not tell how much is right.
fn is_same(one: &str, other: &str) -> bool {
    let differs = one.bytes().zip(other.bytes()).fold(0, |differs, (one, other)| differs | (one ^ other));
    one.len() == other.len() && differs == 0
}

/// Whether the other end of a connection on this machine belongs to the user of this process, or to root. Where the system
/// has no table, it counts as theirs; an end that is closed already belongs to nobody.
fn is_of_this_user(peer: SocketAddr) -> bool {
    let table = if peer.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let Ok(table) = fs::read_to_string(table) else { return true };
    let wanted = in_table(peer);
    let of_peer = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [local, state, user, inode] = [1, 3, 7, 9].map(|at| fields.get(at).copied());
        let is_open = state? == ESTABLISHED && inode? != "0";
        (local? == wanted && is_open).then(|| user?.parse::<u32>().ok())?
    });
    of_peer.is_some_and(|user| user == 0 || user == rustix::process::geteuid().as_raw())
}

/// The state of a connection that is open, as the table writes it.
const ESTABLISHED: &str = "01";

/// An address as the table writes it: words of 32 bits in the byte order of the machine.
fn in_table(peer: SocketAddr) -> String {
    let bytes = match peer.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes")));
    let address = words.fold(String::new(), |mut text, word| {
        let _ = write!(text, "{word:08X}");
        text
    });
    format!("{address}:{:04X}", peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_of_this_machine_are_its_own() {
        let own = |token: Option<&str>, host: &str| {
            let token = token.map(str::to_owned);
            Guard { port: 80, token, scope: String::new(), policy: String::new() }.is_own(host)
        };
        for host in ["localhost:7421", "127.0.0.1:7421", "127.0.0.1", "[::1]:7421", "[::1]"] {
            assert!(own(None, host) && own(Some(""), host), "{host}");
        }
        for host in ["", "evil.example:7421", "localhost.evil.example", "localhost:x", "10.0.0.1.evil.example:80"] {
            assert!(!own(None, host) && !own(Some(""), host), "{host}");
        }
        assert!(own(Some(""), "10.0.0.1:7421") && !own(None, "10.0.0.1:7421"));
    }

    #[test]
    fn the_other_end_of_a_connection_of_ones_own_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let asking = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = asking.local_addr().unwrap();
        assert!(is_of_this_user(peer));
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        assert!(table.is_empty() || table.contains(&in_table(peer)), "{} in {table}", in_table(peer));
    }
}
