// product_subgroup — product_direct where subgroups can shuffle (lavapipe): an invocation reads x for its neighbours, too.
//
// The op's own files declare
//   input4(row, k4)       elements 4·k4 … 4·k4 + 3 of a row of x, row < dims.rows and k4 < dims.k / 4
//   store4(row, n4, acc)  the epilogue: columns 4·n4 … 4·n4 + 3 of a row of y
// and weight/*.wgsl declares weight4(). The tile of y is in product_lanes, an invocation's sums are in lanes.
//
// The lanes of a subgroup take x at as many k, and hand them round. Any subgroup size works: of one above 8, a workgroup fills
// eight lanes. Each element sums over k in one fixed order, so that a row is the same whatever batch it travels in.

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
        for (var i = 0u; i < fours(row); i += 1u) { set_factors(i, rows4(row + 4u * i, k)); } // so that the op's own code stands once
        let end = min(lanes, k4 - k0);
        for (var i = 0u; i < end; i += 1u) { add_products(weights4(near, k0 + i), weights4(far, k0 + i), i); }
    }
    store_sums(row, col);
}
