// product_direct — the matrix product where invocations are lanes of a processor's vector unit (SwiftShader, WARP, lavapipe):
// no workgroup memory, no barriers, many sums per invocation.
//
// The op's own files declare
//   input4(row, k4)       elements 4·k4 … 4·k4 + 3 of a row of x, row < dims.rows and k4 < dims.k / 4
//   store4(row, n4, acc)  the epilogue: columns 4·n4 … 4·n4 + 3 of a row of y
// and weight/*.wgsl declares weight4(). The tile of y is in product_lanes, an invocation's sums are in lanes. Each element sums over k in
// one fixed order, so that a row is the same whatever batch it travels in.

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (group.y + dims.group) * TILE_ROWS;
    let col = group.x * TILE_COLUMNS + 4u * lane; // and 32 further
    let near = min(col, dims.n - 4u);
    let far = min(col + 32u, dims.n - 4u);

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
        let x4 = rows4(row + 16u, k);
        y4 += w * x4;
        z4 += v * x4;
        let x5 = rows4(row + 20u, k);
        y5 += w * x5;
        z5 += v * x5;
        let x6 = rows4(row + 24u, k);
        y6 += w * x6;
        z6 += v * x6;
    }
    store_sums(row, col);
}
