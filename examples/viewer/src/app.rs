//! The window: its parts, and what comes in from capture and engine.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clip_wgpu::Device;
use clip_wgpu::gpu::Gpu;
use eframe::egui;
use eframe::egui_wgpu::{RenderState, WgpuConfiguration, WgpuSetup};

use crate::arguments::Arguments;
use crate::capture::Capture;
use crate::device;
use crate::engine::{Ask, Engine, Said};
use crate::frame::Shown;
use crate::labels::LabelSet;
use crate::record::Recording;

/// Opens the window, and again where its device was lost or another one is chosen.
///
/// # Errors
/// A sentence for the user.
pub fn run(arguments: Arguments, set: LabelSet) -> Result<(), String> {
    let recording = arguments.record.as_deref().map(Recording::start).transpose()?;
    let kept = Arc::new(Mutex::new(Kept { arguments, set, recording, again: true, note: None, over: None }));
    let take = |kept: &Mutex<Kept>| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut kept.again).then(|| kept.arguments.device.clone())
    };
    let mut before: Option<Device> = None;
    while let Some(wanted) = take(&kept) {
        let opened = match (device::open(&wanted), before.take()) {
            (Ok(opened), _) => opened,
            (Err(why), None) => return Err(why),
            // What was chosen does not open, or is there no more: the window goes on where it was, or wherever it can.
            (Err(why), Some(device)) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.arguments.device = if device == wanted { Device::Auto } else { device };
                (kept.again, kept.note) = (true, Some(Err(why)));
                continue;
            }
        };
        before = Some(wanted);
        let options = eframe::NativeOptions {
            viewport: egui::ViewportBuilder::default().with_title("clip-wgpu viewer").with_inner_size([1100.0, 720.0]),
            wgpu_options: WgpuConfiguration { wgpu_setup: WgpuSetup::Existing(opened.setup), ..Default::default() },
            renderer: eframe::Renderer::Wgpu,
            ..Default::default()
        };
        let (state, executor, gpu, names) = (kept.clone(), opened.executor, opened.gpu, opened.names);
        let begin = move |context: &eframe::CreationContext<'_>| -> Box<dyn eframe::App> {
            let told = repaint(&context.egui_ctx);
            let engine = Engine::start(Some(executor), told);
            Box::new(Viewer::new(&context.egui_ctx, context.wgpu_render_state.clone(), engine, gpu, names, state))
        };
        eframe::run_native("clip-wgpu viewer", options, Box::new(move |context| Ok(begin(context)))).map_err(|e| no_window(&e))?;
    }
    kept.lock().unwrap_or_else(PoisonError::into_inner).over.take().map_or(Ok(()), Err)
}

/// What the system says of it names winit's source files, so it stands last.
fn no_window(error: &eframe::Error) -> String {
    let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    match cfg!(target_os = "linux") && unset("DISPLAY") && unset("WAYLAND_DISPLAY") {
        true => {
            "no window can be opened: there is no X11 or Wayland display (DISPLAY and WAYLAND_DISPLAY are not set); --headless needs none"
                .into()
        }
        false => format!("no window can be opened; --headless needs none. The system says: {error}"),
    }
}

/// A label's place among those of the set.
pub fn place(set: &LabelSet, label: Option<&str>) -> Option<usize> {
    set.names().position(|name| Some(name) == label)
}

fn repaint(context: &egui::Context) -> impl Fn() + Send + Sync + Clone + 'static {
    let context = context.clone();
    move || context.request_repaint()
}

/// A sentence for the person: what was done, or what is wrong.
pub type Note = Result<String, String>;

/// What outlives a window.
pub struct Kept {
    pub arguments: Arguments,
    pub set: LabelSet,
    pub recording: Option<Recording>,
    /// Whether the window is to be opened again.
    pub again: bool,
    pub note: Option<Note>,
    /// Why there will be no other window.
    pub over: Option<String>,
}

pub struct Viewer {
    pub engine: Engine,
    pub said: Said,
    pub set: LabelSet,
    pub arguments: Arguments,
    /// Names of the adapters that there are.
    pub adapters: Vec<String>,
    pub capture: Capture,
    /// The frame that is drawn, and its number.
    pub drawn: Option<(egui::TextureId, u64, egui::Vec2)>,
    /// What is wrong with the source.
    pub stopped: Option<String>,
    /// What the person should know, beside what the engine says.
    pub note: Option<Note>,
    pub typed: Typed,
    pub recording: Option<Recording>,
    recorded: u64,
    /// Scores as numbers, which change four times a second at most.
    pub numbers: (Instant, Vec<f32>),
    pub best_first: bool,
    /// The labels as they stand one below another.
    pub order: Vec<usize>,
    /// The label whose place in the picture is shown.
    pub located: Option<String>,
    /// What makes the rest of the picture dark.
    pub shade: Option<egui::TextureHandle>,
    /// Time that drawing took last.
    pub draw: Duration,
    pub gpu: Gpu,
    kept: Arc<Mutex<Kept>>,
    render: Option<RenderState>,
}

/// What stands in the fields.
#[derive(Default)]
pub struct Typed {
    pub label: String,
    pub background: String,
    pub source: String,
    pub model: String,
    pub device: String,
    pub file: String,
    pub record: String,
}

impl Viewer {
    pub fn new(
        context: &egui::Context,
        render: Option<RenderState>,
        engine: Engine,
        gpu: Gpu,
        adapters: Vec<String>,
        kept: Arc<Mutex<Kept>>,
    ) -> Self {
        let (arguments, set, note, recording) = {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            (kept.arguments.clone(), kept.set.clone(), kept.note.take(), kept.recording.take())
        };
        let capture = Capture::start(&arguments.source, arguments.every(), Some(&gpu), repaint(context));
        engine.ask(Ask::Watch(capture.clone()));
        engine.ask(Ask::Smooth(arguments.smoothing()));
        engine.ask(Ask::Load(arguments.model.clone(), arguments.device.clone()));
        engine.ask(Ask::Look(set.clone()));
        let located = arguments.located.clone();
        engine.ask(Ask::Locate(place(&set, located.as_deref())));
        let typed = Typed {
            background: set.background.join("\n"),
            source: arguments.source.clone(),
            model: arguments.model.clone(),
            device: arguments.device.to_string(),
            file: arguments.file.clone().unwrap_or("labels.json".into()).display().to_string(),
            record: arguments.record.clone().unwrap_or("scores.csv".into()).display().to_string(),
            ..Typed::default()
        };
        Self {
            engine,
            said: Said::default(),
            set,
            arguments,
            adapters,
            capture,
            drawn: None,
            stopped: None,
            note,
            typed,
            recording,
            recorded: 0,
            numbers: (Instant::now(), Vec::new()),
            best_first: false,
            order: Vec::new(),
            located,
            shade: None,
            draw: Duration::ZERO,
            gpu,
            kept,
            render,
        }
    }

    /// The labels were edited.
    pub fn relabel(&mut self) {
        let kept = std::mem::replace(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner).set, self.set.clone());
        if kept == self.set {
            return; // a field was left as it was
        }
        self.engine.ask(Ask::Look(self.set.clone()));
        self.locate(self.located.clone());
    }

    /// Shows where this label is, as long as there is one of that text.
    pub fn locate(&mut self, label: Option<String>) {
        let at = place(&self.set, label.as_deref());
        self.located = label.filter(|_| at.is_some());
        self.arguments.located = self.located.clone();
        self.keep();
        self.engine.ask(Ask::Locate(at));
    }

    pub fn watch(&mut self, context: &egui::Context, source: &str) {
        self.arguments.source = source.into();
        self.typed.source = source.into();
        self.capture.close(); // now, not when the engine is through with a model
        if let Some((_, number, _)) = &mut self.drawn {
            *number = u64::MAX; // no frame of this source
        }
        self.capture = Capture::start(source, self.arguments.every(), Some(&self.gpu), repaint(context));
        self.engine.ask(Ask::Watch(self.capture.clone()));
        self.keep();
    }

    pub fn load(&mut self, context: &egui::Context) {
        match self.typed.device.parse::<clip_wgpu::Device>() {
            Err(e) => self.note = Some(Err(e.to_string())),
            Ok(device) => {
                self.note = None;
                let other = device != self.arguments.device;
                (self.arguments.model, self.arguments.device) = (self.typed.model.trim().into(), device);
                self.keep();
                match other {
                    true => self.open_again(context, None),
                    false => self.engine.ask(Ask::Load(self.arguments.model.clone(), self.arguments.device.clone())),
                }
            }
        }
    }

    pub fn open_labels(&mut self, path: &std::path::Path) {
        match LabelSet::load(path) {
            Ok(set) => {
                self.set = set;
                self.typed.background = self.set.background.join("\n");
                self.typed.file = path.display().to_string();
                self.note = None;
                self.relabel();
            }
            Err(message) => self.note = Some(Err(message)),
        }
    }

    pub fn snapshot(&mut self, context: &egui::Context) {
        let path = PathBuf::from(format!("snapshot-{}.png", self.said.number));
        let (kept, told) = (self.kept.clone(), repaint(context));
        context.request_screenshot(move |image: Arc<egui::ColorImage>| {
            let (width, height) = (image.size[0] as u32, image.size[1] as u32);
            let bytes: Vec<u8> = image.pixels.iter().flat_map(|p| p.to_array()).collect();
            let saved = image::save_buffer(&path, &bytes, width, height, image::ColorType::Rgba8);
            let note = saved.map(|()| format!("{} is written", path.display())).map_err(|e| format!("{}: {e}", path.display()));
            kept.lock().unwrap_or_else(PoisonError::into_inner).note = Some(note);
            told();
        });
    }

    fn keep(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).arguments = self.arguments.clone();
    }

    /// Closes this window for one on a device that is opened anew.
    fn open_again(&mut self, context: &egui::Context, note: Option<Note>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.again, kept.note) = (true, note);
        kept.recording = self.recording.take().or(kept.recording.take());
        self.capture.close();
        context.send_viewport_cmd(egui::ViewportCommand::Close);
    }

    /// Takes what capture and engine have.
    fn take(&mut self, context: &egui::Context) {
        self.said = self.engine.said();
        self.note = self.kept.lock().unwrap_or_else(PoisonError::into_inner).note.take().or(self.note.take());
        if self.said.lost && self.said.frames == 0 {
            let why = "the device was lost before it had scored a frame: try --device cpu, or another of `clip-wgpu device`";
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).over = Some(why.into());
            return context.send_viewport_cmd(egui::ViewportCommand::Close);
        }
        if self.said.lost {
            return self.open_again(context, Some(Err("the device was lost: it has been opened again".into())));
        }
        if let Some((text, row)) = self.engine.taught() {
            if let Some(other) = self.set.taught_by.as_ref().filter(|by| **by != self.said.model) {
                self.note = Some(Ok(format!("what was taught with {other} is a text again: its file still has it, until it is saved")));
            }
            self.set.teach(&text, row, &self.said.model);
            self.relabel();
        }
        let (shown, stopped) = self.capture.newest();
        self.stopped = stopped;
        if let (Some(render), Some(Shown { frame, texture: None, .. })) = (&self.render, &shown) {
            let (width, height) = (frame.width, frame.height);
            self.stopped = Some(format!("{width} × {height} pixels are more than this device draws; they are scored all the same"));
            if let Some((id, ..)) = self.drawn.take() {
                render.renderer.write().free_texture(&id);
            }
        }
        if let (Some(render), Some(shown)) = (&self.render, shown)
            && let Some(texture) = shown.texture
            && self.drawn.is_none_or(|(_, number, _)| number != shown.number)
        {
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            let size = egui::vec2(shown.frame.width as f32, shown.frame.height as f32);
            let mut renderer = render.renderer.write();
            let filter = wgpu::FilterMode::Linear;
            let id = match self.drawn {
                Some((id, ..)) => {
                    renderer.update_egui_texture_from_wgpu_texture(&render.device, &view, filter, id);
                    id
                }
                None => renderer.register_native_texture(&render.device, &view, filter),
            };
            self.drawn = Some((id, shown.number, size));
        }
        if self.said.frames > self.recorded
            && let Some(recording) = &mut self.recording
        {
            self.recorded = self.said.frames;
            if let Err(message) = recording.write(self.said.number, &self.said.names, &self.said.raw) {
                (self.note, self.recording) = (Some(Err(message)), None);
            }
        }
        if self.numbers.0.elapsed() > Duration::from_millis(250) || self.numbers.1.len() != self.said.smooth.scores.len() {
            self.numbers = (Instant::now(), self.said.smooth.scores.clone());
        } else if self.numbers.1 != self.said.smooth.scores {
            context.request_repaint_after(Duration::from_millis(250));
        }
    }

    fn take_dropped(&mut self, context: &egui::Context) {
        let dropped = context.input(|i| i.raw.dropped_files.clone());
        let mut source = None;
        for path in dropped.into_iter().map(|file| file.path().to_path_buf()) {
            match path.extension().and_then(|e| e.to_str()) {
                Some("json" | "txt") => self.open_labels(&path),
                _ => source = Some(path), // of several the last
            }
        }
        if let Some(path) = source {
            self.watch(context, &path.display().to_string());
        }
    }
}

impl eframe::App for Viewer {
    /// Before each picture of the window, and while it is hidden: a recording goes on, and a lost device is seen.
    fn logic(&mut self, context: &egui::Context, _: &mut eframe::Frame) {
        self.take(context);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        let begun = Instant::now();
        let context = ui.ctx().clone();
        self.take_dropped(&context);
        egui::Panel::bottom("runs").show(ui, |ui| self.runs(ui));
        egui::Panel::right("think").default_size(420.0).show(ui, |ui| self.think(ui));
        egui::CentralPanel::default().show(ui, |ui| self.look(ui));
        self.draw = begun.elapsed();
    }
}
