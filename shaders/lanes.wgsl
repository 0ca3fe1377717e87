// lanes — the sums of an invocation that is a lane of a processor's vector unit: 28 rows by two vec4s of columns.
//
// Such devices (lavapipe, SwiftShader, WARP) read and write lane by lane, so that many rows share each load. The sums are named
// matrices: these compilers keep those in registers, but index arrays in memory where a loop did not unroll.

const TILE_ROWS = 28u; // of a workgroup of 8

var<private> y0: mat4x4<f32>; // four rows each: a matrix column for a row
var<private> y1: mat4x4<f32>;
var<private> y2: mat4x4<f32>;
var<private> y3: mat4x4<f32>;
var<private> y4: mat4x4<f32>;
var<private> y5: mat4x4<f32>;
var<private> y6: mat4x4<f32>;
var<private> z0: mat4x4<f32>; // the same rows, the other four columns
var<private> z1: mat4x4<f32>;
var<private> z2: mat4x4<f32>;
var<private> z3: mat4x4<f32>;
var<private> z4: mat4x4<f32>;
var<private> z5: mat4x4<f32>;
var<private> z6: mat4x4<f32>;

/// The sums of rows 4·i … 4·i + 3.
fn near_sums(i: u32) -> mat4x4<f32> {
    switch i {
        case 0u: { return y0; }
        case 1u: { return y1; }
        case 2u: { return y2; }
        case 3u: { return y3; }
        case 4u: { return y4; }
        case 5u: { return y5; }
        default: { return y6; }
    }
}

fn far_sums(i: u32) -> mat4x4<f32> {
    switch i {
        case 0u: { return z0; }
        case 1u: { return z1; }
        case 2u: { return z2; }
        case 3u: { return z3; }
        case 4u: { return z4; }
        case 5u: { return z5; }
        default: { return z6; }
    }
}
