// product_tile — the tiled matrix product for GPUs with registers for it (some 180 to an invocation), 64 × 64 at a time.
//
// The op's own files declare
//   input4(row, k4)       elements 4·k4 … 4·k4 + 3 of a row of x, row < dims.rows and k4 < dims.k / 4
//   store4(row, n4, acc)  the epilogue: columns 4·n4 … 4·n4 + 3 of a row of y
// and weight/*.wgsl declares weight4().
//
// A workgroup of 64 makes a 64 × 64 tile of y, an invocation 8 × 8 of it, in four matrices. Straight lines, no inner loops:
// a loop that the driver unrolls still pays for naga's bound on it, and an index that varies for its check. Each element
// sums over k in one fixed order, so that a row is the same whatever batch it travels in.

const TILE_ROWS = 64u;    // of y, made by a workgroup
const TILE_COLUMNS = 64u;
const STEP = 4u;          // vec4 columns of k taken at a time
const ROWS_APART = 16u;   // from a row that an invocation fetches to its next

// Two more than are used in each line: neighbours then store to different banks, and read from different ones anyway.
var<workgroup> xs: array<array<array<vec4<f32>, 10>, STEP>, 8>; // [i][k][y]: row y + 8·i of the tile
var<workgroup> ws: array<array<array<vec4<f32>, 18>, STEP>, 4>; // [c][k][x]: column 4·x + c

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = (group.y + dims.group) * TILE_ROWS;
    let col0 = group.x * TILE_COLUMNS;
    let s = lane % STEP; // fetches vec4 s of every 16th row from t, and of four columns
    let t = lane / STEP;

    var y00: mat4x4<f32>; // rows at.y + 8·{0 1 2 3} of the tile, columns 4·at.x …
    var y01: mat4x4<f32>; //                                      columns 32 + 4·at.x …
    var y10: mat4x4<f32>; // rows at.y + 8·{4 5 6 7}
    var y11: mat4x4<f32>;
    var x = fetch_x(row0 + t, s);
    var w = fetch_w(col0 + 4u * t, s);
    for (var k = STEP; ; k += STEP) {
        xs[t / 8u][s][t % 8u] = x[0];
        xs[t / 8u + 2u][s][t % 8u] = x[1];
        xs[t / 8u + 4u][s][t % 8u] = x[2];
        xs[t / 8u + 6u][s][t % 8u] = x[3];
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
        for (var i = 0u; i < STEP; i += 1u) {
            let x0 = mat4x4(xs[0][i][at.y], xs[1][i][at.y], xs[2][i][at.y], xs[3][i][at.y]);
            let x1 = mat4x4(xs[4][i][at.y], xs[5][i][at.y], xs[6][i][at.y], xs[7][i][at.y]);
            let w0 = transpose(mat4x4(ws[0][i][at.x], ws[1][i][at.x], ws[2][i][at.x], ws[3][i][at.x]));
            let w1 = transpose(mat4x4(ws[0][i][at.x + 8u], ws[1][i][at.x + 8u], ws[2][i][at.x + 8u], ws[3][i][at.x + 8u]));
            y00 = multiply_add(y00, w0, x0);
            y01 = multiply_add(y01, w1, x0);
            y10 = multiply_add(y10, w0, x1);
            y11 = multiply_add(y11, w1, x1);
        }
        if !more { break; }
        workgroupBarrier();
    }
    store_rows(row0 + at.y, col0 + 4u * at.x, y00);
    store_rows(row0 + at.y, col0 + 32u + 4u * at.x, y01);
    store_rows(row0 + at.y + 32u, col0 + 4u * at.x, y10);
    store_rows(row0 + at.y + 32u, col0 + 32u + 4u * at.x, y11);
}
