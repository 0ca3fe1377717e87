// product_subgroup — product_direct where subgroups can shuffle (lavapipe): an invocation reads x for its neighbours, too.
//
// The op's own file declares
//   input4(row, k4)       elements 4·k4 … 4·k4 + 3 of a row of x, row < dims.rows and k4 < dims.k / 4
//   store4(row, n4, acc)  the epilogue: columns 4·n4 … 4·n4 + 3 of a row of y
// and weight/*.wgsl declares weight4(). The tile of y and an invocation's sums are in product_lanes.
//
// The lanes of a subgroup take x at as many k, and hand them round. Any subgroup size works: of one above 8, a workgroup fills
// eight lanes. Each element sums over k in one fixed order, so that a row is the same whatever batch it travels in.

/// The x of lane `at` of the subgroup.
fn shuffled(x: mat4x4<f32>, at: u32) -> mat4x4<f32> {
    return mat4x4(subgroupShuffle(x[0], at), subgroupShuffle(x[1], at), subgroupShuffle(x[2], at), subgroupShuffle(x[3], at));
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(subgroup_invocation_id) mine: u32, @builtin(subgroup_size) width: u32) {
    let row = (group.y + dims.group) * TILE_ROWS;
    let col = group.x * TILE_COLUMNS + 4u * lane; // and 32 further
    let near = min(col, dims.n - 4u);
    let far = min(col + 32u, dims.n - 4u);
    let k4 = dims.k / 4u;
    let lanes = min(width, 8u);

    for (var k0 = 0u; k0 < k4; k0 += lanes) {
        let k = min(k0 + mine, k4 - 1u);
        var x0 = mat4x4<f32>();
        var x1 = mat4x4<f32>();
        var x2 = mat4x4<f32>();
        var x3 = mat4x4<f32>();
        var x4 = mat4x4<f32>();
        var x5 = mat4x4<f32>();
        var x6 = mat4x4<f32>();
        for (var i = 0u; i < fours(row); i += 1u) { // as in store_sums, so that the op's own code stands once
            let x = rows4(row + 4u * i, k);
            switch i {
                case 0u: { x0 = x; }
                case 1u: { x1 = x; }
                case 2u: { x2 = x; }
                case 3u: { x3 = x; }
                case 4u: { x4 = x; }
                case 5u: { x5 = x; }
                default: { x6 = x; }
            }
        }
        let end = min(lanes, k4 - k0);
        for (var i = 0u; i < end; i += 1u) {
            let w = weights4(near, k0 + i);
            let v = weights4(far, k0 + i);
            let s0 = shuffled(x0, i);
            y0 += w * s0;
            z0 += v * s0;
            let s1 = shuffled(x1, i);
            y1 += w * s1;
            z1 += v * s1;
            let s2 = shuffled(x2, i);
            y2 += w * s2;
            z2 += v * s2;
            let s3 = shuffled(x3, i);
            y3 += w * s3;
            z3 += v * s3;
            let s4 = shuffled(x4, i);
            y4 += w * s4;
            z4 += v * s4;
            let s5 = shuffled(x5, i);
            y5 += w * s5;
            z5 += v * s5;
            let s6 = shuffled(x6, i);
            y6 += w * s6;
            z6 += v * s6;
        }
    }
    store_sums(row, col);
}
