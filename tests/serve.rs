//! The server: what it answers, what it refuses, and that nothing is lost under load or when it stops.
#![cfg(all(feature = "serve", unix))]
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine};
use command::{root, run, scratch, text};
use serde_json::{Value, json};

/// A server that is killed with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(db: &Path, more: &[&str]) -> Self {
        let arguments = [&["serve", "-m", "pico", "--quiet", "--listen", "127.0.0.1:0", "--db", text(db)], more].concat();
        let mut child = command::command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap_or_else(|| panic!("an address: {line}")).to_string();
        Self { child, address }
    }

    /// Of the samples.
    fn of_samples(test: &str, more: &[&str]) -> Self {
        let db = scratch(test).join("index.sqlite");
        run(&["index", "-m", "pico", "--quiet", "assets/samples", "--db", text(&db)]);
        Self::start(&db, more)
    }

    /// The status and the body.
    fn ask(&self, request: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = if headers.contains("host:") { String::new() } else { format!("host: {}\r\n", self.address) };
        write!(stream, "{request} HTTP/1.1\r\n{host}{headers}connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
        let _ = stream.write_all(body); // one that is too large is answered before all of it is read
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // and then the connection is reset
        let end =
            answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{request}: {}", String::from_utf8_lossy(&answer)));
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        assert!(head.contains("\r\ncross-origin-resource-policy: same-origin"), "no page of another site shows it: {head}");
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer[end + 4..].to_vec())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.ask(&format!("POST {path}"), "content-type: application/json\r\n", body.to_string().as_bytes());
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask(&format!("GET {path}"), "", b"");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    fn stop(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

fn base64(path: &str) -> String {
    BASE64_STANDARD.encode(std::fs::read(root().join(path)).unwrap())
}

fn floats(row: &Value) -> Vec<f64> {
    row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn near(a: &Value, b: &Value) -> bool {
    let (a, b) = (floats(a), floats(b));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[test]
fn it_answers_what_the_command_says() {
    let server = Server::of_samples("serve-answers", &[]);
    let (status, found) = server.get("/search?q=a%20tiger&top=3");
    let db = scratch("serve-answers-2").join("index.sqlite");
    run(&["index", "-m", "pico", "--quiet", "assets/samples", "--db", text(&db)]);
    let said = run(&["search", "--quiet", "--json", "--db", text(&db), "a tiger", "--top", "3"]).json();
    assert_eq!((status, &found["hits"]), (200, &said["hits"]));

    let mix = json!({"terms": [{"image": base64("assets/samples/tiger.jpg")}, {"text": "a guitar", "weight": -0.5}], "top": 2});
    let (status, found) = server.post("/search", &mix);
    let said =
        run(&["search", "--quiet", "--json", "--db", text(&db), "assets/samples/tiger.jpg", "-", "0.5*a guitar", "--top", "2"]).json();
    assert_eq!((status, &found["hits"][0]["path"]), (200, &said["hits"][0]["path"]));

    let (status, rows) = server.post("/embed", &json!({"texts": ["a tiger", "x"], "images": [base64("assets/samples/fish.jpg")]}));
    let texts = run(&["embed", "text", "-m", "pico", "--quiet", "--json", "a tiger", "x"]).json();
    let image = run(&["embed", "image", "-m", "pico", "--quiet", "--json", "assets/samples/fish.jpg"]).json();
    assert_eq!(status, 200, "{rows}");
    for i in 0..2 {
        assert!(near(&rows["texts"][i], &texts["embeddings"][i]["embedding"]));
    }
    assert!(near(&rows["images"][0], &image["embeddings"][0]["embedding"]));

    let labels = json!({"image": base64("assets/samples/red-circle.png"), "labels": ["blue square", "red circle"], "templates": ["a photo of a {}"]});
    let (status, ranked) = server.post("/classify", &labels);
    assert_eq!((status, &ranked["labels"][0]["label"]), (200, &json!("red circle")));
    assert!(ranked["labels"][0]["score"].as_f64().unwrap() > 0.9, "{ranked}");

    let path = found["hits"][0]["path"].as_str().unwrap();
    let (status, jpeg) = server.ask(&format!("GET /thumbnail?path={path}"), "", b"");
    assert!(status == 200 && jpeg.starts_with(&[0xff, 0xd8]));
    let (status, page) = server.ask("GET /", "", b"");
    assert!(status == 200 && String::from_utf8_lossy(&page).contains("<title>clip-wgpu"));
    // All that is documented is there.
    let (_, api) = server.get("/openapi.json");
    for (path, methods) in api["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let (status, _) = server.ask(&format!("{} {path}", method.to_uppercase()), "", b"");
            assert!(![404, 405].contains(&status), "{method} {path}: {status}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_and_said() {
    let server = Server::of_samples("serve-refusals", &["--most", "1"]);
    let json_type = "content-type: application/json\r\n";
    let refused = |request: &str, headers: &str, body: &[u8], expected: u16, word: &str| {
        let (status, body) = server.ask(request, headers, body);
        let said = String::from_utf8_lossy(&body).into_owned();
        assert!(status == expected && said.contains(word), "{request}: expected {expected} and `{word}`, found {status} {said}");
    };
    refused("POST /embed", json_type, b"{", 400, "error");
    refused("POST /embed", "", b"{}", 415, "application/json");
    refused("POST /embed", json_type, b"{}", 422, "found neither");
    refused("POST /embed", json_type, br#"{"text": ["x"]}"#, 422, "unknown field");
    refused("POST /embed", json_type, br#"{"images": ["%"]}"#, 422, "image 0: expected a file in base64");
    refused("POST /embed", json_type, br#"{"images": ["AAAA"]}"#, 422, "image 0: ");
    refused("POST /embed", json_type, &vec![b'x'; 3 << 20], 413, "error");
    refused("GET /embed", "", b"", 405, "");
    refused("GET /nothing", "", b"", 404, "/openapi.json");
    refused("GET /search", "", b"", 422, "q");
    refused("GET /search?q=x&top=0", "", b"", 422, "1 to 1000");
    refused("GET /thumbnail?path=/etc/passwd", "", b"", 404, "no picture of the index");
    refused("GET /status", "host: evil.example\r\n", b"", 403, "expected the host localhost");
    let labels: Vec<String> = (0..1001).map(|i| i.to_string()).collect();
    let many = json!({"image": "", "labels": labels}).to_string();
    refused("POST /classify", json_type, many.as_bytes(), 422, "at most 1000 labels");
    assert_eq!(server.get("/status").0, 200, "and it goes on");

    run(&["serve", "-m", "pico", "--listen", "0.0.0.0:0"]).fails(2, &["other machines could search your pictures"]);
    let guarded = Server::of_samples("serve-token", &["--token", "a+b/c="]);
    assert_eq!(guarded.get("/search?q=x").0, 401);
    assert_eq!(guarded.get("/search?q=x&token=a%2Bb%2Fc").0, 401);
    assert_eq!(guarded.get("/search?q=x&token=a%2Bb%2Fc%3D").0, 200);
    assert_eq!(guarded.ask("GET /pictures", "", b"").0, 401);
    assert_eq!(guarded.ask("GET /status", "authorization: Bearer a+b/c=\r\n", b"").0, 200);
}

#[test]
fn requests_that_come_together_are_one_batch_and_each_gets_its_own() {
    let server = Server::of_samples("serve-load", &[]);
    let alone: Vec<Value> = (0..8).map(|i| server.post("/embed", &json!({"texts": [format!("a {i}")]})).1["texts"][0].clone()).collect();
    std::thread::scope(|scope| {
        for (i, alone) in alone.iter().enumerate() {
            let server = &server;
            scope.spawn(move || {
                for _ in 0..25 {
                    let (status, rows) = server.post("/embed", &json!({"texts": [format!("a {i}")]}));
                    assert!(status == 200 && near(&rows["texts"][0], alone), "{status}");
                }
            });
        }
    });
    let (_, status) = server.get("/status");
    let count = |of: &str| status["encoded"][of].as_u64().unwrap();
    assert_eq!((count("requests"), count("items")), (208, 208));
    assert!(count("batches") < 8 + 150, "200 requests from eight at once were {} batches", count("batches") - 8);
}

/// Resident memory in KiB.
#[cfg(target_os = "linux")]
fn resident(server: &Server) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_requests() {
    let server = Server::of_samples("serve-leaks", &[]);
    let round = || {
        let (image, tiger) = (base64("assets/samples/tiger.jpg"), root().join("assets/samples/tiger.jpg"));
        for i in 0..40 {
            assert_eq!(server.post("/search", &json!({"terms": [{"text": format!("a tiger {i}")}, {"image": image}]})).0, 200);
            assert_eq!(server.get(&format!("/thumbnail?path={}", text(&tiger))).0, 200);
            assert_eq!(server.get("/pictures?top=5").0, 200);
            assert_eq!(server.post("/embed", &json!({"images": ["not base64"]})).0, 422);
        }
    };
    round();
    let before = resident(&server);
    (0..4).for_each(|_| round());
    let grown = resident(&server) - before;
    assert!(grown < 8 << 10, "640 requests took {grown} KiB");
}

#[test]
fn an_index_that_cannot_be_read_is_said_and_not_called_none() {
    let db = scratch("serve-other").join("index.sqlite");
    run(&["index", "-m", "pico", "--quiet", "assets/samples", "--db", text(&db)]);
    let server = Server::start(&db, &[]);
    assert_eq!(server.get("/search?q=a%20tiger").0, 200);
    rusqlite::Connection::open(&db).unwrap().execute("UPDATE meta SET value = 'another' WHERE key = 'fingerprint'", []).unwrap();
    let (status, said) = server.get("/search?q=a%20tiger");
    assert!(status == 500 && said["error"].as_str().unwrap().contains("was made with pico"), "{status} {said}");
}

#[test]
fn a_second_signal_ends_it_whatever_is_under_way() {
    let mut server = Server::of_samples("serve-second", &[]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(stream, "POST /embed HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{", server.address)
        .unwrap(); // and no more
    assert_eq!(server.get("/status").0, 200);
    server.stop();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(server.child.try_wait().unwrap().is_none(), "it waits for the request that is not whole");
    server.stop();
    let begun = std::time::Instant::now();
    assert_eq!(server.child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed().as_secs() < 5);
}

#[test]
fn what_was_asked_for_before_a_stop_is_answered() {
    let mut server = Server::of_samples("serve-stop", &[]);
    let texts: Vec<String> = (0..600).map(|i| format!("{i} words and some more of them so that it takes a while")).collect();
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| server.post("/embed", &json!({"texts": texts})).0);
        let asked: Vec<_> = (0..4).map(ask).collect();
        while server.get("/status").1["pictures"].is_null() {}
        std::thread::sleep(std::time::Duration::from_millis(100)); // all four were sent
        server.stop();
        asked.into_iter().map(|a| a.join().unwrap()).collect()
    });
    assert_eq!(answers, [200; 4]);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}
