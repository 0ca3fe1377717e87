//! Position tables for another size of picture.

use crate::input::Filter;

/// Positions of a square of `from` × `from` patches for one of `to` × `to`, as `torch.nn.functional.interpolate` makes them with
/// `mode="bicubic"`: antialiased in open_clip (`resize_pos_embed` of `open_clip/model.py`) and timm, and not in transformers
/// (`interpolate_pos_encoding`). The first `prefix` rows stay.
pub fn resampled(table: &[f32], width: usize, prefix: usize, (from, to): (usize, usize), antialias: bool) -> Vec<f32> {
    let (kept, grid) = table.split_at(prefix * width);
    let taps = if antialias { Filter::Bicubic.weights(from, to) } else { cubic(from, to) };
    // Along the columns of each line, then along the lines.
    let mut lines = vec![0.0f64; from * to * width];
    for y in 0..from {
        for (x, (first, weights)) in taps.iter().enumerate() {
            let out = &mut lines[(y * to + x) * width..][..width];
            for (i, w) in weights.iter().enumerate() {
                let row = &grid[(y * from + first + i) * width..][..width];
                out.iter_mut().zip(row).for_each(|(o, v)| *o += w * *v as f64);
            }
        }
    }
    let mut out = kept.to_vec();
    for (first, weights) in &taps {
        for x in 0..to {
            let value =
                |d: usize| weights.iter().enumerate().map(|(i, w)| w * lines[((first + i) * to + x) * width + d]).sum::<f64>() as f32;
            out.extend((0..width).map(value));
        }
    }
    out
}

/// What each of `to` values is made of: the first input, and the weights from there. Four taps each (PyTorch's `UpSampleKernel.cpp`,
/// a = -0.75); beyond the edge lies the edge's value.
fn cubic(from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let taps = |i: usize| {
        let at = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let t = at - at.floor();
        let inputs = (-1..=2).map(|step| (at.floor() as isize + step).clamp(0, from as isize - 1) as usize);
        let (first, last) = inputs.clone().fold((from, 0), |(first, last), i| (first.min(i), last.max(i)));
        let mut weights = vec![0.0; last - first + 1];
        inputs.zip([far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)]).for_each(|(i, weight)| weights[i - first] += weight);
        (first, weights)
    };
    (0..to).map(taps).collect()
}
