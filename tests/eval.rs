//! Zero-shot accuracy, and labels that are encoded once.
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::path::Path;

use clip_wgpu::clip::sets;
use command::{root, run, scratch};
use serde_json::json;

/// A folder for each class; one fish lies among the guitars.
fn pictures(folder: &Path) {
    for (class, file) in [("tiger", "tiger.jpg"), ("tropical_fish", "fish.jpg"), ("guitar", "guitar.jpg"), ("guitar", "fish.jpg")] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        std::fs::copy(root().join("assets/samples").join(file), folder.join(class).join(file)).unwrap();
    }
}

#[test]
fn folders_are_classes_and_what_is_taken_for_another_is_said() {
    let folder = scratch("eval-folders");
    pictures(&folder);
    let data = folder.to_str().unwrap();
    let said = run(&["eval", "-m", "pico", "--device", "cpu", data, "--json"]).json();
    assert_eq!((&said["pictures"], &said["labels"], &said["top1"], &said["top5"]), (&json!(4), &json!(3), &json!(0.75), &json!(1.0)));
    assert!((said["mean_per_class"].as_f64().unwrap() - (1.0 + 1.0 + 0.5) / 3.0).abs() < 1e-12);
    assert_eq!(said["classes"][0], json!({"class": "guitar", "pictures": 2, "right": 1, "top1": 0.5}));
    assert_eq!(said["confusions"], json!([{"class": "guitar", "label": "tropical fish", "pictures": 1}]));
    let text = run(&["eval", "-m", "pico", "--device", "cpu", data]);
    assert!(text.out.contains("top-1 75.00 %  top-5 100.00 %  mean per class 83.33 %"), "{}", text.out);
    assert!(text.out.contains("1  guitar as tropical fish"), "{}", text.out);

    // As many labels as folders stand for them in the order of their names; else a class must be a label.
    let in_order = ["-l", "violin", "-l", "a tiger", "-l", "a tropical fish"];
    let said = run(&[&["eval", "-m", "pico", "--device", "cpu", data, "--json"], &in_order[..]].concat()).json();
    assert_eq!(said["confusions"][0], json!({"class": "guitar", "label": "a tropical fish", "pictures": 1}));
    let refused = run(&["eval", "-m", "pico", "--device", "cpu", data, "-l", "tiger", "-l", "guitar"]);
    refused.fails(2, &["class `tropical_fish` is none of the 2 labels"]);
}

/// ImageNet-V2's folders are 0 to 999.
#[test]
fn classes_that_are_numbers_are_those_of_labels() {
    let folder = scratch("eval-numbers");
    for (class, file) in [("2", "tiger.jpg"), ("10", "fish.jpg"), ("11", "guitar.jpg")] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        std::fs::copy(root().join("assets/samples").join(file), folder.join(class).join(file)).unwrap();
    }
    let eval = |labels: &[&str]| {
        let labels: Vec<&str> = labels.iter().flat_map(|label| ["-l", label]).collect();
        run(&[&["eval", "-m", "pico", "--device", "cpu", folder.to_str().unwrap(), "--json"], &labels[..]].concat()).json()
    };
    let others = ["a", "b", "tiger", "c", "d", "e", "f", "g", "h", "i", "tropical fish", "guitar"];
    assert_eq!(eval(&others)["top1"], json!(1.0));
    assert_eq!(eval(&["tiger", "tropical fish", "guitar"])["top1"], json!(1.0), "2, 10, 11 in their order");
}

#[test]
fn a_csv_names_pictures_and_classes() {
    let folder = scratch("eval-csv");
    pictures(&folder);
    let file = folder.join("pictures.csv");
    std::fs::write(&file, "\u{feff}path,class\r\ntiger/tiger.jpg,tiger\r\nguitar/fish.jpg,\"tropical fish\"\r\nguitar/none.jpg,guitar\r\n")
        .unwrap();
    let refused = |text: &str, line: &str| {
        let file = folder.join("refused.csv");
        std::fs::write(&file, text).unwrap();
        run(&["eval", "-m", "pico", "--device", "cpu", file.to_str().unwrap()]).fails(2, &[line, "expected path,class"]);
    };
    refused("path,class\ntiger/tiger.jpg,tiger\nguitar\n", "line 3: ");
    let said = run(&["eval", "-m", "pico", "--device", "cpu", file.to_str().unwrap(), "--json"]);
    assert_eq!(said.code, 1, "one picture is not there: {}", said.err);
    assert!(said.err.contains("none.jpg"), "{}", said.err);
    let said = said.json_whatever_the_code();
    assert_eq!((&said["pictures"], &said["top1"], &said["failed"].as_array().unwrap().len()), (&json!(2), &json!(1.0), &1));

    // Quotes are for commas, which stand without them in old files, too; only the first line may be a head.
    std::fs::copy(folder.join("tiger/tiger.jpg"), folder.join("big, orange.jpg")).unwrap();
    std::fs::write(&file, "file,label\nnothing here,tiger\n\"big, orange.jpg\",\"a \"\"tiger\"\"\"\nbig, orange.jpg, \"guitar\"\n")
        .unwrap();
    let said = run(&["eval", "-m", "pico", "--device", "cpu", file.to_str().unwrap(), "--json"]).json_whatever_the_code();
    let classes: Vec<&str> = said["classes"].as_array().unwrap().iter().map(|c| c["class"].as_str().unwrap()).collect();
    assert_eq!((&said["pictures"], &classes[..]), (&json!(2), &["a \"tiger\"", "guitar"][..]));
    assert!(said["failed"][0]["input"].as_str().unwrap().ends_with("nothing here"), "{said}");
}

#[test]
fn saved_labels_are_scored_as_new_ones_and_refused_by_another_model() {
    let folder = scratch("eval-saved");
    let file = folder.join("labels.safetensors");
    let file = file.to_str().unwrap();
    let picture = "assets/samples/tiger.jpg";
    let labels = ["-l", "tiger", "-l", "fish", "-t", "imagenet7", "--save-classifier", file];
    let first = run(&[&["classify", "-m", "pico", "--device", "cpu", picture, "--json"], &labels[..]].concat()).json();
    let again = run(&["classify", "-m", "pico", "--device", "cpu", picture, "--json", "--classifier", file]).json();
    assert_eq!(first, again);
    assert_eq!(first["images"][0]["labels"][0]["label"], "tiger");
    run(&["classify", "-q", "-m", "tests/golden/hf_quick", "--device", "cpu", picture, "--classifier", file])
        .fails(2, &["its labels were encoded by another model (`pico`)"]);
    run(&["classify", "-m", "pico", picture, "--classifier", "assets/pico/model.safetensors"])
        .fails(2, &["expected labels that clip-wgpu has saved"]);
    assert_eq!(run(&["classify", "-m", "pico", picture, "--classifier", file, "-l", "cat"]).code, 2, "both at once");
}

/// OpenAI's notebook has 1,000 names, two of them twice, and 80 prompts, the seven best among them.
#[test]
fn imagenets_names_and_prompts_are_openais() {
    let labels = sets::labels("imagenet").unwrap();
    assert_eq!((labels.len(), labels[0], labels[207], labels[999]), (1000, "tench", "Golden Retriever", "toilet paper"));
    let twice = |name: &str| labels.iter().filter(|l| **l == name).count();
    assert_eq!((twice("missile"), twice("sunglasses"), twice("tench")), (2, 2, 1));
    let (all, seven) = (sets::templates("imagenet80").unwrap(), sets::templates("imagenet7").unwrap());
    assert_eq!((all.len(), seven.len(), all[0]), (80, 7, "a bad photo of a {}."));
    assert!(all.iter().chain(&seven).all(|t| t.contains("{}")));
    assert_eq!((sets::labels("cifar"), sets::templates("imagenet")), (None, None));
    let said =
        run(&["classify", "-m", "pico", "--device", "cpu", "assets/samples/tiger.jpg", "--labels", "imagenet", "--top", "1000", "--json"]);
    assert_eq!(said.json()["images"][0]["labels"].as_array().unwrap().len(), 1000, "the repeated names, too");
}
