//! What it runs on, and where the time goes.

use std::time::Duration;

use eframe::egui::{self, RichText, Ui};

use crate::app::Viewer;
use crate::engine::State;

impl Viewer {
    /// One quiet line; a click opens the choosers and where the time goes.
    pub fn runs(&mut self, ui: &mut Ui) {
        let line = self.line();
        if let State::Loading(doing, done, all) = &self.said.state {
            let share = if *all > 0 { *done as f32 / *all as f32 } else { 0.0 };
            ui.add(egui::ProgressBar::new(share).text(format!(
                "{doing} {}: {} of {}",
                self.arguments.model,
                megabytes(*done),
                megabytes(*all)
            )));
        }
        egui::CollapsingHeader::new(line).id_salt("runs").show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                ui.label("Model");
                ui.add(
                    egui::TextEdit::singleline(&mut self.typed.model)
                        .desired_width(260.0)
                        .hint_text("pico, a folder, a file or a name on the Hub"),
                );
                let device = ui.label("Device");
                let adapters = self.adapters.clone();
                let chooser = egui::ComboBox::from_id_salt("device").selected_text(self.typed.device.clone()).show_ui(ui, |ui| {
                    for name in ["auto".to_string(), "cpu".into()].into_iter().chain(adapters.iter().map(|a| format!("gpu:{a}"))) {
                        ui.selectable_value(&mut self.typed.device, name.clone(), name);
                    }
                });
                chooser.response.labelled_by(device.id);
                if ui.button("Load").clicked() {
                    self.load(&ui.ctx().clone());
                }
            });
            egui::Grid::new("times").striped(true).show(ui, |ui| {
                let of = |time: fn(&crate::engine::Times) -> Duration| milliseconds(median(self.said.times.iter().map(time)));
                for (name, value) in [
                    ("capture, waiting included", of(|t| t.capture)),
                    ("preprocess, encode and score", of(|t| t.score)),
                    ("from score to score", of(|t| t.between)),
                    ("draw", milliseconds(self.draw)),
                    ("the model sees", format!("{0} × {0} pixels", self.said.size)),
                    ("prompts encoded", self.said.encoded.to_string()),
                ] {
                    ui.label(name);
                    ui.label(RichText::new(value).monospace());
                    ui.end_row();
                }
            });
            ui.label("Pictures and texts stay on this machine; a model that is named on the Hub is downloaded from there.");
        });
    }

    fn line(&self) -> String {
        match &self.said.state {
            State::Nothing => "no model yet".into(),
            State::Failed(_) => "no model".into(),
            State::Loading(doing, ..) => format!("{doing} {}", self.arguments.model),
            state => {
                let (took, between) = (median(self.said.times.iter().map(|t| t.score)), median(self.said.times.iter().map(|t| t.between)));
                let rate = if between.is_zero() { 0.0 } else { 1.0 / between.as_secs_f64() };
                let rate = if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
                let paused = if *state == State::Paused { " · paused" } else { "" };
                let (model, device, weights) = (&self.said.model, &self.said.device, megabytes(self.said.weight_bytes));
                format!("{model} · {device} · {} a frame · {rate} frames a second · {weights}{paused}", milliseconds(took))
            }
        }
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
