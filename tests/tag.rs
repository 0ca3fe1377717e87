//! Labels beside pictures, and pictures in the folders of their labels.
#![cfg(feature = "index")]
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::fs;
use std::path::{Path, PathBuf};

use command::{Said, root, run, scratch, text};

const LABELS: [&str; 10] = ["-l", "tiger", "-l", "red circle", "-l", "blue square", "-l", "R&D <x>", "-l", "a/b: heart"];

/// A folder with copies of some samples.
fn pictures(test: &str) -> PathBuf {
    let folder = scratch(test).join("pictures");
    fs::create_dir_all(folder.join("more")).unwrap();
    for (name, to) in
        [("tiger.jpg", "tiger.jpg"), ("red-circle.png", "more/red.png"), ("fish.jpg", "fish.jpg"), ("tiger.jpg", "more/tiger.jpg")]
    {
        fs::copy(root().join("assets/samples").join(name), folder.join(to)).unwrap();
    }
    folder
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn tag(folder: &Path, more: &[&str]) -> Said {
    run(&[&["tag", "-m", "pico", "--quiet", text(folder)], &LABELS[..], more].concat())
}

fn sort(folder: &Path, into: &Path, more: &[&str]) -> Said {
    run(&[&["sort", "-m", "pico", "--quiet", text(folder), "--into", text(into)], &LABELS[..], more].concat())
}

/// Every file under a folder, by its path from there.
fn files(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => all.push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/")),
            }
        }
    }
    all.sort();
    all
}

#[test]
fn labels_are_written_beside_the_pictures() {
    let folder = pictures("tag");
    let said = tag(&folder, &[]);
    assert!(
        said.code == 0 && said.out.contains("fish.jpg: none of these\n") && said.out.contains("more/red.png: red circle\n"),
        "{}",
        said.out
    );
    assert_eq!(files(&folder).len(), 4, "nothing is written unasked");

    let theirs = folder.join("tiger.jpg.xmp");
    fs::write(&theirs, "<x:xmpmeta x:xmptk=\"XMP Core 4.4.0\"/>").unwrap();
    let said = tag(&folder, &["--sidecar", "--json"]);
    assert_eq!(said.code, 1, "{}", said.err);
    let json = said.json_whatever_the_code();
    assert_eq!(json["images"].as_array().unwrap().len(), 4);
    assert!(json["failed"].to_string().contains("was made by another program"), "{json}");
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "<x:xmpmeta x:xmptk=\"XMP Core 4.4.0\"/>");
    assert_eq!(
        files(&folder),
        ["fish.jpg", "more/red.png", "more/red.png.xmp", "more/tiger.jpg", "more/tiger.jpg.xmp", "tiger.jpg", "tiger.jpg.xmp"]
    );
    let xmp = fs::read_to_string(folder.join("more/red.png.xmp")).unwrap();
    assert!(
        xmp.starts_with("<?xpacket begin=\"\u{feff}\"")
            && xmp.contains("<dc:subject><rdf:Bag><rdf:li>red circle</rdf:li></rdf:Bag></dc:subject>"),
        "{xmp}"
    );

    // Everything fits: markup is escaped. Nothing fits: ours go.
    fs::remove_file(&theirs).unwrap();
    assert_eq!(tag(&folder, &["--sidecar", "--least", "-99", "--top", "9"]).code, 0);
    assert!(fs::read_to_string(&theirs).unwrap().contains("<rdf:li>R&amp;D &lt;x&gt;</rdf:li>"));
    assert_eq!(tag(&folder, &["--sidecar", "--least", "99"]).code, 0);
    assert_eq!(files(&folder).len(), 4);
    run(&["tag", "-m", "pico", text(&folder)]).fails(2, &["expected labels"]);
}

#[test]
fn pictures_are_sorted_only_when_asked_and_nothing_is_written_over() {
    let folder = pictures("sort");
    let into = folder.parent().unwrap().join("sorted");
    fs::write(folder.join("more/red.png.xmp"), "<x/>").unwrap();
    let before = files(&folder);
    let said = run(&[&["sort", "-m", "pico", text(&folder), "--into", text(&into)], &LABELS[..]].concat());
    assert!(said.out.contains("tiger.jpg -> ") && said.out.ends_with("1 none of these, 1 red circle, 2 tiger\n"), "{}", said.out);
    assert!(said.err.contains("nothing was done yet: add --apply"), "{}", said.err);
    assert!(files(&folder) == before && !into.exists());

    let copied = sort(&folder, &into, &["--apply", "--copy", "--json"]).json();
    assert_eq!(copied["counts"]["tiger"], 2);
    let sorted = ["red circle/red.png", "red circle/red.png.xmp", "tiger/tiger-2.jpg", "tiger/tiger.jpg"];
    assert!(files(&folder) == before && files(&into) == sorted, "{:?}", files(&into));

    let moved = sort(&folder, &into, &["--apply"]);
    assert_eq!(moved.code, 0, "{}", moved.err);
    assert_eq!(files(&folder), ["fish.jpg"]);
    assert_eq!(files(&into).len(), 8, "{:?}", files(&into));
    // What is where it belongs stays there.
    let there = files(&into);
    let again = sort(&into, &into, &["--apply"]);
    assert_eq!((again.code, again.out.lines().count(), files(&into)), (0, 1, there), "{}", again.out);
    // A label is a folder's name on every system.
    let fish = text(&folder.join("fish.jpg")).to_string();
    let to = |more: &[&str]| {
        run(&[&["sort", "-m", "pico", "--quiet", "--into", text(&into), "--least", "-99", "--apply", &fish], more].concat())
    };
    to(&["-l", "a/b: fish", "--copy"]);
    assert!(files(&into).contains(&"a-b- fish/fish.jpg".to_string()), "{:?}", files(&into));
    // Another's sidecar, or a link that leads nowhere, has the name: the picture takes another.
    fs::create_dir_all(into.join("x")).unwrap();
    fs::write(into.join("x/fish.jpg.xmp"), "theirs").unwrap();
    to(&["-l", "x", "--copy"]);
    assert!(into.join("x/fish-2.jpg").is_file() && !into.join("x/fish-2.jpg.xmp").exists());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere.jpg", into.join("x/fish-3.jpg")).unwrap();
        fs::remove_file(into.join("x/fish-2.jpg")).unwrap();
        std::os::unix::fs::symlink("nowhere.jpg", into.join("x/fish-2.jpg")).unwrap();
        to(&["-l", "x", "--copy"]);
        assert!(into.join("x/fish-4.jpg").is_file() && !into.join("x/nowhere.jpg").exists());
        // What was copied is not copied again.
        to(&["-l", "x", "--copy"]);
        assert!(!is_there(&into.join("x/fish-5.jpg")));
        fs::remove_file(into.join("x/fish-4.jpg")).unwrap();
        // A link is named, and hides not what it leads to, though it comes first.
        let link = folder.join("a-link.jpg");
        std::os::unix::fs::symlink("fish.jpg", &link).unwrap();
        let said = run(&[
            "sort",
            "-m",
            "pico",
            "--quiet",
            "--copy",
            text(&link),
            &fish,
            "--into",
            text(&into),
            "-l",
            "x",
            "--least",
            "-99",
            "--apply",
        ]);
        assert!(said.code == 1 && said.err.contains("a-link.jpg: is a link") && link.is_symlink(), "{}", said.err);
        assert!(said.out.contains("fish.jpg -> ") && into.join("x/fish-4.jpg").is_file(), "{}", said.out);
    }
    // A move keeps the time, and dots in a path lead to the same place.
    let before = fs::metadata(&fish).unwrap().modified().unwrap();
    to(&["-l", "moved"]);
    assert_eq!(fs::metadata(into.join("moved/fish.jpg")).unwrap().modified().unwrap(), before);
    let dotted = into.join("moved/../moved/fish.jpg");
    let said = run(&["sort", "-m", "pico", "--quiet", text(&dotted), "--into", text(&into), "-l", "moved", "--least", "-99", "--apply"]);
    assert_eq!((said.code, files(&into.join("moved"))), (0, vec!["fish.jpg".to_string()]), "{}", said.err);
    run(&["sort", "-m", "pico", "-", "--into", text(&into), "-l", "x"]).fails(2, &["expected files, found `-`"]);
    let said = run(&["sort", "-m", "pico", "--json", "nowhere.jpg", "--into", text(&into), "-l", "x"]);
    said.fails(1, &["nowhere.jpg"]);
}
