//! Files by more than one name, by names in no Unicode, and files and indexes that cannot be opened as ever.
#![cfg(all(feature = "index", unix))]
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use command::{Said, command, root, run, scratch, text};
use rusqlite::Connection;

fn sample(name: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(root().join("assets/samples").join(name), to).unwrap();
}

fn index(folder: &Path, db: &Path) -> Said {
    run(&["index", text(folder), "--quiet", "--json", "-m", "pico", "--db", text(db)])
}

/// What a command prints, in bytes.
fn bytes_of(arguments: &[&str]) -> Vec<u8> {
    let output = command(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Whoever removes what `--null` prints keeps one of each picture.
#[test]
fn a_file_is_no_copy_of_itself_by_another_name() {
    let scratch = scratch("names-copies");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.db"));
    sample("red-circle.png", &folder.join("real.png"));
    symlink("real.png", folder.join("a link.png")).unwrap();
    symlink("pictures", scratch.join("a way")).unwrap();
    assert_eq!(index(&folder, &db).code, 0);
    assert_eq!(index(&scratch.join("a way"), &db).code, 0);
    let names: u32 = Connection::open(&db).unwrap().query_row("SELECT count(*) FROM file", [], |row| row.get(0)).unwrap();
    assert_eq!(names, 4, "two of the file, by two ways to the folder");
    let duplicates = |arguments: &[&str]| run(&[&["duplicates", "--quiet", "--db", text(&db)], arguments].concat()).out;
    assert_eq!(duplicates(&["--null"]), "");
    sample("red-circle.png", &folder.join("copy.png"));
    assert_eq!(index(&folder, &db).code, 0);
    assert_eq!(duplicates(&["--null"]).matches(".png").count(), 1);
}

#[test]
fn dots_in_a_path_lead_to_the_same_names() {
    let scratch = scratch("names-dots").canonicalize().unwrap();
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.db"));
    sample("tiger.jpg", &folder.join("tiger.jpg"));
    assert_eq!(index(&folder, &db).json()["encoded"], 1);
    let dotted = scratch.join("pictures/../pictures/.");
    assert_eq!(index(&dotted, &db).json()["unchanged"], 1);
    let found = run(&["search", "--quiet", "--db", text(&db), "a tiger", "--path", text(&dotted)]);
    assert!(found.out.ends_with(&format!("{}\n", folder.join("tiger.jpg").display())), "{}", found.out);
    assert_eq!(found.out.lines().count(), 1);
}

/// macOS has no such names.
#[cfg(target_os = "linux")]
#[test]
fn names_in_no_unicode_go_through_whole() {
    let scratch = scratch("names-bytes");
    let (folder, db, page) = (scratch.join("pictures"), scratch.join("index.db"), scratch.join("page.html"));
    let name = OsStr::from_bytes(b"tiger \xff.jpg");
    sample("tiger.jpg", &folder.join(name));
    fs::write(&page, "").unwrap();
    fs::set_permissions(&page, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(index(&folder, &db).json()["encoded"], 1);
    let search = ["search", "--quiet", "--db", text(&db), "a tiger"];
    let path = folder.join(name);
    let found = bytes_of(&[&search[..], &["--null"]].concat());
    assert_eq!(found, [path.as_os_str().as_bytes(), b"\0"].concat());
    bytes_of(&[&search[..], &[&format!("--gallery={}", page.display())]].concat());
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("src='data:image/jpeg;base64,") && html.contains("/tiger%20%FF.jpg'"), "{}", &html[..2000]);
    assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o600, "whoever could not read it still cannot");
    assert_eq!(index(&folder, &db).json()["unchanged"], 1);

    let into = scratch.join("sorted");
    let sort = ["sort", "-m", "pico", "--quiet", text(&folder), "--into", text(&into), "-l", "tiger", "--apply"];
    bytes_of(&[&sort[..], &["--copy"]].concat());
    assert!(into.join("tiger").join(name).is_file());
    // Again: it is there.
    bytes_of(&[&sort[..], &["--copy"]].concat());
    assert_eq!(fs::read_dir(into.join("tiger")).unwrap().count(), 1);
    bytes_of(&sort);
    assert!(into.join("tiger").join(OsStr::from_bytes(b"tiger \xff-2.jpg")).is_file());
}

/// Reading a process's memory from its start on fails whoever reads, root as well.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_read_is_tried_again() {
    let scratch = scratch("names-unread");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.db"));
    sample("tiger.jpg", &folder.join("tiger.jpg"));
    symlink("/proc/self/mem", folder.join("unread.png")).unwrap();
    for encoded in [1, 0] {
        let said = index(&folder, &db);
        assert!(said.code == 1 && said.err.contains("unread.png: "), "{}", said.err);
        let json = said.json_whatever_the_code();
        assert_eq!((&json["encoded"], json["failed"].as_array().unwrap().len()), (&encoded.into(), 1));
    }
    assert_eq!(run(&["index", "--failed", "--db", text(&db)]).out, "", "it may be a picture");
}

/// A link to itself where SQLite's file beside an index would be: as on a disk that is read only it cannot be made.
#[test]
fn an_index_where_nothing_can_be_written_is_searched() {
    let scratch = scratch("names-fixed");
    let (folder, db) = (scratch.join("pictures"), scratch.join("100 % of it?.db"));
    sample("tiger.jpg", &folder.join("tiger.jpg"));
    assert_eq!(index(&folder, &db).json()["encoded"], 1);
    symlink("100 % of it?.db-shm", scratch.join("100 % of it?.db-shm")).unwrap();
    let search = || run(&["search", "--quiet", "--db", text(&db), "a tiger"]);
    assert!(search().out.contains("tiger.jpg"), "{}", search().err);
    let other = scratch.join("merged.db");
    assert_eq!(run(&["index", "--db", text(&other), "--json", "--merge", text(&db)]).json()["merged"], 1);
    assert_eq!(index(&folder, &db).code, 1, "but it is not refreshed");
    // What was not closed is not read without its last changes.
    fs::write(scratch.join("100 % of it?.db-wal"), "something").unwrap();
    search().fails(2, &["was not closed", "-wal"]);
}
