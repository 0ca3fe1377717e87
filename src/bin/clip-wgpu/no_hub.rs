//! Without the Hub: models are in the box, or on disk.

use clip_wgpu::clip::ModelFiles;
use clip_wgpu::{Error, Result};

use crate::context::Globals;

impl Globals {
    /// The name of the model.
    pub fn model(&self) -> Result<String> {
        self.model.clone().ok_or_else(|| Error::Argument("which model? name one: -m pico (in the box), or -m DIR".into()))
    }

    /// The files of a model; says where they were wrong.
    pub fn find(&self, name: &str) -> Result<ModelFiles> {
        let files = pollster::block_on(ModelFiles::find(name))?;
        files.notes.iter().for_each(|note| self.warn(note));
        Ok(files)
    }
}
