// product_tile_f16 — the 64 × 64 product with factors in f16: the processor multiplies two at a time, and workgroup memory
// holds half as much.
//
// The same contract as product_tile, for devices with `shader-f16`. Factors are rounded to f16; eight products of theirs are
// summed in f16, and those sums in f32: what is long is exact to f32, what is short rounds as the factors do. Sums of
// eight must stay below 65,504: a greater one is infinite where the device does not cut it off.

const TILE_ROWS = 64u;    // of y, made by a workgroup
const TILE_COLUMNS = 64u;
const STEP = 4u;          // vec4 columns of k taken at a time
const ROWS_APART = 16u;   // from a row that an invocation fetches to its next

// Four more than are used in each line: neighbours then store to different banks.
var<workgroup> xs: array<array<array<vec4<f16>, 12>, STEP>, 8>; // [i][k][y]: row y + 8·i of the tile
var<workgroup> ws: array<array<array<vec4<f16>, 20>, STEP>, 4>; // [k % 4][k / 4][x]: columns 4·x …

/// Four rows of the tile, 8 apart from 8 · i on, and four columns.
fn rows(k: u32, i: u32, y: u32) -> mat4x4<f16> {
    return mat4x4(xs[i][k][y], xs[i + 1u][k][y], xs[i + 2u][k][y], xs[i + 3u][k][y]);
}

fn columns(k: u32, x: u32) -> mat4x4<f16> {
    return mat4x4(ws[0][k][x], ws[1][k][x], ws[2][k][x], ws[3][k][x]);
}

/// What eight elements of k from vec4 k on give to four rows and four columns.
fn sums(x: u32, y: u32, k: u32, i: u32) -> mat4x4<f16> {
    return multiply_add_f16(multiply_add_f16(mat4x4<f16>(), columns(k, x), rows(k, i, y)), columns(k + 1u, x), rows(k + 1u, i, y));
}

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
    var w = transpose(fetch_w(col0 + 4u * t, s));
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
            w = transpose(fetch_w(col0 + 4u * t, k + s));
        }
        y00 = add(add(y00, sums(at.x, at.y, 0u, 0u)), sums(at.x, at.y, 2u, 0u));
        y01 = add(add(y01, sums(at.x + 8u, at.y, 0u, 0u)), sums(at.x + 8u, at.y, 2u, 0u));
        y10 = add(add(y10, sums(at.x, at.y, 0u, 4u)), sums(at.x, at.y, 2u, 4u));
        y11 = add(add(y11, sums(at.x + 8u, at.y, 0u, 4u)), sums(at.x + 8u, at.y, 2u, 4u));
        if !more { break; }
        workgroupBarrier();
    }
    store_rows(row0 + at.y, col0 + 4u * at.x, y00);
    store_rows(row0 + at.y, col0 + 32u + 4u * at.x, y01);
    store_rows(row0 + at.y + 32u, col0 + 4u * at.x, y10);
    store_rows(row0 + at.y + 32u, col0 + 32u + 4u * at.x, y11);
}
