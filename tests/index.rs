//! The index of pictures and the search in it.
#![cfg(feature = "index")]
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use command::{Said, root, run, scratch, text};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Pictures that differ: a coloured square in another place on each.
fn pictures(folder: &Path, count: u32) -> Vec<PathBuf> {
    fs::create_dir_all(folder).unwrap();
    let picture = |i: u32| {
        let path = folder.join(format!("{i:03}.png"));
        draw(&path, i);
        path
    };
    (0..count).map(picture).collect()
}

fn draw(path: &Path, i: u32) {
    let inside = |v: u32, at: u32| (at..at + 20).contains(&v);
    let colour = [(i * 53 % 256) as u8, (i * 101 % 256) as u8, (i * 197 % 256) as u8];
    let pixel = |x, y| image::Rgb(if inside(x, i * 7 % 44) && inside(y, i * 11 % 44) { colour } else { [255; 3] });
    image::RgbImage::from_fn(64, 64, pixel).save(path).unwrap();
}

fn index(folder: &Path, db: &Path) -> Said {
    run(&["index", "-m", "pico", "--quiet", "--json", text(folder), "--db", text(db)])
}

fn counts(said: &Value) -> [u64; 4] {
    ["encoded", "known", "unchanged", "removed"].map(|key| said[key].as_u64().unwrap())
}

/// Every file with its picture's content and embedding.
fn content(db: &Path) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let connection = Connection::open(db).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut all = connection.prepare("SELECT path, hash, embedding FROM file JOIN picture ON picture = id ORDER BY path").unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn only_what_changed_is_encoded() {
    let scratch = scratch("index-changes");
    let (folder, db) = (scratch.join("pictures"), scratch.join("new/index.sqlite"));
    let paths = pictures(&folder, 50);
    assert_eq!(counts(&index(&folder, &db).json()), [50, 0, 0, 0]);
    assert_eq!(counts(&index(&folder, &db).json()), [0, 0, 50, 0]);
    let before = content(&db);

    for (i, path) in paths.iter().enumerate() {
        match i / 10 {
            0 => fs::File::options().append(true).open(path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap(),
            1 => draw(path, 1000 + i as u32),
            2 => fs::rename(path, folder.join(format!("moved-{i}.png"))).unwrap(),
            3 => fs::remove_file(path).unwrap(),
            _ => {}
        }
    }
    // Touched and moved ones are known by their content; the moved are gone from where they were.
    assert_eq!(counts(&index(&folder, &db).json()), [10, 20, 10, 20]);
    let after = content(&db);
    assert_eq!(after.len(), 40);
    let moved = after.iter().find(|(path, ..)| path.ends_with("moved-25.png")).unwrap();
    let old = before.iter().find(|(path, ..)| path.ends_with("025.png")).unwrap();
    assert_eq!((&moved.1, &moved.2), (&old.1, &old.2));

    // The index says what a new one would.
    let fresh = scratch.join("fresh.sqlite");
    index(&folder, &fresh).json();
    assert_eq!(content(&fresh), after);

    let kept = |arguments: &[&str]| run(&[&["index", "--quiet", "--json", text(&folder), "--db", text(&db)], arguments].concat()).json();
    fs::remove_file(&paths[45]).unwrap();
    assert_eq!(counts(&kept(&["--keep-missing"])), [0, 0, 39, 0]);
    assert_eq!(counts(&kept(&[])), [0, 0, 39, 1]);
}

#[test]
fn of_copies_in_one_run_one_is_encoded_and_each_broken_one_says_so() {
    let scratch = scratch("index-copies");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.sqlite"));
    let paths = pictures(&folder, 40);
    for (i, path) in paths.iter().enumerate() {
        fs::copy(path, folder.join(format!("copy-of-{i:03}.png"))).unwrap(); // another batch than its original
        fs::copy(path, folder.join(format!("{i:03}-copy.png"))).unwrap(); // the same
    }
    (0..3).for_each(|i| fs::write(folder.join(format!("broken-{i}.png")), "no picture").unwrap());
    let said = index(&folder, &db).json_whatever_the_code();
    assert_eq!((counts(&said), said["failed"].as_array().unwrap().len()), ([40, 80, 0, 0], 3), "{said}");
    let found = content(&db);
    let of = |name: &str| found.iter().find(|(path, ..)| path.ends_with(name)).map(|(_, hash, row)| (hash, row)).unwrap();
    assert_eq!((found.len(), of("copy-of-007.png")), (120, of("007-copy.png")));
    let again = index(&folder, &db).json();
    assert_eq!((counts(&again), &again["failed_before"]), ([0, 0, 123, 0], &json!(3)));
}

#[test]
fn words_pictures_and_mixes_find_what_compare_scores() {
    let scratch = scratch("index-search");
    let db = scratch.join("index.sqlite");
    let samples = root().join("assets/samples");
    index(&samples, &db).json();
    // The index knows its model.
    let search = |query: &[&str]| run(&[&["search", "--quiet", "--db", text(&db)], query].concat());
    let found = search(&["--json", "a", "tiger"]).json();
    let hits = found["hits"].as_array().unwrap();
    assert_eq!(found["query"], json!([{"weight": 1.0, "query": "a tiger"}]));
    assert!(hits[0]["path"].as_str().unwrap().ends_with("tiger.jpg"), "{found}");
    assert!(hits.windows(2).all(|h| h[0]["score"].as_f64() >= h[1]["score"].as_f64()));
    for hit in hits.iter().take(3) {
        let compared = run(&["compare", "-m", "pico", "--quiet", "--json", hit["path"].as_str().unwrap(), "text:a tiger"]).json();
        let difference = hit["score"].as_f64().unwrap() - compared["cosine"].as_f64().unwrap();
        assert!(difference.abs() < 5e-4, "f16 keeps the score: {difference}");
    }
    let tiger = samples.join("tiger.jpg");
    let by_picture = search(&[text(&tiger), "--top", "1"]);
    assert!(by_picture.out.starts_with("1.0000  ") || by_picture.out.starts_with("0.999"), "{}", by_picture.out);
    let fish = samples.join("fish.jpg");
    let mixed = search(&["--json", "--top", "2", text(&tiger), "+", text(&fish), "-", "0.5*a guitar"]).json();
    assert_eq!(mixed["query"][2], json!({"weight": -0.5, "query": "a guitar"}));
    let pair = mixed["hits"].to_string();
    assert!(pair.contains("tiger.jpg") && pair.contains("fish.jpg"), "{pair}");

    assert_eq!(search(&["a tiger", "--threshold", "0.999"]).out, "nothing found\n");
    let names = search(&["a tiger", "--null", "--top", "2"]).out;
    assert!(names.ends_with('\0') && names.matches('\0').count() == 2 && !names.contains('\n'), "{names:?}");
    let elsewhere = search(&["a tiger", "--path", text(&scratch)]);
    assert_eq!(elsewhere.out, "nothing found\n");
    search(&["tiger", "+"]).fails(2, &["expected words or a picture on both sides"]);
    search(&["gone.png"]).fails(2, &["gone.png: no such file", "text:gone.png"]);
    search(&[text(&scratch)]).fails(2, &["is a folder, expected a picture"]);
}

#[test]
fn what_cannot_be_read_is_remembered_until_it_changes() {
    let scratch = scratch("index-failed");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.sqlite"));
    pictures(&folder, 3);
    fs::write(folder.join("broken.png"), b"no picture").unwrap();
    let said = index(&folder, &db);
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(said.json_whatever_the_code()["failed"].as_array().unwrap().len(), 1);
    let again = index(&folder, &db).json();
    assert_eq!((counts(&again), &again["failed_before"]), ([0, 0, 4, 0], &json!(1)));
    let listed = run(&["index", "--failed", "--db", text(&db)]);
    assert!(listed.out.matches("broken.png: ").count() == 1 && listed.out.lines().count() == 1, "{}", listed.out);
    draw(&folder.join("broken.png"), 7000);
    assert_eq!(counts(&index(&folder, &db).json()), [1, 0, 3, 0]);
    assert_eq!(run(&["index", "--failed", "--db", text(&db)]).out, "");
}

#[test]
fn copies_and_other_sizes_are_found_alike() {
    let scratch = scratch("index-duplicates");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.sqlite"));
    fs::create_dir_all(&folder).unwrap();
    for name in ["tiger.jpg", "fish.jpg", "red-circle.png", "guitar.jpg"] {
        fs::copy(root().join("assets/samples").join(name), folder.join(name)).unwrap();
    }
    fs::copy(folder.join("tiger.jpg"), folder.join("a-copy.jpg")).unwrap();
    let circle = image::open(folder.join("red-circle.png")).unwrap();
    circle.resize(230, 230, image::imageops::FilterType::Triangle).save(folder.join("smaller.png")).unwrap();
    index(&folder, &db).json();
    let duplicates = |arguments: &[&str]| run(&[&["duplicates", "--quiet", "--db", text(&db)], arguments].concat());
    let found = duplicates(&["--json", "--threshold", "0.97"]).json();
    let names = |group: &Value| -> Vec<String> {
        let path = |file: &Value| PathBuf::from(file["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_string();
        group.as_array().unwrap().iter().map(path).collect()
    };
    let groups: Vec<Vec<String>> = found["groups"].as_array().unwrap().iter().map(names).collect();
    assert_eq!(groups, [["a-copy.jpg", "tiger.jpg"], ["red-circle.png", "smaller.png"]], "{found}");
    assert!((found["groups"][0][1]["score"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{found}");
    // As `compare` scores them.
    let both = ["red-circle.png", "smaller.png"].map(|name| text(&folder.join(name)).to_string());
    let compared = run(&["compare", "-m", "pico", "--quiet", "--json", &both[0], &both[1]]).json()["cosine"].as_f64().unwrap();
    assert!((found["groups"][1][1]["score"].as_f64().unwrap() - compared).abs() < 5e-4, "{found}: {compared}");
    let others = duplicates(&["--null", "--threshold", "0.97"]);
    assert_eq!(
        others.out.split_terminator('\0').map(|p| Path::new(p).file_name().unwrap()).collect::<Vec<_>>(),
        ["tiger.jpg", "smaller.png"]
    );
    assert!(duplicates(&["--path", text(&folder.join("none"))]).out.contains("none of 0 pictures are alike"));
    duplicates(&["--threshold", "2"]).fails(2, &["expected a cosine", "found 2"]);
}

#[test]
fn another_model_and_another_database_are_refused() {
    let scratch = scratch("index-refused");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.sqlite"));
    pictures(&folder, 2);
    run(&["search", "a dog", "-m", "pico", "--db", text(&db)]).fails(2, &["no index yet", "clip-wgpu index FOLDER"]);
    index(&folder, &db).json();
    let other = root().join("tests/golden/hf_quick");
    let refused = run(&["search", "--quiet", "-m", text(&other), "--db", text(&db), "a dog"]);
    refused.fails(2, &["was made with pico", "other weights"]);
    // Where nothing has changed, too.
    let refused = run(&["index", "--quiet", "-m", text(&other), "--db", text(&db), text(&folder)]);
    refused.fails(2, &["was made with pico", "other weights"]);
    let empty = scratch.join("empty.sqlite");
    fs::write(&empty, "").unwrap();
    run(&["search", "a dog", "-m", "pico", "--db", text(&empty)]).fails(2, &["no index yet"]);
    assert_eq!(fs::metadata(&empty).unwrap().len(), 0, "who only searches makes none");
    let foreign = scratch.join("foreign.sqlite");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    index(&folder, &foreign).fails(2, &["expected an index of clip-wgpu, found another database"]);
    let text_file = scratch.join("text.sqlite");
    fs::write(&text_file, "this is no database, but it is long enough to be looked at as if it were one".repeat(20)).unwrap();
    index(&folder, &text_file).fails(1, &["not a database"]);
}

/// Killed at any moment, the file is sound, and the run that finishes it gives what an undisturbed one gives.
/// `CLIP_WGPU_KILLS=50` kills as often.
#[test]
fn an_index_that_is_killed_is_finished_by_the_next_run() {
    let scratch = scratch("index-killed");
    let folder = scratch.join("pictures");
    pictures(&folder, 60);
    let whole = scratch.join("whole.sqlite");
    let start = std::time::Instant::now();
    index(&folder, &whole).json();
    let run_ms = start.elapsed().as_millis() as u64;
    let expected = content(&whole);
    let kills: u64 = std::env::var("CLIP_WGPU_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let db = scratch.join("killed.sqlite");
    let mut seen = 0;
    for i in 0..kills {
        if seen == expected.len() {
            // Begun again, without what SQLite keeps beside it.
            for name in ["killed.sqlite", "killed.sqlite-wal", "killed.sqlite-shm"] {
                let _ = fs::remove_file(scratch.join(name)); // it may not be there
            }
        }
        let arguments = ["index", "-m", "pico", "--quiet", "--batch", "2", text(&folder), "--db", text(&db)];
        let mut child = command::command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(run_ms * (i * 7919 % 97 + 1) / 97));
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        if db.exists() && Connection::open(&db).unwrap().prepare("SELECT 1 FROM picture").is_ok() {
            let now = content(&db);
            assert!(now.iter().all(|row| expected.contains(row)), "what is there is right");
            seen = now.len();
        }
    }
    index(&folder, &db).json();
    assert_eq!(content(&db), expected);
}

#[test]
fn patterns_say_which_files_are_meant() {
    let scratch = scratch("index-patterns");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.sqlite"));
    for (name, count) in [("", 3), ("holidays", 4), ("holidays/thumbnails", 5)] {
        pictures(&folder.join(name), count);
    }
    fs::rename(folder.join("holidays/003.png"), folder.join("holidays/003-edited.PNG")).unwrap();
    let index = |more: &[&str]| {
        let said = run(&[&["index", "-m", "pico", "--quiet", "--json", text(&folder), "--db", text(&db)], more].concat());
        (counts(&said.json()), content(&db).len())
    };
    // The first are the same pictures in each folder.
    assert_eq!(index(&["--exclude", "thumbnails", "--exclude", "*-edited.png"]), ([3, 3, 0, 0], 6));
    assert_eq!(index(&["--exclude", "thumbnails"]), ([1, 0, 6, 0], 7));
    assert_eq!(index(&[]), ([1, 4, 7, 0], 12), "and what is no longer left out comes in");
    assert_eq!(index(&["--include", "holidays/**", "--exclude", "thumbnails"]), ([0, 0, 4, 8], 4), "and what is left out now goes");
    run(&["index", "-m", "pico", text(&folder), "--db", text(&db), "--include", "["]).fails(2, &["`[`: expected a pattern"]);
}

#[test]
fn a_page_of_thumbnails_and_only_files_of_late() {
    let scratch = scratch("index-gallery");
    let (folder, db, page) = (scratch.join("it's <here> & there"), scratch.join("index.sqlite"), scratch.join("page.html"));
    for path in pictures(&folder, 5) {
        let days = if path.ends_with("002.png") { 1 } else { 40 };
        let then = std::time::SystemTime::now() - Duration::from_secs(days * 86_400);
        fs::File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
    }
    index(&folder, &db).json();
    let search = |more: &[&str]| run(&[&["search", "--quiet", "--db", text(&db), "a square"], more].concat());
    let hits = |said: &Said| said.out.lines().count();
    assert_eq!(
        (hits(&search(&["--since", "7d"])), hits(&search(&["--since", "3 months"])), hits(&search(&["--since", "2001-01-31"]))),
        (1, 5, 5)
    );
    assert!(search(&["--since", "7d"]).out.trim_end().ends_with("002.png"));
    search(&["--since", "of late"]).fails(2, &["expected a day (2026-01-31) or how long ago", "`of late`"]);

    fs::remove_file(folder.join("004.png")).unwrap();
    assert_eq!(hits(&search(&[&format!("--gallery={}", text(&page))])), 5, "it says them as well");
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<img alt='' src='data:image/jpeg;base64,").count(), 4);
    assert!(html.contains("No such file") && html.contains("5 found"), "one that is gone is said");
    assert!(html.contains("it&#39;s &lt;here&gt; &amp; there/002.png") && !html.contains("<here>"), "{}", &html[..2000]);
    assert!(html.contains("/it%27s%20%3Chere%3E%20%26%20there/002.png"));
}

#[test]
fn queries_are_answered_line_by_line_with_the_model_kept() {
    let scratch = scratch("index-repl");
    let db = scratch.join("index.sqlite");
    index(&root().join("assets/samples"), &db).json();
    let said = command::run_with_input(
        &["search", "--quiet", "--db", text(&db), "--repl", "--json", "--top", "1"],
        b"a tiger\n\ngone.png\n  a guitar + 0.1*a tiger\n",
    );
    assert_eq!(said.code, 1, "{}", said.err);
    let lines: Vec<Value> = said.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let best = |line: &Value| line["hits"][0]["path"].to_string();
    assert!(lines.len() == 3 && best(&lines[0]).contains("tiger.jpg") && best(&lines[2]).contains("guitar.jpg"), "{}", said.out);
    assert_eq!(lines[1]["query"], "gone.png");
    assert!(lines[1]["error"].as_str().unwrap().contains("gone.png: no such file"), "a line for a line: {}", said.out);
    assert!(said.err.contains("gone.png: no such file"), "what is wrong with one is said: {}", said.err);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_after_a_batch_and_the_next_run_goes_on() {
    let scratch = scratch("index-interrupted");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.sqlite"));
    pictures(&folder, 400);
    let arguments = ["index", "-m", "pico", "--batch", "1", text(&folder), "--db", text(&db)];
    let child = command::command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = || {
        db.exists()
            && Connection::open(&db).and_then(|c| c.query_row("SELECT count(*) FROM file", [], |r| r.get(0))).is_ok_and(|n: u32| n > 3)
    };
    while !begun() {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopping after this batch") && said.contains("run it again to go on"), "{said}");
    let before = content(&db).len();
    assert!((4..400).contains(&before), "{before}");
    assert_eq!(counts(&index(&folder, &db).json())[0] as usize, 400 - before, "what was encoded stays");
}

/// Who deletes copies would delete the last one.
#[test]
fn a_copy_of_what_is_gone_or_was_deleted_is_no_copy() {
    let scratch = scratch("index-gone-copy");
    let (disk, db) = (scratch.join("disk"), scratch.join("index.sqlite"));
    for (folder, name) in [("a", "tiger.jpg"), ("b", "tiger.jpg"), ("$RECYCLE.BIN", "guitar.jpg"), ("photos", "guitar.jpg")] {
        fs::create_dir_all(disk.join(folder)).unwrap();
        fs::copy(root().join("assets/samples").join(name), disk.join(folder).join(name)).unwrap();
    }
    assert_eq!(counts(&index(&disk, &db).json()), [2, 1, 0, 0], "what lies in a bin is not looked at");
    let copies = || run(&["duplicates", "--null", "--db", text(&db)]);
    assert_eq!(copies().out.trim_end_matches('\0'), text(&disk.join("b/tiger.jpg")));
    fs::rename(disk.join("a"), scratch.join("elsewhere")).unwrap();
    let said = copies();
    assert!(said.out.is_empty() && said.err.contains("left out 1 pictures that are not there"), "{} {}", said.out, said.err);
}

/// A disk that is not mounted leaves an empty folder; what is really gone can be taken out.
#[test]
fn an_empty_folder_keeps_its_pictures_until_they_are_forgotten() {
    let scratch = scratch("index-unmounted");
    let (disk, db) = (scratch.join("disk"), scratch.join("index.sqlite"));
    pictures(&disk.join("more"), 3);
    index(&disk, &db).json();
    fs::rename(&disk, scratch.join("away")).unwrap();
    fs::create_dir(&disk).unwrap();
    let said = run(&["index", "-m", "pico", "--json", text(&disk), "--db", text(&db)]);
    assert!(said.err.contains("is empty, as where a disk is not mounted: its 3 files stay in the index"), "{}", said.err);
    assert_eq!((counts(&said.json()), content(&db).len()), ([0, 0, 0, 0], 3));
    let forget = |folder: &Path| counts(&run(&["index", "--json", "--forget", text(folder), "--db", text(&db)]).json());
    assert_eq!(forget(&disk.join("mor")), [0, 0, 0, 0]);
    assert_eq!((forget(&disk), content(&db).len()), ([0, 0, 0, 3], 0));
}

/// A drive that is not plugged in, say.
#[test]
fn a_folder_that_is_not_there_keeps_its_pictures() {
    let scratch = scratch("index-unplugged");
    let (home, drive, db) = (scratch.join("home"), scratch.join("drive"), scratch.join("index.sqlite"));
    pictures(&home, 3);
    pictures(&drive.join("more"), 5);
    let index = || run(&["index", "-m", "pico", "--quiet", "--json", text(&home), text(&drive), "--db", text(&db)]);
    assert_eq!(counts(&index().json()), [5, 3, 0, 0]); // the first of them are the same pictures
    fs::rename(&drive, scratch.join("away")).unwrap();
    fs::remove_file(home.join("001.png")).unwrap();
    let said = index();
    assert_eq!((said.code, counts(&said.json_whatever_the_code())), (1, [0, 0, 2, 1]), "{}", said.err);
    assert_eq!(content(&db).len(), 7);
    fs::rename(scratch.join("away"), &drive).unwrap();
    assert_eq!(counts(&index().json()), [0, 0, 7, 0]);
}
