// nearest_merge — the best of several lists of candidates, each `top` long.
//
//   lists  [items, lists, n]  f32, and y: as nearest_best.wgsl says

@group(0) @binding(0) var<storage, read> lists: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = unfold(group, groups);
    if id >= dims.batch * op.blocks { return; }
    let each = BLOCK / op.top; // lists of a block
    let first = id % op.blocks * each;
    for (var i = lane; i < BLOCK; i += GROUP) {
        let list = first + i / op.top;
        var candidate = NONE;
        if i < each * op.top && list < op.rows {
            let at = (id / op.blocks * op.rows + list) * dims.n + i % op.top;
            candidate = vec2(lists[at], lists[at + op.top]);
        }
        best[i] = candidate;
    }
    sort(lane);
    store(id, lane);
}
