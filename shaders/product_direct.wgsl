// product_direct — the matrix product where invocations are lanes of a processor's vector unit (SwiftShader, WARP, lavapipe):
// no workgroup memory, no barriers, many sums per invocation.
//
// The op's own file declares
//   input4(row, k4)       elements 4·k4 … 4·k4 + 3 of a row of x, row < dims.rows and k4 < dims.k / 4
//   store4(row, n4, acc)  the epilogue: columns 4·n4 … 4·n4 + 3 of a row of y
// and weight/*.wgsl declares weight4().
//
// A workgroup of 8 makes a 16 × 64 tile of y, an invocation 16 rows × 8 columns of it, in eight matrices: these compilers keep
// named matrices in registers, but index arrays in memory where a loop did not unroll. Each element sums over k in one fixed
// order, so that a row is the same whatever batch it travels in.

const TILE_ROWS = 16u;    // of y, made by a workgroup
const TILE_COLUMNS = 64u;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (group.y + dims.group) * TILE_ROWS;
    let col = group.x * TILE_COLUMNS + 4u * lane; // and 32 further
    let near = min(col, dims.n - 4u);
    let far = min(col + 32u, dims.n - 4u);

    var y0: mat4x4<f32>; // rows row … row + 3, columns col … col + 3
    var y1: mat4x4<f32>; // the next four rows
    var y2: mat4x4<f32>;
    var y3: mat4x4<f32>;
    var z0: mat4x4<f32>; // the same rows, columns col + 32 …
    var z1: mat4x4<f32>;
    var z2: mat4x4<f32>;
    var z3: mat4x4<f32>;
    for (var k = 0u; k < dims.k / 4u; k += 1u) {
        let w = weights4(near, k);
        let v = weights4(far, k);
        let x0 = rows4(row, k);
        y0 += w * x0;
        z0 += v * x0;
        let x1 = rows4(row + 4u, k);
        y1 += w * x1;
        z1 += v * x1;
        let x2 = rows4(row + 8u, k);
        y2 += w * x2;
        z2 += v * x2;
        let x3 = rows4(row + 12u, k);
        y3 += w * x3;
        z3 += v * x3;
    }
    store_rows(row, col, y0);
    store_rows(row + 4u, col, y1);
    store_rows(row + 8u, col, y2);
    store_rows(row + 12u, col, y3);
    store_rows(row, col + 32u, z0);
    store_rows(row + 4u, col + 32u, z1);
    store_rows(row + 8u, col + 32u, z2);
    store_rows(row + 12u, col + 32u, z3);
}
