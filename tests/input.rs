//! Token ids against transformers and open_clip, and what bad pictures get. No Python, no GPU.
#![allow(clippy::unwrap_used)] // a test that fails may panic

use clip_wgpu::{Image, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    /// Of transformers.
    ids: Vec<u32>,
    /// Where they are others.
    open_clip: Option<Vec<u32>>,
}

#[test]
fn ids_equal_transformers_and_open_clip() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("input/tokens.json")).unwrap();
    assert!(cases.len() > 100);
    assert!((10..20).contains(&cases.iter().filter(|c| c.open_clip.is_some()).count()), "texts in which the two differ");
    let tokenizer = Tokenizer::clip();
    assert_eq!(tokenizer.vocabulary(), 49408);
    let open_clip = Tokenizer::open_clip();
    for case in cases {
        assert_eq!(tokenizer.encode(&case.text, usize::MAX).unwrap().ids, case.ids, "{:?}", case.text);
        let ids = case.open_clip.unwrap_or(case.ids);
        assert_eq!(open_clip.encode(&case.text, usize::MAX).unwrap().ids, ids, "open_clip: {:?}", case.text);
    }
}

#[test]
fn a_long_text_is_cut_with_its_end_kept() {
    let tokenizer = Tokenizer::clip();
    let long = tokenizer.encode(&"word ".repeat(100), 77).unwrap();
    assert_eq!((long.ids.len(), long.total, long.truncated(), long.ids[76]), (77, 102, true, 49407));
    assert!(!tokenizer.encode("a dog", 77).unwrap().truncated());
}

/// The `tokenizers` crate panics on these: found by `tests/fuzz.rs`.
#[test]
fn merges_that_make_no_piece_are_refused() {
    let json = |prefix: &str, merges: &str| {
        let model = format!(r#"{{"type":"BPE","vocab":{{"a":0,"bb":1,"abb":2}},"merges":{merges},"continuing_subword_prefix":{prefix}}}"#);
        format!(r#"{{"version":"1.0","added_tokens":[],"model":{model}}}"#)
    };
    assert!(Tokenizer::from_json(json("null", r#"["a bb"]"#).as_bytes(), "t.json").is_ok());
    for (prefix, merges) in [("null", r#"["abb abb"]"#), ("null", r#"[["abb","bb"]]"#), ("\"####\"", r#"["a bb"]"#)] {
        let said = Tokenizer::from_json(json(prefix, merges).as_bytes(), "t.json").unwrap_err().to_string();
        assert!(said.contains("t.json: is no tokenizer: the merge of") && said.contains("makes no piece of the vocabulary"), "{said}");
    }
    let vocabulary = r#"{"<|startoftext|>":0,"<|endoftext|>":1,"aaaaaaaaaaa":2}"#;
    let files = |merges: &str| ((vocabulary.into(), "vocab.json".into()), (merges.into(), "merges.txt".into()));
    let (vocabulary, merges) = files("aaaaaaaaaaa aaaaaaaaaaa\n");
    let said = Tokenizer::from_vocabulary(vocabulary, merges).unwrap_err().to_string();
    assert!(said.contains("merges.txt: does not fit vocab.json: the merge of"), "{said}");
}

/// A PNG whose header claims `width` × `height`, with a right checksum.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&chunk);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&chunk);
    png.extend(crc.sum().to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    png
}

#[test]
fn bad_pictures_say_what_was_found() {
    let message = |bytes: &[u8]| Image::decode(bytes).unwrap_err().to_string();
    assert_eq!(message(b""), "expected a picture, found an empty file");
    assert_eq!(message(b"this is a text file"), "expected a picture (PNG, JPEG, WebP, GIF, BMP, TIFF or ICO), found something else");
    assert_eq!(message(&png_header(60_000, 60_000)), "expected at most 256 megapixels, found 60000 × 60000");
    assert!(message(&png_header(64, 64)).starts_with("a damaged picture: "), "{}", message(&png_header(64, 64)));
}
