//! Position tables for another size of picture.

use crate::input::Filter;

/// Positions of a square of `from` × `from` patches for one of `to` × `to`: bicubic and antialiased, as
/// `open_clip/model.py`'s `resize_pos_embed` (`torch.nn.functional.interpolate`). The first `prefix` rows stay.
pub fn resampled(table: &[f32], width: usize, prefix: usize, from: usize, to: usize) -> Vec<f32> {
    let (kept, grid) = table.split_at(prefix * width);
    let taps = Filter::Bicubic.weights(from, to);
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
