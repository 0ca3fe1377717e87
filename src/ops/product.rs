//! The matrix product behind linear, patch_embed and scores: which of its kernels a device takes.

use crate::gpu::shader::{Part, part};
use crate::gpu::{Caps, Product};
use crate::graph::kernel::Kernel;
use crate::graph::{Call, Op};

const PARTS: [Part; 4] =
    [part!("product_tile.wgsl"), part!("product_few.wgsl"), part!("product_direct.wgsl"), part!("product_subgroup.wgsl")];
/// What the last two share: their sums, and their tile.
pub(super) const SUMS: Part = part!("lanes.wgsl");
const LANES: Part = part!("product_lanes.wgsl");
/// What those have that shuffle.
pub(super) const SHUFFLE: Part = part!("shuffle.wgsl");
/// The first two with factors in f16, in tiles of the same sizes.
const IN_F16: [Part; 2] = [part!("product_tile_f16.wgsl"), part!("product_few_f16.wgsl")];
/// The matrices of product_cooperative, by their side.
const MATRICES: [Part; 2] = [part!("cooperative_16.wgsl"), part!("cooperative_8.wgsl")];
/// Rows and columns of the tile that a workgroup makes.
const TILES: [[u32; 2]; 4] = [tile(PARTS[0]), tile(PARTS[1]), LANES_TILE, LANES_TILE];
const LANES_TILE: [u32; 2] = [SUMS.constant("TILE_ROWS"), LANES.constant("TILE_COLUMNS")];
const COOPERATIVE_TILES: [[u32; 2]; 2] = [tile(MATRICES[0]), tile(MATRICES[1])];

const fn tile(part: Part) -> [u32; 2] {
    [part.constant("TILE_ROWS"), part.constant("TILE_COLUMNS")]
}

const _: () = assert!(same(tile(IN_F16[0]), TILES[0]) && same(tile(IN_F16[1]), TILES[1]));

const fn same(a: [u32; 2], b: [u32; 2]) -> bool {
    a[0] == b[0] && a[1] == b[1]
}

/// Workgroups that keep a GPU busy with large tiles: four waves on each of 60 compute units. Two to one either way costs little.
const BUSY: u32 = 256;

/// Which kernel `caps` take for `[rows, n]`. All that one device takes sum in the same order, so that a row is the same in
/// whatever batch.
fn choose(caps: &Caps, rows: u32, n: u32) -> Product {
    match caps {
        _ if caps.matrices().is_some() => Product::Cooperative,
        Caps { product: Some(forced), .. } if *forced != Product::Cooperative => *forced,
        Caps { f16: false, software: true, subgroup_min_size: 1.., .. } => Product::Subgroup,
        Caps { f16: false, software: true, .. } => Product::Direct,
        Caps { many_registers: true, .. } if groups(TILES[Product::Tile as usize], rows, n).iter().product::<u32>() >= BUSY => {
            Product::Tile
        }
        _ => Product::Few,
    }
}

/// Workgroups over `[rows, n]`.
fn groups([tile_rows, tile_columns]: [u32; 2], rows: u32, n: u32) -> [u32; 2] {
    [n.div_ceil(tile_columns), rows.div_ceil(tile_rows)]
}

/// A part that reads, in loads of 64 bits. lavapipe makes a loop over lanes of every load, with a round for each value.
fn in_64_bits(part: Part) -> Part {
    match part.file {
        "input.wgsl" => part!("input_64.wgsl"),
        "weight/f32.wgsl" => part!("weight/f32_64.wgsl"),
        "weight/f16.wgsl" => part!("weight/f16_64.wgsl"),
        "weight/bf16.wgsl" => part!("weight/bf16_64.wgsl"),
        _ => part,
    }
}

/// The product with the input and the epilogue in `own`, cut by rows.
pub(super) fn kernel(op: &dyn Op, call: &Call, caps: &Caps, own: &[Part]) -> Kernel {
    let (rows, n) = (call.rows() as u32, call.output().stride() as u32);
    let (product, matrices) = (choose(caps, rows, n), caps.matrices());
    let (at, of_side) = (product as usize, usize::from(matrices.is_some_and(|m| m.side == 8)));
    let (tile, parts): (_, &[Part]) = match product {
        Product::Cooperative => (COOPERATIVE_TILES[of_side], &[MATRICES[of_side], part!("product_cooperative.wgsl")]),
        Product::Tile | Product::Few if caps.f16 => (TILES[at], &[part!("multiply_add_f16.wgsl"), part!("product_rows.wgsl"), IN_F16[at]]),
        Product::Tile | Product::Few => (TILES[at], &[part!("multiply_add.wgsl"), part!("product_rows.wgsl"), PARTS[at]]),
        Product::Direct => (TILES[at], &[SUMS, LANES, PARTS[at]]),
        Product::Subgroup => (TILES[at], &[SUMS, SHUFFLE, LANES, PARTS[at]]),
    };
    let [x, y] = groups(tile, rows, n);
    let mut kernel = Kernel::new(op, call, &[parts, own].concat(), ([x, y, 1], 1)).reads([x, y].map(f64::from));
    if product == Product::Subgroup && caps.int64 {
        kernel.parts.iter_mut().for_each(|part| *part = in_64_bits(*part));
    }
    if let Some(matrix) = matrices {
        kernel.parts.insert(0, part!("cooperative.wgsl")); // directives, which stand before all else
        kernel = kernel.constants([("INVOCATIONS", f64::from(matrix.invocations()))]);
    }
    if caps.f16 {
        kernel.parts.insert(0, part!("f16.wgsl"));
    }
    kernel
}
