use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use clip_wgpu::clip::PICO;
use clip_wgpu::{Clip, Error, Result};
use half::slice::HalfFloatSliceExt;
use serde_json::json;

use crate::Outcome;
use crate::archives;
use crate::context::Globals;
use crate::files::{EmbeddingFile, FileFormat};
use crate::inputs::{self, Batch};
use crate::interrupt;
use crate::output::{Failed, failed_json, file_name, path_of, say, say_json};
use crate::patterns::Patterns;
use crate::place::real;
use crate::spent::{Spent, Step};
use crate::store::{Hash, Made, Model, Stamp, Store, hash_of};
use crate::texts::lines;
use crate::walk;

/// Make or refresh an index of your pictures, to search in
///
/// Only what is new or changed is encoded. A file that was moved or copied is known by its content; files that are gone are taken
/// out. It can be interrupted at any time: what was encoded stays.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu index ~/Pictures
  clip-wgpu index ~/Pictures --exclude screenshots --exclude '*-edited.*'
  clip-wgpu index -m pico assets/samples --db samples.sqlite
  clip-wgpu index /mnt/bucket/shards --shard 2/8 --db shard-2.sqlite --export shard-2.parquet    # WebDataset's tars, too
  clip-wgpu index --merge shard-*.sqlite
  clip-wgpu index --failed")]
pub struct Index {
    /// Pictures, and folders and tar archives of them
    #[arg(value_name = "PATH", required_unless_present_any = ["failed", "paths_file", "merge", "export", "forget"])]
    paths: Vec<PathBuf>,
    /// A file with one path per line; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    paths_file: Option<PathBuf>,
    #[command(flatten)]
    db: Db,
    #[command(flatten)]
    patterns: Patterns,
    /// Keep files in the index that are no longer there
    #[arg(long)]
    keep_missing: bool,
    /// Take out what is in this folder, which need not be there any more
    #[arg(long, value_name = "FOLDER", conflicts_with = "failed")]
    forget: Vec<PathBuf>,
    /// Say where the time went
    #[arg(long)]
    profile: bool,
    /// List the files that are no pictures, and why; they are tried again when they change
    #[arg(long, conflicts_with_all = ["paths", "paths_file", "keep_missing", "merge", "export"])]
    failed: bool,
    /// Take in what other indexes of the same model have, such as those of other shards
    #[arg(long, value_name = "INDEX", num_args = 1..)]
    merge: Vec<PathBuf>,
    /// Write paths and embeddings to a file for other engines: .parquet, .safetensors or .jsonl by its name; .npy has the embeddings
    /// alone, in order of path
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

#[derive(Args)]
pub struct Db {
    /// The index's file. Default: index.sqlite among your application data
    #[arg(long, value_name = "FILE", env = "CLIP_WGPU_INDEX")]
    db: Option<PathBuf>,
}

impl Db {
    pub fn path(&self) -> Result<PathBuf> {
        self.db.clone().map_or_else(Store::default_path, Ok)
    }
}

impl Globals {
    /// With the index's model where none was named.
    pub fn for_index(&self, store: &Store) -> Result<Globals> {
        let model = match &self.model {
            Some(model) => Some(model.clone()),
            None => store.model()?.map(|model| model.name),
        };
        Ok(Globals { model, ..self.clone() })
    }

    /// What an index says of a model.
    pub fn model_of(&self, clip: &Clip) -> Result<Model> {
        let weights = pollster::block_on(clip.fingerprint())?;
        let name = self.model()?;
        // A folder is found again from wherever the next command runs.
        let name = if name != PICO && Path::new(&name).exists() { file_name(&absolute(Path::new(&name))?) } else { name };
        Ok(Model { name, fingerprint: format!("{weights} {:?}", clip.preprocess), width: clip.config.embed })
    }
}

/// A path as the index has it: a link is what it is called, and what `..` leads to is called as it is.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let whole = std::path::absolute(path).map_err(Error::io(path))?;
    let parts: Vec<Component<'_>> = whole.components().collect();
    let Some(last) = parts.iter().rposition(|part| *part == Component::ParentDir) else { return Ok(whole) };
    let led_to = real(&parts[..=last].iter().collect::<PathBuf>());
    Ok(led_to.components().chain(parts[last + 1..].iter().copied()).collect())
}

/// How many files had which fate.
#[derive(Default)]
struct Counts {
    encoded: usize,
    known: usize,
    unchanged: usize,
    /// Of the unchanged, those that are no pictures.
    failed_before: usize,
    removed: usize,
    merged: usize,
    spent: Spent,
    took: Duration,
}

impl Index {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let path = self.db.path()?;
        self.export.as_deref().map(FileFormat::of).transpose()?;
        if self.failed {
            return list_failed(g, &Store::open(&path)?);
        }
        let (mut counts, mut failed) = (Counts::default(), Vec::new());
        let refreshes = !self.paths.is_empty() || self.paths_file.is_some();
        let adds = refreshes || !self.merge.is_empty();
        let only_exports = !adds && self.forget.is_empty();
        self.merge.iter().try_for_each(|other| Store::open(other).map(drop))?; // before an index is made for them
        let mut store = if adds { Store::create(&path)? } else { Store::open(&path)? };
        for other in &self.merge {
            counts.merged += store.merge(other)?;
        }
        if !self.forget.is_empty() {
            counts.removed = self.take_out(&mut store)?;
        }
        if refreshes {
            self.refresh(g, &mut store, &mut counts, &mut failed)?;
        }
        let exported = self.export.as_deref().filter(|_| !interrupt::asked()).map(|to| export(&store, to)).transpose()?.flatten();
        let interrupted = interrupt::asked();
        let Counts { encoded, known, unchanged, failed_before, removed, merged, spent, took } = counts;
        match g.json {
            true => {
                say_json(&json!({"index": file_name(&path), "model": store.model()?.map(|m| m.name), "encoded": encoded, "known": known,
                "unchanged": unchanged, "failed_before": failed_before, "removed": removed, "merged": merged, "exported": exported,
                "took_s": self.profile.then_some(took.as_secs_f64()), "spent_s": self.profile.then(|| spent.json()), "failed": failed_json(&failed)}))?
            }
            false => {
                if !only_exports {
                    let merged = if self.merge.is_empty() { String::new() } else { format!("{merged} merged, ") };
                    let before = match failed_before {
                        0 => String::new(),
                        n => format!(" ({n} of them no pictures: index --failed lists them)"),
                    };
                    say(&format!(
                        "{}: {merged}{encoded} encoded, {known} known by their content, {unchanged} unchanged{before}, {removed} removed, {} failed",
                        file_name(&path),
                        failed.len()
                    ))?;
                }
                if self.profile && !only_exports {
                    spent.table(took, encoded + known).iter().try_for_each(|line| say(line))?;
                }
                if let (Some(rows), Some(to)) = (exported, &self.export) {
                    say(&format!("{}: {rows} rows", file_name(to)))?;
                }
            }
        }
        if interrupted {
            g.warn("interrupted: what was done is in the index; run it again to go on");
        }
        Ok(Outcome::of(&failed))
    }

    /// The paths of the command line and of the list, absolute.
    fn roots(&self) -> Result<Vec<PathBuf>> {
        let mut roots = self.paths.clone();
        for line in self.paths_file.as_deref().map(lines).transpose()?.into_iter().flatten() {
            let path = line.text.map_err(|error| Error::Text(format!("{} {error}", line.origin)))?;
            if !path.is_empty() {
                roots.push(path.into());
            }
        }
        roots.iter().map(|p| absolute(p)).collect()
    }

    /// Takes out what is in the folders that are to be forgotten: how many files.
    fn take_out(&self, store: &mut Store) -> Result<usize> {
        let folders: HashSet<PathBuf> = self.forget.iter().map(|folder| absolute(folder)).collect::<Result<_>>()?;
        let stamps = store.stamps()?;
        let in_them = |path: &&str| path_of(path).ancestors().any(|folder| folders.contains(folder));
        let forgotten: Vec<&str> = stamps.keys().map(String::as_str).filter(in_them).collect();
        store.remove(&forgotten)?;
        Ok(forgotten.len())
    }

    /// Brings the index up to date with what is under the paths.
    fn refresh(&self, g: &Globals, store: &mut Store, counts: &mut Counts, failed: &mut Vec<Failed>) -> Result<()> {
        let roots = self.roots()?;
        let filter = self.patterns.filter()?;
        let found = walk::pictures_where(g, &roots, |path, what| filter.takes(path, what))?;
        let g = &g.for_index(store)?;
        let stamps = store.stamps()?;
        let no_pictures: HashSet<String> = store.failed()?.into_iter().map(|(path, _)| path).collect();
        if stamps.is_empty() && found.pictures.is_empty() && found.failed.is_empty() && !filter.is_share() {
            return Err(walk::none());
        }
        let own = store.model()?.map(|model| model.name);
        let other = own.is_some() && own != g.model; // perhaps by another name only
        failed.extend(found.failed);
        let mut seen = HashSet::new();
        let mut changed: Vec<(PathBuf, Stamp)> = Vec::new();
        for path in found.pictures {
            let name = file_name(&path);
            if !seen.insert(name.clone()) {
                continue; // under two of the paths
            }
            match Stamp::of(&path) {
                Ok(stamp) if stamps.get(&name) == Some(&stamp) => {
                    counts.unchanged += 1;
                    counts.failed_before += usize::from(no_pictures.contains(&name));
                }
                Ok(stamp) => changed.push((path, stamp)),
                Err(error) => failed.push(Failed { input: name, error: error.to_string() }),
            }
        }
        if !changed.is_empty() || other {
            encode(g, store, &changed, counts, failed)?;
        }
        if !self.keep_missing && !interrupt::asked() {
            // Not there any more, or no longer meant; a folder that cannot be looked into now is neither.
            let unseen: HashSet<PathBuf> = failed.iter().map(|f| path_of(&f.input)).collect();
            let (empty, roots): (Vec<&PathBuf>, Vec<&PathBuf>) = roots.iter().partition(|root| is_empty(root));
            let roots: HashSet<&Path> = roots.into_iter().map(PathBuf::as_path).collect();
            for root in empty {
                let held = stamps.keys().filter(|path| path_of(path).starts_with(root)).count();
                if held > 0 {
                    g.warn(&format!(
                        "{}: is empty, as where a disk is not mounted: its {held} files stay in the index (--forget takes them out)",
                        file_name(root)
                    ));
                }
            }
            let gone_from = |path: &Path| {
                let Some(root) = path.ancestors().filter(|folder| roots.contains(folder)).last() else { return false };
                let from_root = path.strip_prefix(root).unwrap_or(path);
                let is_there = match archives::stamp(path) {
                    Some(found) => !found.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound),
                    None => !matches!(path.try_exists(), Ok(false)),
                };
                let is_unseen = || path.ancestors().skip(1).any(|folder| unseen.contains(folder));
                let is_meant = from_root.as_os_str().is_empty() || filter.likes_whole(from_root);
                filter.has(root, from_root) && (!is_meant || !is_there && !is_unseen())
            };
            let mut gone: Vec<&str> = stamps.keys().map(String::as_str).filter(|p| !seen.contains(*p)).collect();
            gone.sort_unstable(); // an archive's files one after the other
            gone.retain(|path| gone_from(&path_of(path)));
            store.remove(&gone)?;
            counts.removed += gone.len();
        }
        Ok(())
    }
}

/// Whether it is a folder in which there is nothing at all.
fn is_empty(root: &Path) -> bool {
    root.read_dir().is_ok_and(|mut entries| entries.next().is_none())
}

/// Writes what the index has to a file: how many rows; `None` where it was stopped.
fn export(store: &Store, to: &Path) -> Result<Option<usize>> {
    let model = store.model()?.ok_or_else(|| Error::Argument("nothing to export: the index has no pictures".into()))?;
    interrupt::watch("stopping: no file is written")?;
    let mut file = EmbeddingFile::create(to, &model.name, &[model.width])?;
    let mut rows = 0;
    let mut wrong = Ok(());
    store.each(model.width, |path, _, embedding| {
        if wrong.is_ok() && !interrupt::asked() {
            wrong = file.row(path, &embedding.to_f32_vec());
            rows += 1;
        }
    })?;
    wrong?;
    if interrupt::asked() {
        return Ok(None);
    }
    file.finish()?;
    Ok(Some(rows))
}

/// Encodes what the index does not know, each batch written as soon as it is made.
fn encode(g: &Globals, store: &mut Store, changed: &[(PathBuf, Stamp)], counts: &mut Counts, failed: &mut Vec<Failed>) -> Result<()> {
    let clip = g.load()?;
    store.expect_model(&g.model_of(&clip)?)?;
    let stamps: HashMap<String, Stamp> = changed.iter().map(|(path, stamp)| (file_name(path), *stamp)).collect();
    let paths: Vec<PathBuf> = changed.iter().map(|(path, _)| path.clone()).collect();
    let known: Mutex<HashSet<Hash>> = Mutex::new(store.hashes()?.into_iter().collect());
    let hashes: Mutex<HashMap<String, Hash>> = Mutex::default();
    let hash = |name: &String| locked(&hashes).get(name).copied();
    let noted = |path: &Path, bytes: &[u8]| {
        let hash = hash_of(bytes);
        locked(&hashes).insert(file_name(path), hash);
        hash
    };
    let is_known = |path: &Path, bytes: &[u8]| locked(&known).contains(&noted(path, bytes));
    // Of files with the same new content the first is encoded; the others come after all else, when it is known or no picture.
    let (first, copies): (Mutex<HashSet<Hash>>, Mutex<BTreeMap<String, PathBuf>>) = Default::default();
    let is_known_or_copy = |path: &Path, bytes: &[u8]| {
        let hash = noted(path, bytes);
        let is_known = locked(&known).contains(&hash);
        let is_copy = !is_known && !locked(&first).insert(hash);
        if is_copy {
            locked(&copies).insert(file_name(path), path.into());
        }
        is_known || is_copy
    };
    interrupt::watch("stopping after this batch; Ctrl-C again ends it at once")?;
    let begun = Instant::now();
    let spent = Spent::default();
    let mut write = |batch: Batch| {
        let embeddings = spent.on(Step::Encode, || pollster::block_on(clip.encode_pixels(&batch.pixels)))?;
        let Batch { names, mut passed, failed: mut broken, unread, .. } = batch;
        passed.retain(|name| !locked(&copies).contains_key(name));
        let rows = names.iter().zip(embeddings.data.chunks(clip.config.embed));
        let (good, bad): (Vec<_>, Vec<_>) = rows.partition(|(_, row)| row.iter().all(|v| v.is_finite()));
        broken.extend(bad.iter().map(|(name, _)| Failed::not_finite(name)));
        let made = good.iter().map(|(name, row)| (*name, Made::Embedding(row)));
        let made = made.chain(passed.iter().map(|name| (name, Made::Known)));
        let no_pictures = broken.iter().filter(|f| !unread.contains(&f.input));
        let made = made.chain(no_pictures.map(|f| (&f.input, Made::Error(&f.error))));
        let files: Vec<_> = made.map(|(name, made)| (name.clone(), stamps[name], hash(name), made)).collect();
        spent.on(Step::Write, || store.put(&files))?;
        locked(&known).extend(good.iter().filter_map(|(name, _)| hash(name)));
        counts.encoded += good.len();
        counts.known += passed.len();
        failed.extend(broken);
        Ok(())
    };
    inputs::batches_unless(g, &clip, &paths, &spent, is_known_or_copy, &mut write)?;
    let copies: Vec<PathBuf> = std::mem::take(&mut *locked(&copies)).into_values().collect();
    if !copies.is_empty() && !interrupt::asked() {
        inputs::batches_unless(g, &clip, &copies, &spent, is_known, &mut write)?;
    }
    (counts.spent, counts.took) = (spent, begun.elapsed());
    Ok(())
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list_failed(g: &Globals, store: &Store) -> Result<Outcome> {
    let failed: Vec<Failed> = store.failed()?.into_iter().map(|(input, error)| Failed { input, error }).collect();
    match g.json {
        true => say_json(&json!({"failed": failed_json(&failed)}))?,
        // Most errors begin with the file's name.
        false => failed.iter().try_for_each(|Failed { input, error }| match error.starts_with(input) {
            true => say(error),
            false => say(&format!("{input}: {error}")),
        })?,
    }
    Ok(Outcome::Done)
}
