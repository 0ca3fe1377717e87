//! Model folders as people have them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::command::{self, root, run, scratch, text};
use super::{RED, embeddings, model, put};

// O8, O9, O12, O15: model folders.

/// A copy of another golden model.
fn golden(name: &str, test: &str) -> PathBuf {
    let folder = scratch(test);
    for file in std::fs::read_dir(root().join("tests/golden").join(name)).unwrap().flatten() {
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    folder
}

fn embed(model: &Path) -> command::Said {
    run(&["embed", "image", "-q", "-m", text(model), RED, "--json"])
}

#[test]
fn weights_that_are_something_else_say_what() {
    let folder = model("pointer");
    std::fs::write(folder.join("model.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605247071\n")
        .unwrap();
    let said = embed(&folder);
    assert!(said.err.contains("is a Git LFS pointer") && said.err.contains("git lfs pull"), "{}", said.err);
    for page in ["<!DOCTYPE html>\n<html>", "\n<html lang=en>", "<?xml version='1.0'?>"] {
        std::fs::write(folder.join("model.safetensors"), page).unwrap();
        assert!(embed(&folder).err.contains("is a web page that was saved"), "{page}");
    }
}

#[test]
fn folders_one_level_off_say_which_to_take() {
    let folder = scratch("levels");
    let inner = folder.join("0_CLIPModel");
    std::fs::create_dir_all(&inner).unwrap();
    put(&folder, "modules.json", "[]");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(root().join("tests/golden/hf_gelu").join(name), inner.join(name)).unwrap();
    }
    let said = embed(&folder);
    assert!(said.err.contains("sentence-transformers folder") && said.err.contains(&format!("take -m {}", text(&inner))), "{}", said.err);

    let cache = scratch("models--someone--tiny-clip");
    let snapshot = cache.join("snapshots/0123abcd");
    std::fs::create_dir_all(&snapshot).unwrap();
    put(&cache, "refs/main", "0123abcd");
    let said = embed(&cache);
    assert!(said.err.contains("Hub's cache") && said.err.contains(&format!("take -m {}", text(&snapshot))), "{}", said.err);

    let weights = scratch("bin-only");
    put(&weights, "pytorch_model.bin", b"PK");
    assert!(embed(&weights).err.contains("found pytorch_model.bin without a configuration"));
    put(&weights, "config.json", "{}");
    std::fs::rename(weights.join("pytorch_model.bin"), weights.join("model.fp16.safetensors")).unwrap();
    let said = embed(&weights);
    assert!(said.err.contains("take -m ") && said.err.contains("model.fp16.safetensors"), "{}", said.err);
}

/// As transformers' `CLIPConfig.__init__` reads them.
#[test]
fn older_configurations_keep_their_towers_in_dicts() {
    let whole = embeddings(&embed(&model("dicts-none")).json());
    let edit = |test: &str, f: fn(&mut Value)| {
        let folder = model(test);
        let path = folder.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        f(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
        embeddings(&embed(&folder).json())
    };
    let only = edit("dicts-only", |c| {
        for tower in ["text_config", "vision_config"] {
            c[format!("{tower}_dict")] = c[tower].take();
        }
    });
    let beside = edit("dicts-beside", |c| {
        for tower in ["text_config", "vision_config"] {
            c[format!("{tower}_dict")] = c[tower].clone();
            c[tower]["hidden_act"] = "quick_gelu".into(); // the dicts win
        }
    });
    assert!(only == whole && beside == whole);
}

#[test]
fn a_folders_own_vocabulary_is_used_or_refused() {
    let folder = model("own-vocabulary");
    let vocabulary = json!({"a</w>": 0, "r": 1, "e": 2, "d</w>": 3, "re": 4, "red</w>": 5, "<|startoftext|>": 118, "<|endoftext|>": 119});
    put(&folder, "vocab.json", vocabulary.to_string());
    embed(&folder).fails(1, &["expected merges.txt beside vocab.json"]);
    put(&folder, "merges.txt", "#version: 0.2\nr e\nre d</w>\n");
    let said = run(&["tokenize", "-m", text(&folder), "a red", "--json"]).json();
    assert_eq!(said["texts"][0]["ids"], json!([118, 0, 5, 119]));
    put(&folder, "vocab.json", json!({"a</w>": 0}).to_string());
    embed(&folder).fails(1, &["vocab.json: expected the token \"<|startoftext|>\", found none"]);
    std::fs::remove_file(folder.join("vocab.json")).unwrap();
    embed(&folder).fails(1, &["expected vocab.json beside merges.txt"]);
}

#[test]
fn every_recipe_of_a_folder_is_used_or_refused() {
    let folder = model("recipes");
    let recipe =
        |mean: f64| json!({"size": {"shortest_edge": 33}, "crop_size": 33, "image_mean": [mean, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]});
    put(&folder, "processor_config.json", json!({"image_processor": recipe(0.1)}).to_string());
    let beside = embeddings(&embed(&folder).json());
    std::fs::rename(folder.join("processor_config.json"), folder.join("kept")).unwrap();
    assert_ne!(beside, embeddings(&embed(&folder).json()));
    put(&folder, "preprocessor_config.json", recipe(0.1).to_string());
    assert_eq!(beside, embeddings(&embed(&folder).json()));
    put(&folder, "processor_config.json", json!({"image_processor": recipe(0.2)}).to_string());
    embed(&folder).fails(1, &["processor_config.json: says another recipe than"]);
    put(&folder, "processor_config.json", "{}");
    put(&folder, "preprocessor_config.json", json!({"size": {"shortest_edge": 33}, "crop_size": null}).to_string());
    embed(&folder).fails(1, &["makes pictures of 224 × 224, but the model takes 33 × 33"]); // transformers' default
}

/// What a text is filled up with is part of it there.
#[test]
fn siglips_texts_are_refused_without_their_tokenizers_settings() {
    let folder = golden("siglip_hf", "siglip-settings");
    let vocabulary = json!({"[UNK]": 0, "</s>": 1, "<pad>": 2, "a": 3, "red": 4});
    let tokenizer =
        json!({"model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}, "pre_tokenizer": {"type": "Whitespace"}});
    put(&folder, "tokenizer.json", tokenizer.to_string());
    let ids = |folder: &Path| run(&["tokenize", "-m", text(folder), "a red", "--json"]);
    let refused = |why: &str| {
        let said = ids(&folder);
        assert!(said.code == 1 && said.err.contains(why), "{}", said.err);
    };
    refused("expected tokenizer_config.json beside the tokenizer");
    assert!(!run(&["embed", "image", "-q", "-m", text(&folder), RED, "--json"]).json()["embeddings"].as_array().unwrap().is_empty());
    put(&folder, "tokenizer_config.json", json!({"pad_token": "<pad>", "padding_side": "left"}).to_string());
    refused("`padding_side`: expected right, found left");
    put(&folder, "tokenizer_config.json", json!({"pad_token": "<pad>"}).to_string());
    let said = ids(&folder).json();
    assert_eq!(said["texts"][0]["ids"].as_array().unwrap()[..2], [json!(3), json!(4)]);
}

#[test]
fn what_cannot_be_run_says_what_it_is() {
    let named = |name: &str| run(&["model", "info", "-m", name]);
    named("RN50/openai").fails(1, &["open_clip's RN50 is a ResNet, which is not run"]);
    named("EVA02-B-16/merged2b_s8b_b131k").fails(1, &["is an EVA, which is not run"]);
    let folder = golden("open_clip_gelu", "no-projection");
    let path = folder.join("open_clip_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["model_cfg"]["vision_cfg"]["timm_pool"] = "avg".into(); // chooses nothing
    config["model_cfg"]["vision_cfg"]["block_type"] = "default".into();
    config["model_cfg"]["text_cfg"]["proj_type"] = "none".into();
    std::fs::write(&path, config.to_string()).unwrap();
    embed(&folder).fails(1, &["text: a width of", "without a projection makes no rows of"]);
}
