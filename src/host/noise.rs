//! What the tests of products multiply.

/// Rows, k and n, around the sizes of tiles, panels, parts of k, chunks and tasks.
pub const SHAPES: [(usize, usize, usize); 8] =
    [(1, 1, 1), (1, 513, 33), (13, 512, 31), (15, 3, 64), (50, 768, 96), (57, 1030, 70), (200, 530, 65), (400, 96, 97)];

/// In -1..1.
pub fn value(i: usize, seed: u32) -> f32 {
    ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0
}
