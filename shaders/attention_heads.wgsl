// attention_heads — what attention and attention_lanes share: y = softmax(scale · q · kᵀ) · v, per item and head, in one sweep over
// the keys (FlashAttention's online softmax, arXiv 2205.14135): the scores never reach memory.
//
//   q        [batch, q_step, k]        f32, head h in columns h · HEAD …; a pooling head's query is one for all: q_step 0
//   kv       [batch, keys, kv_stride]  f32, head h in columns k_at + h · HEAD … and v_at + h · HEAD …
//   lengths  [batch]                   u32: keys from there on are not seen; read only if LENGTHS
//   y        [batch, tokens, n]        f32
//
// Heads of any width up to 128; where 4 does not divide it, elements are gathered. A score that is not a number stays one: its
// query's row is not finite, and is reported.

override HEAD: u32;            // elements per head
override CAUSAL: bool = false; // a query sees no later key
override LENGTHS: bool = false;
override HEAD4: u32 = (HEAD + 3u) / 4u;

const LOWEST = -3e38; // what a masked key scores: WGSL may assume that there are no infinities

struct AttentionDims {
    keys: u32,      // per item
    q_step: u32,    // rows of q from one item to the next
    kv_stride: u32, // of a row, in elements
    k_at: u32,      // column of the first head's key, and value
    v_at: u32,
    scale: f32,
}

@group(1) @binding(1) var<uniform> op: AttentionDims;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> kv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> lengths: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

/// Keys of an item that are seen.
fn keys_of(item: u32) -> u32 {
    if LENGTHS { return min(lengths[item], op.keys); }
    return op.keys;
}

/// Where the head's part of four queries begins; queries beyond the last repeat it.
fn query_base(item: u32, query: vec4<u32>, head: u32) -> vec4<u32> {
    return (item * op.q_step + min(query, vec4(dims.tokens - 1u))) * dims.k + head * HEAD;
}

/// Elements 4·d4 … 4·d4 + 3 of the head whose query begins at element `base`.
fn query4(base: u32, d4: u32) -> vec4<f32> {
    if HEAD % 4u == 0u { return q[base / 4u + d4]; }
    let at = base + 4u * d4;
    return vec4(q[at / 4u][at % 4u], q[(at + 1u) / 4u][(at + 1u) % 4u], q[(at + 2u) / 4u][(at + 2u) % 4u], q[(at + 3u) / 4u][(at + 3u) % 4u]);
}

/// The same of a key or value, with zeros beyond the head.
fn key4(base: u32, d4: u32) -> vec4<f32> {
    if HEAD % 4u == 0u { return kv[base / 4u + d4]; }
    let at = base + 4u * d4;
    let v = vec4(kv[at / 4u][at % 4u], kv[(at + 1u) / 4u][(at + 1u) % 4u], kv[(at + 2u) / 4u][(at + 2u) % 4u], kv[(at + 3u) / 4u][(at + 3u) % 4u]);
    return select(vec4(0.0), v, 4u * d4 + vec4(0u, 1u, 2u, 3u) < vec4(HEAD));
}

/// Vec4 d4 of four queries.
fn queries4(base: vec4<u32>, d4: u32) -> mat4x4<f32> {
    return mat4x4(query4(base.x, d4), query4(base.y, d4), query4(base.z, d4), query4(base.w, d4));
}

/// The same of four keys.
fn keys4(base: vec4<u32>, d4: u32) -> mat4x4<f32> {
    return mat4x4(key4(base.x, d4), key4(base.y, d4), key4(base.z, d4), key4(base.w, d4));
}

fn scaled(y: mat4x4<f32>, by: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(y[0] * by.x, y[1] * by.y, y[2] * by.z, y[3] * by.w);
}

fn store_row(row: u32, head: u32, d4: u32, v: vec4<f32>) {
    let d = 4u * d4;
    let at = row * dims.n + head * HEAD + d;
    if d < HEAD { y[at] = v.x; }
    if d + 1u < HEAD { y[at + 1u] = v.y; }
    if d + 2u < HEAD { y[at + 2u] = v.z; }
    if d + 3u < HEAD { y[at + 3u] = v.w; }
}
