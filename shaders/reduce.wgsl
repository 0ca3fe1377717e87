// reduce — sums and maxima over a workgroup of GROUP invocations.
//
// The last two are added by every invocation. If the first did it for all, the others would read, behind a barrier, what a branch
// stored before it: of this Apple's compiler makes a read before the barrier, which it may (gfx-rs/wgpu#4500).

override GROUP: u32 = 64u; // a power of two, at least two

var<workgroup> partial: array<vec2<f32>, GROUP>;

/// The sums of `v` over the workgroup, in every invocation.
fn group_sum(lane: u32, v: vec2<f32>) -> vec2<f32> {
    partial[lane] = v;
    for (var half = GROUP / 2u; half > 1u; half /= 2u) {
        workgroupBarrier();
        if lane < half { partial[lane] += partial[lane + half]; }
    }
    workgroupBarrier();
    let sum = partial[0] + partial[1];
    workgroupBarrier(); // partial[] may be written again
    return sum;
}

/// The greatest `v` of the workgroup, in every invocation.
fn group_max(lane: u32, v: f32) -> f32 {
    partial[lane].x = v;
    for (var half = GROUP / 2u; half > 1u; half /= 2u) {
        workgroupBarrier();
        if lane < half { partial[lane].x = max(partial[lane].x, partial[lane + half].x); }
    }
    workgroupBarrier();
    let greatest = max(partial[0].x, partial[1].x);
    workgroupBarrier();
    return greatest;
}
