// cooperative_8 — cooperative matrices of 8 × 8, as Apple's GPUs and lavapipe have them: Metal loads them from scalars alone.

const SIDE = 8u;
const TILE_ROWS = 32u;    // of y, made by a workgroup: four of SIDE
const TILE_COLUMNS = 32u;

alias MatrixA = coop_mat8x8<f16, A>;
alias MatrixB = coop_mat8x8<f16, B>;
alias MatrixC = coop_mat8x8<f32, C>;

const UNIT = 1u; // elements of what xs and ws are made of

var<workgroup> xs: array<f16, TILE_ROWS * STRIDE>;
var<workgroup> ws: array<f16, TILE_COLUMNS * STRIDE>;

fn put_x(at: u32, x: vec4<f16>) {
    xs[at] = x.x;
    xs[at + 1u] = x.y;
    xs[at + 2u] = x.z;
    xs[at + 3u] = x.w;
}

fn put_w(at: u32, w: vec4<f16>) {
    ws[at] = w.x;
    ws[at + 1u] = w.y;
    ws[at + 2u] = w.z;
    ws[at + 3u] = w.w;
}
