// product — the tiled matrix product behind linear, patch_embed and scores.
//
// The op's own file declares
//   input4(row, k4)       elements 4·k4 … 4·k4 + 3 of a row of x
//   store4(row, n4, acc)  the epilogue: columns 4·n4 … 4·n4 + 3 of a row of y
// and weight/*.wgsl declares weight4().
//
// A workgroup of 64 makes a 64 × 64 tile of y, an invocation 8 rows × 2 vec4 of it, in registers. Each element sums
// over k in one fixed order, so that a row is the same whatever batch it travels in.

const TILE = 64u;
const STEP = 4u;   // vec4 columns of k taken at a time
const ROWS = 8u;   // rows per invocation, 8 apart

var<workgroup> xs: array<vec4<f32>, TILE * STEP>; // [STEP, TILE]
var<workgroup> ws: array<vec4<f32>, TILE * STEP>;

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * TILE;
    let col0 = group.x * TILE;
    let k4 = dims.k / 4u;

    var acc: array<vec4<f32>, 16>; // acc[2·i + j] is y[row0 + at.y + 8·i, col0 + 32·j + 4·at.x ..][4]
    for (var k0 = 0u; k0 < k4; k0 += STEP) {
        for (var i = lane; i < TILE * STEP; i += 64u) {
            let t = i / STEP;
            let s = i % STEP;
            let k = k0 + s;
            var xv = vec4(0.0);
            var wv = vec4(0.0);
            if k < k4 {
                if row0 + t < dims.rows { xv = input4(row0 + t, k); }
                if col0 + t < dims.n { wv = weight4(col0 + t, k, dims.k); }
            }
            xs[s * TILE + t] = xv;
            ws[s * TILE + t] = wv;
        }
        workgroupBarrier();
        for (var s = 0u; s < STEP; s += 1u) {
            var wt: array<vec4<f32>, 8>;
            for (var c = 0u; c < 4u; c += 1u) {
                wt[c] = ws[s * TILE + 4u * at.x + c];
                wt[4u + c] = ws[s * TILE + 32u + 4u * at.x + c];
            }
            for (var i = 0u; i < ROWS; i += 1u) {
                let xv = xs[s * TILE + at.y + 8u * i];
                acc[2u * i] += vec4(dot(xv, wt[0]), dot(xv, wt[1]), dot(xv, wt[2]), dot(xv, wt[3]));
                acc[2u * i + 1u] += vec4(dot(xv, wt[4]), dot(xv, wt[5]), dot(xv, wt[6]), dot(xv, wt[7]));
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < ROWS; i += 1u) {
        let row = row0 + at.y + 8u * i;
        if row >= dims.rows { break; }
        for (var j = 0u; j < 2u; j += 1u) {
            let n4 = (col0 + 32u * j) / 4u + at.x;
            if n4 < dims.n / 4u { store4(row, n4, acc[2u * i + j]); }
        }
    }
}
