// dims — the sizes of one dispatch: alike for every op, at a dynamic offset of one uniform buffer. What an op needs beside
// them stands in its own file, at binding 1. The same fields in the same order as `Dims` in src/graph/kernel.rs. Strides are
// in elements.

struct Dims {
    batch: u32,     // items
    tokens: u32,    // rows of y per item
    rows: u32,      // rows of y
    k: u32,         // row stride of x, a multiple of 8
    n: u32,         // row stride of y, a multiple of 8
    width: u32,     // elements of a row of y that are not padding
    first: u32,     // the rows of the table that this binding holds
    count: u32,
    group: u32,     // this dispatch's first workgroup, where the work was cut
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(1) @binding(0) var<uniform> dims: Dims;

/// The number of this workgroup in a grid of one dimension, which may be cut, and folded into two.
fn unfold(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return dims.group + group.y * groups.x + group.x;
}
