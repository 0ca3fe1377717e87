// product_few_f16 — product_few with factors in f16: see product_tile_f16, from which a row comes out the same.

const TILE_ROWS = 32u;    // of y, made by a workgroup
const TILE_COLUMNS = 32u;
const STEP = 8u;          // vec4 columns of k taken at a time
const ROWS_APART = 8u;    // from a row that an invocation fetches to its next

// Two more than are used in each line: neighbours then store to different banks.
var<workgroup> xs: array<array<array<vec4<f16>, 10>, STEP>, 4>; // [i][k][y]: row y + 8·i of the tile
var<workgroup> ws: array<array<array<vec4<f16>, 10>, STEP>, 4>; // [k % 4][k / 4][x]: columns 4·x …

/// Four rows of the tile, and four columns.
fn rows(i: u32, y: u32) -> mat4x4<f16> {
    return mat4x4(xs[0][i][y], xs[1][i][y], xs[2][i][y], xs[3][i][y]);
}

fn columns(i: u32, x: u32) -> mat4x4<f16> {
    return mat4x4(ws[0][i][x], ws[1][i][x], ws[2][i][x], ws[3][i][x]);
}

/// What eight elements of k from vec4 k on give to the rows and columns.
fn sums(x: u32, y: u32, k: u32) -> mat4x4<f16> {
    return multiply_add_f16(multiply_add_f16(mat4x4<f16>(), columns(k, x), rows(k, y)), columns(k + 1u, x), rows(k + 1u, y));
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = (group.y + dims.group) * TILE_ROWS;
    let col0 = group.x * TILE_COLUMNS;
    let s = lane % STEP; // fetches vec4 s of every 8th row from t, and of four columns
    let t = lane / STEP;

    var y: mat4x4<f32>; // rows at.y + 8·{0 1 2 3} of the tile, columns 4·at.x …
    var x = fetch_x(row0 + t, s);
    var w = transpose(fetch_w(col0 + 4u * t, s));
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
            w = transpose(fetch_w(col0 + 4u * t, k + s));
        }
        y = add(add(y, sums(at.x, at.y, 0u)), sums(at.x, at.y, 2u));
        y = add(add(y, sums(at.x, at.y, 4u)), sums(at.x, at.y, 6u));
        if !more { break; }
        workgroupBarrier();
    }
    store_rows(row0 + at.y, col0 + 4u * at.x, y);
}
