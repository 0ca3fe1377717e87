//! A server on loopback that speaks the Hub's protocol, with faults to order.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What the server does wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// Closes the connection after this share of a weight file, so many times.
    Cut { share: f64, times: usize },
    /// Sends one wrong byte of each weight file, once.
    Corrupt,
    /// Answers every request with this status.
    Status(u16),
    /// Pieces of so many bytes, and a pause after each.
    Slow { bytes: usize, pause: Duration },
    /// Takes no ranges: sends all of a file whatever is asked.
    Whole { cut_first: bool },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub path: String,
    pub host: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

/// A repository `owner/model` at revision `COMMIT`.
pub struct Server {
    pub port: u16,
    pub requests: Arc<Mutex<Vec<Request>>>,
    pub fault: Arc<Mutex<Fault>>,
}

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn git_hash(bytes: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

impl Server {
    /// Serves `files`; weights are kept in LFS, as on the Hub.
    pub fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), requests: Arc::default(), fault: Arc::default() };
        let (requests, fault, files, port) = (server.requests.clone(), server.fault.clone(), Arc::new(files), server.port);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, fault, files) = (requests.clone(), fault.clone(), files.clone());
                std::thread::spawn(move || drop(answer(stream, &files, &requests, &fault, port)));
            }
        });
        server
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|r| r.path.clone()).collect()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    requests: &Mutex<Vec<Request>>,
    fault: &Mutex<Fault>,
    port: u16,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().unwrap_or(Ok(String::new()))?.split(' ').nth(1).unwrap_or_default().to_string();
    let headers: Vec<(String, String)> = lines
        .map_while(|l| l.ok().filter(|l| !l.is_empty()))
        .filter_map(|l| l.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_string())))
        .collect();
    let header = |name: &str| headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let request =
        Request { path: path.clone(), host: header("host").unwrap_or_default(), range: header("range"), token: header("authorization") };
    requests.lock().unwrap().push(request.clone());

    if let Fault::Status(status) = *fault.lock().unwrap() {
        return write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    // A repository of another name by now: the Hub says where it is.
    let renamed = path.strip_prefix("/api/models/former/name/").map(|rest| format!("/api/models/owner/model/{rest}"));
    if let Some(location) = renamed.or_else(|| path.strip_prefix("/former/name/").map(|rest| format!("/owner/model/{rest}"))) {
        return write!(stream, "HTTP/1.1 307 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let revision = path.strip_prefix("/api/models/owner/model/revision/");
    if revision.is_some_and(|of| of.starts_with("main?") || of.starts_with(&format!("{COMMIT}?"))) {
        let body = listing(files);
        return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }
    if let Some(name) = path.strip_prefix(&format!("/owner/model/resolve/{COMMIT}/")) {
        if is_weights(name) {
            // As the Hub does: large files come from another host.
            let location = format!("http://localhost:{port}/cdn/{name}");
            return write!(stream, "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        if let Some(bytes) = files.get(name) {
            return send(&mut stream, bytes, None, fault, false);
        }
    }
    if let Some(bytes) = path.strip_prefix("/cdn/").and_then(|name| files.get(name)) {
        let from = request.range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        return send(&mut stream, bytes, from, fault, true);
    }
    write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn listing(files: &BTreeMap<String, Vec<u8>>) -> String {
    let sibling = |(name, bytes): (&String, &Vec<u8>)| {
        let lfs = if is_weights(name) {
            format!(r#", "lfs": {{"sha256": "{}", "size": {}, "pointerSize": 134}}"#, sha256(bytes), bytes.len())
        } else {
            String::new()
        };
        format!(r#"{{"rfilename": "{name}", "size": {}, "blobId": "{}"{lfs}}}"#, bytes.len(), git_hash(bytes))
    };
    format!(r#"{{"id": "owner/model", "sha": "{COMMIT}", "siblings": [{}]}}"#, files.iter().map(sibling).collect::<Vec<_>>().join(", "))
}

fn send(stream: &mut TcpStream, bytes: &[u8], from: Option<usize>, fault: &Mutex<Fault>, weights: bool) -> std::io::Result<()> {
    let now = fault.lock().unwrap().clone();
    let from = if matches!(now, Fault::Whole { .. }) { None } else { from };
    let mut part = bytes[from.unwrap_or(0)..].to_vec();
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", part.len())?;
    match now {
        Fault::Cut { share, times } if weights && times > 0 => {
            *fault.lock().unwrap() = Fault::Cut { share, times: times - 1 };
            return stream.write_all(&part[..(part.len() as f64 * share) as usize]);
        }
        Fault::Whole { cut_first: true } if weights => {
            *fault.lock().unwrap() = Fault::Whole { cut_first: false };
            return stream.write_all(&part[..part.len() / 2]);
        }
        Fault::Corrupt if weights => {
            *fault.lock().unwrap() = Fault::None;
            let middle = part.len() / 2;
            part[middle] ^= 1;
        }
        Fault::Slow { bytes, pause } if weights => {
            for piece in part.chunks(bytes) {
                stream.write_all(piece)?;
                stream.flush()?;
                std::thread::sleep(pause);
            }
            return Ok(());
        }
        _ => {}
    }
    stream.write_all(&part)
}
