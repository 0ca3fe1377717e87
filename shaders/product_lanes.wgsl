// product_lanes — what product_direct and product_subgroup share: the tile that they make, and what they fetch and store.
//
// A workgroup of 8 makes a 28 × 64 tile of y, an invocation 28 rows × 8 columns of it. Joined with lanes.wgsl.

const TILE_COLUMNS = 64u;

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
        store_rows(row + 4u * i, col, near_sums(i));
        store_rows(row + 4u * i, col + 32u, far_sums(i));
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
