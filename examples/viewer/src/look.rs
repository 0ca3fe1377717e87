//! What the window looks at.

use std::path::PathBuf;

use eframe::egui::{self, Color32, RichText, Ui};

use crate::app::{Note, Viewer, place};
use crate::engine::{Ask, State};
use crate::record::Recording;

/// How dark the patch is that is least like the label, of 255.
const DARK: f32 = 200.0;

impl Viewer {
    /// The picture, uncropped, with a frame about the square that the model sees.
    pub fn look(&mut self, ui: &mut Ui) {
        let failed = match &self.said.state {
            State::Failed(why) => Some(why.clone()),
            _ => None,
        };
        let wrong = [self.stopped.clone(), failed, self.said.complaint.clone(), self.said.unscored.clone()].into_iter().flatten().map(Err);
        let notes: Vec<Note> = wrong.chain(self.note.clone()).collect();
        egui::Panel::bottom("notes").show(ui, |ui| {
            for note in &notes {
                match note {
                    Ok(done) => ui.label(done),
                    Err(wrong) => ui.label(RichText::new(wrong).color(ui.visuals().error_fg_color)),
                };
            }
            if let Some(label) = self.located.clone() {
                ui.horizontal(|ui| {
                    ui.label(format!("The lighter, the more it speaks for `{label}`"));
                    if ui.button("Whole picture").clicked() {
                        self.locate(None);
                    }
                });
            }
            ui.horizontal_wrapped(|ui| {
                ui.label("Source");
                let field =
                    egui::TextEdit::singleline(&mut self.typed.source).desired_width(240.0).hint_text("camera, screen, a folder or a film");
                let entered = ui.add(field).lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
                if ui.button("Watch").clicked() || entered {
                    let source = self.typed.source.clone();
                    self.watch(&ui.ctx().clone(), source.trim());
                }
                let paused = self.said.state == State::Paused;
                if ui.button(if paused { "Go on" } else { "Pause" }).clicked() {
                    self.engine.ask(Ask::Pause(!paused));
                }
                if ui.button("Snapshot").clicked() {
                    self.snapshot(&ui.ctx().clone());
                }
                self.record(ui);
            });
        });
        let room = ui.available_rect_before_wrap();
        let Some((texture, _, size)) = self.drawn else {
            let waiting = self.stopped.clone().unwrap_or(format!("waiting for {}", self.arguments.source));
            ui.centered_and_justified(|ui| ui.label(waiting));
            return;
        };
        let scale = (room.width() / size.x).min(room.height() / size.y);
        let picture = egui::Rect::from_center_size(room.center(), size * scale);
        let whole = egui::Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1.0, 1.0));
        ui.painter().image(texture, picture, whole, Color32::WHITE);
        let square = match self.said.squashes {
            true => picture,
            false => egui::Rect::from_center_size(picture.center(), egui::Vec2::splat(picture.width().min(picture.height()))),
        };
        if let Some(heat) = self.said.heat.as_ref().filter(|heat| Some(heat.label) == place(&self.set, self.located.as_deref())) {
            let cold = heat.values.iter().map(|v| Color32::from_black_alpha((DARK * (1.0 - v)) as u8)).collect();
            let shade = ui.ctx().load_texture("heat", egui::ColorImage::new([heat.grid; 2], cold), egui::TextureOptions::LINEAR);
            ui.painter().image(shade.id(), square, whole, Color32::WHITE);
            self.shade = Some(shade); // it is drawn after this
        }
        if square != picture {
            ui.painter().rect_stroke(square, 0.0, egui::Stroke::new(1.0, ui.visuals().selection.bg_fill), egui::StrokeKind::Inside);
        }
    }

    fn record(&mut self, ui: &mut Ui) {
        match &self.recording {
            Some(recording) => {
                if ui.button(format!("Stop recording to {}", recording.path.display())).clicked() {
                    self.recording = None;
                }
            }
            None => {
                if ui.button("Record to").clicked() {
                    match Recording::start(&PathBuf::from(self.typed.record.trim())) {
                        Ok(recording) => self.recording = Some(recording),
                        Err(message) => self.note = Some(Err(message)),
                    }
                }
                ui.add(egui::TextEdit::singleline(&mut self.typed.record).desired_width(90.0).hint_text("scores.csv"));
            }
        }
    }
}
