// attention_parts — y[t] = softmax(scale · q · kᵀ)[t] · v[t], per item and head: what each token gives to one query, of which
// attention makes the sum.
//
//   q   [batch, q_step, k]        f32: each item's first row; a pooling head's query is one for all: q_step 0
//   kv  [batch, keys, kv_stride]  f32, head h in columns k_at + h · HEAD … and v_at + h · HEAD …
//   y   [batch, keys, n]          f32
//
// One workgroup per item and head. A score is computed again in each of the three sweeps: one query's are cheap. Joined with
// reduce.wgsl.

override HEAD: u32; // elements per head

struct AttentionPartsDims {
    keys: u32,      // per item
    q_step: u32,    // rows of q from one item to the next
    kv_stride: u32, // of a row, in elements
    k_at: u32,      // column of the first head's key, and value
    v_at: u32,
    heads: u32,
    scale: f32,
}

@group(1) @binding(1) var<uniform> op: AttentionPartsDims;

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> kv: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn score(q_base: u32, k_base: u32) -> f32 {
    var sum = 0.0;
    for (var d = 0u; d < HEAD; d += 1u) { sum += q[q_base + d] * kv[k_base + d]; }
    return op.scale * sum;
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = unfold(group, groups);
    let item = at / op.heads;
    if item >= dims.batch { return; }
    let head = at % op.heads;
    let q_base = item * op.q_step * dims.k + head * HEAD;
    let base = item * op.keys * op.kv_stride + head * HEAD;

    var greatest = -3e38;
    for (var t = lane; t < op.keys; t += GROUP) { greatest = max(greatest, score(q_base, base + t * op.kv_stride + op.k_at)); }
    greatest = group_max(lane, greatest);
    var sum = 0.0;
    for (var t = lane; t < op.keys; t += GROUP) { sum += exp(score(q_base, base + t * op.kv_stride + op.k_at) - greatest); }
    sum = group_sum(lane, vec2(sum, 0.0)).x;

    for (var t = lane; t < op.keys; t += GROUP) {
        let share = exp(score(q_base, base + t * op.kv_stride + op.k_at) - greatest) / sum;
        let row = (item * op.keys + t) * dims.n;
        for (var d = 0u; d < HEAD; d += 1u) { y[row + head * HEAD + d] = share * kv[base + t * op.kv_stride + op.v_at + d]; }
        if head == op.heads - 1u { // the padding is zeros
            for (var c = dims.width; c < dims.n; c += 1u) { y[row + c] = 0.0; }
        }
    }
}
