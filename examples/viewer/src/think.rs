//! What it thinks: labels and their scores.

use std::path::PathBuf;

use eframe::egui::{self, Sense, Ui};

use crate::app::Viewer;
use crate::engine::Ask;
use crate::labels::{Label, ScoreName};

/// Bars move in this time.
const MOVE: f32 = 0.15;

impl Viewer {
    /// Labels as bars.
    pub fn think(&mut self, ui: &mut Ui) {
        let count = self.set.names().count();
        // Under a label that is being edited no other moves.
        let is_edited = (0..count).any(|i| ui.memory(|memory| memory.has_focus(field(i))));
        if !is_edited || self.order.len() != count {
            self.order = (0..count).collect();
            if self.best_first {
                let score = |i: &usize| self.said.smooth.scores.get(*i).copied().unwrap_or(0.0);
                self.order.sort_by(|a, b| score(b).total_cmp(&score(a)));
            }
        }
        let (mut edit, order) = (None, self.order.clone());
        egui::ScrollArea::vertical().max_height(ui.available_height() - 190.0).show(ui, |ui| {
            for i in order {
                edit = self.bar(ui, i).or(edit.take());
            }
        });
        if let Some(edit) = edit {
            match edit {
                Edit::Locate(i) => self.locate(self.set.labels.get(i).map(|l| l.text.clone())),
                edit => {
                    edit.apply(&mut self.set.labels);
                    self.relabel();
                }
            }
        }
        ui.separator();
        self.add(ui);
        ui.collapsing("How labels are scored", |ui| self.scoring(ui));
    }

    /// One label: bar, number, text and menu in one line.
    fn bar(&mut self, ui: &mut Ui, i: usize) -> Option<Edit> {
        let score = self.said.smooth.scores.get(i).copied();
        let leads = self.said.smooth.leader == Some(i);
        let threshold = self.set.labels.get(i).map_or(0.0, |l| l.threshold);
        let shown = score.unwrap_or(0.0).clamp(0.0, 1.0);
        let moved = ui.ctx().animate_value_with_time(ui.scope_id().with(("bar", i)), shown, MOVE);
        let (line, response) = ui.allocate_exact_size(egui::vec2(ui.available_width(), 26.0), Sense::hover());
        let visuals = ui.visuals();
        let known = i < self.set.labels.len() && score.is_some_and(|s| s >= threshold);
        let fill = match (leads, known) {
            (true, true) => visuals.selection.bg_fill,
            (false, true) => visuals.selection.bg_fill.gamma_multiply(0.4),
            _ => visuals.widgets.noninteractive.bg_stroke.color,
        };
        ui.painter().rect_filled(line, 3.0, visuals.extreme_bg_color);
        let filled = egui::Rect::from_min_size(line.min, egui::vec2(line.width() * moved, line.height()));
        ui.painter().rect_filled(filled, 3.0, fill);
        let number = self.numbers.1.get(i).map_or("–".into(), |s| format!("{s:.2}"));
        ui.painter().text(
            line.left_center() + egui::vec2(6.0, 0.0),
            egui::Align2::LEFT_CENTER,
            number,
            egui::FontId::monospace(13.0),
            visuals.strong_text_color(),
        );
        if let Some(raw) = self.said.raw.get(i) {
            response.on_hover_text(format!("this frame: {raw:.4}"));
        }
        let mut inner = ui.new_child(egui::UiBuilder::new().id_salt(("label", i)).max_rect(line.with_min_x(line.min.x + 52.0)));
        inner
            .horizontal_centered(|ui| {
                let Some(label) = self.set.labels.get_mut(i) else {
                    ui.label(crate::labels::NONE);
                    return None;
                };
                let width = ui.available_width() - 40.0;
                let more = format!("More of {}", label.text);
                let text = egui::TextEdit::singleline(&mut label.text)
                    .id(field(i))
                    .hint_text("empty: it is removed")
                    .frame(egui::Frame::NONE)
                    .align(egui::Align2::LEFT_CENTER);
                let field = ui.add_sized([width, 24.0], text);
                let mut edit = None;
                if field.lost_focus() {
                    edit = Some(if label.text.trim().is_empty() { Edit::Remove(i) } else { Edit::Text });
                }
                let menu = ui.menu_button("…", |ui| {
                    if ui.add(egui::Slider::new(&mut label.threshold, 0.0..=1.0).text("at least")).drag_stopped() {
                        edit = Some(Edit::Text);
                    }
                    if ui.button("Where in the picture").clicked() {
                        edit = Some(Edit::Locate(i));
                        ui.close();
                    }
                    for (name, choice) in [("Move up", Edit::Up(i)), ("Move down", Edit::Down(i)), ("Remove", Edit::Remove(i))] {
                        if ui.button(name).clicked() {
                            edit = Some(choice);
                            ui.close();
                        }
                    }
                });
                menu.response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, &more));
                edit
            })
            .inner
    }

    fn add(&mut self, ui: &mut Ui) {
        let mut teach = false;
        ui.horizontal_wrapped(|ui| {
            let id = egui::Id::unique("a label");
            if ui.memory(|memory| memory.has_focus(id))
                && let Some(list) = pasted_list(ui)
            {
                self.set.add(&list);
                self.relabel();
            }
            let field = ui.add(egui::TextEdit::singleline(&mut self.typed.label).id(id).desired_width(150.0).hint_text("a label"));
            let entered = field.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
            if (ui.button("Add").clicked() || entered) && !self.typed.label.trim().is_empty() {
                let lines = std::mem::take(&mut self.typed.label);
                self.set.add(&lines);
                self.relabel();
                field.request_focus();
            }
            let named = !self.typed.label.trim().is_empty();
            let hint = "Hold it up, name it, and press F2: the next frames become an example";
            teach = ui.add_enabled(named, egui::Button::new("Teach (F2)")).on_hover_text(hint).clicked();
            teach |= named && ui.input(|i| i.key_pressed(egui::Key::F2));
            ui.toggle_value(&mut self.best_first, "Best first");
            if ui.button("Copy as JSON").clicked() {
                let scores: serde_json::Map<_, _> =
                    self.said.names.iter().cloned().zip(self.said.raw.iter().map(|s| serde_json::json!(s))).collect();
                let all = serde_json::json!({ "model": self.said.model, "device": self.said.device, "scores": scores });
                ui.ctx().copy_text(all.to_string());
            }
        });
        if teach {
            self.engine.ask(Ask::Teach(std::mem::take(&mut self.typed.label).trim().into()));
        }
        if let Some((name, count)) = &self.said.examples {
            ui.label(format!("looking at `{name}`: {count} frames of 8"));
        }
    }

    fn scoring(&mut self, ui: &mut Ui) {
        let mut changed = false;
        ui.horizontal(|ui| {
            ui.label("Prompt");
            changed |=
                ui.add(egui::TextEdit::singleline(&mut self.set.template).desired_width(220.0).hint_text("a photo of a {}")).lost_focus();
        });
        ui.horizontal(|ui| {
            let mut score = self.set.score.or(self.said.trained_for).unwrap_or_default();
            for (name, value) in [("softmax", ScoreName::Softmax), ("sigmoid", ScoreName::Sigmoid), ("cosine", ScoreName::Cosine)] {
                if ui.radio_value(&mut score, value, name).clicked() {
                    self.set.score = Some(score);
                    changed = true;
                }
            }
            changed |= ui.checkbox(&mut self.set.none_of_these, "none of these").changed();
        });
        if self.set.none_of_these {
            let field = egui::TextEdit::multiline(&mut self.typed.background).desired_rows(2).desired_width(f32::INFINITY);
            let edited = ui.add(field.hint_text("what is none of these: a prompt in each line")).lost_focus();
            if edited {
                let lines = self.typed.background.lines().map(str::trim).filter(|line| !line.is_empty());
                self.set.background = lines.map(String::from).collect();
                changed = true;
            }
        }
        if ui.add(egui::Slider::new(&mut self.arguments.smoothing, 0.0..=3.0).text("seconds of smoothing")).changed() {
            self.engine.ask(Ask::Smooth(self.arguments.smoothing()));
        }
        ui.horizontal(|ui| {
            ui.add(egui::TextEdit::singleline(&mut self.typed.file).desired_width(180.0).hint_text("a label set (JSON) or a text"));
            let path = PathBuf::from(self.typed.file.trim());
            if ui.button("Open").clicked() {
                self.open_labels(&path);
            }
            if ui.button("Save").clicked() {
                self.note = Some(self.set.save(&path).map(|()| format!("saved to {}", path.display())));
            }
        });
        if changed {
            self.relabel();
        }
    }
}

/// The field of a label, wherever it stands.
fn field(label: usize) -> egui::Id {
    egui::Id::unique(("label", label))
}

/// Lines that are pasted, which a field of one line would make one of.
fn pasted_list(ui: &Ui) -> Option<String> {
    ui.input_mut(|input| {
        let is_list = |event: &egui::Event| matches!(event, egui::Event::Paste(text) if text.trim().contains('\n'));
        let at = input.events.iter().position(is_list)?;
        match input.events.remove(at) {
            egui::Event::Paste(text) => Some(text),
            _ => None,
        }
    })
}

/// What a person did to a label.
#[derive(Clone, Copy)]
enum Edit {
    Text,
    Locate(usize),
    Up(usize),
    Down(usize),
    Remove(usize),
}

impl Edit {
    fn apply(self, labels: &mut Vec<Label>) {
        match self {
            Edit::Text | Edit::Locate(_) => {}
            Edit::Up(i) if i > 0 => labels.swap(i, i - 1),
            Edit::Down(i) if i + 1 < labels.len() => labels.swap(i, i + 1),
            Edit::Up(_) | Edit::Down(_) => {}
            Edit::Remove(i) => drop(labels.remove(i)),
        }
    }
}
