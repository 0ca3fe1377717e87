// nearest — the rows of a table with the greatest x · wᵀ.
//
//   x  [items, k]      f32
//   W  [rows, k]       read through weight4()
//   y  as nearest_best.wgsl says
//
// LANES invocations share a row: their reads of the table stand side by side.

const LANES = 8u;
const TOGETHER = GROUP / LANES;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> parts: array<f32, GROUP>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = unfold(group, groups);
    if id >= dims.batch * op.blocks { return; }
    let k4 = dims.k / 4u;
    let query = id / op.blocks * k4;
    let first = id % op.blocks * BLOCK;
    for (var at = 0u; at < BLOCK; at += TOGETHER) {
        let row = first + at + lane / LANES;
        var sum = 0.0;
        if row < op.rows {
            for (var i = lane % LANES; i < k4; i += LANES) { sum += dot(x[query + i], weight4(row, i, dims.k)); }
        }
        parts[lane] = sum;
        workgroupBarrier();
        if lane < TOGETHER {
            let own = first + at + lane;
            var score = 0.0;
            for (var i = 0u; i < LANES; i += 1u) { score += parts[lane * LANES + i]; }
            best[at + lane] = select(NONE, vec2(score, f32(own)), own < op.rows);
        }
        workgroupBarrier();
    }
    sort(lane);
    store(id, lane);
}
