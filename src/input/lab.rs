//! CIE L*a*b* of 8 bits to sRGB as Pillow does it, by LittleCMS: through a table of 33 × 33 × 33 colours, between which it
//! interpolates in tetrahedra (`cmsintrp.c`, `TetrahedralInterp16`). A direct conversion would be up to 33 levels away from that.

/// Colours on a side of the table.
const SIDE: usize = 33;
/// sRGB's primaries at the white of D50, as its profile has them: rows X, Y, Z.
const PRIMARIES: [[f64; 3]; 3] = [[0.436066, 0.385147, 0.143066], [0.222488, 0.716873, 0.060608], [0.013916, 0.097076, 0.714096]];
const D50: [f64; 3] = [0.9642, 1.0, 0.8249];

pub struct LabToRgb {
    /// `[L, a, b]`, 16 bits of red, green and blue.
    table: Vec<[i64; 3]>,
}

impl LabToRgb {
    pub fn new() -> Self {
        let from_xyz = inverse(PRIMARIES);
        let at = |i: usize| i as f64 / (SIDE - 1) as f64;
        let colours = (0..SIDE.pow(3)).map(|i| {
            let (l, a, b) = (at(i / SIDE / SIDE), at(i / SIDE % SIDE), at(i % SIDE));
            colour(100.0 * l, 255.0 * a - 128.0, 255.0 * b - 128.0, &from_xyz).map(|v| (v * 65535.0).round() as i64)
        });
        Self { table: colours.collect() }
    }

    /// Of a pixel as TIFF stores it: L from 0 to 255, a and b with a sign.
    pub fn rgb(&self, lab: [u8; 3]) -> [u8; 3] {
        // Positions in the table in 65,536ths of a step.
        let position = [lab[0], lab[1] ^ 0x80, lab[2] ^ 0x80].map(|v| {
            let steps = i64::from(v) * 257 * (SIDE as i64 - 1);
            steps + (steps + 0x7fff) / 0xffff
        });
        let (mut at, rest) = (position.map(|p| (p >> 16) as usize), position.map(|p| p & 0xffff));
        let mut order = [0, 1, 2]; // the greatest rest first; of equal ones, any
        order.sort_by_key(|&axis| std::cmp::Reverse(rest[axis]));
        let of = |at: [usize; 3]| self.table[(at[0] * SIDE + at[1]) * SIDE + at[2]];
        let corner = of(at);
        let (mut before, mut sum) = (corner, [0x8001; 3]);
        for axis in order {
            at[axis] = (at[axis] + 1).min(SIDE - 1);
            let next = of(at);
            (0..3).for_each(|c| sum[c] += rest[axis] * (next[c] - before[c]));
            before = next;
        }
        let wide = [0, 1, 2].map(|c| corner[c] + ((sum[c] + (sum[c] >> 16)) >> 16));
        wide.map(|v| ((v * 65281 + 8388608) >> 24) as u8)
    }
}

/// sRGB from 0 to 1, cut off where it has no such colour.
fn colour(l: f64, a: f64, b: f64, from_xyz: &[[f64; 3]; 3]) -> [f64; 3] {
    let y = (l + 16.0) / 116.0;
    let linear = |t: f64| if t <= 24.0 / 116.0 { 108.0 / 841.0 * (t - 16.0 / 116.0) } else { t.powi(3) };
    let xyz = [y + a / 500.0, y, y - b / 200.0].map(linear);
    from_xyz.map(|row| {
        let v = (0..3).map(|i| row[i] * xyz[i] * D50[i]).sum::<f64>().clamp(0.0, 1.0);
        if v <= 0.0031308 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 }
    })
}

/// By Cramer's rule.
fn inverse(m: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let minor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
    [0, 1, 2].map(|r| [0, 1, 2].map(|c| minor(c, r) / determinant))
}
