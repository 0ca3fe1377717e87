//! Weights as other programs save them (`scripts/reference/saved.py`): each gives the numbers of the golden model that it was made of.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::command::{self, root, run, scratch, text};
use super::{RED, embeddings, put};

/// A folder with these files, and a tokenizer of the golden models' few words.
fn folder_of(test: &str, files: &[(&str, &[&str])]) -> PathBuf {
    let folder = scratch(test);
    for (from, names) in files {
        for name in *names {
            std::fs::copy(root().join(from).join(name), folder.join(name)).unwrap();
        }
    }
    let vocabulary = json!({"a</w>": 0, "r": 1, "e": 2, "d</w>": 3, "re": 4, "red</w>": 5, "<|startoftext|>": 118, "<|endoftext|>": 119});
    put(&folder, "vocab.json", vocabulary.to_string());
    put(&folder, "merges.txt", "#version: 0.2\nr e\nre d</w>\n");
    folder
}

const SAVED: &str = "tests/real_files/saved";
const HF: &str = "tests/golden/hf_quick";
const OPEN_CLIP: &str = "tests/golden/open_clip_quick";

fn embed(model: &str) -> command::Said {
    run(&["embed", "image", "-q", "-m", model, RED, "--json"])
}

fn picture_and_text(model: &str) -> Value {
    let words = run(&["embed", "text", "-q", "-m", model, "a red", "--json"]).json();
    json!([embed(model).json()["embeddings"], words["embeddings"]])
}

#[test]
fn projections_that_are_transposed_views_in_two_files_with_an_index() {
    let parts = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"];
    let converted = folder_of("saved-converted", &[(HF, &["config.json"]), (SAVED, &parts)]);
    let golden = folder_of("saved-hf", &[(HF, &["config.json", "model.safetensors"])]);
    assert_eq!(picture_and_text(text(&converted)), picture_and_text(text(&golden)));
    std::fs::remove_file(converted.join(parts[1])).unwrap();
    embed(text(&converted)).fails(1, &["expected a file pytorch_model-00002-of-00002.bin, found none"]);
}

#[test]
fn a_training_loops_own_dictionary_and_a_module_that_is_saved_whole() {
    let golden = folder_of("saved-open_clip", &[(OPEN_CLIP, &["open_clip_config.json", "open_clip_model.safetensors"])]);
    let expected = picture_and_text(text(&golden));
    for name in ["model_state_dict.pt", "whole_module.pt"] {
        let trained = folder_of("saved-trained", &[(OPEN_CLIP, &["open_clip_config.json"]), (SAVED, &[name])]);
        assert_eq!(picture_and_text(text(&trained.join(name))), expected, "{name}");
    }
}

#[test]
fn weights_of_another_model_show_the_first_of_what_is_wrong() {
    let said = run(&["embed", "image", "-q", "-m", "ViT-B-32/tests/real_files/saved/whole_module.pt", RED]);
    assert_eq!(said.code, 1);
    assert!((20..26).contains(&said.err.lines().count()) && said.err.contains(" more\n"), "{}", said.err);
}

/// OpenAI's archives say all themselves; of a state dictionary nobody can see which activation it was trained with.
#[test]
fn a_named_architecture_with_two_activations_says_which_is_computed() {
    let script = root().join("tests/golden/openai_script/model.pt");
    let embedded = |model: &str| embeddings(&embed(model).json());
    assert_eq!(embedded(&format!("ViT-B-32/{}", text(&script))), embedded(text(&script)));

    let info = |name: &str| run(&["model", "info", "-m", &format!("{name}/tests/real_files/saved/model_state_dict.pt")]);
    assert!(
        info("ViT-B-32").err.contains("name it ViT-B-32-quickgelu/tests/real_files/saved/model_state_dict.pt"),
        "{}",
        info("ViT-B-32").err
    );
    assert!(!info("ViT-B-32-quickgelu").err.contains("GELU"), "{}", info("ViT-B-32-quickgelu").err);
}

/// open_clip's `--force-image-size`: positions of 3 × 3 patches under an architecture of 2 × 2.
#[test]
fn positions_of_another_size_than_the_architecture_says_are_resampled() {
    let sized = |test: &str, size: u32| {
        let folder = folder_of(test, &[(OPEN_CLIP, &["open_clip_model.safetensors"])]);
        let config = std::fs::read(root().join(OPEN_CLIP).join("open_clip_config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config["model_cfg"]["vision_cfg"]["image_size"] = json!(size);
        config["preprocess_cfg"]["size"] = json!(size);
        put(&folder, "open_clip_config.json", config.to_string());
        folder
    };
    let (trained, forced) = (sized("saved-trained-size", 30), sized("saved-forced-size", 20));
    let at = |folder: &std::path::Path, size: &str| {
        let said = run(&["embed", "image", "-m", text(folder), "--image-size", size, RED, "--json"]);
        (embeddings(&said.json()), said.err)
    };
    for size in ["20", "30"] {
        let ((of_trained, quiet), (of_forced, said)) = (at(&trained, size), at(&forced, size));
        assert_eq!(of_trained, of_forced, "--image-size {size}");
        assert!(quiet.is_empty() && said.contains("of pictures of 30 × 30, not 20 × 20"), "{quiet}{said}");
    }
}

#[test]
fn what_a_siglip_recipe_leaves_out_is_siglips() {
    let with = |test: &str, recipe: Value| {
        let folder = folder_of(test, &[("tests/golden/siglip_hf", &["config.json", "model.safetensors"])]);
        if !recipe.is_null() {
            put(&folder, "preprocessor_config.json", recipe.to_string());
        }
        run(&["embed", "image", "-m", text(&folder), RED, "--json"])
    };
    let spelt = with(
        "saved-siglip-spelt",
        json!({"image_processor_type": "SiglipImageProcessor", "size": {"height": 33, "width": 33}, "resample": 3,
               "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}),
    );
    // google/siglip-base-patch16-224 at 5b1f0cc
    let short = with(
        "saved-siglip-short",
        json!({"image_processor_type": "SiglipImageProcessor", "size": {"height": 33, "width": 33}, "resample": null, "mean": [0.5], "image_std": null}),
    );
    assert_eq!(embeddings(&short.json()), embeddings(&spelt.json()));
    let none = with("saved-siglip-none", Value::Null);
    assert!(none.code == 0 && none.err.contains("has no preprocessor_config.json: pictures are prepared as SigLIP's own"), "{}", none.err);
    assert!(!spelt.err.contains("preprocessor_config"), "{}", spelt.err);
}

/// open_clip's training with `--siglip` adds a bias to any architecture.
#[test]
fn weights_with_a_bias_of_the_scores_are_scored_by_a_sigmoid() {
    let golden = folder_of("saved-unbiased", &[(OPEN_CLIP, &["open_clip_config.json", "open_clip_model.safetensors"])]);
    let folder = folder_of("saved-bias", &[(OPEN_CLIP, &["open_clip_config.json"])]);
    let bytes = std::fs::read(root().join("tests/golden/open_clip_quick/open_clip_model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let bias = (-9.5_f32).to_le_bytes();
    let bias = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![], &bias).unwrap();
    let all = tensors.tensors().into_iter().chain([("logit_bias".to_string(), bias)]);
    safetensors::serialize_to_file(all, None, &folder.join("open_clip_model.safetensors")).unwrap();
    let scores = |model: &str| {
        let said = run(&["classify", "-q", "-m", model, RED, "-l", "a", "-l", "red", "--json"]).json();
        said["images"][0]["labels"].as_array().unwrap().iter().map(|s| s["score"].as_f64().unwrap()).sum::<f64>()
    };
    assert!((scores(text(&golden)) - 1.0).abs() < 1e-5);
    assert!(scores(text(&folder)) < 0.9);
}

#[test]
fn added_tokens_beside_a_vocabulary_are_whole() {
    let folder = super::model("saved-added");
    let vocabulary = json!({"a</w>": 0, "c": 1, "a": 2, "t</w>": 3, "<": 4, "ca": 5, "<|startoftext|>": 6, "<|endoftext|>": 7});
    put(&folder, "vocab.json", vocabulary.to_string());
    put(&folder, "merges.txt", "#version: 0.2\nc a\n");
    let ids = || run(&["tokenize", "-m", text(&folder), "a <cat-toy>", "--json"]);
    put(&folder, "added_tokens.json", json!({"<cat-toy>": 8, "<|endoftext|>": 7}).to_string());
    assert_eq!(ids().json()["texts"][0]["ids"], json!([6, 0, 8, 7]));
    std::fs::remove_file(folder.join("added_tokens.json")).unwrap();
    let decoder = json!({"added_tokens_decoder": {"7": {"content": "<|endoftext|>", "special": true}, "8": {"content": "<cat-toy>"}},
        "model_max_length": 77});
    put(&folder, "tokenizer_config.json", decoder.to_string());
    assert_eq!(ids().json()["texts"][0]["ids"], json!([6, 0, 8, 7]));
    put(&folder, "added_tokens.json", json!({"<cat-toy>": 11}).to_string());
    ids().fails(1, &["added_tokens.json", "\"<cat-toy>\" to be 11"]);
}

/// As transformers 5 saves a `CLIPVisionModel`.
#[test]
fn a_tower_without_its_projection_says_what_to_save() {
    let folder = scratch("saved-tower");
    let bytes = std::fs::read(root().join("tests/golden/hf_vision_only/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let own = tensors.tensors().into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix("vision_model.")?.to_string(), tensor)));
    safetensors::serialize_to_file(own, None, &folder.join("model.safetensors")).unwrap();
    put(&folder, "config.json", json!({"model_type": "clip_vision_model"}).to_string());
    embed(text(&folder)).fails(1, &["holds a tower of transformers' alone", "CLIPVisionModelWithProjection"]);
}
