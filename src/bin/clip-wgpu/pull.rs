//! Models by their names on the Hub.

use std::sync::Arc;

use clip_wgpu::Result;
use clip_wgpu::clip::{ModelFiles, registry::DEFAULT, repository};
use clip_wgpu::hub::Hub;
use indicatif::ProgressDrawTarget;

use crate::context::Globals;
use crate::output::{complain, megabytes};

impl Globals {
    /// The name of the model; of the default one where none was given.
    pub fn model(&self) -> Result<String> {
        if let Some(model) = &self.model {
            return Ok(model.clone());
        }
        let Some(repo) = repository(DEFAULT)? else { return Ok(DEFAULT.into()) };
        if self.hub().cache.snapshot(&repo).is_none() {
            self.warn(&format!("no model was named (-m): taking {DEFAULT}, 72.8 % on ImageNet"));
        }
        Ok(DEFAULT.into())
    }

    /// The files of a model, pulled where they are not here; says where they were wrong.
    pub fn find(&self, name: &str) -> Result<ModelFiles> {
        let files = self.pulling(|hub| pollster::block_on(ModelFiles::find_in(name, hub)))?;
        files.notes.iter().for_each(|note| self.warn(note));
        Ok(files)
    }

    /// The Hub as the environment and `--offline` say.
    pub fn hub(&self) -> Hub {
        let hub = Hub::from_env();
        Hub { offline: hub.offline || self.offline, ..hub }
    }

    /// Asks the Hub for something, with a line that says how big it is and a progress bar.
    pub fn pulling<T>(&self, ask: impl FnOnce(&Hub) -> Result<T>) -> Result<T> {
        let bar = self.bar(0, "pulling  {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_draw_target(ProgressDrawTarget::hidden()); // until there is something to pull
        let (told, quiet) = (bar.clone(), self.quiet);
        let progress = Arc::new(move |done, total| {
            told.set_length(total);
            told.set_position(done);
        });
        let announced = bar.clone();
        let announce = Arc::new(move |repo: &str, bytes: u64| {
            if !quiet {
                complain(&format!("pulling {repo}, {}", megabytes(bytes)));
                announced.set_draw_target(ProgressDrawTarget::stderr());
            }
        });
        let answer = ask(&Hub { progress: Some(progress), announce: Some(announce), ..self.hub() });
        bar.finish_and_clear();
        answer
    }
}
