//! Bad input: one readable line that names the thing, and the right exit code.
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::path::{Path, PathBuf};

use command::{command as start, finish, root, run, run_with_input, scratch, text};
use serde_json::{Value, json};

const SAMPLE: &str = "assets/samples/red-circle.png";

/// A copy of a tiny model.
fn model(test: &str) -> PathBuf {
    let (from, to) = (root().join("tests/golden/hf_quick"), scratch(test));
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    to
}

fn embed(model: &Path) -> command::Said {
    run(&["embed", "image", "-q", "-m", text(model), SAMPLE])
}

fn edit_config(model: &Path, edit: impl Fn(&mut Value)) {
    let path = model.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
}

/// Rewrites the header of the model's safetensors file.
fn edit_header(model: &Path, edit: impl Fn(&mut Value)) {
    let path = model.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    edit(&mut header);
    let header = header.to_string();
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[end..]].concat()).unwrap();
}

#[test]
fn models_that_are_not_there() {
    embed(Path::new("/nowhere/at-all"))
        .fails(1, &["/nowhere/at-all", "no such folder or file", "`pico`, a folder, a weight file, a name on the Hub"]);
    let empty = scratch("no-model");
    embed(&empty).fails(1, &[text(&empty), "expected config.json with model.safetensors or pytorch_model.bin, or open_clip_config.json"]);
    run(&["embed", "image", "-q", "-m", "README.md", SAMPLE]).fails(1, &["README.md", "found another kind of file"]);
    let nowhere = scratch("no-cache");
    let without = finish(start(&["embed", "image", "-q", "--offline", SAMPLE]).env("HF_HUB_CACHE", &nowhere), b"");
    without.fails(1, &["is not in the cache", "-m pico"]);
}

#[test]
fn a_whole_model_works() {
    assert_eq!(embed(&model("whole")).code, 0);
}

#[test]
fn damaged_safetensors_files() {
    let cut = model("cut");
    let path = cut.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    embed(&cut).fails(1, &["model.safetensors", "is cut short: tensor `", "but the file has"]);
    std::fs::write(&path, &bytes[..100]).unwrap();
    embed(&cut).fails(1, &["is cut short or no safetensors file: its header would take"]);
    std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat()).unwrap();
    embed(&cut).fails(1, &["its header would take 18446744073709551615 bytes"]);
    std::fs::write(&path, [&bytes[..8], b"not json", &bytes[16..]].concat()).unwrap();
    embed(&cut).fails(1, &["its safetensors header is damaged"]);
    std::fs::write(&path, b"").unwrap();
    embed(&cut).fails(1, &["expected a safetensors file, found 0 bytes"]);
}

#[test]
fn headers_that_lie_about_offsets() {
    for (test, offsets) in [
        ("lie-long", json!([0, 1_000_000_000])),
        ("lie-overlap", json!([4, 8])),
        ("lie-back", json!([400, 4])),
        ("lie-huge", json!([0, u64::MAX])),
    ] {
        let folder = model(test);
        edit_header(&folder, |header| header["logit_scale"]["data_offsets"] = offsets.clone());
        let said = embed(&folder);
        said.fails(1, &["model.safetensors", ""]);
        assert!(said.err.contains("logit_scale") || said.err.contains("header is damaged"), "{}", said.err);
    }
    let folder = model("lie-shape");
    edit_header(&folder, |header| header["visual_projection.weight"]["shape"] = json!([4_000_000_000u64, 4_000_000_000u64]));
    embed(&folder).fails(1, &["model.safetensors: its safetensors header is damaged: overflow"]);
}

#[test]
fn every_wrong_tensor_is_listed_at_once() {
    let folder = model("misshapen");
    edit_header(&folder, |header| {
        let tensors = header.as_object_mut().unwrap();
        let moved = tensors.remove("visual_projection.weight").unwrap();
        tensors.insert("visual_projection.wait".into(), moved);
        let gain = tensors["vision_model.post_layernorm.weight"]["shape"][0].as_u64().unwrap();
        tensors["vision_model.post_layernorm.weight"]["shape"] = json!([2, gain / 2]);
    });
    let said = embed(&folder);
    assert_eq!(said.code, 1);
    for part in [
        "model.safetensors: 3 problems",
        "tensor `vision_model.post_layernorm.weight`: expected [",
        "tensor `visual_projection.weight` is missing: expected [",
        "tensor `visual_projection.wait` is not of this architecture",
    ] {
        assert!(said.err.contains(part), "expected `{part}` in {}", said.err);
    }
}

#[test]
fn configurations_that_say_something_else() {
    type Case = (&'static str, fn(&mut Value), &'static str);
    let cases: [Case; 5] = [
        (
            "act",
            |c| c["vision_config"]["hidden_act"] = "mish".into(),
            "`vision_config.hidden_act`: expected quick_gelu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu or silu, found \"mish\"",
        ),
        (
            "type",
            |c| c["model_type"] = "bert".into(),
            "`model_type`: expected clip, siglip, clip_text_model, clip_vision_model or siglip_vision_model, found \"bert\"",
        ),
        (
            "heads",
            |c| c["text_config"]["num_attention_heads"] = 7.into(),
            "`text_config.num_attention_heads`: expected heads that divide the width of 30, found 7",
        ),
        ("zero", |c| c["vision_config"]["patch_size"] = 0.into(), "`vision_config.patch_size`: expected a positive whole number, found 0"),
        ("none", |c| c["text_config"] = 5.into(), "`text_config`: expected an object, found 5"),
    ];
    for (test, edit, message) in cases {
        let folder = model(&format!("config-{test}"));
        edit_config(&folder, edit);
        embed(&folder).fails(1, &["config.json", message]);
    }
    let folder = model("config-cut");
    std::fs::write(folder.join("config.json"), "{\"model_type\"").unwrap();
    embed(&folder).fails(1, &["config.json: is no JSON"]);
}

#[test]
fn pictures_that_are_none() {
    let folder = scratch("pictures");
    let cases: [(&str, Vec<u8>, &str); 3] = [
        ("text.png", b"this is a text".to_vec(), "expected a picture (PNG, JPEG, WebP, GIF, BMP, TIFF or ICO), found something else"),
        ("zero.png", vec![], "expected a picture, found an empty file"),
        ("huge.png", png_header(60_000, 60_000), "expected at most 256 megapixels, found 60000 × 60000"),
    ];
    for (name, bytes, message) in cases {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        let said = run(&["classify", "-q", "-m", "pico", text(&path), "-l", "star"]);
        said.fails(1, &[text(&path), message]);
    }
    run(&["classify", "-q", "-m", "pico", "nowhere.png", "-l", "star"]).fails(1, &["nowhere.png: No such file"]);
    run(&["compare", "-q", "-m", "pico", "nowhere.png", "star"])
        .fails(2, &["nowhere.png: no such file (text:nowhere.png would take it as a text)"]);
}

/// A PNG whose header claims `width` × `height`, with a right checksum.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = [b"IHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&chunk);
    chunk.extend(crc.sum().to_be_bytes());
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0d".as_slice(), &chunk, b"\0\0\0\0IDAT\x35\xaf\x06\x1e"].concat()
}

#[test]
fn labels_that_cannot_be_used() {
    let classify = |rest: &[&str]| run(&[&["classify", "-q", "-m", "pico", SAMPLE], rest].concat());
    classify(&[]).fails(2, &["expected labels (-l LABEL, --labels-file with one per line, or --labels imagenet), found none"]);
    let set = classify(&["--labels", "a,b"]);
    assert!(set.code == 2 && set.err.contains("expected imagenet; labels of your own are given with -l, one each"), "{}", set.err);
    classify(&["-l", "star", "-l", ""]).fails(2, &["label 2 is empty"]);
    classify(&["-l", "star", "-l", "ring", "-l", "star"]).fails(2, &["label `star` is given twice"]);
    classify(&["-l", "star", "-t", "a photo"]).fails(2, &["expected a template with {}", "found `a photo`"]);
    classify(&["--labels-file", "nowhere.txt"]).fails(1, &["nowhere.txt: No such file"]);
    run_with_input(&["classify", "-q", "-m", "pico", SAMPLE, "--labels-file", "-"], b"star\n\xff\xfe\n")
        .fails(1, &["standard input: line 2 is not valid UTF-8"]);
    run_with_input(&["embed", "text", "-q", "-m", "pico", "--texts-file", "-"], b"\xc3(")
        .fails(1, &["standard input: line 1 is not valid UTF-8"]);
}

#[test]
fn wrong_usage_is_two() {
    for arguments in [
        &["classify"][..],
        &["--device", "tpu", "device"],
        &["device", "--batch", "0"],
        &["embed", "sound", "x"],
        &["device", "--dtype", "q3"],
    ] {
        assert_eq!(run(arguments).code, 2, "{arguments:?}");
    }
    run(&["embed", "text", "-q", "-m", "pico", "star", "-o", "e.txt"])
        .fails(2, &["e.txt: expected a name that ends in .npy, .safetensors, .parquet or .jsonl"]);
    run(&["embed", "text", "-q", "-m", "pico"]).fails(2, &["expected at least one text"]);
    run(&["embed", "image", "-q", "-m", "pico", text(&scratch("empty-folder"))]).fails(2, &["expected pictures, found none"]);
}

#[test]
fn no_gpu_at_all() {
    let without =
        |arguments: &[&str]| finish(start(arguments).env("VK_DRIVER_FILES", "/dev/null").env("VK_ICD_FILENAMES", "/dev/null"), b"");
    let said = without(&["embed", "text", "-q", "-m", "tests/golden/hf_quick", "--device", "gpu", "star"]);
    said.fails(1, &["expected an adapter for `gpu`, found no GPU: install its Vulkan driver, or use the device cpu"]);
    let said = without(&["classify", "-m", "pico", SAMPLE, "-l", "red circle", "-l", "star", "--device", "auto"]);
    assert!(said.code == 0 && said.out.contains("red circle"), "{}", said.err);
    assert_eq!(
        said.err.lines().filter(|l| l.contains("no hardware GPU found") && l.contains("running on the CPU")).count(),
        1,
        "{}",
        said.err
    );
    let adapters = without(&["device", "--json"]).json();
    assert_eq!((adapters["adapters"].as_array().unwrap().len(), &adapters["cpu"]["auto"]), (0, &true.into()));
}

#[test]
fn an_adapter_that_is_not_there_is_answered_with_those_that_are() {
    let said = run(&["embed", "text", "-q", "-m", "pico", "star", "--device", "gpu:no-such-adapter"]);
    said.fails(1, &["expected an adapter for `gpu:no-such-adapter`, found "]);
}

/// A token whose row overflows on the way: its text is named, the others are written.
#[test]
fn one_text_that_is_not_finite_leaves_the_others() {
    let folder = model("one-row");
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let table = &header["text_model.embeddings.token_embedding.weight"];
    let width = table["shape"][1].as_u64().unwrap() as usize;
    let at = data + table["data_offsets"][0].as_u64().unwrap() as usize + 4 * width; // of token 1
    bytes[at..at + 4 * width].copy_from_slice(&f32::MAX.to_le_bytes().repeat(width));
    std::fs::write(&path, &bytes).unwrap();
    std::fs::write(folder.join("vocab.json"), r#"{"a</w>": 0, "b</w>": 1, "c</w>": 2, "<|startoftext|>": 118, "<|endoftext|>": 119}"#)
        .unwrap();
    std::fs::write(folder.join("merges.txt"), "").unwrap();
    let out = folder.join("e.npy");
    let said = run(&["embed", "text", "-q", "-m", text(&folder), "a", "b", "a c", "--json", "-o", text(&out)]);
    let document = said.json_whatever_the_code();
    assert_eq!((said.code, &document["written"]["rows"], &document["failed"][0]["input"]), (1, &json!(2), &json!("b")));
    assert!(said.err.contains("b: its embedding is not finite"), "{}", said.err);
}

#[test]
fn values_that_no_dtype_holds_and_numbers_that_are_none() {
    let folder = model("not-finite");
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let at = data + header["visual_projection.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[at..at + 4].copy_from_slice(&1e6f32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    run(&["embed", "image", "-q", "-m", text(&folder), SAMPLE, "--dtype", "f16"])
        .fails(1, &["`visual_projection.weight`: expected values that F16 can hold, found 1000000: use another dtype"]);
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    embed(&folder).fails(1, &["tensor `visual_projection.weight`: expected finite values, found NaN"]);
}

#[test]
fn a_scale_of_scores_that_is_no_number_is_refused() {
    let folder = model("scale");
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let at = data + header["logit_scale"]["data_offsets"][0].as_u64().unwrap() as usize;
    for scale in [f32::NAN, 100.0] {
        bytes[at..at + 4].copy_from_slice(&scale.to_le_bytes()); // exp(100) is above what an f32 holds
        std::fs::write(&path, &bytes).unwrap();
        embed(&folder).fails(1, &["expected finite scores, found logit_scale"]);
    }
}

/// Whatever CLIP's tokenizer made of a text would be words of SigLIP's own.
#[test]
fn a_model_without_its_tokenizer_takes_pictures_and_refuses_texts() {
    let model = "tests/golden/siglip_hf";
    assert!(!root().join(model).join("tokenizer.json").exists());
    assert_eq!(run(&["embed", "image", "-q", "-m", model, SAMPLE]).code, 0);
    run(&["embed", "text", "-q", "-m", model, "a star"]).fails(1, &["`a star` cannot be tokenised: expected the model's own tokenizer"]);
}

/// open_clip writes out fields whose values choose nothing, and sides as pairs.
#[test]
fn open_clip_fields_that_choose_nothing_are_read() {
    let golden = root().join("tests/golden/open_clip_quick");
    let config: Value = serde_json::from_slice(&std::fs::read(golden.join("open_clip_config.json")).unwrap()).unwrap();
    let embedded = |what: &str, edit: &dyn Fn(&mut Value)| {
        let folder = scratch(what);
        std::fs::copy(golden.join("open_clip_model.safetensors"), folder.join("open_clip_model.safetensors")).unwrap();
        let mut config = config.clone();
        edit(&mut config["model_cfg"]["vision_cfg"]);
        std::fs::write(folder.join("open_clip_config.json"), config.to_string()).unwrap();
        run(&["embed", "image", "-q", "-m", text(&folder), SAMPLE])
    };
    let plain = embedded("spelt-not", &|_| {});
    assert_eq!(plain.code, 0, "{}", plain.err);
    let spelt = embedded("spelt-out", &|v| {
        let side = v["image_size"].clone();
        v["image_size"] = Value::Array(vec![side.clone(), side]);
        for (key, value) in [
            ("attentional_pool", false.into()),
            ("attn_pooler_queries", 256.into()),
            ("pos_embed_type", "learnable".into()),
            ("ls_init_value", Value::Null),
        ] {
            v[key] = value;
        }
    });
    assert_eq!((spelt.code, spelt.out), (0, plain.out), "{}", spelt.err);
    embedded("spelt-other", &|v| v["attentional_pool"] = true.into()).fails(1, &["attentional_pool", "this architecture is not supported"]);
}
