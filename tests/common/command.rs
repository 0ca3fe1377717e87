//! Runs the `clip-wgpu` command and keeps what it said.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.err);
        self.json_whatever_the_code()
    }

    pub fn json_whatever_the_code(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("one JSON document: {e}\n{}\n{}", self.out, self.err))
    }

    /// Exactly this code, nothing on standard output, and one line on stderr that holds all of `parts`.
    pub fn fails(&self, code: i32, parts: &[&str]) {
        let lines: Vec<&str> = self.err.lines().filter(|l| l.starts_with("clip-wgpu: ")).collect();
        assert_eq!((self.code, lines.len(), self.out.as_str()), (code, 1, ""), "{}", self.err);
        for part in parts {
            assert!(lines[0].contains(part), "expected `{part}` in: {}", lines[0]);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

impl Said {
    /// Refused by the command line's own rules, with this among what is said.
    pub fn fails_with_usage(&self, part: &str) {
        assert!(self.code == 2 && self.out.is_empty() && self.err.contains(part), "expected `{part}` in: {}", self.err);
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A command in the repository's root, on the CPU unless told otherwise.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clip-wgpu"));
    command.current_dir(root()).args(arguments).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    if !arguments.contains(&"--device") {
        command.args(["--device", "cpu"]);
    }
    command
}

pub fn run(arguments: &[&str]) -> Said {
    finish(&mut command(arguments), b"")
}

pub fn run_with_input(arguments: &[&str], input: &[u8]) -> Said {
    finish(&mut command(arguments), input)
}

pub fn finish(command: &mut Command, input: &[u8]) -> Said {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let _ = child.stdin.take().expect("its input").write_all(input); // it may end before it has read all
    let output = child.wait_with_output().expect("the command ends");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An empty folder of this test's own.
pub fn scratch(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&folder); // it may not be there
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
