//! What real files do: each test is a kind of fault that people met elsewhere, by inputs of several shapes.
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "../common/command.rs"]
mod command;
mod models;
mod outputs;
mod pictures;
mod saved;

use std::path::{Path, PathBuf};

use command::{root, run, run_with_input, scratch, text};
use serde_json::{Value, json};

const RED: &str = "assets/samples/red-circle.png";
const STAR: &str = "assets/samples/green-star.jpg";

fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap()
}

/// A file of `folder`, as an argument.
fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    text(&path).into()
}

/// A copy of a golden model, whose files a test changes.
fn model(test: &str) -> PathBuf {
    let folder = scratch(test);
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(root().join("tests/golden/hf_gelu").join(name), folder.join(name)).unwrap();
    }
    folder
}

/// The embeddings of a command that prints JSON, with the inputs' names.
fn embeddings(said: &Value) -> Vec<(String, Vec<f64>)> {
    let rows = said["embeddings"].as_array().unwrap().iter();
    rows.map(|r| (r["input"].as_str().unwrap().into(), r["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()))
        .collect()
}

fn embed_images(paths: &[&str]) -> command::Said {
    run(&[&["embed", "image", "-m", "pico", "--json"], paths].concat())
}

// O1, O6, O7: lists and captions as editors save them.

#[test]
fn label_files_with_marks_line_ends_blank_lines_and_other_encodings() {
    let folder = scratch("labels");
    let labels = ["red circle", "blue square", "green star"];
    let utf16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "\u{feff}red circle\r\nblue square\r\ngreen star".encode_utf16().flat_map(order).collect()
    };
    let files = [
        put(&folder, "plain.txt", labels.join("\n")),
        put(&folder, "bom-crlf.txt", format!("\u{feff}{}\r\n", labels.join("\r\n"))),
        put(&folder, "blank.txt", format!("\n{}\n\n\n", labels.join("\n\n"))),
        put(&folder, "utf16-le.txt", utf16(u16::to_le_bytes)),
        put(&folder, "utf16-be.txt", utf16(u16::to_be_bytes)),
    ];
    let said = files.map(|file| run(&["classify", "-m", "pico", RED, "--labels-file", &file, "--json", "--top", "9"]));
    let images: Vec<Value> = said.iter().map(|s| s.json()["images"].clone()).collect();
    assert!(images.iter().all(|i| *i == images[0]), "{images:#?}");
    assert!(said[2].err.contains("left out 5 blank lines of the labels"), "{}", said[2].err);
}

#[test]
fn captions_are_a_row_a_line_and_a_bad_one_leaves_the_others() {
    let folder = scratch("captions");
    let blank = put(&folder, "blank.txt", "a red circle\n\na blue square\r\n\r\na star\n");
    let rows = embeddings(&run(&["embed", "text", "-m", "pico", "--texts-file", &blank, "--json"]).json());
    assert_eq!(rows.iter().map(|r| r.0.as_str()).collect::<Vec<_>>(), ["a red circle", "", "a blue square", "", "a star"]);
    assert_eq!(rows[1].1, embeddings(&run(&["embed", "text", "-m", "pico", "", "--json"]).json())[0].1);

    let (bad, out) = (put(&folder, "bad.txt", b"a star\na caf\xe9\na ring\n"), folder.join("e.npy"));
    let said = run(&["embed", "text", "-q", "-m", "pico", "--texts-file", &bad, "--json", "-o", text(&out)]);
    let document = said.json_whatever_the_code();
    assert_eq!((said.code, &document["written"]["rows"]), (1, &json!(2)));
    assert!(said.err.contains("bad.txt: line 2 is not valid UTF-8"), "{}", said.err);
    assert!(std::fs::read(out).unwrap().starts_with(b"\x93NUMPY"));

    let long = put(&folder, "long.txt", format!("a star\n{}\n", "red circle ".repeat(200)));
    let said = run(&["embed", "text", "-q", "-m", "pico", "--texts-file", &long, "--strict"]);
    assert_eq!((said.code, said.out.lines().count()), (1, 1));
    assert!(said.err.contains("long.txt: line 2 has 402 tokens") && said.err.len() < 200, "{}", said.err);
    let cut = run_with_input(&["embed", "text", "-m", "pico", "--texts-file", "-"], b"\xef\xbb\xbfa star");
    assert!(cut.out.contains("\"input\":\"a star\""), "{}", cut.out);
}

// O5: what is in folders.

#[test]
fn folders_are_read_by_content_and_what_is_passed_over_is_said() {
    let folder = scratch("folder");
    let star = bytes(STAR);
    for name in ["a.jpg", "B.JPG", "saved.jfif", "c.JPE", "no-extension", "wrong.dat", "sub/d.jpeg"] {
        put(&folder, name, &star);
    }
    put(&folder, "notes.txt", "a text");
    put(&folder, "clip.mp4", "no film");
    put(&folder, ".hidden.jpg", &star);
    put(&folder, "phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0");
    put(&folder, "web.avif", b"\0\0\0\x18ftypavif\0\0\0\0");
    std::os::unix::fs::symlink(&folder, folder.join("sub/up")).unwrap(); // leads back
    std::os::unix::fs::symlink(root().join(RED), folder.join("link.png")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("broken.png")).unwrap();
    let said = embed_images(&[text(&folder)]);
    let document = said.json_whatever_the_code();
    assert_eq!((said.code, embeddings(&document).len()), (1, 8), "{}", said.err);
    assert_eq!(document["passed_over"], json!({".txt": 1, ".mp4": 1}));
    let failed: Vec<&str> = document["failed"].as_array().unwrap().iter().map(|f| f["input"].as_str().unwrap()).collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    for name in ["phone.heic", "web.avif", "broken.png"] {
        assert!(failed.iter().any(|f| f.ends_with(name)) && said.err.contains(name), "{name}: {}", said.err);
    }
    let named = run(&["embed", "image", "-q", "-m", "pico", text(&folder.join("phone.heic"))]);
    assert!(named.err.contains("a HEIC picture, which is not read: convert it"), "{}", named.err);
}

#[test]
fn names_that_are_no_utf8_can_be_found_again() {
    use std::os::unix::ffi::OsStrExt;
    let folder = scratch("names");
    for name in [&b"caf\xe9.png"[..], b"caf\xe8.png"] {
        std::fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), bytes(RED)).unwrap();
    }
    let rows = embeddings(&embed_images(&[text(&folder)]).json());
    let names: Vec<&str> = rows.iter().map(|r| r.0.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["caf\\xe8.png", "caf\\xe9.png"]);
}

// O10: paths are no texts.

#[test]
fn compare_takes_no_path_for_a_text() {
    for name in ["PHOTO.JPG", "photo.jfif", "photo.heic", "no/such/photo.png", "x.TIFF"] {
        run(&["compare", "-q", "-m", "pico", name, "a red circle"]).fails(2, &[name, "no such file"]);
    }
    run(&["compare", "-q", "-m", "pico", "assets", "a red circle"]).fails(2, &["assets: is a folder"]);
    let cosine = |a: &str| run(&["compare", "-q", "-m", "pico", a, RED]).out.trim().parse::<f32>().unwrap();
    assert_eq!(cosine("text:photo.png"), cosine("text:photo.png"));
    assert!(cosine("a red circle") > cosine("text:assets"));
}
