// shuffle — sums of lanes where subgroups can shuffle (lavapipe): an invocation reads factors for its neighbours, too.
//
// Joined with lanes.wgsl.

var<private> x0: mat4x4<f32>; // four rows each, at a k of this lane's
var<private> x1: mat4x4<f32>;
var<private> x2: mat4x4<f32>;
var<private> x3: mat4x4<f32>;
var<private> x4: mat4x4<f32>;
var<private> x5: mat4x4<f32>;
var<private> x6: mat4x4<f32>;

/// Sets the factors of rows 4·i … 4·i + 3.
fn set_factors(i: u32, x: mat4x4<f32>) {
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

/// The x of lane `at` of the subgroup.
fn shuffled(x: mat4x4<f32>, at: u32) -> mat4x4<f32> {
    return mat4x4(subgroupShuffle(x[0], at), subgroupShuffle(x[1], at), subgroupShuffle(x[2], at), subgroupShuffle(x[3], at));
}

/// Adds the factors of lane `at`, times four columns `w` and the four others `v`, to the sums.
fn add_products(w: mat4x4<f32>, v: mat4x4<f32>, at: u32) {
    let s0 = shuffled(x0, at);
    y0 += w * s0;
    z0 += v * s0;
    let s1 = shuffled(x1, at);
    y1 += w * s1;
    z1 += v * s1;
    let s2 = shuffled(x2, at);
    y2 += w * s2;
    z2 += v * s2;
    let s3 = shuffled(x3, at);
    y3 += w * s3;
    z3 += v * s3;
    let s4 = shuffled(x4, at);
    y4 += w * s4;
    z4 += v * s4;
    let s5 = shuffled(x5, at);
    y5 += w * s5;
    z5 += v * s5;
    let s6 = shuffled(x6, at);
    y6 += w * s6;
    z6 += v * s6;
}
