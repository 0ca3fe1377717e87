//! Cameras of Linux (V4L2).

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use clip_wgpu::Image;
use linuxvideo::format::{PixFormat, PixelFormat};
use linuxvideo::stream::ReadStream;
use linuxvideo::{CapabilityFlags, Device};

use super::{Source, Stop};
use crate::frame::Frame;

/// A camera that gives nothing for so long has stalled.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Camera {
    name: String,
    stream: ReadStream,
    width: u32,
    height: u32,
    stride: usize,
    format: PixelFormat,
}

impl Camera {
    /// `which` is `camera` for the first one, a device's path, or a part of a camera's name.
    pub fn open(which: &str) -> Result<Self, Stop> {
        let device = find(which)?;
        let name = device.capabilities().map_or_else(|_| which.to_string(), |c| c.card().to_string());
        let gone = |e: io::Error| Stop::Gone(format!("{name}: {}", plainly(&e)));
        // Uncompressed first: nothing has to be decoded.
        let mut refused = None;
        for format in [PixelFormat::YUYV, PixelFormat::MJPG] {
            let device = find(which)?;
            let capture = match device.video_capture(PixFormat::new(640, 480, format)) {
                Ok(capture) => capture,
                Err(e) if e.raw_os_error() == Some(22) => continue, // EINVAL: it has no such format
                Err(e) => return Err(gone(e)),
            };
            let given = capture.format();
            let (width, height, stride, found) = (given.width(), given.height(), given.bytes_per_line() as usize, given.pixel_format());
            if found != PixelFormat::YUYV && found != PixelFormat::MJPG {
                refused = Some(found);
                continue;
            }
            let stream = capture.into_stream().map_err(gone)?;
            return Ok(Self { name, stream, width, height, stride, format: found });
        }
        let found = refused.map_or("neither".into(), |format| format!("{format:?}"));
        Err(Stop::Gone(format!("{name}: expected a camera that gives YUYV or MJPG, found {found}")))
    }
}

fn find(which: &str) -> Result<Device, Stop> {
    if which.starts_with('/') {
        return Device::open(Path::new(which)).map_err(|e| Stop::Gone(format!("{which}: {}", plainly(&e))));
    }
    let (mut others, mut refused) = (Vec::new(), None);
    for device in linuxvideo::list().into_iter().flatten() {
        let device = match device {
            Ok(device) => device,
            Err(e) => {
                refused.get_or_insert(e);
                continue;
            }
        };
        let Ok(capabilities) = device.capabilities() else { continue };
        if !capabilities.device_capabilities().contains(CapabilityFlags::VIDEO_CAPTURE) {
            continue; // a node of metadata
        }
        if which == "camera" || capabilities.card().to_lowercase().contains(&which.to_lowercase()) {
            return Ok(device);
        }
        others.push(capabilities.card().to_string());
    }
    Err(Stop::Gone(match (others.is_empty(), refused) {
        (true, Some(e)) => plainly(&e),
        (true, None) => "no camera: plug one in, or take another source".into(),
        (false, _) => format!("no camera `{which}`; there are {}", others.join(", ")),
    }))
}

/// Whether a camera has this in its name.
pub fn is_named(which: &str) -> bool {
    !which.is_empty() && !which.contains('/') && find(which).is_ok()
}

fn plainly(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "the camera was refused: your user must be in the group `video`".into(),
        io::ErrorKind::ResourceBusy => "another program uses the camera".into(),
        _ if error.raw_os_error() == Some(19) => "the camera is gone: plug it in again".into(), // ENODEV
        _ => error.to_string(),
    }
}

impl Source for Camera {
    fn next(&mut self) -> Result<Frame, Stop> {
        let gone = |e: io::Error| Stop::Gone(format!("{}: {}", self.name, plainly(&e)));
        let begun = Instant::now();
        loop {
            while self.stream.will_block().map_err(gone)? {
                if begun.elapsed() > PATIENCE {
                    return Err(Stop::Gone(format!("{}: the camera gave no picture for {} s", self.name, PATIENCE.as_secs())));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            let (width, height, stride, format) = (self.width, self.height, self.stride, self.format);
            let taken = self.stream.dequeue(|view| {
                let damaged = view.is_error();
                Ok(if damaged {
                    None
                } else if format == PixelFormat::YUYV {
                    Frame::of_yuyv(width, height, stride, &view)
                } else {
                    Image::decode(&with_tables(&view)).ok().map(|image| Frame::of_image(&image, None))
                })
            });
            if let Some(frame) = taken.map_err(gone)? {
                return Ok(frame);
            }
        }
    }
}

/// Many cameras leave the Huffman tables out of their JPEGs: a marker tells the decoder (zune-jpeg) to take the standard ones.
fn with_tables(jpeg: &[u8]) -> Vec<u8> {
    let has_tables = jpeg.windows(2).any(|pair| pair == [0xff, 0xc4]);
    let mut out = jpeg.to_vec();
    if !has_tables && jpeg.starts_with(&[0xff, 0xd8]) {
        let marker = [0xff, 0xe0, 0, 16, b'A', b'V', b'I', b'1', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        out.splice(2..2, marker);
    }
    out
}
