//! Pictures that are on the device already: a camera's or a video's frames.

use std::sync::{Arc, Mutex, PoisonError};

use super::encode::Embeddings;
use super::model::Clip;
use crate::device::Executor;
use crate::error::Result;
use crate::graph::session::storage;
use crate::graph::{Data, DeviceWeight, DeviceWeights, Graph, Kind, Pending, Rows, Session, Size, Target, Value};
use crate::input::Preprocess;
use crate::ops::Frame;
use crate::weights::Format;

const ONE: Size = Size { batch: 1, tokens: 1 };

/// Textures of one size made into a tower's pixels.
pub(super) struct Frames {
    width: u32,
    height: u32,
    session: Session,
    frame: Value,
    pixels: Value,
    /// Pixels on their way to the tower: held while both runs are handed over.
    between: Mutex<wgpu::Buffer>,
}

impl Frames {
    async fn new(executor: &Executor, recipe: &Preprocess, (width, height): (u32, u32)) -> Result<Self> {
        let gpu = match executor {
            Executor::Gpu(gpu) => gpu,
            #[cfg(feature = "host")]
            Executor::Host => return Err(crate::Error::Argument("a texture is on a device, but the CPU executor runs this model".into())),
        };
        let op = Frame { width: width as usize, height: height as usize, recipe: recipe.clone() };
        let tables = op.tables();
        let mut graph = Graph::default();
        let frame = graph.input("frame", Rows::PerItem(op.height), 4 * op.width, Kind::Texel);
        let looked_up = graph.weight("tables", 1, tables.len());
        let pixels = graph.push("pixels", op, &[frame, looked_up])?;
        let bytes = graph.desc(pixels).bytes(ONE);
        let (made, refusals) = gpu.scoped(|| {
            let weight = DeviceWeight::new(gpu, graph.desc(looked_up), Format::F32, false)?;
            weight.write(gpu, 0, bytemuck::cast_slice(&tables));
            Ok((weight, storage(gpu, "pixels", bytes)))
        });
        refusals.check(gpu, "the pixels of a frame").await?;
        let (weight, buffer): (DeviceWeight, _) = made?;
        let weights = DeviceWeights::from([(looked_up, weight)]);
        let session = Session::new(gpu, Arc::new(graph), Arc::new(weights), &[pixels], ONE).await?;
        Ok(Self { width, height, session, frame, pixels, between: Mutex::new(buffer) })
    }

    /// Hands over the run that makes the pixels, and then `next`'s, which reads them.
    fn submit(&self, texture: &wgpu::Texture, next: impl FnOnce(Data<'_>) -> Result<Pending>) -> Result<Pending> {
        let between = self.between.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.session.submit(&[(self.frame, Data::Texture(texture))], ONE, &[(self.pixels, Target::Buffer(&between))])?;
        Ok(next(Data::Buffer(&between))?.after(made))
    }
}

impl Clip {
    /// Unit embedding of a texture of this model's device, resized, cropped and normalised there: bit for bit that of the same
    /// picture on the host. Nothing but the embedding comes back.
    ///
    /// The texture holds 8-bit values as they are (`Rgba8Unorm` or `Bgra8Unorm`, usage `TEXTURE_BINDING`), like the pixels of a
    /// picture file; alpha is not read.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another kind of texture; [`crate::Error::Argument`] where the CPU executor runs; else as
    /// [`Clip::encode_images`].
    pub async fn encode_frame(&self, texture: &wgpu::Texture) -> Result<Embeddings> {
        let tower = self.vision()?;
        let pending = self.submit_frame(texture, |pixels| tower.embed(&[(tower.ends.input, pixels)], self.one_picture()?)).await?;
        self.embeddings(pending.values().await?.remove(0))
    }

    /// What the image tower reads of a texture: `[1, 3, size, size]`, for checks.
    ///
    /// # Errors
    /// As [`Clip::encode_frame`].
    pub async fn frame_pixels(&self, texture: &wgpu::Texture) -> Result<Vec<f32>> {
        let frames = self.frames_of(texture).await?;
        Ok(frames.session.run_and_read(&[(frames.frame, Data::Texture(texture))], ONE, &[frames.pixels]).await?.remove(0))
    }

    /// Hands over a run of `next` over the texture's pixels.
    pub(super) async fn submit_frame(&self, texture: &wgpu::Texture, next: impl FnOnce(Data<'_>) -> Result<Pending>) -> Result<Pending> {
        self.frames_of(texture).await?.submit(texture, next)
    }

    /// What makes pixels of textures of this one's size: made anew where the last one had another.
    async fn frames_of(&self, texture: &wgpu::Texture) -> Result<Arc<Frames>> {
        let size = (texture.width(), texture.height());
        let known = self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(frames) = known.filter(|f| (f.width, f.height) == size) {
            return Ok(frames);
        }
        let frames = Arc::new(Frames::new(&self.executor, &self.preprocess, size).await?);
        *self.frames.lock().unwrap_or_else(PoisonError::into_inner) = Some(frames.clone());
        Ok(frames)
    }
}
