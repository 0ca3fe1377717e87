// product_subgroup — product_direct where subgroups can shuffle (lavapipe): an invocation reads x for its neighbours, too.
//
// The op's own file declares
//   input4(row, k4)       elements 4·k4 … 4·k4 + 3 of a row of x, row < dims.rows and k4 < dims.k / 4
//   store4(row, n4, acc)  the epilogue: columns 4·n4 … 4·n4 + 3 of a row of y
// and weight/*.wgsl declares weight4().
//
// A workgroup of 8 makes a 16 × 64 tile of y, an invocation 16 rows × 8 columns of it. Such a device reads lane by lane: the
// lanes of a subgroup take x at as many k, and hand them round. Any subgroup size works, and any number of subgroups per
// workgroup. Each element sums over k in one fixed order, so that a row is the same whatever batch it travels in.

const TILE_ROWS = 16u;    // of y, made by a workgroup
const TILE_COLUMNS = 64u;

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

    var y0: mat4x4<f32>; // rows row … row + 3, columns col … col + 3
    var y1: mat4x4<f32>; // the next four rows
    var y2: mat4x4<f32>;
    var y3: mat4x4<f32>;
    var z0: mat4x4<f32>; // the same rows, columns col + 32 …
    var z1: mat4x4<f32>;
    var z2: mat4x4<f32>;
    var z3: mat4x4<f32>;
    for (var k0 = 0u; k0 < k4; k0 += width) {
        let k = min(k0 + mine, k4 - 1u);
        let x0 = rows4(row, k);
        let x1 = rows4(row + 4u, k);
        let x2 = rows4(row + 8u, k);
        let x3 = rows4(row + 12u, k);
        let end = min(width, k4 - k0);
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
        }
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
