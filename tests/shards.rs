//! Pictures in tar archives and lists, shares of them on several machines, and their index as others read it.
#![cfg(feature = "index")]
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use command::{Said, root, run, run_with_input, scratch, text};
use rusqlite::Connection;
use serde_json::Value;

const SAMPLES: [&str; 6] = ["fish.jpg", "guitar.jpg", "red-circle.png", "tiger.jpg", "green-star.jpg", "teapot-and-apple.jpg"];

fn sample(name: &str) -> PathBuf {
    root().join("assets/samples").join(name)
}

/// An archive of files by name, as WebDataset's are.
fn tar(path: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap().sync_all().unwrap();
}

fn index(db: &Path, arguments: &[&str]) -> Said {
    run(&[&["index", "-m", "pico", "--json", "--db", text(db)], arguments].concat())
}

/// Every file with its embedding.
fn content(db: &Path) -> Vec<(String, Vec<u8>)> {
    let connection = Connection::open(db).unwrap();
    let mut all = connection.prepare("SELECT path, embedding FROM file JOIN picture ON picture = id ORDER BY path").unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn number(said: &Value, key: &str) -> u64 {
    said[key].as_u64().unwrap()
}

#[test]
fn pictures_in_archives_are_pictures() {
    let scratch = scratch("shards-tar");
    let (folder, db) = (scratch.join("shards"), scratch.join("index.sqlite"));
    fs::create_dir_all(&folder).unwrap();
    let bytes: Vec<Vec<u8>> = SAMPLES.iter().map(|name| fs::read(sample(name)).unwrap()).collect();
    let long = format!("./{}/fish.jpg", "a long name ".repeat(12));
    let first: Vec<(&str, &[u8])> = vec![
        ("0001.jpg", &bytes[1]),
        ("0001.txt", b"a guitar"),
        ("0002.jpg", &bytes[0]),
        ("._0002.jpg", b"what macOS leaves"),
        ("0002.jpg", &bytes[3]), // the last of a name is meant
        (&long, &bytes[0]),
        ("broken.png", b"no picture"),
    ];
    tar(&folder.join("0.tar"), &first);
    tar(&folder.join("1.tar"), &[("red.png", &bytes[2]), ("x/0001.json", b"{}")]);
    fs::copy(sample("teapot-and-apple.jpg"), folder.join("teapot-and-apple.jpg")).unwrap();

    let said = index(&db, &[text(&folder)]);
    let counts = said.json_whatever_the_code();
    assert_eq!((said.code, number(&counts, "encoded"), counts["failed"].as_array().unwrap().len()), (1, 5, 1), "{counts}");
    assert!(counts["failed"][0]["input"].as_str().unwrap().ends_with("0.tar/broken.png"), "{counts}");
    assert!(said.err.contains("passed over 2 files that are no pictures (1 .json, 1 .txt)"), "{}", said.err);
    assert_eq!(number(&index(&db, &[text(&folder)]).json(), "unchanged"), 6);
    // What is in an archive has the same embedding as the file outside.
    let loose = scratch.join("loose.sqlite");
    index(&loose, &[text(&sample("tiger.jpg"))]).json();
    let tiger = folder.join("0.tar/0002.jpg");
    assert_eq!(content(&db).iter().find(|(path, _)| path == text(&tiger)).unwrap().1, content(&loose)[0].1);
    let found = run(&["search", "--quiet", "--db", text(&db), "a tiger", "--top", "1", "--null"]);
    assert_eq!(found.out, format!("{}\0", text(&tiger)));
    let page = scratch.join("page.html");
    run(&["search", "--quiet", "--db", text(&db), "a tiger", "--top", "1", &format!("--gallery={}", text(&page))]);
    assert!(fs::read_to_string(&page).unwrap().contains("data:image/jpeg;base64,"));
    // Other commands read them, too.
    let compared = run(&["compare", "-m", "pico", "--quiet", "--json", text(&tiger), text(&sample("tiger.jpg"))]).json();
    assert!((compared["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    let classified =
        run(&["classify", "-m", "pico", "--quiet", "--json", text(&folder.join("1.tar")), "-l", "red circle", "-l", "fish"]).json();
    assert_eq!(classified["images"][0]["labels"][0]["label"], "red circle");
    run(&["compare", "-m", "pico", "--quiet", text(&folder.join("1.tar/gone.png")), "a fish"]).fails(2, &["gone.png: no such file"]);

    // Patterns see members as files of a folder.
    let some = scratch.join("some.sqlite");
    index(&some, &[text(&folder), "--include", "*.png", "--exclude", "0.tar"]).json();
    assert_eq!(content(&some).iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), [text(&folder.join("1.tar/red.png"))]);

    // An archive that was written again, one that is cut, one that is gone.
    tar(&folder.join("0.tar"), &first[..1]);
    let again = index(&db, &[text(&folder)]).json();
    assert_eq!((number(&again, "encoded"), number(&again, "known"), number(&again, "removed")), (0, 1, 3), "{again}");
    let whole = fs::read(folder.join("1.tar")).unwrap();
    for length in [3, 700, whole.len() / 2] {
        fs::write(folder.join("1.tar"), &whole[..length]).unwrap();
        let cut = index(&db, &[text(&folder)]);
        assert!(cut.code == 1 && cut.out.contains("1.tar") && cut.out.contains("expected a tar archive"), "{length}: {}", cut.out);
        assert_eq!(content(&db).len(), 3, "what cannot be looked into now stays");
        // A machine with another share does not judge it.
        ["1/2", "2/2"].iter().for_each(|share| drop(index(&db, &[text(&folder), "--shard", share])));
        assert_eq!(content(&db).len(), 3);
    }
    fs::remove_file(folder.join("1.tar")).unwrap();
    assert_eq!(number(&index(&db, &[text(&folder)]).json(), "removed"), 1);
}

#[test]
fn shares_of_several_machines_make_the_whole() {
    let scratch = scratch("shards-shares");
    let samples = root().join("assets/samples");
    let whole = scratch.join("whole.sqlite");
    index(&whole, &[text(&samples)]).json();
    let mut paths = BTreeSet::new();
    let shares: Vec<PathBuf> = (1..=3).map(|i| scratch.join(format!("share-{i}.sqlite"))).collect();
    for (i, db) in shares.iter().enumerate() {
        index(db, &[text(&samples), "--shard", &format!("{}/3", i + 1)]).json();
        content(db).into_iter().for_each(|(path, _)| assert!(paths.insert(path), "in one share only"));
        // The others' files do not leave an index that has them.
        assert_eq!(number(&index(&whole, &[text(&samples), "--shard", &format!("{}/3", i + 1)]).json(), "removed"), 0);
    }
    let merged = scratch.join("merged.sqlite");
    let said = index(&merged, &[&["--merge"], &shares.iter().map(|db| text(db)).collect::<Vec<_>>()[..]].concat()).json();
    assert_eq!(number(&said, "merged") as usize, paths.len());
    assert_eq!(content(&merged), content(&whole));
    assert_eq!(number(&index(&merged, &[text(&samples)]).json(), "encoded"), 0);
    let other = scratch.join("other.sqlite");
    run(&["index", "-m", "tests/golden/hf_quick", "--quiet", text(&sample("fish.jpg")), "--db", text(&other)]);
    run(&["index", "--quiet", "--db", text(&merged), "--merge", text(&other)]).fails(2, &["merged.sqlite: was made with pico"]);
    let new = scratch.join("new.sqlite");
    run(&["index", "--db", text(&new), "--merge", text(&scratch.join("none.sqlite"))]).fails(2, &["none.sqlite: no index yet"]);
    assert!(!new.exists(), "nothing is made where nothing could be taken in");
    run(&["index", "--shard", "4/3", "."]).fails_with_usage("expected which share of how many");

    // A list of paths, from a file or from standard input.
    let listed = scratch.join("listed.sqlite");
    let list = format!("{}\r\n{}\n\n", text(&sample("fish.jpg")), text(&sample("tiger.jpg")));
    let said = run_with_input(&["index", "-m", "pico", "--quiet", "--json", "--db", text(&listed), "--paths-file", "-"], list.as_bytes());
    assert_eq!(number(&said.json(), "encoded"), 2);
    assert_eq!(content(&listed).len(), 2);

    // What is exported is what the index has.
    let lines = scratch.join("all.jsonl");
    let said = index(&merged, &["--export", text(&lines)]).json();
    assert_eq!(number(&said, "exported") as usize, paths.len());
    let said = run(&["index", "--db", text(&merged), "--export", text(&lines)]);
    assert!(
        said.out.lines().count() == 1 && said.out.contains(&format!(": {} rows", paths.len())),
        "only what was asked for is told: {}",
        said.out
    );
    assert_eq!(fs::read_to_string(&lines).unwrap().lines().count(), paths.len());
    for (line, (path, embedding)) in fs::read_to_string(&lines).unwrap().lines().zip(content(&merged)) {
        let row: Value = serde_json::from_str(line).unwrap();
        let halves = embedding.chunks(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f64());
        assert_eq!(row["input"], path.as_str());
        assert_eq!(row["embedding"].as_array().unwrap().len(), 128);
        assert!(row["embedding"].as_array().unwrap().iter().zip(halves).all(|(a, b)| a.as_f64() == Some(b)));
    }
    run(&["index", "--db", text(&merged), "--export", "all.csv"]).fails(2, &["expected a name that ends in .npy"]);
    // A share may be empty; what is gone stays where nothing is left, which may be a disk that is not mounted, until it is forgotten.
    let one = scratch.join("one/fish.jpg");
    fs::create_dir_all(one.parent().unwrap()).unwrap();
    fs::copy(sample("fish.jpg"), &one).unwrap();
    let db = scratch.join("one.sqlite");
    let encoded: u64 =
        (1..=5).map(|i| number(&index(&db, &[text(&scratch.join("one")), "--shard", &format!("{i}/5")]).json(), "encoded")).sum();
    assert_eq!(encoded, 1);
    fs::remove_file(&one).unwrap();
    assert_eq!(number(&index(&db, &[text(&scratch.join("one"))]).json(), "removed"), 0);
    assert_eq!(number(&index(&db, &["--forget", text(&scratch.join("one"))]).json(), "removed"), 1);
    index(&scratch.join("new.sqlite"), &[text(&scratch.join("one"))]).fails(2, &["found none in what was given"]);
    run(&["index", "--db", text(&scratch.join("none.sqlite")), "--export", text(&lines)]).fails(2, &["no index yet"]);
}
