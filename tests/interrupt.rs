//! What Ctrl-C, and a reader that goes, leave behind.
#![cfg(all(feature = "index", unix))]
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use command::{root, scratch, text};
use serde_json::Value;

/// Copies of one sample.
fn pictures(folder: &Path, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        fs::copy(root().join("assets/samples/tiger.jpg"), folder.join(format!("{i:03}.jpg"))).unwrap();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Stops a command by Ctrl-C as soon as it is under way.
fn interrupted(arguments: &[&str], is_under_way: impl Fn() -> bool) -> (Output, String) {
    let mut child = command::command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !is_under_way() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    (output, said)
}

#[test]
fn a_half_written_file_is_taken_away_and_the_earlier_one_stays() {
    let scratch = scratch("interrupt-embed");
    let (folder, to) = (scratch.join("pictures"), scratch.join("rows.npy"));
    pictures(&folder, 200);
    fs::write(&to, "earlier").unwrap();
    let part = || files(&scratch).iter().any(|file| file.extension().is_some_and(|e| e == "part"));
    let (_, said) = interrupted(&["embed", "image", "-m", "pico", "--batch", "1", text(&folder), "-o", text(&to)], part);
    assert!(said.contains("nothing is written"), "{said}");
    assert_eq!((files(&scratch).len(), fs::read_to_string(&to).unwrap().as_str()), (2, "earlier"));
}

#[test]
fn a_half_written_export_is_taken_away() {
    let scratch = scratch("interrupt-export");
    let (folder, db, to) = (scratch.join("pictures"), scratch.join("index.sqlite"), scratch.join("rows.jsonl"));
    pictures(&folder, 1);
    assert_eq!(command::run(&["index", "-m", "pico", "--quiet", text(&folder), "--db", text(&db)]).code, 0);
    let connection = rusqlite::Connection::open(&db).unwrap();
    // The picture under many names, so that it takes a while.
    let copies = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
        INSERT INTO file SELECT path || i, bytes, modified_ns, picture, error FROM file, n";
    connection.execute_batch(copies).unwrap();
    drop(connection);
    let part = || files(&scratch).iter().any(|file| file.extension().is_some_and(|e| e == "part"));
    let (_, said) = interrupted(&["index", "--db", text(&db), "--export", text(&to)], part);
    assert!(said.contains("no file is written") && !to.exists() && !part(), "{said}");
}

#[test]
fn a_sort_that_is_stopped_says_what_it_moved() {
    let scratch = scratch("interrupt-sort");
    let (folder, into) = (scratch.join("pictures"), scratch.join("sorted"));
    pictures(&folder, 200);
    let tigers = || files(&into.join("tiger")).len();
    let arguments =
        ["sort", "-m", "pico", "--batch", "1", "--apply", "--json", text(&folder), "--into", text(&into), "-l", "tiger", "-l", "car"];
    let (output, said) = interrupted(&arguments, || tigers() > 2);
    assert!(said.contains("stopping after this batch"), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let moved = json["files"].as_array().unwrap().iter().filter(|file| file["to"].is_string()).count();
    assert_eq!((moved, files(&folder).len()), (tigers(), 200 - tigers()));
    assert!((3..200).contains(&moved), "{moved}");
}

#[test]
fn a_reader_that_goes_stops_no_file() {
    let scratch = scratch("interrupt-reader");
    let to = scratch.join("rows.npy");
    let arguments = ["embed", "image", "-m", "pico", "--json", "assets/samples/tiger.jpg", "-o", text(&to)];
    let mut child = command::command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert_eq!((files(&scratch), fs::metadata(&to).unwrap().len() > 128), (vec![to], true));
}
