// product_few — the tiled matrix product for few rows, 32 × 32 at a time: four times the workgroups of product_tile.
//
// The same contract, the same order of summation: a row comes out the same from either.
//
// A workgroup of 64 makes a 32 × 32 tile of y, an invocation 4 × 4 of it, in one matrix.

const TILE_ROWS = 32u;    // of y, made by a workgroup
const TILE_COLUMNS = 32u;
const STEP = 8u;          // vec4 columns of k taken at a time
const ROWS_APART = 8u;    // from a row that an invocation fetches to its next

var<workgroup> xs: array<array<array<vec4<f32>, 8>, 4>, STEP>; // [k][i][y]: row y + 8·i of the tile
var<workgroup> ws: array<array<array<vec4<f32>, 8>, 4>, STEP>; // [k][c][x]: column 4·x + c; neighbours in neighbouring banks

/// Four columns' weights, 8 apart; zeros beyond the last k.
fn fetch_w(col: u32, k: u32) -> mat4x4<f32> {
    let last = dims.n - 1u;
    if k >= dims.k / 4u { return mat4x4<f32>(); }
    return mat4x4(weight4(min(col, last), k, dims.k), weight4(min(col + 8u, last), k, dims.k), weight4(min(col + 16u, last), k, dims.k), weight4(min(col + 24u, last), k, dims.k));
}

/// Four rows of the tile, and four columns.
fn rows(i: u32, y: u32) -> mat4x4<f32> {
    return mat4x4(xs[i][0][y], xs[i][1][y], xs[i][2][y], xs[i][3][y]);
}

fn columns(i: u32, x: u32) -> mat4x4<f32> {
    return transpose(mat4x4(ws[i][0][x], ws[i][1][x], ws[i][2][x], ws[i][3][x]));
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = (group.y + dims.group) * TILE_ROWS;
    let col0 = group.x * TILE_COLUMNS;
    let s = lane % STEP; // fetches vec4 s of every 8th row and column from t
    let t = lane / STEP;

    var y: mat4x4<f32>; // rows at.y + 8·{0 1 2 3} of the tile, columns 4·at.x …
    var x = fetch_x(row0 + t, s);
    var w = fetch_w(col0 + t, s);
    for (var k = STEP; ; k += STEP) {
        xs[s][0][t] = x[0];
        xs[s][1][t] = x[1];
        xs[s][2][t] = x[2];
        xs[s][3][t] = x[3];
        ws[s][t % 4u][t / 4u] = w[0];
        ws[s][t % 4u][t / 4u + 2u] = w[1];
        ws[s][t % 4u][t / 4u + 4u] = w[2];
        ws[s][t % 4u][t / 4u + 6u] = w[3];
        workgroupBarrier();
        let more = k < dims.k / 4u;
        if more { // on their way while the tile at hand is multiplied
            x = fetch_x(row0 + t, k + s);
            w = fetch_w(col0 + t, k + s);
        }
        y = multiply_add(y, columns(0u, at.x), rows(0u, at.y));
        y = multiply_add(y, columns(1u, at.x), rows(1u, at.y));
        y = multiply_add(y, columns(2u, at.x), rows(2u, at.y));
        y = multiply_add(y, columns(3u, at.x), rows(3u, at.y));
        y = multiply_add(y, columns(4u, at.x), rows(4u, at.y));
        y = multiply_add(y, columns(5u, at.x), rows(5u, at.y));
        y = multiply_add(y, columns(6u, at.x), rows(6u, at.y));
        y = multiply_add(y, columns(7u, at.x), rows(7u, at.y));
        if !more { break; }
        workgroupBarrier();
    }
    store_rows(row0 + at.y, col0 + 4u * at.x, y);
}
