// frame — one pass of Pillow's resampling (src/libImaging/Resample.c), bit for bit: sums of 8-bit values times fixed-point weights,
// rounded to 8 bits. What the pass reads is another file's `source(x, y)`.

const BITS = 22u; // behind the point of a weight: those of src/input/resize.rs

struct FrameDims {
    taps: u32,   // where in `tables` this pass's begin: per column (or row) the first input, how many, and where their weights are
    across: u32, // 1 for the horizontal pass
    x: u32,      // where the pass's result stands: in what it reads for the first pass, in the square for the second
    y: u32,
    width: u32,  // of what the pass makes
    height: u32,
    size: u32,   // side of the square
    fill: u32,   // what the square is filled with beside the picture: 8 bits per channel, red lowest
}

@group(1) @binding(1) var<uniform> op: FrameDims;

@group(0) @binding(1) var<storage, read> tables: array<u32>;

fn resampled(x: u32, y: u32) -> vec3<u32> {
    let across = op.across != 0u;
    let head = op.taps + 3u * select(y, x, across);
    let first = tables[head];
    let count = tables[head + 1u];
    let weights = tables[head + 2u];
    var sum = vec3<i32>(1 << (BITS - 1u));
    for (var i = 0u; i < count; i += 1u) {
        let at = select(vec2(x, first + i), vec2(first + i, y), across);
        sum += vec3<i32>(source(at.x, at.y)) * bitcast<i32>(tables[weights + i]);
    }
    return vec3<u32>(clamp(sum >> vec3(BITS), vec3(0), vec3(255)));
}

fn packed(rgb: vec3<u32>) -> u32 {
    return rgb.x | (rgb.y << 8u) | (rgb.z << 16u);
}

fn unpacked(rgb: u32) -> vec3<u32> {
    return (vec3(rgb) >> vec3(0u, 8u, 16u)) & vec3(255u);
}
