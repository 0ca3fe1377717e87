//! Scores over time, as CSV or JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

pub struct Recording {
    pub path: PathBuf,
    out: BufWriter<File>,
    csv: bool,
    began: Instant,
    names: Vec<String>,
}

impl Recording {
    /// A name that ends in `.csv` makes CSV, any other JSON lines.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn start(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        Ok(Self { path: path.into(), out: BufWriter::new(file), csv, began: Instant::now(), names: Vec::new() })
    }

    /// Writes the scores of one frame, raw; a new head where the labels have changed.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn write(&mut self, frame: u64, names: &[String], scores: &[f32]) -> Result<(), String> {
        let seconds = self.began.elapsed().as_secs_f64();
        let written = if self.csv { self.row(seconds, frame, names, scores) } else { self.line(seconds, frame, names, scores) };
        written.and_then(|()| self.out.flush()).map_err(|e| format!("{}: {e}", self.path.display()))
    }

    fn row(&mut self, seconds: f64, frame: u64, names: &[String], scores: &[f32]) -> std::io::Result<()> {
        if self.names != names {
            self.names = names.to_vec();
            let quoted: Vec<String> = names.iter().map(|n| format!("\"{}\"", n.replace('"', "\"\""))).collect();
            writeln!(self.out, "seconds,frame,{}", quoted.join(","))?;
        }
        let scores: Vec<String> = scores.iter().map(f32::to_string).collect();
        writeln!(self.out, "{seconds:.3},{frame},{}", scores.join(","))
    }

    fn line(&mut self, seconds: f64, frame: u64, names: &[String], scores: &[f32]) -> std::io::Result<()> {
        let scores: serde_json::Map<String, serde_json::Value> = names.iter().cloned().zip(scores.iter().map(|s| json!(s))).collect();
        writeln!(self.out, "{}", json!({ "seconds": (seconds * 1000.0).round() / 1000.0, "frame": frame, "scores": scores }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that fails may panic
    use super::*;

    #[test]
    fn both_kinds_are_read_back() {
        let folder = std::env::temp_dir().join("clip-wgpu-viewer-record");
        std::fs::create_dir_all(&folder).unwrap();
        let (names, more) = (vec!["a \"b\", c".to_string()], vec!["d".to_string(), "e".to_string()]);
        let csv = folder.join("x.csv");
        let mut recording = Recording::start(&csv).unwrap();
        recording.write(3, &names, &[0.5]).unwrap();
        recording.write(4, &more, &[0.25, 0.75]).unwrap();
        let text = std::fs::read_to_string(&csv).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), ("seconds,frame,\"a \"\"b\"\", c\"", "seconds,frame,\"d\",\"e\""));
        assert!(lines[1].ends_with(",3,0.5") && lines[3].ends_with(",4,0.25,0.75"), "{text}");
        let json = folder.join("x.jsonl");
        Recording::start(&json).unwrap().write(3, &names, &[0.5]).unwrap();
        let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!((&line["frame"], &line["scores"]["a \"b\", c"]), (&json!(3), &json!(0.5)));
        assert!(Recording::start(&folder.join("no/x.csv")).is_err_and(|e| e.contains("no/x.csv: ")));
    }
}
