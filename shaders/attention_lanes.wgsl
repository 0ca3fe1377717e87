// attention_lanes — attention where invocations are lanes of a processor's vector unit and subgroups can shuffle (lavapipe).
//
// A workgroup of 8, within a subgroup, makes 28 queries of one head and 64 columns of their output, 32 keys at a time. An
// invocation scores its 4 keys against every query, then sums every query's vec4s lane and lane + 8 of the output over all keys:
// it reads queries for its neighbours, too, and its probabilities are handed round. No workgroup memory, no barriers. Wider heads
// take several workgroups, each of which scores anew. Joined with attention_heads, lanes and shuffle.

const KEYS = 32u;    // at a time
const COLUMNS = 64u; // of the output

var<private> s0: mat4x4<f32>; // scores: a matrix column for each of four queries, a row for each of this lane's keys
var<private> s1: mat4x4<f32>;
var<private> s2: mat4x4<f32>;
var<private> s3: mat4x4<f32>;
var<private> s4: mat4x4<f32>;
var<private> s5: mat4x4<f32>;
var<private> s6: mat4x4<f32>;

/// What is known of four queries: their greatest scores, the sums of this lane's probabilities, and what the output of the round
/// before is to be scaled by.
const UNSEEN = mat3x4<f32>(vec4(LOWEST), vec4(0.0), vec4(0.0));

var<private> state0: mat3x4<f32> = UNSEEN;
var<private> state1: mat3x4<f32> = UNSEEN;
var<private> state2: mat3x4<f32> = UNSEEN;
var<private> state3: mat3x4<f32> = UNSEEN;
var<private> state4: mat3x4<f32> = UNSEEN;
var<private> state5: mat3x4<f32> = UNSEEN;
var<private> state6: mat3x4<f32> = UNSEEN;

fn scores(i: u32) -> mat4x4<f32> {
    switch i {
        case 0u: { return s0; }
        case 1u: { return s1; }
        case 2u: { return s2; }
        case 3u: { return s3; }
        case 4u: { return s4; }
        case 5u: { return s5; }
        default: { return s6; }
    }
}

fn state(i: u32) -> mat3x4<f32> {
    switch i {
        case 0u: { return state0; }
        case 1u: { return state1; }
        case 2u: { return state2; }
        case 3u: { return state3; }
        case 4u: { return state4; }
        case 5u: { return state5; }
        default: { return state6; }
    }
}

fn set_state(i: u32, state: mat3x4<f32>) {
    switch i {
        case 0u: { state0 = state; }
        case 1u: { state1 = state; }
        case 2u: { state2 = state; }
        case 3u: { state3 = state; }
        case 4u: { state4 = state; }
        case 5u: { state5 = state; }
        default: { state6 = state; }
    }
}

/// The greatest v of the lanes.
fn greatest_of_lanes(v: vec4<f32>, lane: u32) -> vec4<f32> {
    let pairs = max(v, subgroupShuffle(v, lane ^ 1u));
    let fours = max(pairs, subgroupShuffle(pairs, lane ^ 2u));
    return max(fours, subgroupShuffle(fours, lane ^ 4u));
}

fn sum_of_lanes(v: vec4<f32>, lane: u32) -> vec4<f32> {
    let pairs = v + subgroupShuffle(v, lane ^ 1u);
    let fours = pairs + subgroupShuffle(pairs, lane ^ 2u);
    return fours + subgroupShuffle(fours, lane ^ 4u);
}

/// The scores of this lane's keys, not yet scaled.
fn score(item: u32, first: u32, fours: u32, head: u32, k_base: vec4<u32>, lane: u32) {
    s0 = mat4x4<f32>();
    s1 = mat4x4<f32>();
    s2 = mat4x4<f32>();
    s3 = mat4x4<f32>();
    s4 = mat4x4<f32>();
    s5 = mat4x4<f32>();
    s6 = mat4x4<f32>();
    for (var d0 = 0u; d0 < HEAD4; d0 += 8u) {
        let mine = min(d0 + lane, HEAD4 - 1u);
        for (var i = 0u; i < fours; i += 1u) {
            set_factors(i, queries4(query_base(item, vec4(first + 4u * i) + vec4(0u, 1u, 2u, 3u), head), mine));
        }
        let last = min(8u, HEAD4 - d0);
        for (var i = 0u; i < last; i += 1u) {
            let k = transpose(keys4(k_base, d0 + i));
            s0 += k * shuffled(x0, i);
            s1 += k * shuffled(x1, i);
            s2 += k * shuffled(x2, i);
            s3 += k * shuffled(x3, i);
            s4 += k * shuffled(x4, i);
            s5 += k * shuffled(x5, i);
            s6 += k * shuffled(x6, i);
        }
    }
}

/// Scores of queries first + 4 · i … become factors: probabilities, not yet divided by their sum.
fn weigh(i: u32, first: u32, key: vec4<u32>, keys: u32, lane: u32) {
    let s = op.scale * scores(i);
    let query = first + 4u * i;
    let seen = key < vec4(keys);
    let s0 = select(vec4(LOWEST), s[0], seen & (vec4(!CAUSAL) | (key <= vec4(query))));
    let s1 = select(vec4(LOWEST), s[1], seen & (vec4(!CAUSAL) | (key <= vec4(query + 1u))));
    let s2 = select(vec4(LOWEST), s[2], seen & (vec4(!CAUSAL) | (key <= vec4(query + 2u))));
    let s3 = select(vec4(LOWEST), s[3], seen & (vec4(!CAUSAL) | (key <= vec4(query + 3u))));
    let by_query = transpose(mat4x4(s0, s1, s2, s3));
    let before = state(i);
    let greatest = max(before[0], greatest_of_lanes(max(max(by_query[0], by_query[1]), max(by_query[2], by_query[3])), lane));
    let kept = exp(max(before[0] - greatest, vec4(-80.0)));
    let hidden = vec4(0.5 * LOWEST);
    let p = mat4x4(
        select(exp(s0 - greatest.x), vec4(0.0), s0 < hidden),
        select(exp(s1 - greatest.y), vec4(0.0), s1 < hidden),
        select(exp(s2 - greatest.z), vec4(0.0), s2 < hidden),
        select(exp(s3 - greatest.w), vec4(0.0), s3 < hidden),
    );
    set_state(i, mat3x4(greatest, before[1] * kept + vec4(1.0) * p, kept));
    set_factors(i, p);
}

fn scale_sums() {
    y0 = scaled(y0, state0[2]);
    z0 = scaled(z0, state0[2]);
    y1 = scaled(y1, state1[2]);
    z1 = scaled(z1, state1[2]);
    y2 = scaled(y2, state2[2]);
    z2 = scaled(z2, state2[2]);
    y3 = scaled(y3, state3[2]);
    z3 = scaled(z3, state3[2]);
    y4 = scaled(y4, state4[2]);
    z4 = scaled(z4, state4[2]);
    y5 = scaled(y5, state5[2]);
    z5 = scaled(z5, state5[2]);
    y6 = scaled(y6, state6[2]);
    z6 = scaled(z6, state6[2]);
}

/// The query at `i` of four.
fn row_of(y: mat4x4<f32>, i: u32) -> vec4<f32> {
    switch i {
        case 0u: { return y[0]; }
        case 1u: { return y[1]; }
        case 2u: { return y[2]; }
        default: { return y[3]; }
    }
}

/// As store_sums of product_lanes: what loads and stores stands once, in loops.
fn store_output(item: u32, first: u32, fours: u32, head: u32, column: u32, lane: u32) {
    for (var i = 0u; i < 2u * fours; i += 1u) {
        let query = first + i / 2u * 4u;
        var sums = near_sums(i / 2u);
        if i % 2u == 1u { sums = far_sums(i / 2u); }
        let output = scaled(sums, 1.0 / max(sum_of_lanes(state(i / 2u)[1], lane), vec4(1e-30)));
        for (var r = 0u; r < min(4u, dims.tokens - query); r += 1u) {
            store_row(item * dims.tokens + query + r, head, column + i % 2u * 8u, row_of(output, r));
        }
    }
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let head = group.y;
    let tiles = (dims.tokens + TILE_ROWS - 1u) / TILE_ROWS; // of an item
    let first = (group.z + dims.group) % tiles * TILE_ROWS;
    let item = (group.z + dims.group) / tiles;
    let fours = (min(TILE_ROWS, dims.tokens - first) + 3u) / 4u;
    let item_base = item * op.keys * op.kv_stride + head * HEAD;
    let column = group.x * COLUMNS / 4u + lane;
    let near = min(column, HEAD4 - 1u);
    let far = min(column + 8u, HEAD4 - 1u);

    let keys = keys_of(item);
    var end = keys;
    if CAUSAL { end = min(keys, first + TILE_ROWS); }

    for (var k0 = 0u; k0 < end; k0 += KEYS) {
        let key = vec4(k0 + 4u * lane) + vec4(0u, 1u, 2u, 3u);
        let k_base = item_base + min(key, vec4(keys - 1u)) * op.kv_stride + op.k_at;
        score(item, first, fours, head, k_base, lane);
        for (var i = 0u; i < fours; i += 1u) { weigh(i, first, key, keys, lane); }
        scale_sums();
        let parts = (min(KEYS, end - k0) + 3u) / 4u;
        for (var j = 0u; j < parts; j += 1u) {
            let v_base = item_base + min(vec4(k0 + 4u * j) + vec4(0u, 1u, 2u, 3u), vec4(keys - 1u)) * op.kv_stride + op.v_at;
            add_products(keys4(v_base, near), keys4(v_base, far), j);
        }
    }

    store_output(item, first, fours, head, column, lane);
    if head == groups.y - 1u && group.x == 0u { // the padding is zeros
        for (var query = first + lane; query < min(first + TILE_ROWS, dims.tokens); query += 8u) {
            for (var c = dims.width; c < dims.n; c += 1u) { y[(item * dims.tokens + query) * dims.n + c] = 0.0; }
        }
    }
}
