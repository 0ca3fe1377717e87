//! The matrix product behind linear, patch_embed and scores: which of its kernels a device takes.

use crate::gpu::shader::{Part, part};
use crate::gpu::{Caps, Product};
use crate::graph::kernel::Kernel;
use crate::graph::{Call, Op};

const PARTS: [Part; 4] =
    [part!("product_tile.wgsl"), part!("product_few.wgsl"), part!("product_direct.wgsl"), part!("product_subgroup.wgsl")];
/// The first two with factors in f16, in tiles of the same sizes.
const IN_F16: [Part; 2] = [part!("product_tile_f16.wgsl"), part!("product_few_f16.wgsl")];
/// Rows and columns of the tile that a workgroup makes.
const TILES: [[u32; 2]; 4] = [tile(PARTS[0]), tile(PARTS[1]), tile(PARTS[2]), tile(PARTS[3])];

const fn tile(part: Part) -> [u32; 2] {
    [part.constant("TILE_ROWS"), part.constant("TILE_COLUMNS")]
}

const _: () = assert!(same(tile(IN_F16[0]), TILES[0]) && same(tile(IN_F16[1]), TILES[1]));

const fn same(a: [u32; 2], b: [u32; 2]) -> bool {
    a[0] == b[0] && a[1] == b[1]
}

/// Workgroups that keep a GPU busy with large tiles: four waves on each of 60 compute units. Two to one either way costs little.
const BUSY: u32 = 256;

/// Workgroups over `[rows, n]`.
fn groups(product: Product, rows: u32, n: u32) -> [u32; 2] {
    let [tile_rows, tile_columns] = TILES[product as usize];
    [n.div_ceil(tile_columns), rows.div_ceil(tile_rows)]
}

/// The product with `own`'s input and epilogue, cut by rows. Every kernel of a device class sums in the same order, so that a
/// row is the same in whatever batch.
pub(super) fn kernel(op: &dyn Op, call: &Call, caps: &Caps, own: Part) -> Kernel {
    let (rows, n) = (call.rows() as u32, call.output().stride() as u32);
    let product = caps.product.unwrap_or(match caps {
        Caps { f16: false, software: true, subgroups: true, .. } => Product::Subgroup,
        Caps { f16: false, software: true, .. } => Product::Direct,
        _ if groups(Product::Tile, rows, n).iter().product::<u32>() >= BUSY => Product::Tile,
        _ => Product::Few,
    });
    let [x, y] = groups(product, rows, n);
    let parts = match product {
        Product::Tile | Product::Few if caps.f16 => [part!("multiply_add_f16.wgsl"), IN_F16[product as usize], own],
        Product::Tile | Product::Few => [part!("multiply_add.wgsl"), PARTS[product as usize], own],
        Product::Direct | Product::Subgroup => [part!("product_lanes.wgsl"), PARTS[product as usize], own],
    };
    let mut kernel = Kernel::new(op, call, &parts, ([x, y, 1], 1)).reads([x, y].map(f64::from));
    if caps.f16 {
        kernel.parts.insert(0, part!("f16.wgsl")); // a directive, which stands before all else
    }
    kernel
}
