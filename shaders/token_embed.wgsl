// token_embed — y[b, t] = table[ids[b, t]] + p[t]
//
//   ids    [batch, tokens]    u32
//   table  [vocabulary, n]    read through weight4()
//   p      [context, n]       f32, positions
//   y      [batch, tokens, n] f32
//
// One workgroup per row. A table above the device's binding limit comes in pieces, a dispatch each: a row is made by the
// dispatch whose piece, rows `first` … `first + count` of the table, holds its token.

const GROUP = 64u;

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> p: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = unfold(group, groups);
    if row >= dims.rows { return; }
    let id = ids[row];
    if id < dims.first || id - dims.first >= dims.count { return; }
    let n4 = dims.n / 4u;
    for (var i = lane; i < n4; i += GROUP) {
        y[row * n4 + i] = weight4(id - dims.first, i, dims.n) + p[row % dims.tokens * n4 + i];
    }
}
