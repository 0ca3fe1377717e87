//! What is found among 2,000 pictures, beside PyTorch: `scripts/reference/recall.py` made them and says what it found.
#![cfg(feature = "index")]
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::fs;
use std::path::Path;

use command::{root, run, run_with_input, scratch, text};
use serde_json::Value;
use sha2::{Digest, Sha256};

const SIDE: u32 = 64;

/// The pieces of the sheet as files, and what PyTorch says of them.
fn pictures(folder: &Path) -> Value {
    let expected: Value = serde_json::from_slice(&fs::read(root().join("tests/search/expected.json")).unwrap()).unwrap();
    let sheet = image::open(root().join("tests/search/pictures.webp")).unwrap().into_rgb8();
    fs::create_dir_all(folder).unwrap();
    let across = sheet.width() / SIDE;
    let mut hash = Sha256::new();
    for at in 0..across * sheet.height() / SIDE {
        let piece = image::imageops::crop_imm(&sheet, at % across * SIDE, at / across * SIDE, SIDE, SIDE).to_image();
        hash.update(piece.as_raw());
        piece.save(folder.join(format!("{at:04}.png"))).unwrap();
    }
    let hash: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hash, expected["sha256"], "the sheet is decoded as Pillow decodes it");
    expected
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

fn index(db: &Path, paths: &[&str]) -> Value {
    run(&[&["index", "-m", "pico", "--quiet", "--json", "--db", text(db)], paths].concat()).json()
}

/// The answer to each line.
fn answers(db: &Path, queries: &[&str], options: &[&str]) -> Vec<Value> {
    let said =
        run_with_input(&[&["search", "--repl", "--quiet", "--json", "--db", text(db)], options].concat(), queries.join("\n").as_bytes());
    assert_eq!(said.code, 0, "{}", said.err);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The numbers and scores of the pictures that were found.
fn hits(answer: &Value) -> Vec<(usize, f64)> {
    let number = |path: &str| Path::new(path).file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let hit = |hit: &Value| (number(hit["path"].as_str().unwrap()), hit["score"].as_f64().unwrap());
    answer["hits"].as_array().unwrap().iter().map(hit).collect()
}

#[test]
fn recall_is_pytorchs_and_what_is_not_there_is_seldom_found() {
    let scratch = scratch("recall");
    let (folder, db) = (scratch.join("pictures"), scratch.join("index.sqlite"));
    let expected = pictures(&folder);
    let (captions, queries) = (strings(&expected["captions"]), strings(&expected["queries"]));
    assert_eq!(index(&db, &[text(&folder)])["encoded"], 2000);
    assert_eq!(index(&db, &[text(&folder)])["encoded"], 0);

    let mut right = [0, 0];
    for ((query, answer), (best, scores)) in queries
        .iter()
        .zip(answers(&db, &queries, &["--threshold", "-1"]))
        .zip(expected["best"].as_array().unwrap().iter().zip(expected["scores"].as_array().unwrap()))
    {
        let hits = hits(&answer);
        let is_right = |hit: &(usize, f64)| captions[hit.0] == *query;
        right[0] += usize::from(hits[..1].iter().any(is_right));
        right[1] += usize::from(hits.iter().any(is_right));
        for (i, (picture, score)) in hits.iter().enumerate() {
            let near = scores[i].as_f64().unwrap();
            assert!((score - near).abs() < 5e-4, "{query}, hit {i}: {score}, PyTorch {near}");
            // Which picture it is may differ where another scores as much, to what f16 keeps.
            let same = best[i] == *picture || (0..11).any(|j| best[j] == *picture && (scores[j].as_f64().unwrap() - near).abs() < 1e-3);
            assert!(same || (scores[10].as_f64().unwrap() - near).abs() < 1e-3, "{query}, hit {i}: {picture}, PyTorch {}", best[i]);
        }
    }
    assert_eq!(Value::from(right.to_vec()), serde_json::json!([expected["recall"]["1"], expected["recall"]["10"]]));

    // Without a threshold words are judged. Of what is there nearly everything is found, of what is not there little.
    let found = |db: &Path, there: &dyn Fn(usize) -> bool| {
        let all = answers(db, &queries, &["--top", "1"]);
        let count = |wanted: bool| all.iter().enumerate().filter(|(i, a)| there(*i) == wanted && !hits(a).is_empty()).count() as i64;
        (count(true), count(false))
    };
    let near = |found: (i64, i64), every: &str| {
        let pytorch = &expected["found"][every];
        let (there, not_there) = (pytorch["there"].as_i64().unwrap(), pytorch["not_there"].as_i64().unwrap());
        assert!((found.0 - there).abs() <= 1 && (found.1 - not_there).abs() <= 3, "{found:?}, PyTorch {pytorch}");
    };
    near(found(&db, &|_| true), "1");
    let tenth = scratch.join("tenth.sqlite");
    let is_there = |caption: &str| queries.binary_search(&caption).unwrap().is_multiple_of(10);
    let paths: Vec<String> =
        (0..2000).filter(|i| is_there(captions[*i])).map(|i| text(&folder.join(format!("{i:04}.png"))).into()).collect();
    index(&tenth, &paths.iter().map(String::as_str).collect::<Vec<_>>());
    near(found(&tenth, &|i| i.is_multiple_of(10)), "10");

    let labels: Vec<&str> = queries.iter().copied().step_by(10).collect();
    let said = run_with_input(
        &["tag", "-m", "pico", "--quiet", "--json", "--top", "99", "--labels-file", "-", text(&folder)],
        labels.join("\n").as_bytes(),
    );
    let (mut given, mut right) = (0, 0);
    for (image, caption) in said.json()["images"].as_array().unwrap().iter().zip(&captions) {
        let tags: Vec<&str> = image["labels"].as_array().unwrap().iter().map(|l| l["label"].as_str().unwrap()).collect();
        given += tags.len() as i64;
        right += i64::from(tags.contains(caption));
    }
    let pytorch = |key: &str| expected["tags"][key].as_i64().unwrap();
    assert!(
        (given - pytorch("given")).abs() <= 2 && (right - pytorch("right")).abs() <= 2,
        "{given} {right}, PyTorch {}",
        expected["tags"]
    );

    let nothing = run(&["search", "--db", text(&tenth), "fireworks"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (0, "nothing found\n"), "{}", nothing.err);
    assert!(nothing.err.contains("no picture fits `fireworks`") && nothing.err.contains("--threshold -1"), "{}", nothing.err);
}

/// The best label of each picture among all captions.
fn labels_of(folder: &Path, queries: &[&str], compute: &str) -> Vec<String> {
    let arguments = ["classify", "-m", "pico", "--device", "cpu", "--compute", compute, "-q", "--json", "--top", "1", "--labels-file", "-"];
    let said = run_with_input(&[&arguments[..], &[text(folder)]].concat(), queries.join("\n").as_bytes());
    let best = |image: &Value| image["labels"][0]["label"].as_str().unwrap().to_string();
    said.json()["images"].as_array().unwrap().iter().map(best).collect()
}

#[test]
fn in_integers_nearly_every_picture_has_the_label_that_it_has_in_f32() {
    if !clip_wgpu::host::multiplies_integers() {
        return eprintln!("skipped: this processor has no instructions for products of integers");
    }
    let folder = scratch("integers").join("pictures");
    let expected = pictures(&folder);
    let (captions, queries) = (strings(&expected["captions"]), strings(&expected["queries"]));
    let [f32, int8] = ["f32", "int8"].map(|compute| labels_of(&folder, &queries, compute));
    let right = |labels: &[String]| labels.iter().zip(&captions).filter(|(label, caption)| label == *caption).count();
    let (same, right) = (f32.iter().zip(&int8).filter(|(a, b)| a == b).count(), [&f32, &int8].map(|labels| right(labels)));
    println!("of 2,000 pictures {same} have the same label of 632; right are {} in f32, {} in int8", right[0], right[1]);
    assert!(same >= 1980 && right[0].abs_diff(right[1]) <= 10, "{same} {right:?}");
}
