// product_lanes — what product_direct and product_subgroup share: the tile that they make, and what they fetch and store.
//
// A workgroup of 8 makes a 28 × 64 tile of y, an invocation 28 rows × 8 columns of it: devices that are processors read and
// write lane by lane, so that many rows share each load of weights. Its sums are named matrices: these compilers keep those in
// registers, but index arrays in memory where a loop did not unroll.

const TILE_ROWS = 28u;    // of y, made by a workgroup
const TILE_COLUMNS = 64u;

var<private> y0: mat4x4<f32>; // the first four rows, columns col … col + 3
var<private> y1: mat4x4<f32>; // the next four
var<private> y2: mat4x4<f32>;
var<private> y3: mat4x4<f32>;
var<private> y4: mat4x4<f32>;
var<private> y5: mat4x4<f32>;
var<private> y6: mat4x4<f32>;
var<private> z0: mat4x4<f32>; // the same rows, columns col + 32 …
var<private> z1: mat4x4<f32>;
var<private> z2: mat4x4<f32>;
var<private> z3: mat4x4<f32>;
var<private> z4: mat4x4<f32>;
var<private> z5: mat4x4<f32>;
var<private> z6: mat4x4<f32>;

/// Rows row … row + 3 of x, at 4·k4 … 4·k4 + 3; rows beyond the last repeat it.
fn rows4(row: u32, k4: u32) -> mat4x4<f32> {
    let last = dims.rows - 1u;
    return mat4x4(input4(min(row, last), k4), input4(min(row + 1u, last), k4), input4(min(row + 2u, last), k4), input4(min(row + 3u, last), k4));
}

/// Columns col … col + 3 of y: a matrix column for each of four k. To transpose is to name registers otherwise: it costs nothing.
fn weights4(col: u32, k4: u32) -> mat4x4<f32> {
    return transpose(mat4x4(weight4(col, k4, dims.k), weight4(col + 1u, k4, dims.k), weight4(col + 2u, k4, dims.k), weight4(col + 3u, k4, dims.k)));
}

/// Fours of rows from `row` on that the tile has, the last perhaps of fewer.
fn fours(row: u32) -> u32 {
    return min(TILE_ROWS, dims.rows - row + 3u) / 4u;
}

/// The epilogue stands once, in a loop: such compilers write a loop over lanes for every load and store, and a copy for each
/// matrix took longer to compile than all else.
fn store_sums(row: u32, col: u32) {
    for (var i = 0u; i < fours(row); i += 1u) {
        var y = y0;
        var z = z0;
        switch i {
            case 0u: {}
            case 1u: { y = y1; z = z1; }
            case 2u: { y = y2; z = z2; }
            case 3u: { y = y3; z = z3; }
            case 4u: { y = y4; z = z4; }
            case 5u: { y = y5; z = z5; }
            default: { y = y6; z = z6; }
        }
        store_rows(row + 4u * i, col, y);
        store_rows(row + 4u * i, col + 32u, z);
    }
}

/// Four rows of y, the first of which there is.
fn store_rows(row: u32, col: u32, y: mat4x4<f32>) {
    if col >= dims.n { return; }
    store4(row, col / 4u, y[0]);
    if row + 1u < dims.rows { store4(row + 1u, col / 4u, y[1]); }
    if row + 2u < dims.rows { store4(row + 2u, col / 4u, y[2]); }
    if row + 3u < dims.rows { store4(row + 3u, col / 4u, y[3]); }
}
