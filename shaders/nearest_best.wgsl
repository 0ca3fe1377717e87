// nearest_best — the best of BLOCK candidates. Joined with nearest.wgsl, which scores them, and nearest_merge.wgsl, which reads them.
//
//   y  [items, blocks, n]  f32: for each block its `top` best scores, then the rows that have them, best first; rows are exact, being
//                          below 2²⁴
//
// One workgroup per block of an item.

const GROUP = 256u;
const BLOCK = 1024u;
const NONE = vec2(-3.4e38, 3.4e38); // after every candidate

struct NearestDims {
    rows: u32,   // of the table; or lists of candidates, to be merged
    blocks: u32, // workgroups of an item
    top: u32,
}

@group(1) @binding(1) var<uniform> op: NearestDims;

/// Scores and rows.
var<workgroup> best: array<vec2<f32>, BLOCK>;

/// Whether `a` stands before `b`: the higher score, of equals the earlier row.
fn before(a: vec2<f32>, b: vec2<f32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y < b.y);
}

/// Sorts `best`: Batcher's bitonic network.
fn sort(lane: u32) {
    for (var run = 2u; run <= BLOCK; run *= 2u) {
        for (var step = run / 2u; step > 0u; step /= 2u) {
            workgroupBarrier();
            for (var i = lane; i < BLOCK / 2u; i += GROUP) {
                let low = i / step * 2u * step + i % step;
                let high = low + step;
                let a = best[low];
                let b = best[high];
                if before(b, a) == ((low & run) == 0u) {
                    best[low] = b;
                    best[high] = a;
                }
            }
        }
    }
    workgroupBarrier();
}

/// Writes the best of this workgroup's block.
fn store(id: u32, lane: u32) {
    for (var i = lane; i < op.top; i += GROUP) {
        y[id * dims.n + i] = best[i].x;
        y[id * dims.n + op.top + i] = best[i].y;
    }
}
