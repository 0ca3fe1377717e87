// dims — the sizes of one dispatch: alike for every op, at a dynamic offset of one uniform buffer.
// The same fields in the same order as `Dims` in src/ops/mod.rs. Strides are in elements.

struct Dims {
    batch: u32,     // items
    tokens: u32,    // tokens (queries) per item
    rows: u32,      // rows of y that are made
    k: u32,         // row stride of x, a multiple of 8
    n: u32,         // row stride of y, a multiple of 8
    width: u32,     // elements of a row that are not padding
    keys: u32,      // attention: keys per item
    x_stride: u32,  // row stride of an operand read by element: pixels, kv
    q_step: u32,    // attention: rows of q from one item to the next
    k_at: u32,      // attention: column of the first head's key and value
    v_at: u32,
    first: u32,     // token_embed: the rows of the table that this binding holds
    count: u32,
    size: u32,      // patch_embed: side of the picture in pixels
    scale: f32,     // attention, scores
    bias: f32,      // scores
    eps: f32,       // layer_norm
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(1) @binding(0) var<uniform> dims: Dims;

/// The number of this workgroup in a grid that may be folded into two dimensions.
fn unfold(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
