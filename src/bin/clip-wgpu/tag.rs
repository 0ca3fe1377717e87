use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use clip_wgpu::{Error, Result};
use serde_json::{Value, json};

use crate::Outcome;
use crate::archives;
use crate::context::{Globals, number};
use crate::everyday::Everyday;
use crate::files::write_whole;
use crate::inputs;
use crate::interrupt;
use crate::labels::Labels;
use crate::output::{Failed, complain, failed_json, file_name, say, say_json};
use crate::place::{own, sidecar_of};
use crate::walk;

/// Say which of your labels fit each picture: none, one or several
///
/// A label fits where it scores far above what everyday things score on the same picture. Sidecars (photo.jpg.xmp) carry the labels as
/// dc:subject, which digiKam, darktable, Immich and others read; those that another program made are left alone.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu tag ~/Pictures -l dog -l beach -l 'a birthday cake'
  clip-wgpu tag ~/Pictures --labels-file labels.txt -t 'a photo of a {}.' --sidecar
  clip-wgpu tag -m pico assets/samples -l tiger -l guitar -l apple --json")]
pub struct Tag {
    /// Pictures, and folders and tar archives of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    tagging: Tagging,
    /// The most labels of a picture
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Write them beside each picture, as PICTURE.xmp
    #[arg(long)]
    sidecar: bool,
}

/// Which labels, and when one fits.
#[derive(Args)]
pub struct Tagging {
    #[command(flatten)]
    labels: Labels,
    /// The least fit: by how many standard deviations a label must score above everyday things
    #[arg(long, value_name = "X", default_value_t = 2.8, allow_negative_numbers = true, value_parser = number)]
    least: f32,
}

impl Tagging {
    /// Calls `f` with each picture and the labels that fit it, best first, each with its fit; `None` where a label was refused. Where it
    /// `writes` beside or moves the pictures, each is a file, and comes once, and Ctrl-C stops between two batches.
    pub fn each(
        &self,
        g: &Globals,
        paths: &[PathBuf],
        writes: bool,
        mut f: impl FnMut(&Path, &[(&str, f32)]) -> Result<()>,
    ) -> Result<Option<Vec<Failed>>> {
        let given = self.labels.given(g, Vec::new)?;
        let mut found = walk::pictures(g, paths)?;
        if writes {
            only_files(&mut found)?;
        }
        let clip = g.load()?;
        let Some(classifier) = self.labels.classifier(g, &clip, given)? else { return Ok(None) };
        let everyday = Everyday::new(&clip)?;
        let width = clip.config.embed;
        let named: HashMap<String, &PathBuf> = found.pictures.iter().map(|path| (file_name(path), path)).collect();
        if writes {
            interrupt::watch("stopping after this batch; Ctrl-C again ends it at once")?;
        }
        inputs::batches(g, &clip, &found.pictures, |batch| {
            found.failed.extend(batch.failed);
            let embeddings = pollster::block_on(clip.encode_pixels(&batch.pixels))?;
            for (name, row) in batch.names.iter().zip(embeddings.data.chunks(width)) {
                if row.iter().any(|v| !v.is_finite()) {
                    found.failed.push(Failed::not_finite(name));
                    continue;
                }
                let usual = everyday.on(row);
                let fit = |text: &[f32]| usual.fit(text.iter().zip(row).map(|(a, b)| a * b).sum());
                let fits = classifier.labels().iter().map(String::as_str).zip(classifier.texts().data.chunks(width).map(fit));
                let mut fits: Vec<(&str, f32)> = fits.filter(|(_, fit)| *fit >= self.least).collect();
                fits.sort_by(|a, b| b.1.total_cmp(&a.1));
                match f(named[name], &fits) {
                    Err(Error::Io { path, source }) => {
                        let error = format!("{}: {source}", path.display());
                        complain(&error);
                        found.failed.push(Failed { input: name.clone(), error });
                    }
                    done => done?,
                }
            }
            Ok(())
        })?;
        Ok(Some(found.failed))
    }
}

/// Leaves out what is no file of its own, and what is there twice.
fn only_files(found: &mut walk::Found) -> Result<()> {
    if found.pictures.iter().any(|path| path == Path::new("-")) {
        return Err(Error::Argument("expected files, found `-`: what is read from standard input has no place".into()));
    }
    let mut seen = HashSet::new();
    found.pictures.retain(|path| {
        if archives::has(path) {
            let error = "is in an archive: unpack it first".to_string();
            complain(&format!("{}: {error}", path.display()));
            found.failed.push(Failed { input: file_name(path), error });
            return false;
        }
        seen.insert(own(path))
    });
    Ok(())
}

impl Tag {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let mut rows: Vec<(String, Vec<(String, f32)>)> = Vec::new();
        let failed = self.tagging.each(g, &self.paths, self.sidecar, |picture, fits| {
            let fits = &fits[..fits.len().min(self.top as usize)];
            rows.push((file_name(picture), fits.iter().map(|(label, fit)| (label.to_string(), *fit)).collect()));
            let labels: Vec<&str> = fits.iter().map(|(label, _)| *label).collect();
            if self.sidecar { write_sidecar(picture, &labels) } else { Ok(()) }
        })?;
        let Some(failed) = failed else { return Ok(Outcome::SomeFailed) };
        // Said when all is done: whoever stops listening stops nothing.
        if g.json {
            let labels = |fits: &[(String, f32)]| fits.iter().map(|(label, fit)| json!({"label": label, "fit": fit})).collect::<Value>();
            let images: Vec<Value> = rows.iter().map(|(name, fits)| json!({"input": name, "labels": labels(fits)})).collect();
            say_json(&json!({"model": g.model()?, "least": self.tagging.least, "images": images, "failed": failed_json(&failed)}))?;
        } else {
            for (name, fits) in &rows {
                let labels: Vec<&str> = fits.iter().map(|(label, _)| label.as_str()).collect();
                say(&format!("{name}: {}", if labels.is_empty() { "none of these".into() } else { labels.join(", ") }))?;
            }
        }
        Ok(Outcome::of(&failed))
    }
}

/// What says that a sidecar is ours.
const TOOLKIT: &str = "x:xmptk=\"clip-wgpu";

/// Writes the labels beside a picture, or takes an earlier sidecar of ours away where there are none.
///
/// # Errors
/// [`Error::Io`], also for one that another program made.
fn write_sidecar(picture: &Path, labels: &[&str]) -> Result<()> {
    let path = sidecar_of(picture);
    let is_there = match fs::read_to_string(&path) {
        Ok(text) if text.contains(TOOLKIT) => true,
        Ok(_) => return Err(Error::io(path)(io::Error::other("was made by another program, and is left as it is"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io(path)(error)),
    };
    match labels {
        [] if is_there => fs::remove_file(&path).map_err(Error::io(path)),
        [] => Ok(()),
        labels => write_whole(&path, xmp(labels).as_bytes()),
    }
}

/// An XMP packet (ISO 16684-1) with the labels as Dublin Core's subject.
fn xmp(labels: &[&str]) -> String {
    let items: String = labels.iter().map(|label| format!("<rdf:li>{}</rdf:li>", htmlize::escape_text(*label))).collect();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>
<x:xmpmeta xmlns:x=\"adobe:ns:meta/\" {TOOLKIT} {version}\">
 <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">
  <rdf:Description rdf:about=\"\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\">
   <dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end=\"w\"?>
"
    )
}
