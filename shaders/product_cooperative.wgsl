// product_cooperative — the product on matrix units, factors in f16 and sums in f32.
//
// The contract of the other products, for devices with cooperative matrices. Of the tile that a workgroup makes, each of four
// subgroups makes a quarter, of four matrices; where a device's subgroups are smaller than its largest and there are more of
// them, those repeat a quarter, since all must multiply or none, and nobody reads what they make. Which element of a matrix a
// lane holds is the device's own affair: what goes in and what comes out passes through workgroup memory, so that input4,
// weight4 and store4 are those of all products. Factors must stay below 65,504. Joined with cooperative_16 or cooperative_8.

override INVOCATIONS: u32 = 128u; // four of the device's largest subgroups: at most 16 · SIDE, a power of two

const STEP = 32u;   // elements of k taken at a time
const STRIDE = 40u; // from a row in workgroup memory to the next: whole 16 bytes, and a matrix's rows in different banks
const BLOCK = SIDE * SIDE;

var<workgroup> ys: array<f32, 5u * BLOCK>; // a matrix of each quarter, and what nobody reads

/// Puts four elements of one of the tile's rows of x, and of one of its columns' weights, in place. What is beyond the last row,
/// column or k repeats it, but weights beyond the last k are zeros.
fn fetch(row0: u32, col0: u32, k: u32, i: u32) {
    let line = i / (STEP / 4u);
    let s = i % (STEP / 4u);
    let last = dims.k / 4u - 1u;
    let k4 = min(k / 4u + s, last);
    let x = input4(min(row0 + line, dims.rows - 1u), k4);
    let w = weight4(min(col0 + line, dims.n - 1u), k4, dims.k);
    put_x(line * STRIDE + 4u * s, vec4<f16>(x));
    put_w(line * STRIDE + 4u * s, vec4<f16>(select(vec4(0.0), w, k / 4u + s <= last)));
}

/// Stores four elements of what the subgroups have in ys: of the matrix that is SIDE · down and SIDE · across within each quarter.
fn store(row0: u32, col0: u32, down: u32, across: u32, i: u32) {
    let quarter = i / (BLOCK / 4u);
    let at = i % (BLOCK / 4u);
    let row = row0 + SIDE * (2u * (quarter / 2u) + down) + at / (SIDE / 4u);
    let n4 = (col0 + SIDE * (2u * (quarter % 2u) + across)) / 4u + at % (SIDE / 4u);
    if row < dims.rows && n4 < dims.n / 4u {
        store4(row, n4, vec4(ys[4u * i], ys[4u * i + 1u], ys[4u * i + 2u], ys[4u * i + 3u]));
    }
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup: u32) {
    let row0 = (group.y + dims.group) * TILE_ROWS;
    let col0 = group.x * TILE_COLUMNS;
    let x0 = SIDE * 2u * (subgroup / 2u % 2u) * STRIDE; // the quarter's first row in xs, and column in ws
    let w0 = SIDE * 2u * (subgroup % 2u) * STRIDE;
    let y0 = BLOCK * min(subgroup, 4u);

    for (var i = lane; i < 5u * BLOCK; i += INVOCATIONS) { ys[i] = 0.0; }
    workgroupBarrier();
    var y00 = coopLoadT<MatrixC>(&ys[y0], SIDE);
    var y01 = y00;
    var y10 = y00;
    var y11 = y00;
    for (var k = 0u; k < dims.k; k += STEP) {
        for (var i = lane; i < TILE_ROWS * STEP / 4u; i += 2u * INVOCATIONS) { // which divides it
            fetch(row0, col0, k, i);
            fetch(row0, col0, k, i + INVOCATIONS);
        }
        workgroupBarrier();
        for (var i = 0u; i < STEP; i += SIDE) {
            let a0 = coopLoadT<MatrixA>(&xs[(x0 + i) / UNIT], STRIDE / UNIT);
            let a1 = coopLoadT<MatrixA>(&xs[(x0 + SIDE * STRIDE + i) / UNIT], STRIDE / UNIT);
            let b0 = coopLoad<MatrixB>(&ws[(w0 + i) / UNIT], STRIDE / UNIT);
            let b1 = coopLoad<MatrixB>(&ws[(w0 + SIDE * STRIDE + i) / UNIT], STRIDE / UNIT);
            y00 = coopMultiplyAdd(a0, b0, y00);
            y01 = coopMultiplyAdd(a0, b1, y01);
            y10 = coopMultiplyAdd(a1, b0, y10);
            y11 = coopMultiplyAdd(a1, b1, y11);
        }
        workgroupBarrier();
    }
    coopStoreT(y00, &ys[y0], SIDE);
    workgroupBarrier();
    for (var i = lane; i < BLOCK; i += INVOCATIONS) { store(row0, col0, 0u, 0u, i); }
    workgroupBarrier();
    coopStoreT(y01, &ys[y0], SIDE);
    workgroupBarrier();
    for (var i = lane; i < BLOCK; i += INVOCATIONS) { store(row0, col0, 0u, 1u, i); }
    workgroupBarrier();
    coopStoreT(y10, &ys[y0], SIDE);
    workgroupBarrier();
    for (var i = lane; i < BLOCK; i += INVOCATIONS) { store(row0, col0, 1u, 0u, i); }
    workgroupBarrier();
    coopStoreT(y11, &ys[y0], SIDE);
    workgroupBarrier();
    for (var i = lane; i < BLOCK; i += INVOCATIONS) { store(row0, col0, 1u, 1u, i); }
}
