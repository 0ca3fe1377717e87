//! WGSL source: files joined in order.
//!
//! Module-scope declarations of WGSL may stand in any order, so joining files links them: no include, no macro language, no
//! generated text. What differs between variants is said in one of three ways: a flag is an `override` constant; a storage
//! format is another file that declares the same function; another algorithm is another shader.

/// One file of `shaders/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub file: &'static str,
    pub text: &'static str,
}

/// A file of `shaders/`, taken in at compile time.
macro_rules! part {
    ($file:literal) => {
        $crate::gpu::shader::Part { file: $file, text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file)) }
    };
}
pub(crate) use part;

/// The joined text.
pub fn join(parts: &[Part]) -> String {
    parts.iter().map(|p| p.text).collect::<Vec<_>>().join("\n")
}

/// The file and line that line `line` (from 1) of the joined text came from.
pub fn origin(parts: &[Part], line: usize) -> Option<(&'static str, usize)> {
    let mut first = 1;
    for p in parts {
        let lines = p.text.matches('\n').count() + 1; // + the newline of the join
        if line < first + lines {
            return Some((p.file, line - first + 1));
        }
        first += lines;
    }
    None
}
