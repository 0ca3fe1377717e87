//! Frames of a camera or a video as textures.

use std::cell::RefCell;

use clip_wgpu::gpu::Gpu;
use js_sys::{Array, Function, Object, Reflect};
use wasm_bindgen::prelude::*;

/// The texture that frames are copied to, made anew where their size changes.
#[derive(Default)]
pub struct Frames(RefCell<Option<wgpu::Texture>>);

impl Frames {
    /// Copies `frame` to a texture, its bytes as they are.
    ///
    /// Through JavaScript's own call: wgpu's panics, and so ends the module, where the browser throws (a closed frame, a video
    /// that it cannot import).
    pub fn copy(&self, gpu: &Gpu, frame: &JsValue, width: u32, height: u32) -> Result<wgpu::Texture, JsValue> {
        let texture = self.texture(gpu, width, height);
        let (Some(queue), Some(to)) = (gpu.queue.as_webgpu(), texture.as_webgpu()) else {
            return Err(JsValue::from_str("expected WebGPU"));
        };
        let object = |fields: &[(&str, &JsValue)]| -> Result<JsValue, JsValue> {
            let object = Object::new();
            for (key, value) in fields {
                Reflect::set(&object, &(*key).into(), value)?;
            }
            Ok(object.into())
        };
        let from = object(&[("source", frame)])?;
        let to = object(&[("texture", to.as_ref()), ("premultipliedAlpha", &false.into())])?;
        let size = Array::of2(&width.into(), &height.into());
        let queue: &JsValue = queue.as_ref();
        let copy: Function = Reflect::get(queue, &"copyExternalImageToTexture".into())?.dyn_into()?;
        copy.call3(queue, &from, &to, &size)?;
        Ok(texture)
    }

    fn texture(&self, gpu: &Gpu, width: u32, height: u32) -> wgpu::Texture {
        let mut kept = self.0.borrow_mut();
        if let Some(texture) = kept.as_ref().filter(|t| (t.width(), t.height()) == (width, height)) {
            return texture.clone();
        }
        if let Some(old) = kept.take() {
            old.destroy(); // the collector does not see the GPU's memory
        }
        let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::RENDER_ATTACHMENT;
        let texture = gpu.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("frame"),
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage,
            view_formats: &[],
        });
        *kept = Some(texture.clone());
        texture
    }
}
