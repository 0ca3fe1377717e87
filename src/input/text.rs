//! Strings as token ids.

use std::io::Read;
use std::sync::OnceLock;

use serde_json::json;
use tokenizers::models::bpe::BPE;

use crate::error::{Error, Result};

/// CLIP's merges, one per line (`scripts/reference/vocabulary.py` makes the file).
const MERGES: &[u8] = include_bytes!("../../assets/clip-bpe.txt.gz");

/// The ids of one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// From start to end of text, without padding.
    pub ids: Vec<u32>,
    /// How many ids the whole text has.
    pub total: usize,
}

impl Tokens {
    /// Whether the text was cut to fit the context.
    pub fn truncated(&self) -> bool {
        self.ids.len() < self.total
    }
}

/// A model's tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// A model folder's `tokenizer.json`; its own truncation and padding are left out.
    ///
    /// # Errors
    /// [`Error::Config`] where the `tokenizers` crate cannot read it.
    pub fn from_json(json: &[u8], file: &str) -> Result<Self> {
        let fail = |e: tokenizers::Error| Error::Config { file: file.into(), message: format!("is no tokenizer: {e}") };
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).map_err(fail)?;
        tokenizer.with_truncation(None).map_err(fail)?;
        tokenizer.with_padding(None);
        Ok(Self(tokenizer))
    }

    /// CLIP's own, built in: the ids of `CLIPTokenizerFast` of `openai/clip-vit-base-patch32`.
    pub fn clip() -> Self {
        static CLIP: OnceLock<Tokenizer> = OnceLock::new();
        CLIP.get_or_init(|| Self(clip().expect("the built-in vocabulary is whole"))).clone()
    }

    /// The ids of `text`, at most `context` of them: a longer text is cut, its last id kept (the end of text).
    ///
    /// # Errors
    /// [`Error::Text`] where the tokenizer refuses, or makes nothing.
    pub fn encode(&self, text: &str, context: usize) -> Result<Tokens> {
        let encoding = self.0.encode_fast(text, true).map_err(|e| Error::Text(format!("`{text}` cannot be tokenised: {e}")))?;
        let mut ids = encoding.get_ids().to_vec();
        let total = ids.len();
        let end = *ids.last().ok_or_else(|| Error::Text(format!("`{text}` has no tokens: this tokenizer adds no end of text")))?;
        if total > context {
            ids.truncate(context);
            ids[context - 1] = end;
        }
        Ok(Tokens { ids, total })
    }

    /// The piece of each id, as the vocabulary spells it.
    pub fn pieces(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|&id| self.0.id_to_token(id).unwrap_or_else(|| format!("<{id}>"))).collect()
    }

    /// Ids are below this.
    pub fn vocabulary(&self) -> usize {
        self.0.get_vocab_size(true)
    }
}

/// GPT-2's printable stand-ins for the 256 bytes, in the order of CLIP's vocabulary (`bytes_to_unicode`).
fn byte_pieces() -> Vec<char> {
    let printable = |b: &u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let others = (0..256u32).filter(|b| !printable(b)).count() as u32;
    let stand_ins = (256..256 + others).filter_map(char::from_u32);
    (0..256).filter(printable).filter_map(char::from_u32).chain(stand_ins).collect()
}

fn clip() -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(MERGES).read_to_string(&mut text)?;
    let merges: Vec<(String, String)> = text.lines().filter_map(|l| l.split_once(' ')).map(|(a, b)| (a.into(), b.into())).collect();
    let bytes: Vec<String> = byte_pieces().iter().map(char::to_string).collect();
    let pieces = bytes.iter().cloned().chain(bytes.iter().map(|b| format!("{b}</w>"))).chain(merges.iter().map(|(a, b)| format!("{a}{b}")));
    let special = ["<|startoftext|>", "<|endoftext|>"].map(String::from);
    let vocab: tokenizers::models::bpe::Vocab = pieces.chain(special).zip(0..).collect();
    let model =
        BPE::builder().vocab_and_merges(vocab, merges).end_of_word_suffix("</w>".into()).unk_token("<|endoftext|>".into()).build()?;

    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(serde_json::from_value::<tokenizers::NormalizerWrapper>(json!({"type": "Sequence", "normalizers": [
        {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]}))?))?;
    tokenizer.with_pre_tokenizer(Some(serde_json::from_value::<tokenizers::PreTokenizerWrapper>(json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"}, "behavior": "Removed", "invert": true},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]}))?));
    tokenizer.with_post_processor(Some(serde_json::from_value::<tokenizers::PostProcessorWrapper>(json!({"type": "RobertaProcessing",
        "sep": ["<|endoftext|>", 49407], "cls": ["<|startoftext|>", 49406], "trim_offsets": false, "add_prefix_space": false}))?));
    let token = |text: &str, normalized| tokenizers::AddedToken::from(text, true).normalized(normalized);
    tokenizer.add_special_tokens([token("<|startoftext|>", true), token("<|endoftext|>", false)])?;
    Ok(tokenizer)
}
