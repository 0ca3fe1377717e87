//! What is written, and who reads it.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::command::{command as start, finish, root, run, scratch, text};
use super::{RED, STAR, bytes, put};

// O11, O14: outputs.

#[test]
fn an_output_that_cannot_be_written_is_found_first_and_an_earlier_one_stays() {
    let folder = scratch("outputs");
    let bad = put(&folder, "bad.png", "no picture");
    let begun = run(&["embed", "image", "-q", "-m", "pico", &bad, "-o", text(&folder.join("none/x.npy"))]);
    begun.fails(1, &["none/x.npy: No such file"]); // and not a word of the picture
    for name in ["kept.npy", "kept.jsonl", "kept.safetensors"] {
        let kept = put(&folder, name, "before");
        assert_eq!(run(&["embed", "image", "-q", "-m", "pico", &bad, "-o", &kept]).code, 1);
        assert_eq!(std::fs::read(&kept).unwrap(), b"before");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4, "nothing is left beside");
}

#[test]
fn a_killed_run_leaves_the_earlier_file_whole() {
    let folder = scratch("killed");
    let pictures = folder.join("pictures");
    for i in 0..200 {
        put(&pictures, &format!("{i}.jpg"), bytes(STAR));
    }
    let kept = put(&folder, "x.npy", "before");
    for after in 1..=20 {
        let mut child = start(&["embed", "image", "-q", "-m", "pico", text(&pictures), "-o", &kept]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 * after));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = std::fs::read(&kept).unwrap();
        let whole = found.len() == 128 + 200 * 4 * 128 && found.starts_with(b"\x93NUMPY");
        assert!(found == b"before" || whole, "after {after}: {} bytes", found.len());
    }
}

#[test]
fn a_stderr_that_is_gone_or_full_ends_nothing() {
    let out = scratch("stderr").join("e.npy");
    for stderr in ["2>&-", "2>/dev/full"] {
        let line =
            format!("{} embed image -m pico no-such.png {RED} -o {} --device cpu {stderr}", env!("CARGO_BIN_EXE_clip-wgpu"), text(&out));
        let status = Command::new("sh").args(["-c", &line]).current_dir(root()).stdout(Stdio::null()).status().unwrap();
        assert_eq!((status.code(), std::fs::read(&out).unwrap().len()), (Some(1), 128 + 4 * 128), "{stderr}");
    }
}

#[test]
fn rows_appear_as_they_are_known() {
    let folder = scratch("stream");
    for i in 0..120 {
        put(&folder, &format!("{i:03}.jpg"), bytes(STAR));
    }
    for arguments in
        [&["embed", "image", "-q", "-m", "pico", "--json"][..], &["classify", "-q", "-m", "pico", "-l", "red circle", "-l", "green star"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = start(&[arguments, &[text(&folder)]].concat()).stdout(writer).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
        let first = lines.by_ref().take(20).map(|line| line.unwrap()).collect::<Vec<_>>().join("\n");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(first.contains("000.jpg") && first.contains("001.jpg"), "{first}");
    }
    let whole = finish(&mut start(&["embed", "image", "-q", "-m", "pico", "--json", text(&folder)]), b"").json();
    assert_eq!(whole["embeddings"].as_array().unwrap().len(), 120);
}

#[test]
fn quiet_means_quiet() {
    let mut command = start(&["embed", "text", "-q", "-m", "pico", "a star", "--device", "gpu"]);
    let said = finish(command.env_remove("XDG_RUNTIME_DIR"), b"");
    assert!(said.code != 0 || said.err.is_empty(), "{}", said.err);
}
