// product_few — the tiled matrix product for few rows, and for GPUs of few registers, 32 × 32 at a time: four times the workgroups of
// product_tile, and a quarter of its sums to each invocation.
//
// The same contract, the same order of summation: a row comes out the same from either.
//
// A workgroup of 64 makes a 32 × 32 tile of y, an invocation 4 × 4 of it, in one matrix.

const TILE_ROWS = 32u;    // of y, made by a workgroup
const TILE_COLUMNS = 32u;
const STEP = 8u;          // vec4 columns of k taken at a time
const ROWS_APART = 8u;    // from a row that an invocation fetches to its next

// One more than is used in each line: neighbours then store to different banks, and read from different ones anyway.
var<workgroup> xs: array<array<array<vec4<f32>, 9>, STEP>, 4>; // [i][k][y]: row y + 8·i of the tile
var<workgroup> ws: array<array<array<vec4<f32>, 9>, STEP>, 4>; // [c][k][x]: column 4·x + c

/// Four rows of the tile, and four columns.
fn rows(i: u32, y: u32) -> mat4x4<f32> {
    return mat4x4(xs[0][i][y], xs[1][i][y], xs[2][i][y], xs[3][i][y]);
}

fn columns(i: u32, x: u32) -> mat4x4<f32> {
    return transpose(mat4x4(ws[0][i][x], ws[1][i][x], ws[2][i][x], ws[3][i][x]));
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = (group.y + dims.group) * TILE_ROWS;
    let col0 = group.x * TILE_COLUMNS;
    let s = lane % STEP; // fetches vec4 s of every 8th row from t, and of four columns
    let t = lane / STEP;

    var y: mat4x4<f32>; // rows at.y + 8·{0 1 2 3} of the tile, columns 4·at.x …
    var x = fetch_x(row0 + t, s);
    var w = fetch_w(col0 + 4u * t, s);
    for (var k = STEP; ; k += STEP) {
        xs[0][s][t] = x[0];
        xs[1][s][t] = x[1];
        xs[2][s][t] = x[2];
        xs[3][s][t] = x[3];
        ws[0][s][t] = w[0];
        ws[1][s][t] = w[1];
        ws[2][s][t] = w[2];
        ws[3][s][t] = w[3];
        workgroupBarrier();
        let more = k < dims.k / 4u;
        if more { // on their way while the tile at hand is multiplied
            x = fetch_x(row0 + t, k + s);
            w = fetch_w(col0 + 4u * t, k + s);
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
