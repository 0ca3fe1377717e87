//! Frames on the host and on the device.

use std::sync::Arc;
use std::time::Duration;

use clip_wgpu::Image;
use clip_wgpu::gpu::Gpu;

/// One picture of a source: straight 8-bit RGBA.
pub struct Frame {
    pub width: u32,
    pub height: u32,
    pub rgba: Vec<u8>,
    /// The file that it is, where it is one.
    pub name: Option<String>,
}

impl Frame {
    pub fn of_image(image: &Image, name: Option<String>) -> Self {
        let rgba = image.rgb8().as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect();
        Self { width: image.width() as u32, height: image.height() as u32, rgba, name }
    }

    /// A frame of Y0 U Y1 V in rows of `stride` bytes, as cameras send them: BT.601, 16 to 235.
    #[cfg(any(target_os = "linux", test))]
    pub fn of_yuyv(width: u32, height: u32, stride: usize, bytes: &[u8]) -> Option<Self> {
        let row = 2 * width as usize;
        if !width.is_multiple_of(2) || stride < row || bytes.len() < stride * (height as usize).checked_sub(1)? + row {
            return None;
        }
        let pixel = |y: u8, u: u8, v: u8| {
            let (y, u, v) = (1.164_383 * (f32::from(y) - 16.0), f32::from(u) - 128.0, f32::from(v) - 128.0);
            [y + 1.596_027 * v, y - 0.391_762 * u - 0.812_968 * v, y + 2.017_232 * u, 255.0].map(|c| c.round() as u8)
        };
        let pairs = bytes.chunks(stride).take(height as usize).flat_map(|line| line[..row].as_chunks::<4>().0);
        let rgba = pairs.flat_map(|&[y0, u, y1, v]| [pixel(y0, u, v), pixel(y1, u, v)]).flatten().collect();
        Some(Self { width, height, rgba, name: None })
    }

    /// For the CPU executor.
    pub fn to_image(&self) -> clip_wgpu::Result<Image> {
        let rgb = self.rgba.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
        Image::from_rgb8(self.width as usize, self.height as usize, rgb)
    }
}

/// A frame as the engine and the window see it.
#[derive(Clone)]
pub struct Shown {
    pub frame: Arc<Frame>,
    /// The same on the device that engine and window share; none without one.
    pub texture: Option<Arc<wgpu::Texture>>,
    /// Frames of the source before it.
    pub number: u64,
    /// How long the source took to give it.
    pub capture: Duration,
}

/// Textures that frames go through: one that nobody holds any more is written again.
pub struct Textures {
    device: wgpu::Device,
    queue: wgpu::Queue,
    made: Vec<Arc<wgpu::Texture>>,
}

impl Textures {
    pub fn new(gpu: &Gpu) -> Self {
        Self { device: gpu.device.clone(), queue: gpu.queue.clone(), made: Vec::new() }
    }

    /// The frame as a texture; `None` for one that is larger than the device's are.
    pub fn upload(&mut self, frame: &Frame) -> Option<Arc<wgpu::Texture>> {
        if frame.width.max(frame.height) > self.device.limits().max_texture_dimension_2d {
            return None;
        }
        let size = wgpu::Extent3d { width: frame.width, height: frame.height, depth_or_array_layers: 1 };
        self.made.retain(|t| t.size() == size || Arc::strong_count(t) > 1);
        let free = self.made.iter().find(|t| t.size() == size && Arc::strong_count(t) == 1).cloned();
        let texture = free.unwrap_or_else(|| {
            let texture = Arc::new(self.device.create_texture(&wgpu::TextureDescriptor {
                label: Some("frame"),
                size,
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::Rgba8Unorm, // the bytes as they are, for the engine and for egui
                usage: wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::TEXTURE_BINDING,
                view_formats: &[],
            }));
            self.made.push(texture.clone());
            texture
        });
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * frame.width), rows_per_image: None };
        self.queue.write_texture(texture.as_image_copy(), &frame.rgba, layout, size);
        self.queue.submit([]); // else wgpu keeps the bytes until somebody submits, which a hidden window does not
        Some(texture)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that fails may panic
    use super::*;

    #[test]
    fn yuyv_has_the_colours_of_bt601() {
        // Red, then white, in rows with four bytes of padding.
        let line = [82, 90, 82, 240, 0, 0, 0, 0];
        let white = [235, 128, 235, 128];
        let frame = Frame::of_yuyv(2, 2, 8, &[&line[..], &white[..]].concat()).unwrap();
        let near = |at: usize, want: [i32; 3]| (0..3).all(|c| (i32::from(frame.rgba[4 * at + c]) - want[c]).abs() <= 2);
        assert!(near(0, [255, 0, 0]) && near(1, [255, 0, 0]) && near(2, [255; 3]) && near(3, [255; 3]), "{:?}", frame.rgba);
        assert!(Frame::of_yuyv(2, 2, 8, &line).is_none(), "half a frame");
    }
}
