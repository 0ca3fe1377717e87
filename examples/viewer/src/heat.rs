//! Where in the picture a label is: how much of its cosine comes from each patch.

use clip_wgpu::clip::Embeddings;

/// Of one frame and one label.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    pub label: usize,
    /// Patches on a side.
    pub grid: usize,
    /// Row after row from the top left; 0 the least of the picture, 1 the most.
    pub values: Vec<f32>,
}

/// The heat of a label with this `row` of unit length: what each patch gives to their cosine. `parts` are those of
/// [`clip_wgpu::Clip::image_parts`].
pub fn heat(parts: &Embeddings, row: &[f32], label: usize, grid: usize) -> Heat {
    let raw: Vec<f32> = (0..parts.rows).map(|i| parts.row(i).iter().zip(row).map(|(p, t)| p * t).sum()).collect();
    let (least, most) = raw.iter().fold((f32::MAX, f32::MIN), |(least, most), v| (least.min(*v), most.max(*v)));
    Heat { label, grid, values: raw.iter().map(|v| (v - least) / (most - least).max(1e-6)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_that_gives_most_is_hottest() {
        let parts = Embeddings { rows: 4, width: 2, data: vec![1.0, 0.0, 0.6, 0.8, -1.0, 1.0, 0.8, 0.6] };
        let found = heat(&parts, &[1.0, 0.0], 0, 2);
        assert!(found.values.iter().zip([1.0, 0.8, 0.0, 0.9]).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", found.values);
    }
}
