// attention — softmax(scale · q · kᵀ) · v on GPUs. Joined with attention_heads.wgsl.
//
// A workgroup of 64 makes 32 queries of one head, 32 keys at a time: an invocation scores 4 queries × 4 keys, then sums 4
// queries × every eighth vec4 of the output, in matrices and straight lines (see product_tile). Queries, keys and values
// come from storage as vec4: eight invocations read the same ones at once, which caches serve. Only probabilities are
// exchanged: two barriers per 32 keys.

const QUERIES = 32u;
const KEYS = 32u; // at a time

var<workgroup> ps: array<array<vec4<f32>, 8>, QUERIES>; // probabilities: [query][key / 4]
var<workgroup> parts: array<array<f32, 8>, QUERIES>;    // what eight invocations know of a query: [query][x]

fn greatest_part(row: u32) -> f32 {
    return max(max(max(parts[row][0], parts[row][1]), max(parts[row][2], parts[row][3])), max(max(parts[row][4], parts[row][5]), max(parts[row][6], parts[row][7])));
}

fn sum_of_parts(row: u32) -> f32 {
    return ((parts[row][0] + parts[row][1]) + (parts[row][2] + parts[row][3])) + ((parts[row][4] + parts[row][5]) + (parts[row][6] + parts[row][7]));
}

/// Four queries of y, 8 apart.
fn store_rows(item: u32, query: u32, head: u32, d4: u32, v: mat4x4<f32>) {
    let row = item * dims.tokens + query;
    if query < dims.tokens { store_row(row, head, d4, v[0]); }
    if query + 8u < dims.tokens { store_row(row + 8u, head, d4, v[1]); }
    if query + 16u < dims.tokens { store_row(row + 16u, head, d4, v[2]); }
    if query + 24u < dims.tokens { store_row(row + 24u, head, d4, v[3]); }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_id) at: vec3<u32>) {
    let head = group.y;
    let tiles = (dims.tokens + QUERIES - 1u) / QUERIES; // of an item
    let tile = (group.z + dims.group) % tiles;
    let item = (group.z + dims.group) / tiles;
    let query = vec4(tile * QUERIES + at.y) + vec4(0u, 8u, 16u, 24u);
    let q_base = query_base(item, query, head);
    let item_base = item * op.keys * op.kv_stride + head * HEAD;

    let keys = keys_of(item);
    var end = keys;
    if CAUSAL { end = min(keys, tile * QUERIES + QUERIES); }

    let d0 = min(at.x, HEAD4 - 1u); // vec4s of the output that this invocation sums
    let d1 = min(at.x + 8u, HEAD4 - 1u);
    let d2 = min(at.x + 16u, HEAD4 - 1u);
    let d3 = min(at.x + 24u, HEAD4 - 1u);
    var greatest = vec4(LOWEST); // of each of the four queries
    var sum = vec4(0.0);         // of this invocation's keys alone
    var out0: mat4x4<f32>;       // vec4 at.x of the four queries
    var out1: mat4x4<f32>;       // vec4 at.x + 8
    var out2: mat4x4<f32>;
    var out3: mat4x4<f32>;
    for (var k0 = 0u; k0 < end; k0 += KEYS) {
        let key = vec4(k0 + 4u * at.x) + vec4(0u, 1u, 2u, 3u);
        let k_base = item_base + min(key, vec4(keys - 1u)) * op.kv_stride + op.k_at;
        var scores = mat4x4<f32>(); // said: Chromium 156 leaves a declaration in a loop as it was in the round before
        // Eight elements at a time, and scaled then: closer than one by one.
        for (var d = 0u; d + 1u < HEAD4; d += 2u) {
            let some = transpose(keys4(k_base, d)) * queries4(q_base, d);
            scores += op.scale * multiply_add(some, transpose(keys4(k_base, d + 1u)), queries4(q_base, d + 1u));
        }
        if HEAD4 % 2u == 1u { scores += op.scale * (transpose(keys4(k_base, HEAD4 - 1u)) * queries4(q_base, HEAD4 - 1u)); }
        let seen = key < vec4(keys);
        let s0 = select(vec4(LOWEST), scores[0], seen & (vec4(!CAUSAL) | (key <= vec4(query.x))));
        let s1 = select(vec4(LOWEST), scores[1], seen & (vec4(!CAUSAL) | (key <= vec4(query.y))));
        let s2 = select(vec4(LOWEST), scores[2], seen & (vec4(!CAUSAL) | (key <= vec4(query.z))));
        let s3 = select(vec4(LOWEST), scores[3], seen & (vec4(!CAUSAL) | (key <= vec4(query.w))));
        parts[at.y][at.x] = max(max(s0.x, s0.y), max(s0.z, s0.w));
        parts[at.y + 8u][at.x] = max(max(s1.x, s1.y), max(s1.z, s1.w));
        parts[at.y + 16u][at.x] = max(max(s2.x, s2.y), max(s2.z, s2.w));
        parts[at.y + 24u][at.x] = max(max(s3.x, s3.y), max(s3.z, s3.w));
        workgroupBarrier();

        let before = greatest;
        greatest = max(before, vec4(greatest_part(at.y), greatest_part(at.y + 8u), greatest_part(at.y + 16u), greatest_part(at.y + 24u)));
        let kept = exp(max(before - greatest, vec4(-80.0)));
        let hidden = vec4(0.5 * LOWEST);
        let p0 = select(exp(s0 - greatest.x), vec4(0.0), s0 < hidden);
        let p1 = select(exp(s1 - greatest.y), vec4(0.0), s1 < hidden);
        let p2 = select(exp(s2 - greatest.z), vec4(0.0), s2 < hidden);
        let p3 = select(exp(s3 - greatest.w), vec4(0.0), s3 < hidden);
        sum = sum * kept + vec4(dot(p0, vec4(1.0)), dot(p1, vec4(1.0)), dot(p2, vec4(1.0)), dot(p3, vec4(1.0)));
        ps[at.y][at.x] = p0;
        ps[at.y + 8u][at.x] = p1;
        ps[at.y + 16u][at.x] = p2;
        ps[at.y + 24u][at.x] = p3;
        out0 = scaled(out0, kept);
        if HEAD > 32u { out1 = scaled(out1, kept); }
        if HEAD > 64u { out2 = scaled(out2, kept); }
        if HEAD > 96u { out3 = scaled(out3, kept); }
        workgroupBarrier();

        for (var j = 0u; j < KEYS / 4u; j += 1u) {
            let first = k0 + 4u * j;
            if first >= end { break; }
            let p = mat4x4(ps[at.y][j], ps[at.y + 8u][j], ps[at.y + 16u][j], ps[at.y + 24u][j]);
            let v_base = item_base + min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(keys - 1u)) * op.kv_stride + op.v_at;
            out0 = multiply_add(out0, keys4(v_base, d0), p);
            if HEAD > 32u { out1 = multiply_add(out1, keys4(v_base, d1), p); }
            if HEAD > 64u { out2 = multiply_add(out2, keys4(v_base, d2), p); }
            if HEAD > 96u { out3 = multiply_add(out3, keys4(v_base, d3), p); }
        }
    }

    workgroupBarrier();
    parts[at.y][at.x] = sum.x;
    parts[at.y + 8u][at.x] = sum.y;
    parts[at.y + 16u][at.x] = sum.z;
    parts[at.y + 24u][at.x] = sum.w;
    workgroupBarrier();
    let all = vec4(sum_of_parts(at.y), sum_of_parts(at.y + 8u), sum_of_parts(at.y + 16u), sum_of_parts(at.y + 24u));
    let by = 1.0 / max(all, vec4(1e-30));
    store_rows(item, query.x, head, at.x, scaled(out0, by));
    store_rows(item, query.x, head, at.x + 8u, scaled(out1, by));
    store_rows(item, query.x, head, at.x + 16u, scaled(out2, by));
    store_rows(item, query.x, head, at.x + 24u, scaled(out3, by));
    if head == groups.y - 1u && at.x == 0u { // the padding is zeros
        for (var r = 0u; r < 4u; r += 1u) {
            if query[r] < dims.tokens {
                for (var c = dims.width; c < dims.n; c += 1u) { y[(item * dims.tokens + query[r]) * dims.n + c] = 0.0; }
            }
        }
    }
}
