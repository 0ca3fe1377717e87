// cooperative_16 — cooperative matrices of 16 × 16, as NVIDIA's and AMD's GPUs have them: Vulkan loads them from vectors, too.

const SIDE = 16u;
const TILE_ROWS = 64u;    // of y, made by a workgroup: four of SIDE
const TILE_COLUMNS = 64u;

alias MatrixA = coop_mat16x16<f16, A>;
alias MatrixB = coop_mat16x16<f16, B>;
alias MatrixC = coop_mat16x16<f32, C>;

const UNIT = 4u; // elements of what xs and ws are made of

var<workgroup> xs: array<vec4<f16>, TILE_ROWS * STRIDE / UNIT>;
var<workgroup> ws: array<vec4<f16>, TILE_COLUMNS * STRIDE / UNIT>;

fn put_x(at: u32, x: vec4<f16>) { xs[at / UNIT] = x; }
fn put_w(at: u32, w: vec4<f16>) { ws[at / UNIT] = w; }
