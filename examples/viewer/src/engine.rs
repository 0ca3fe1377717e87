//! The thread that scores frames. It takes the newest one each time, so a slow model misses some and holds nobody up.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clip_wgpu::blocking::open;
use clip_wgpu::{Device, Error, Executor};

use crate::capture::Capture;
use crate::frame::Shown;
use crate::heat::Heat;
use crate::labels::{LabelSet, ScoreName, prototype};
use crate::model::Model;
use crate::score::Smooth;

/// Frames that teach a thing.
const EXAMPLES: usize = 8;
/// Times that medians are taken of.
const KEPT: usize = 30;

/// What the engine is asked for.
pub enum Ask {
    Load(String, Device),
    Watch(Capture),
    Look(LabelSet),
    Smooth(Duration),
    /// Says where this label is, by number, or no longer does.
    Locate(Option<usize>),
    /// Takes the next frames as examples of what is named so.
    Teach(String),
    Pause(bool),
}

/// What it says of itself; whoever shows it takes a copy.
#[derive(Clone, Default)]
pub struct Said {
    pub state: State,
    pub model: String,
    pub device: String,
    /// Side of what the model sees, in pixels.
    pub size: usize,
    /// Whether it sees the whole picture, squashed.
    pub squashes: bool,
    pub weight_bytes: u64,
    /// What the model was trained for, as soon as it is loaded.
    pub trained_for: Option<ScoreName>,
    pub names: Vec<String>,
    /// Of the newest frame.
    pub raw: Vec<f32>,
    pub smooth: Smooth,
    /// Where the chosen label is in that frame.
    pub heat: Option<Heat>,
    /// Prompts encoded so far.
    pub encoded: usize,
    /// Milliseconds of the last frames.
    pub times: VecDeque<Times>,
    pub frames: u64,
    /// The frame that the scores are of.
    pub number: u64,
    pub taught: Option<(String, Vec<f32>)>,
    /// Of `EXAMPLES`, while a thing is taught.
    pub examples: Option<(String, usize)>,
    pub complaint: Option<String>,
    /// Why the newest frame was not scored.
    pub unscored: Option<String>,
    pub lost: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    #[default]
    Nothing,
    /// Doing what, how many bytes of how many.
    Loading(String, u64, u64),
    Running,
    Paused,
    /// No model: a sentence.
    Failed(String),
}

/// Where the time of one frame went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub capture: Duration,
    /// From hand-over to scores.
    pub score: Duration,
    /// From one result to the next.
    pub between: Duration,
}

/// The engine's handle.
#[derive(Clone)]
pub struct Engine {
    asks: Sender<Ask>,
    said: Arc<Mutex<Said>>,
}

impl Engine {
    /// Starts it. `shared` is the device that it shares with a window, where there is one; `told` is called when it has said
    /// something new.
    pub fn start(shared: Option<Executor>, told: impl Fn() + Send + Sync + Clone + 'static) -> Self {
        let (asks, asked) = channel();
        let said = Arc::new(Mutex::new(Said::default()));
        let worker = Worker {
            shared,
            asked,
            said: said.clone(),
            told,
            watched: None,
            model: None,
            set: None,
            smoothing: Duration::from_millis(300),
            paused: false,
            lesson: None,
            located: None,
        };
        std::thread::spawn(move || worker.run());
        Self { asks, said }
    }

    pub fn ask(&self, ask: Ask) {
        let _ = self.asks.send(ask); // it lives as long as this
    }

    pub fn said(&self) -> Said {
        lock(&self.said).clone()
    }

    /// Takes what was taught since it was last asked.
    pub fn taught(&self) -> Option<(String, Vec<f32>)> {
        lock(&self.said).taught.take()
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker<F> {
    shared: Option<Executor>,
    asked: Receiver<Ask>,
    said: Arc<Mutex<Said>>,
    told: F,
    watched: Option<Capture>,
    model: Option<Model>,
    set: Option<LabelSet>,
    smoothing: Duration,
    paused: bool,
    /// What is taught, and the embeddings so far.
    lesson: Option<(String, Vec<Vec<f32>>)>,
    /// The label whose place is asked for.
    located: Option<usize>,
}

impl<F: Fn() + Send + Sync + Clone + 'static> Worker<F> {
    fn run(mut self) {
        let (mut seen, mut last) = (None, Instant::now());
        loop {
            // Paused, the frame that stands there is scored once more where the labels are others.
            let scores = self.watched.is_some() && self.model.is_some() && (!self.paused || seen.is_none());
            let ask = match scores {
                true => self.asked.try_recv(),
                false => self.asked.recv().map_err(|_| TryRecvError::Disconnected), // there is nothing else to do
            };
            match ask {
                Ok(ask) => self.answer(ask, &mut seen),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    let next = self.watched.as_ref().and_then(|c| c.after(seen, Duration::from_millis(20)));
                    if let Some(shown) = next {
                        seen = Some(shown.number);
                        self.score(&shown, &mut last);
                    }
                }
            }
        }
    }

    fn say(&self, change: impl FnOnce(&mut Said)) {
        change(&mut lock(&self.said));
        (self.told)();
    }

    fn answer(&mut self, ask: Ask, seen: &mut Option<u64>) {
        match ask {
            Ask::Watch(capture) => {
                capture.pause(self.paused);
                self.watched.replace(capture).iter().for_each(Capture::close);
                self.say(|said| said.unscored = None);
                *seen = None;
            }
            Ask::Smooth(constant) => self.smoothing = constant,
            Ask::Locate(label) => {
                self.located = label;
                *seen = None;
            }
            Ask::Pause(paused) => {
                self.paused = paused;
                self.watched.iter().for_each(|c| c.pause(paused));
                let running = self.model.is_some(); // else it says why there is none
                self.say(|said| match running {
                    true if paused => said.state = State::Paused,
                    true => said.state = State::Running,
                    false => {}
                });
            }
            Ask::Teach(text) => {
                self.say(|said| said.examples = Some((text.clone(), 0)));
                self.lesson = Some((text, Vec::new()));
            }
            Ask::Look(set) => {
                self.set = Some(set);
                self.look();
                *seen = None; // the frame that stands there is scored again
            }
            Ask::Load(name, device) => {
                self.model = None;
                self.say(|said| said.state = State::Loading("loading".into(), 0, 0));
                match self.load(&name, &device) {
                    Ok(model) => self.model = Some(model),
                    Err(e) => return self.fail(&e, |said, e| said.state = State::Failed(e)),
                }
                self.look();
                *seen = None;
            }
        }
    }

    fn load(&self, name: &str, device: &Device) -> Result<Model, Error> {
        let executor = match &self.shared {
            Some(shared) if *device != Device::Cpu => shared.clone(),
            _ => open(device)?,
        };
        let (said, told) = (self.said.clone(), self.told.clone());
        let progress = move |doing: &str, done, all| {
            lock(&said).state = State::Loading(doing.into(), done, all);
            told();
        };
        let model = Model::load(name, &executor, progress)?;
        self.say(|said| {
            said.state = if self.paused { State::Paused } else { State::Running };
            (said.model, said.device, said.size, said.squashes) = (name.into(), executor.name(), model.size(), model.squashes());
            said.weight_bytes = model.weight_bytes();
            said.trained_for = Some(model.score());
            said.times.clear();
            said.complaint = None;
        });
        Ok(model)
    }

    fn look(&mut self) {
        let (Some(model), Some(set)) = (&mut self.model, &self.set) else { return };
        let answer = model.look_for(set);
        let (names, encoded): (Vec<String>, usize) = (set.names().map(String::from).collect(), model.encoded());
        match answer {
            Ok(()) => self.say(|said| {
                (said.names, said.encoded, said.complaint, said.unscored) = (names, encoded, None, None);
                (said.raw, said.smooth) = (Vec::new(), Smooth::default());
            }),
            Err(e) => self.fail(&e, |said, e| said.complaint = Some(e)),
        }
    }

    fn fail(&self, error: &Error, show: impl FnOnce(&mut Said, String)) {
        let lost = matches!(error, Error::DeviceLost(_));
        self.say(|said| {
            said.lost |= lost;
            show(said, error.to_string());
        });
    }

    fn score(&mut self, shown: &Shown, last: &mut Instant) {
        let Some(model) = &self.model else { return };
        if let Some((text, rows)) = &mut self.lesson {
            match model.embedding(shown) {
                Ok(row) => rows.push(row),
                Err(e) => return self.fail(&e, |said, e| said.unscored = Some(e)),
            }
            let (text, count, done) = (text.clone(), rows.len(), (rows.len() == EXAMPLES).then(|| prototype(rows)));
            let over = done.is_some();
            self.say(|said| {
                said.examples = (!over).then(|| (text.clone(), count));
                said.taught = done.map(|row| (text, row)).or(said.taught.take());
            });
            if over {
                self.lesson = None;
            }
        }
        let Some(model) = &self.model else { return };
        let answer = model.scored(shown).and_then(|scored| {
            let heat = self.located.map(|label| model.located(shown, label)).transpose()?.flatten();
            Ok(scored.map(|scored| (scored, heat)))
        });
        match answer {
            Ok(Some((scored, heat))) => {
                let between = std::mem::replace(last, Instant::now()).elapsed();
                let smoothing = self.smoothing;
                self.say(|said| {
                    said.smooth.take(&scored.scores, between, smoothing);
                    (said.raw, said.heat, said.unscored) = (scored.scores, heat, None);
                    said.frames += 1;
                    said.number = shown.number;
                    said.times.push_back(Times { capture: shown.capture, score: scored.took, between });
                    if said.times.len() > KEPT {
                        said.times.pop_front();
                    }
                });
            }
            Ok(None) => {}
            Err(e) => self.fail(&e, |said, e| said.unscored = Some(e)),
        }
    }
}
