//! Strings as token ids.

use std::borrow::Cow;
use std::io::Read;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};

use super::mojibake::mend;
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

/// What is done to a text before it is cut into pieces, beyond what `tokenizer.json` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clean {
    Nothing,
    /// Lower case, letter by letter (transformers' `Siglip2Tokenizer`).
    Letters,
    /// Runs of white space become one blank (open_clip's `HFTokenizer`).
    Whitespace,
    /// The same, in lower case.
    Lower,
    /// The same without ASCII punctuation (big_vision's `canonicalize_text`; transformers' `SiglipTokenizer`).
    Canonical,
    /// The same, underscores taken as blanks (`canonicalize_text` of open_clip).
    CanonicalUnderscores,
}

impl Clean {
    fn apply(self, text: &str) -> Cow<'_, str> {
        let python_space = |c: char| c.is_whitespace() || matches!(c, '\x1C'..='\x1F');
        let joined = |text: &str| text.split(python_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let plain = |text: &str| joined(&text.to_lowercase().replace(|c: char| c.is_ascii_punctuation(), ""));
        match self {
            Clean::Nothing => text.into(),
            Clean::Letters => text.chars().flat_map(char::to_lowercase).collect(),
            Clean::Whitespace => joined(text).into(),
            Clean::Lower => joined(&text.to_lowercase()).into(),
            Clean::Canonical => plain(text).into(),
            Clean::CanonicalUnderscores => plain(&text.replace('_', " ")).into(),
        }
    }
}

/// A model's tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Whether a text is mended before it is cleaned.
    mend: bool,
    clean: Clean,
    /// The id that rows are filled up with, where the tokenizer's files say which.
    pub pad: Option<u32>,
    /// The separator, where the tokenizer's files say which.
    separator: Option<u32>,
    /// An id that is replaced by 0 (CLIPA's separator).
    blanked: Option<u32>,
    /// Why it is not the model's: texts are refused.
    refusal: Option<String>,
}

impl Tokenizer {
    fn new(inner: tokenizers::Tokenizer) -> Self {
        Self { inner, mend: false, clean: Clean::Nothing, pad: None, separator: None, blanked: None, refusal: None }
    }

    /// A model folder's `tokenizer.json`; its own truncation and padding are left out.
    ///
    /// # Errors
    /// [`Error::Config`] where the `tokenizers` crate cannot read it.
    pub fn from_json(json: &[u8], file: &str) -> Result<Self> {
        let fail = |e: tokenizers::Error| Error::Config { file: file.into(), message: format!("is no tokenizer: {e}") };
        // The crate panics where the text is no JSON at all, and on some merges.
        let parsed: Value = serde_json::from_slice(json).map_err(|e| fail(e.into()))?;
        check_merges(&parsed["model"]).map_err(fail)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(fail)?;
        let pad = inner.get_padding().map(|p| p.pad_id);
        inner.with_truncation(None).map_err(fail)?;
        inner.with_padding(None);
        Ok(Self { pad, ..Self::new(inner) })
    }

    /// With the padding token and the cleaning of `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] for a padding token that the vocabulary lacks.
    pub fn with_config(mut self, json: &str, file: &str) -> Result<Self> {
        let fail = |message: String| Error::Config { file: file.into(), message };
        let config: Value = serde_json::from_str(json).map_err(|e| fail(format!("is no JSON: {e}")))?;
        let token = |key: &str| {
            let found = config.get(key).filter(|v| !v.is_null());
            found.and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()))
        };
        if let Some(token) = token("pad_token") {
            let id = self.inner.token_to_id(token);
            self.pad = Some(id.ok_or_else(|| fail(format!("`pad_token`: expected a token of the vocabulary, found {token:?}")))?);
        }
        self.separator = token("sep_token").and_then(|token| self.inner.token_to_id(token));
        if config.get("padding_side").and_then(Value::as_str) == Some("left") {
            self.refusal = Some(format!("{file}: `padding_side`: expected right, found left"));
        }
        if config.get("tokenizer_class").and_then(Value::as_str).is_some_and(|c| c.starts_with("SiglipTokenizer")) {
            self.clean = Clean::Canonical;
        }
        Ok(self)
    }

    /// As transformers' SigLIP tokenizers clean: SigLIP 2 only lowers the case (`tokenization_siglip2.py`).
    pub fn for_siglip(mut self) -> Self {
        if self.clean == Clean::Nothing {
            self.clean = Clean::Letters;
        }
        self
    }

    /// As OpenAI's CLIP cleans (`simple_tokenizer.py`): mojibake and HTML mended, in lower case.
    pub fn for_clip(self) -> Self {
        Self { mend: true, clean: Clean::Lower, ..self }
    }

    /// As open_clip cleans, by `text_cfg` of `open_clip_config.json`: its `HFTokenizer`, or its copy of CLIP's, which is padded with 0.
    ///
    /// # Errors
    /// [`Error::Config`] for cleaning that is not known.
    pub fn for_open_clip(mut self, text: &Value, file: &str) -> Result<Self> {
        let fail = |message: String| Err(Error::Config { file: file.into(), message });
        let kwargs = &text["tokenizer_kwargs"];
        let known = |key: &str| ["clean", "strip_sep_token"].contains(&key);
        if let Some((key, value)) = kwargs.as_object().into_iter().flatten().find(|(key, value)| !known(key) && !value.is_null()) {
            return fail(format!("`tokenizer_kwargs.{key}`: expected clean or strip_sep_token, found {value}"));
        }
        let of_clip = text.get("hf_tokenizer_name").is_none_or(Value::is_null);
        self.mend = true;
        self.clean = match kwargs.get("clean").and_then(Value::as_str) {
            None if of_clip => Clean::Lower,
            None | Some("whitespace") => Clean::Whitespace,
            Some("lower") => Clean::Lower,
            Some("canonicalize") => Clean::CanonicalUnderscores,
            Some(other) => {
                return fail(format!("`tokenizer_kwargs.clean`: expected whitespace, lower or canonicalize, found {other:?}"));
            }
        };
        if of_clip {
            return Ok(Self { pad: None, ..self });
        }
        if kwargs.get("strip_sep_token").and_then(Value::as_bool) == Some(true) {
            self.blanked = self.separator.or_else(|| self.inner.token_to_id("[SEP]"));
        }
        Ok(self)
    }

    /// A folder's `vocab.json` and `merges.txt` (text and name of each), cut into pieces as CLIP's own.
    ///
    /// # Errors
    /// [`Error::Config`] for files that are none, and a vocabulary without CLIP's start and end of text.
    pub fn from_vocabulary((vocabulary, file): (String, String), (merges, merges_file): (String, String)) -> Result<Self> {
        let fail = |file: &str, message: String| Error::Config { file: file.into(), message };
        let vocabulary: Vocab = serde_json::from_str(&vocabulary).map_err(|e| fail(&file, format!("is no vocabulary: {e}")))?;
        let special = ["<|startoftext|>", "<|endoftext|>"];
        if let Some(token) = special.iter().find(|token| !vocabulary.contains_key(**token)) {
            return Err(fail(&file, format!("expected the token {token:?}, found none")));
        }
        let lines = merges.lines().filter(|l| !l.starts_with("#version") && !l.trim().is_empty());
        let pair = |line: &str| line.trim_end().split_once(' ').map(|(a, b)| (a.to_string(), b.to_string())).ok_or(line.to_string());
        let pairs = lines.map(pair).collect::<std::result::Result<Vec<_>, String>>();
        let pairs = pairs.map_err(|line| fail(&merges_file, format!("expected two pieces in each line, found `{line}`")))?;
        byte_pair_encoding(vocabulary, pairs, special).map(Self::new).map_err(|e| fail(&merges_file, format!("does not fit {file}: {e}")))
    }

    /// Adds the tokens of `added_tokens.json` (`{token: id}`), or of `tokenizer_config.json` (`added_tokens_decoder`, `{id: token}`), which a
    /// vocabulary of its own files lacks (`tokenization_utils_base.py`: `_from_pretrained`).
    ///
    /// # Errors
    /// [`Error::Config`] for ids that leave a gap after the vocabulary's.
    pub fn add_tokens(&mut self, json: &str, file: &str) -> Result<()> {
        let fail = |message: String| Error::Config { file: file.into(), message };
        let value: Value = serde_json::from_str(json).map_err(|e| fail(format!("is no JSON: {e}")))?;
        // A configuration has other numbers, such as `model_max_length`.
        let plain = value.as_object().filter(|all| all.values().all(Value::is_u64)).into_iter().flatten();
        let plain = plain.filter_map(|(token, id)| Some((u32::try_from(id.as_u64()?).ok()?, token.as_str(), false)));
        let described = value["added_tokens_decoder"].as_object().into_iter().flatten().filter_map(|(id, token)| {
            let is_special = token["special"].as_bool().unwrap_or(false);
            Some((id.parse().ok()?, token["content"].as_str()?, is_special))
        });
        let mut tokens: Vec<(u32, &str, bool)> = plain.chain(described).collect();
        tokens.sort_unstable();
        for (id, token, is_special) in tokens {
            if self.inner.token_to_id(token).is_none() {
                let added = tokenizers::AddedToken::from(token, is_special).normalized(!is_special);
                self.inner.add_tokens([added]).map_err(|e| fail(e.to_string()))?;
            }
            let found = self.inner.token_to_id(token);
            if found != Some(id) {
                return Err(fail(format!(
                    "expected the added token {token:?} to be {id}, but the vocabulary makes it {found:?}: save tokenizer.json"
                )));
            }
        }
        Ok(())
    }

    /// CLIP's own, built in: the ids of `CLIPTokenizerFast` of `openai/clip-vit-base-patch32`.
    pub fn clip() -> Self {
        static CLIP: OnceLock<Tokenizer> = OnceLock::new();
        CLIP.get_or_init(|| Self::built_in(["<|startoftext|>", "<|endoftext|>"])).clone()
    }

    /// open_clip's copy of it: the ids of its `SimpleTokenizer`.
    pub fn open_clip() -> Self {
        static OPEN_CLIP: OnceLock<Tokenizer> = OnceLock::new();
        OPEN_CLIP.get_or_init(|| Self::built_in(["<start_of_text>", "<end_of_text>"]).for_clip()).clone()
    }

    fn built_in(special: [&str; 2]) -> Self {
        Self::new(clip(special).expect("the built-in vocabulary is whole"))
    }

    /// In the place of a model's that is not there: it says `why` of every text.
    pub(crate) fn missing(why: String) -> Self {
        Self { refusal: Some(why), ..Self::clip() }
    }

    /// The same, where it `is_known` to be the model's; else it says `why` of every text.
    pub(crate) fn or_missing(self, is_known: bool, why: impl FnOnce() -> String) -> Self {
        let refusal = self.refusal.clone().or_else(|| (!is_known).then(why));
        Self { refusal, ..self }
    }

    /// The ids of `text`, at most `context` of them: a longer text is cut, its last id kept (the end of text).
    ///
    /// # Errors
    /// [`Error::Text`] where the tokenizer is not there, refuses, or makes nothing.
    pub fn encode(&self, text: &str, context: usize) -> Result<Tokens> {
        if let Some(why) = &self.refusal {
            return Err(Error::Text(format!("`{text}` cannot be tokenised: {why}")));
        }
        let mended = if self.mend { mend(text) } else { text.into() };
        let cleaned = self.clean.apply(&mended);
        let encoding =
            self.inner.encode_fast(cleaned.as_ref(), true).map_err(|e| Error::Text(format!("`{text}` cannot be tokenised: {e}")))?;
        let mut ids = encoding.get_ids().to_vec();
        let total = ids.len();
        let end = *ids.last().ok_or_else(|| Error::Text(format!("`{text}` has no tokens: this tokenizer adds no end of text")))?;
        if context == 0 {
            return Err(Error::Text("expected a context of at least one token, found 0".into()));
        }
        if total > context {
            ids.truncate(context);
            ids[context - 1] = end;
        }
        ids.iter_mut().filter(|id| Some(**id) == self.blanked).for_each(|id| *id = 0);
        Ok(Tokens { ids, total })
    }

    /// The piece of each id, as the vocabulary spells it.
    pub fn pieces(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|&id| self.inner.id_to_token(id).unwrap_or_else(|| format!("<{id}>"))).collect()
    }

    /// Ids are below this.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// GPT-2's printable stand-ins for the 256 bytes, in the order of CLIP's vocabulary (`bytes_to_unicode`).
fn byte_pieces() -> Vec<char> {
    let printable = |b: &u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let others = (0..256u32).filter(|b| !printable(b)).count() as u32;
    let stand_ins = (256..256 + others).filter_map(char::from_u32);
    (0..256).filter(printable).filter_map(char::from_u32).chain(stand_ins).collect()
}

fn clip(special: [&str; 2]) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(MERGES).read_to_string(&mut text)?;
    let merges: Vec<(String, String)> = text.lines().filter_map(|l| l.split_once(' ')).map(|(a, b)| (a.into(), b.into())).collect();
    let bytes: Vec<String> = byte_pieces().iter().map(char::to_string).collect();
    let pieces = bytes.iter().cloned().chain(bytes.iter().map(|b| format!("{b}</w>"))).chain(merges.iter().map(|(a, b)| format!("{a}{b}")));
    let vocabulary: Vocab = pieces.chain(special.map(String::from)).zip(0..).collect();
    byte_pair_encoding(vocabulary, merges, special)
}

/// Pieces as `CLIPTokenizerFast` cuts them (transformers' `convert_slow_tokenizer.py`: `CLIPConverter`), between a start and an end
/// of text that are in the vocabulary.
fn byte_pair_encoding(vocab: Vocab, merges: Vec<(String, String)>, special: [&str; 2]) -> tokenizers::Result<tokenizers::Tokenizer> {
    let [start, end] = special;
    let ids = special.map(|token| vocab[token]);
    let whole = special.map(regex::escape).join("|");
    let pieces = format!("{whole}|{}", r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+");
    let longest = vocab.keys().map(String::len).max().unwrap_or(0);
    merges.iter().try_for_each(|(a, b)| check_merge(a, b, "", longest))?;
    let model = BPE::builder().vocab_and_merges(vocab, merges).end_of_word_suffix("</w>".into()).unk_token(end.into()).build()?;

    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(serde_json::from_value::<tokenizers::NormalizerWrapper>(json!({"type": "Sequence", "normalizers": [
        {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]}))?))?;
    tokenizer.with_pre_tokenizer(Some(serde_json::from_value::<tokenizers::PreTokenizerWrapper>(
        json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pieces}, "behavior": "Removed", "invert": true},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]}),
    )?));
    tokenizer.with_post_processor(Some(serde_json::from_value::<tokenizers::PostProcessorWrapper>(json!({"type": "RobertaProcessing",
        "sep": [end, ids[1]], "cls": [start, ids[0]], "trim_offsets": false, "add_prefix_space": false}))?));
    let token = |text: &str, normalized| tokenizers::AddedToken::from(text, true).normalized(normalized);
    tokenizer.add_special_tokens([token(start, true), token(end, false)])?;
    Ok(tokenizer)
}

/// Refuses merges of a parsed `tokenizer.json` as [`check_merge`] does.
fn check_merges(model: &Value) -> tokenizers::Result<()> {
    let (Some(vocabulary), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array()) else { return Ok(()) };
    let longest = vocabulary.keys().map(String::len).max().unwrap_or(0);
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or("");
    let mut pairs = merges.iter().filter_map(|merge| match merge {
        Value::String(both) => both.split_once(' '),
        both => both[0].as_str().zip(both[1].as_str()),
    });
    pairs.try_for_each(|(a, b)| check_merge(a, b, prefix, longest)) // of what is no pair, the crate says so itself
}

/// Refuses a merge that makes a piece longer than any of the vocabulary, or takes a prefix off a piece that has none: `BpeBuilder`
/// (tokenizers 0.23) slices past its buffer there.
fn check_merge(a: &str, b: &str, prefix: &str, longest: usize) -> tokenizers::Result<()> {
    match b.strip_prefix(prefix) {
        Some(rest) if a.len() + rest.len() <= longest => Ok(()),
        _ => Err(format!("the merge of {a:?} and {b:?} makes no piece of the vocabulary").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scripts/reference/tokens.py` wrote what open_clip and transformers make of each.
    #[test]
    fn texts_are_cleaned_as_the_tokenizers_clean_them() {
        let json = include_str!("../../tests/input/cleaned.json");
        let cases: Vec<(String, [String; 5])> = serde_json::from_str(json).expect("the file is whole");
        assert!(cases.len() > 50);
        for (text, [whitespace, lower, canonical, siglip, siglip2]) in cases {
            let of_open_clip = [(Clean::Whitespace, whitespace), (Clean::Lower, lower), (Clean::CanonicalUnderscores, canonical)];
            for (clean, expected) in of_open_clip {
                assert_eq!(clean.apply(&mend(&text)), expected, "{clean:?} of {text:?}");
            }
            for (clean, expected) in [(Clean::Canonical, siglip), (Clean::Letters, siglip2)] {
                assert_eq!(clean.apply(&text), expected, "{clean:?} of {text:?}");
            }
        }
    }
}
