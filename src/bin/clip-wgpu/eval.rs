use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use clip_wgpu::{Error, Result, Score};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::inputs;
use crate::labels::{Given, Labels};
use crate::output::{Failed, failed_json, file_name, say, say_json};
use crate::texts::utf8_of;
use crate::walk;

/// Measure zero-shot accuracy on pictures whose class is known
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu eval -m pico shapes/                              a folder for each class, named as the class
  clip-wgpu eval -m ~/clip-vit-base-patch32 imagenet/val --labels imagenet -t imagenet80 --save-classifier b32.safetensors
  clip-wgpu eval -m ~/clip-vit-base-patch32 imagenet/val --classifier b32.safetensors
  clip-wgpu eval -m ~/clip-vit-base-patch32 pictures.csv      lines of path,class; paths are relative to the file's folder

Where labels are given and none is a folder's name, as many folders as labels stand for them in the order of their names.")]
pub struct Eval {
    /// A folder of folders, or a CSV file of path,class
    #[arg(value_name = "DIR|CSV")]
    data: PathBuf,
    #[command(flatten)]
    labels: Labels,
    /// Print the N classes that are taken for another the most
    #[arg(long, value_name = "N", default_value_t = 10)]
    worst: usize,
}

/// Pictures with the names of their classes.
#[derive(Default)]
struct Data {
    pictures: Vec<PathBuf>,
    /// Of each picture, one of `classes`.
    class: Vec<usize>,
    /// In order of name.
    classes: Vec<String>,
    failed: Vec<Failed>,
}

impl Data {
    /// # Errors
    /// [`Error::Io`]; [`Error::Argument`] where there is no class or no picture.
    fn read(g: &Globals, path: &Path) -> Result<Self> {
        let data = if path.is_dir() { Self::of_folder(g, path)? } else { Self::of_csv(path)? };
        match data.pictures.is_empty() {
            true => Err(Error::Argument(format!(
                "{}: expected pictures with their classes (a folder for each class, or lines of path,class), found none",
                file_name(path)
            ))),
            false => Ok(data),
        }
    }

    fn of_folder(g: &Globals, path: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(path).map_err(Error::io(path))?.flatten();
        let mut folders: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
        folders.sort();
        let mut data = Self::default();
        for folder in folders.iter().filter(|f| !file_name(Path::new(f.file_name().unwrap_or_default())).starts_with('.')) {
            let found = match walk::pictures(g, std::slice::from_ref(folder)) {
                Err(Error::Argument(_)) => {
                    g.warn(&format!("{}: left out: no pictures", file_name(folder)));
                    continue;
                }
                found => found?,
            };
            data.class.extend(vec![data.classes.len(); found.pictures.len()]);
            data.pictures.extend(found.pictures);
            data.failed.extend(found.failed);
            data.classes.push(file_name(Path::new(folder.file_name().unwrap_or_default())));
        }
        Ok(data)
    }

    fn of_csv(path: &Path) -> Result<Self> {
        let (beside, mut rows) = (path.parent().unwrap_or(Path::new("")), Vec::new());
        let (bytes, name) = utf8_of(path)?;
        let bare = |field: &str| {
            let field = field.trim();
            field.strip_prefix('"').and_then(|f| f.strip_suffix('"')).unwrap_or(field).to_string() // with a blank before its quotes
        };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&bytes[..]);
        for (at, record) in reader.records().enumerate() {
            let record = record.map_err(|e| Error::Text(format!("{name}: {e}")))?;
            let fields: Vec<&str> = record.iter().collect();
            let (file, class) = match &fields[..] {
                [blank] if blank.trim().is_empty() => continue,
                [file @ .., class] if !file.is_empty() && !class.trim().contains('\n') => {
                    (beside.join(bare(&file.join(","))), bare(class)) // with commas of its own
                }
                _ => {
                    let line = record.position().map_or(0, csv::Position::line);
                    return Err(Error::Argument(format!("{name}: line {line}: expected path,class, found `{}`", fields.join(","))));
                }
            };
            // A head names columns, not a file.
            if at > 0 || file.exists() || walk::is_named_like_a_picture(&file_name(&file)) {
                rows.push((file, class));
            }
        }
        let mut classes: Vec<String> = rows.iter().map(|(_, class)| class.clone()).collect();
        classes.sort();
        classes.dedup();
        let class = rows.iter().map(|(_, class)| classes.partition_point(|c| c < class)).collect();
        Ok(Self { pictures: rows.into_iter().map(|(file, _)| file).collect(), class, classes, failed: Vec::new() })
    }

    /// The label of each class: of its name; of its number, from 0, where all are numbers of labels (ImageNet-V2's folders, a dataset's
    /// indices); else in order of name, of numbers in their order.
    ///
    /// # Errors
    /// [`Error::Argument`] that names a class which is no label.
    fn labels_of(&self, labels: &[String]) -> Result<Vec<usize>> {
        let found: Vec<Option<usize>> = self.classes.iter().map(|c| labels.iter().position(|l| said(c) == said(l))).collect();
        if found.iter().all(Option::is_none) {
            let numbers: Option<Vec<usize>> = self.classes.iter().map(|class| class.parse().ok()).collect();
            match numbers {
                Some(numbers) if numbers.iter().all(|n| *n < labels.len()) => return Ok(numbers),
                Some(numbers) if numbers.len() == labels.len() => {
                    return Ok(numbers.iter().map(|n| numbers.iter().filter(|less| *less < n).count()).collect());
                }
                None if self.classes.len() == labels.len() => return Ok((0..labels.len()).collect()),
                _ => {}
            }
        }
        let missing = found.iter().position(Option::is_none).map(|at| &self.classes[at]);
        match missing {
            None => Ok(found.into_iter().flatten().collect()),
            Some(class) => Err(Error::Argument(format!(
                "class `{class}` is none of the {} labels, and there are {} classes: name them as the labels, or give as many labels, in the order of the classes' names",
                labels.len(),
                self.classes.len()
            ))),
        }
    }
}

/// A class's name as it is spoken: folders have `_` for blanks.
fn said(name: &str) -> String {
    name.replace('_', " ").trim().to_lowercase()
}

/// What was counted.
#[derive(Default)]
struct Counts {
    pictures: usize,
    first: usize,
    among_five: usize,
    /// By class: pictures, and those whose best label is its.
    by_class: BTreeMap<usize, (usize, usize)>,
    /// Class and the wrong label that was best.
    taken_for: BTreeMap<(usize, usize), usize>,
}

impl Counts {
    fn add(&mut self, class: usize, label: usize, scores: &[f32]) {
        let better = |other: usize| scores[other] > scores[label] || scores[other] == scores[label] && other < label;
        let rank = (0..scores.len()).filter(|&other| better(other)).count();
        self.pictures += 1;
        self.among_five += (rank < 5) as usize;
        let of_class = self.by_class.entry(class).or_default();
        of_class.0 += 1;
        if rank == 0 {
            self.first += 1;
            of_class.1 += 1;
        } else if let Some(best) = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a))) {
            *self.taken_for.entry((class, best)).or_default() += 1;
        }
    }

    /// Mean of the classes' accuracies.
    fn by_classes(&self) -> f64 {
        self.by_class.values().map(|&(all, right)| right as f64 / all as f64).sum::<f64>() / self.by_class.len().max(1) as f64
    }
}

impl Eval {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let mut data = Data::read(g, &self.data)?;
        let given = self.labels.given(g, || data.classes.iter().map(|c| c.replace('_', " ")).collect())?;
        let label_of = data.labels_of(match &given {
            Given::Texts(labels) => labels,
            Given::Saved(saved, _) => &saved.labels,
        })?;
        let clip = g.load()?;
        let Some(classifier) = self.labels.classifier(g, &clip, given)? else { return Ok(Outcome::SomeFailed) };
        let (mut counts, mut at) = (Counts::default(), 0);
        inputs::batches(g, &clip, &data.pictures, |batch| {
            let scores = pollster::block_on(classifier.classify_pixels(&clip, &batch.pixels, Score::Cosine))?;
            let mut rows = scores.chunks(classifier.labels().len());
            for path in &data.pictures[at..at + batch.pictures] {
                let (class, name) = (data.class[at], file_name(path));
                at += 1;
                if batch.failed.iter().any(|f| f.input == name) {
                    continue;
                }
                match rows.next() {
                    Some(row) if row.iter().all(|v| v.is_finite()) => counts.add(class, label_of[class], row),
                    _ => data.failed.push(Failed::not_finite(&name)),
                }
            }
            data.failed.extend(batch.failed);
            Ok(())
        })?;
        self.print(g, &clip.executor.name(), &data, &counts, classifier.labels())?;
        Ok(Outcome::of(&data.failed))
    }

    fn print(&self, g: &Globals, device: &str, data: &Data, counts: &Counts, labels: &[String]) -> Result<()> {
        let share = |right: usize, all: usize| right as f64 / all.max(1) as f64;
        let (first, five) = (share(counts.first, counts.pictures), share(counts.among_five, counts.pictures));
        let mut confused: Vec<(&(usize, usize), &usize)> = counts.taken_for.iter().collect();
        confused.sort_by_key(|(pair, count)| (std::cmp::Reverse(**count), **pair));
        if g.json {
            let classes: Vec<_> = counts
                .by_class
                .iter()
                .map(|(&c, &(all, right))| json!({"class": data.classes[c], "pictures": all, "right": right, "top1": share(right, all)}))
                .collect();
            let confusions: Vec<_> =
                confused.iter().map(|((c, l), n)| json!({"class": data.classes[*c], "label": labels[*l], "pictures": n})).collect();
            return say_json(&json!({
                "model": g.model()?, "device": device, "compute": g.compute.to_string(), "pictures": counts.pictures, "labels": labels.len(), "top1": first, "top5": five,
                "mean_per_class": counts.by_classes(), "classes": classes, "confusions": confusions, "failed": failed_json(&data.failed),
            }));
        }
        say(&format!("{} pictures of {} classes, {} labels", counts.pictures, counts.by_class.len(), labels.len()))?;
        let percent = |v: f64| format!("{:.2} %", 100.0 * v);
        say(&format!("top-1 {}  top-5 {}  mean per class {}", percent(first), percent(five), percent(counts.by_classes())))?;
        let mut classes: Vec<(f64, &str, usize)> =
            counts.by_class.iter().map(|(&c, &(all, right))| (share(right, all), data.classes[c].as_str(), all)).collect();
        classes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
        for (right, class, all) in classes.iter().take(self.worst) {
            say(&format!("  {:>8}  {class} ({all})", percent(*right)))?;
        }
        if !confused.is_empty() {
            say("taken for another:")?;
        }
        confused.iter().take(self.worst).try_for_each(|((c, l), n)| say(&format!("  {n:>6}  {} as {}", data.classes[*c], labels[*l])))
    }
}
