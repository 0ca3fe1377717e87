// attention — y = softmax(scale · q · kᵀ) · v, per item and head, in one sweep over the keys (FlashAttention's online
// softmax, arXiv 2205.14135): the scores never reach memory.
//
//   q        [batch, q_step, k]        f32, head h in columns h · HEAD …; a pooling head's query is one for all: q_step 0
//   kv       [batch, keys, x_stride]   f32, head h in columns k_at + h · HEAD … and v_at + h · HEAD …
//   lengths  [batch]                    u32: keys from there on are not seen
//   y        [batch, tokens, n]         f32
//
// A workgroup of 64 makes 16 queries of one head; four invocations share a query: each scores 4 of the 16 keys at hand
// and sums every fourth vec4 of the output. Any head width: rows are read by element and padded with zeros here.

override HEAD: u32;              // elements per head, up to 120
override CAUSAL: bool = false;   // a query sees no later key
override HEAD4: u32 = (HEAD + 3u) / 4u;

const QUERIES = 16u;
const KEYS = 16u;
const PARTS = 4u;                // invocations per query
const SLICES = 8u;               // vec4 of the output per invocation, for heads up to 128
const LOWEST = -3e38;            // what a masked key scores: WGSL may assume that there are no infinities

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> kv: array<f32>;
@group(0) @binding(2) var<storage, read> lengths: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> qs: array<vec4<f32>, QUERIES * HEAD4>;
var<workgroup> kvs: array<vec4<f32>, KEYS * HEAD4>; // the keys, then the values
var<workgroup> scores: array<f32, QUERIES * KEYS>;

/// Elements d … d + 3 of a head's query that begins at `base`.
fn query4(base: u32, d: u32) -> vec4<f32> {
    var v = vec4(0.0);
    for (var c = 0u; c < 4u; c += 1u) { if d + c < HEAD { v[c] = q[base + d + c]; } }
    return v;
}

/// The same of a key or value.
fn key4(base: u32, d: u32) -> vec4<f32> {
    var v = vec4(0.0);
    for (var c = 0u; c < 4u; c += 1u) { if d + c < HEAD { v[c] = kv[base + d + c]; } }
    return v;
}

/// Keys k0 … k0 + KEYS of columns `column` … into workgroup memory, zeros from `keys` on.
fn load_keys(item: u32, column: u32, k0: u32, keys: u32, lane: u32) {
    for (var i = lane; i < KEYS * HEAD4; i += 64u) {
        let key = k0 + i / HEAD4;
        var v = vec4(0.0);
        if key < keys { v = key4((item * dims.keys + key) * dims.x_stride + column, 4u * (i % HEAD4)); }
        kvs[i] = v;
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.y;
    let item = group.z;
    let query0 = group.x * QUERIES;
    let mine = lane / PARTS;
    let part = lane % PARTS;
    let query = query0 + mine;

    for (var i = lane; i < QUERIES * HEAD4; i += 64u) {
        let row = query0 + i / HEAD4;
        var v = vec4(0.0);
        if row < dims.tokens { v = dims.scale * query4((item * dims.q_step + row) * dims.k + head * HEAD, 4u * (i % HEAD4)); }
        qs[i] = v;
    }

    let keys = min(lengths[item], dims.keys);
    var end = keys;
    if CAUSAL { end = min(keys, query0 + QUERIES); }

    var greatest = LOWEST;
    var sum = 0.0;
    var out: array<vec4<f32>, SLICES>;
    for (var k0 = 0u; k0 < end; k0 += KEYS) {
        load_keys(item, dims.k_at + head * HEAD, k0, keys, lane);
        workgroupBarrier();
        for (var j = part; j < KEYS; j += PARTS) {
            let key = k0 + j;
            var s = 0.0;
            for (var d = 0u; d < HEAD4; d += 1u) { s += dot(qs[mine * HEAD4 + d], kvs[j * HEAD4 + d]); }
            if key >= keys || (CAUSAL && key > query) { s = LOWEST; }
            scores[mine * KEYS + j] = s;
        }
        workgroupBarrier();

        load_keys(item, dims.v_at + head * HEAD, k0, keys, lane);
        let before = greatest;
        for (var j = 0u; j < KEYS; j += 1u) { greatest = max(greatest, scores[mine * KEYS + j]); }
        let kept = exp(max(before - greatest, -80.0));
        sum *= kept;
        for (var d = 0u; d < SLICES; d += 1u) { out[d] *= kept; }
        workgroupBarrier();

        for (var j = 0u; j < KEYS; j += 1u) {
            let s = scores[mine * KEYS + j];
            if s > 0.5 * LOWEST {
                let p = exp(max(s - greatest, -80.0));
                sum += p;
                for (var d = 0u; d < SLICES; d += 1u) {
                    let d4 = part + PARTS * d;
                    if d4 < HEAD4 { out[d] += p * kvs[j * HEAD4 + d4]; }
                }
            }
        }
        workgroupBarrier();
    }

    if query >= dims.tokens { return; }
    let row = (item * dims.tokens + query) * dims.n;
    for (var d = 0u; d < SLICES; d += 1u) {
        let v = out[d] / max(sum, 1e-30);
        let column = 4u * (part + PARTS * d);
        for (var c = 0u; c < 4u; c += 1u) { if column + c < HEAD { y[row + head * HEAD + column + c] = v[c]; } }
    }
    if head == groups.y - 1u && part == 0u { // the padding is zeros
        for (var c = dims.width; c < dims.n; c += 1u) { y[row + c] = 0.0; }
    }
}
