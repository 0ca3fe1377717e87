//! Pictures: cut short, of any shape, size and orientation.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::command::{command as start, root, run, scratch, text};
use super::{RED, STAR, bytes, embed_images, embeddings, put};

// O2: downloads cut short.

#[test]
fn pictures_cut_short_are_errors_in_every_format() {
    let folder = scratch("cut");
    let picture = image::open(root().join(STAR)).unwrap().to_rgb8();
    let mut files: Vec<(String, Vec<u8>)> =
        vec![("baseline.jpg".into(), bytes(STAR)), ("drawing.jpg".into(), bytes("assets/samples/purple-triangle.jpg"))];
    for (name, format) in [
        ("a.png", image::ImageFormat::Png),
        ("a.webp", image::ImageFormat::WebP),
        ("a.gif", image::ImageFormat::Gif),
        ("a.bmp", image::ImageFormat::Bmp),
        ("a.tif", image::ImageFormat::Tiff),
    ] {
        let mut out = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut out, format).unwrap();
        files.push((name.into(), out.into_inner()));
    }
    for (name, whole) in &files {
        let mut cuts = Vec::new();
        for percent in [20, 50, 90] {
            cuts.push(put(&folder, &format!("{percent}-{name}"), &whole[..whole.len() * percent / 100]));
        }
        let whole = put(&folder, name, whole);
        let said = embed_images(&[&cuts[0], &whole, &cuts[1], &cuts[2]]);
        let document = said.json_whatever_the_code();
        assert_eq!(
            (said.code, embeddings(&document).len(), document["failed"].as_array().unwrap().len()),
            (1, 1, 3),
            "{name}: {}",
            said.err
        );
    }
    // Only the end marker is missing, or something stands behind it: the picture is whole.
    let star = bytes(STAR);
    let no_end = put(&folder, "no-end-marker.jpg", &star[..star.len() - 2]);
    let more = put(&folder, "more.jpg", [&star[..], b"trailing bytes of a camera"].concat());
    let rows = embeddings(&embed_images(&[STAR, &no_end, &more]).json());
    assert!(rows[1].1 == rows[0].1 && rows[2].1 == rows[0].1);
}

// O3, O4: shapes and sizes.

/// Peak resident memory in MiB, and the time, of a run.
fn peak(arguments: &[&str]) -> (f64, Duration, i32) {
    let begun = Instant::now();
    let mut child = start(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak: f64 = 0.0;
    loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            let kib = status
                .lines()
                .find_map(|l| l.strip_prefix("VmHWM:"))
                .and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
            peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        }
        if let Some(status) = child.try_wait().unwrap() {
            return (peak, begun.elapsed(), status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn png(folder: &Path, name: &str, width: u32, height: u32) -> String {
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 7) as u8, (y * 5) as u8, (x + y) as u8]));
    let mut out = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut out);
    encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8).unwrap();
    put(folder, name, out)
}

#[test]
fn pictures_of_any_shape_cost_what_their_square_does() {
    let folder = scratch("thin");
    for (width, height) in [(1, 65_535), (60_000, 2), (1, 5_000), (65_535, 1), (3, 40_000)] {
        let file = png(&folder, &format!("{width}x{height}.png"), width, height);
        let (mib, time, code) = peak(&["embed", "image", "-q", "-m", "pico", &file]);
        assert_eq!(code, 0);
        assert!(mib < 100.0, "{width} × {height}: {mib:.0} MiB, {time:?}");
    }
}

#[test]
fn a_batch_of_large_pictures_costs_a_few_of_them() {
    let folder = scratch("large");
    let file = png(&folder, "24-megapixels.png", 6_000, 4_000);
    let paths: Vec<String> = (0..8)
        .map(|i| {
            let link = folder.join(format!("{i}.png"));
            std::fs::hard_link(&file, &link).unwrap();
            text(&link).to_string()
        })
        .collect();
    let arguments: Vec<&str> = ["embed", "image", "-q", "-m", "pico"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let (mib, time, code) = peak(&arguments);
    assert!(code == 0 && mib < 400.0, "{mib:.0} MiB, {time:?}");
}

#[test]
fn sizes_of_nothing_and_of_too_much_are_named() {
    let folder = scratch("zero");
    let mut gif = bytes_of_gif();
    gif[6..10].fill(0); // a screen of 0 × 0
    let screen = put(&folder, "screen-0x0.gif", gif);
    let said = embed_images(&[RED, &screen, STAR]);
    let document = said.json_whatever_the_code();
    assert!(embeddings(&document).len() >= 2 && !said.err.contains("panicked"), "{}", said.err);
}

/// A frame of one pixel in the middle of a screen of 3 × 3: the rest has the palette's first colour, as Pillow's has, or its
/// transparent one.
#[test]
fn a_gif_whose_frame_is_smaller_than_its_screen() {
    let palette = [[10, 20, 30], [200, 100, 50], [7, 8, 9], [0, 0, 0]];
    let gif = |extension: &[u8]| {
        let screen = [&b"GIF89a"[..], &[3, 0, 3, 0, 0x81, 0, 0], &palette.concat()].concat();
        [&screen[..], extension, &[0x2c, 1, 0, 1, 0, 1, 0, 1, 0, 0, 2, 2, 0x4c, 0x01, 0, 0x3b]].concat()
    };
    for (extension, rest) in [(&[][..], 0), (&[0x21, 0xf9, 4, 1, 0, 0, 2, 0], 2)] {
        let image = clip_wgpu::Image::decode(&gif(extension)).unwrap();
        let mut want = [palette[rest]; 9];
        want[4] = palette[1];
        assert_eq!(image.rgb8(), want.concat());
    }
}

fn bytes_of_gif() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(20, 20, image::Rgb([255, 0, 0])).write_to(&mut out, image::ImageFormat::Gif).unwrap();
    out.into_inner()
}

/// Orientation 6 as a SHORT and as a LONG, in either byte order.
#[test]
fn orientations_of_every_spelling_turn_the_picture() {
    let mut jpeg = Vec::new();
    let picture = RgbImage::from_fn(40, 20, |x, y| image::Rgb([(x * 6) as u8, (y * 12) as u8, 90]));
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&picture).unwrap();
    let with = |order: &[u8], kind: &[u8], value: &[u8]| {
        let numbers: [&[u8]; 4] = if order == b"II" {
            [b"\x2a\0", b"\x08\0\0\0", b"\x01\0\x12\x01", b"\x01\0\0\0"]
        } else {
            [b"\0\x2a", b"\0\0\0\x08", b"\0\x01\x01\x12", b"\0\0\0\x01"]
        };
        let exif = [b"Exif\0\0", order, numbers[0], numbers[1], numbers[2], kind, numbers[3], value, &[0; 4]].concat();
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
    };
    let upright = clip_wgpu::Image::decode(&jpeg).unwrap();
    let turned = |bytes: &[u8]| {
        let image = clip_wgpu::Image::decode(bytes).unwrap();
        assert_eq!((image.width(), image.height()), (20, 40));
        // Turned a quarter clockwise: the left column, from below, becomes the top row.
        let first = &image.rgb8()[..3];
        assert_eq!(first, &upright.rgb8()[3 * 40 * 19..][..3]);
    };
    turned(&with(b"II", b"\x03\0", b"\x06\0\0\0"));
    turned(&with(b"II", b"\x04\0", b"\x06\0\0\0"));
    turned(&with(b"MM", b"\0\x03", b"\0\x06\0\0"));
    turned(&with(b"MM", b"\0\x04", b"\0\0\0\x06"));
    let odd = clip_wgpu::Image::decode(&with(b"II", b"\x04\0", b"\xff\xff\xff\xff")).unwrap();
    assert_eq!((odd.width(), odd.height()), (40, 20));
}

/// A PNG of 40 × 20 with `chunks` before its pixels and behind them.
fn png_with(before: &[(&[u8; 4], &[u8])], behind: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let chunks = |chunks: &[(&[u8; 4], &[u8])]| -> Vec<u8> {
        let chunk = |(kind, data): &(&[u8; 4], &[u8])| {
            let mut crc = flate2::Crc::new();
            crc.update(*kind);
            crc.update(data);
            [&(data.len() as u32).to_be_bytes()[..], *kind, data, &crc.sum().to_be_bytes()].concat()
        };
        chunks.iter().flat_map(chunk).collect()
    };
    let mut png = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(40, 20, image::Rgb([9, 9, 9])).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let (png, head) = (png.into_inner(), 8 + 25);
    let end = png.len() - 12;
    [&png[..head], &chunks(before), &png[head..end], &chunks(behind), &png[end..]].concat()
}

/// Where Pillow looks for it beside EXIF's own segment or chunk.
#[test]
fn orientations_in_other_places_turn_the_picture() {
    let exif = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let hex: String = exif.iter().map(|b| format!("{b:02x}")).collect();
    let profile = format!("\nexif\n{:8}\n{}\n{}\n", exif.len(), &hex[..32], &hex[32..]);
    let mut zipped = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut zipped, profile.as_bytes()).unwrap();
    let text = [b"Raw profile type exif\0".as_slice(), profile.as_bytes()].concat();
    let zipped = [b"Raw profile type exif\0\0".as_slice(), &zipped.finish().unwrap()].concat();
    let xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>";
    let turned = |png: Vec<u8>| clip_wgpu::Image::decode(&png).unwrap().width() == 20;
    assert!(!turned(png_with(&[], &[])));
    assert!(turned(png_with(&[(b"eXIf", exif)], &[])) && turned(png_with(&[], &[(b"eXIf", exif)])));
    assert!(turned(png_with(&[(b"tEXt", &text)], &[])) && turned(png_with(&[(b"zTXt", &zipped)], &[])));
    assert!(turned(png_with(&[(b"iTXt", xmp)], &[])));
    // In two segments of a JPEG, the second of which has the end of the first.
    let mut jpeg = Vec::new();
    let picture = RgbImage::from_pixel(40, 20, image::Rgb([9, 9, 9]));
    image::codecs::jpeg::JpegEncoder::new(&mut jpeg).encode_image(&picture).unwrap();
    let segment = |part: &[u8]| [&[0xff, 0xe1][..], &(part.len() as u16 + 8).to_be_bytes(), b"Exif\0\0", part].concat();
    assert!(turned([&jpeg[..2], &segment(&exif[..9]), &segment(&exif[9..]), &jpeg[2..]].concat()));
}

/// A colour profile of a gigabyte in a file of one megabyte is not unpacked.
#[test]
fn a_profile_that_fills_the_memory_is_left_out() {
    let mut profile = flate2::write::ZlibEncoder::new(b"icc\0\0".to_vec(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| std::io::Write::write_all(&mut profile, &zeros).unwrap());
    let folder = scratch("profile");
    let path = put(&folder, "profile.png", png_with(&[(b"iCCP", &profile.finish().unwrap())], &[]));
    let (mib, time, code) = peak(&["embed", "image", "-q", "-m", "pico", &path]);
    assert!(code == 0 && mib < 400.0, "{mib:.0} MiB, {time:?}");
}

/// Where the data is broken the decoder goes on in grey; a picture that ends in grey of its own is whole.
#[test]
fn a_jpeg_with_a_hole_in_its_data_is_damaged() {
    let mut r = 1u32;
    let mut noise = || {
        r = r.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (r >> 24) as u8
    };
    let encoded = |picture: &RgbImage| {
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90).encode_image(picture).unwrap();
        jpeg
    };
    let picture = RgbImage::from_fn(160, 160, |_, _| image::Rgb([noise(), noise(), noise()]));
    let whole = encoded(&picture);
    assert!(clip_wgpu::Image::decode(&whole).is_ok());
    let mut refused = 0;
    for at in (0..20).map(|i| whole.len() / 4 + i * whole.len() / 40) {
        let mut holed = whole.clone();
        holed[at..at + 60].chunks_exact_mut(2).for_each(|b| b.copy_from_slice(&[0xff, 0])); // sixteen ones are no code
        match clip_wgpu::Image::decode(&holed) {
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("a damaged picture: its data is broken"), "{error}");
            }
            Ok(image) => assert!(image.rgb8()[image.rgb8().len() - 480..].iter().any(|v| *v != 128), "grey is no picture"),
        }
    }
    assert!(refused > 0, "none of them stopped the decoder");
    assert!(clip_wgpu::Image::decode(&encoded(&RgbImage::from_pixel(64, 64, image::Rgb([128; 3])))).is_ok());
}

/// Two letters are no bitmap; a camera's own file is no picture of its thumbnail's size.
#[test]
fn what_a_folder_has_that_only_looks_like_pictures() {
    let folder = scratch("looks-like");
    put(&folder, "bm25.txt", "BM25 notes: it ranks by how rare words are, and how long texts\n");
    put(&folder, "pages.txt", "P5 notes\n");
    put(&folder, "drawing.ppm", [b"P6\n20 20\n255\n".as_slice(), &[200; 1200]].concat());
    let mut tiff = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(16, 16, image::Rgb([1, 2, 3])).write_to(&mut tiff, image::ImageFormat::Tiff).unwrap();
    put(&folder, "DSC_1.NEF", tiff.into_inner());
    let said = run(&["embed", "image", "-m", "pico", "--json", text(&folder)]);
    assert_eq!(embeddings(&said.json_whatever_the_code()).len(), 1, "{}", said.err);
    assert!(said.err.contains("passed over 2 files that are no pictures (2 .txt)"), "{}", said.err);
    assert!(said.err.contains("DSC_1.NEF: NEF pictures are not read"), "{}", said.err);
}
