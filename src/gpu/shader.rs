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

impl Part {
    /// The value of a line `const NAME = …u;` of the file: sizes that the host needs, too, stand in the shader alone.
    pub const fn constant(&self, name: &str) -> u32 {
        let (text, name) = (self.text.as_bytes(), name.as_bytes());
        let head = b"const ";
        let mut at = 0;
        while at + head.len() + name.len() < text.len() {
            if is_at(text, at, head) && is_at(text, at + head.len(), name) && is_at(text, at + head.len() + name.len(), b" = ") {
                let mut digit = at + head.len() + name.len() + 3;
                let mut value = 0;
                while text[digit].is_ascii_digit() {
                    value = 10 * value + (text[digit] - b'0') as u32;
                    digit += 1;
                }
                return value;
            }
            at += 1;
        }
        panic!("the shader has no such constant");
    }
}

const fn is_at(text: &[u8], at: usize, wanted: &[u8]) -> bool {
    let mut i = 0;
    while i < wanted.len() {
        if at + i >= text.len() || text[at + i] != wanted[i] {
            return false;
        }
        i += 1;
    }
    true
}

impl std::hash::Hash for Part {
    /// The text's length stands for the text: pipelines are looked up in every run of another size.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.file, self.text.len()).hash(state);
    }
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
