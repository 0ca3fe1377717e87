//! Models by name: Python's cache, and the Hub's protocol against a server on loopback with faults to order.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clip_wgpu::clip::config::TextPool;
use clip_wgpu::clip::{ModelFiles, registry, repository};
use clip_wgpu::hub::{Cache, Hub};
use clip_wgpu::ops::Act;
use clip_wgpu::{Clip, Executor, Options};
use common::server::{COMMIT, Fault, Server, git_hash, sha256};

fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

/// A repository with a model, and with files that nobody needs.
fn files() -> BTreeMap<String, Vec<u8>> {
    let read = |name: &str| (name.to_string(), std::fs::read(golden("hf_quick").join(name)).unwrap());
    let mut files: BTreeMap<String, Vec<u8>> = [read("config.json"), read("model.safetensors")].into();
    files.insert("pytorch_model.bin".into(), vec![0; 1000]);
    files.insert("README.md".into(), b"# A model".to_vec());
    files
}

/// An empty cache of this test's own.
fn empty(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("clip-wgpu-hub-{}-{test}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn hub(server: &Server, test: &str) -> Hub {
    let cache = Cache { folder: empty(test) };
    let patience = Duration::from_secs(5);
    Hub { endpoint: server.endpoint(), cache, token: None, offline: false, patience, progress: None, announce: None }
}

fn ranges(server: &Server) -> Vec<String> {
    server.requests.lock().unwrap().iter().filter_map(|r| r.range.clone()).collect()
}

/// Where a weight file that broke off lies.
fn part(hub: &Hub) -> PathBuf {
    hub.cache.folder.join(format!("models--owner--model/blobs/{}.incomplete", sha256(&files()["model.safetensors"])))
}

#[test]
fn a_model_is_pulled_into_pythons_cache_and_then_found_there() {
    let server = Server::start(files());
    let told = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let announced = Arc::new(Mutex::new(Vec::new()));
    let (counter, list) = (told.clone(), announced.clone());
    let hub = Hub {
        progress: Some(Arc::new(move |done, total| {
            counter.0.fetch_max(done, Ordering::Relaxed);
            counter.1.store(total, Ordering::Relaxed);
        })),
        announce: Some(Arc::new(move |repo: &str, bytes| list.lock().unwrap().push((repo.to_string(), bytes)))),
        ..hub(&server, "pull")
    };
    let load = || {
        let files = pollster::block_on(ModelFiles::find_in("owner/model", &hub)).unwrap();
        pollster::block_on(Clip::load_on(&Executor::Host, files, &Options::default(), &[])).unwrap()
    };
    let wanted: u64 = ["config.json", "model.safetensors"].iter().map(|n| files()[*n].len() as u64).sum();
    assert_eq!(load().config.embed, 27);
    assert_eq!((told.0.load(Ordering::Relaxed), told.1.load(Ordering::Relaxed)), (wanted, wanted));
    assert_eq!(*announced.lock().unwrap(), [("owner/model".to_string(), wanted)]);
    let paths = server.paths();
    assert!(paths.iter().all(|p| !p.contains("README") && !p.contains(".bin")), "only what is needed: {paths:?}");

    // Python's layout (huggingface_hub/file_download.py).
    let root = hub.cache.folder.join("models--owner--model");
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    let blob = root.join("blobs").join(sha256(&files()["model.safetensors"]));
    let link = root.join("snapshots").join(COMMIT).join("model.safetensors");
    assert_eq!(std::fs::read(&blob).unwrap(), files()["model.safetensors"]);
    assert!(root.join("blobs").join(git_hash(&files()["config.json"])).is_file());
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("../../blobs").join(blob.file_name().unwrap()));
    assert!(link.is_file());

    let before = server.paths().len();
    assert_eq!(load().config.embed, 27);
    assert_eq!(server.paths().len(), before, "what is there is not asked for");
    let cached = hub.cache.list();
    assert_eq!((cached[0].repo.as_str(), cached[0].bytes), ("owner/model", wanted));
    assert_eq!(hub.cache.remove("owner/model").unwrap(), wanted);
    assert_eq!(hub.cache.list(), []);
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let server = Server::start(files());
    let hub = Hub { token: Some("hf_secret".into()), ..hub(&server, "token") };
    hub.model("former/name").unwrap(); // the Hub sends on to the name of now
    assert!(server.paths().iter().any(|p| p.starts_with("/owner/model/")), "{:?}", server.paths());
    for request in server.requests.lock().unwrap().iter() {
        let ours = request.host.starts_with("127.0.0.1");
        assert_eq!(request.token.as_deref(), ours.then_some("Bearer hf_secret"), "{request:?}");
    }
    assert!(server.requests.lock().unwrap().iter().any(|r| r.host.starts_with("localhost")), "the redirect was followed");
}

#[test]
fn a_connection_cut_at_40_percent_is_taken_up_again() {
    let server = Server::start(files());
    *server.fault.lock().unwrap() = Fault::Cut { share: 0.4, times: 3 };
    let hub = hub(&server, "cut");
    let folder = hub.model("owner/model").unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), files()["model.safetensors"]);
    let at = (files()["model.safetensors"].len() as f64 * 0.4) as usize;
    let ranges = ranges(&server);
    assert!(ranges.contains(&format!("bytes={at}-")), "it went on where it broke off: {ranges:?}");
}

#[test]
fn a_download_that_was_given_up_goes_on_in_the_next_run() {
    let server = Server::start(files());
    *server.fault.lock().unwrap() = Fault::Cut { share: 0.0, times: 1000 };
    let hub = hub(&server, "again");
    let whole = &files()["model.safetensors"];
    std::fs::create_dir_all(part(&hub).parent().unwrap()).unwrap();
    std::fs::write(part(&hub), &whole[..1234]).unwrap(); // an earlier run's
    let error = hub.model("owner/model").unwrap_err().to_string();
    let expected = format!("model `owner/model`: `model.safetensors` broke off at 1234 of {} bytes", whole.len());
    assert!(error.starts_with(&expected) && error.ends_with("they are kept: run it again to go on from there"), "{error}");
    *server.fault.lock().unwrap() = Fault::None;
    let folder = hub.model("owner/model").unwrap();
    assert_eq!(&std::fs::read(folder.join("model.safetensors")).unwrap(), whole);
    assert!(ranges(&server).iter().all(|r| r == "bytes=1234-"), "{:?}", ranges(&server));
}

/// A run of the program that pulls `owner/model` from `server`.
fn pulling(server: &Server, cache: &Path) -> std::process::Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_clip-wgpu"))
        .args(["model", "pull", "-q", "owner/model"])
        .envs([("HF_ENDPOINT", server.endpoint()), ("HF_HUB_CACHE", cache.display().to_string())])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Weights that come in 40 pieces, 25 ms apart.
fn slowly(server: &Server) {
    let bytes = files()["model.safetensors"].len() / 40;
    *server.fault.lock().unwrap() = Fault::Slow { bytes, pause: Duration::from_millis(25) };
}

#[test]
fn two_processes_that_pull_one_model_do_no_harm() {
    let server = Server::start(files());
    slowly(&server);
    let hub = hub(&server, "two");
    let runs = [(); 2].map(|()| pulling(&server, &hub.cache.folder));
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    let folder = hub.cache.snapshot("owner/model").unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), files()["model.safetensors"]);
    assert!(!part(&hub).exists());
    let weights = server.paths().iter().filter(|p| p.starts_with("/cdn/model.safetensors")).count();
    assert_eq!(weights, 1, "one waited for the other: {:?}", server.paths());
}

#[test]
fn a_process_killed_midway_is_taken_up_by_the_next() {
    let server = Server::start(files());
    slowly(&server);
    let hub = hub(&server, "killed");
    let mut run = pulling(&server, &hub.cache.folder);
    while part(&hub).metadata().map_or(0, |m| m.len()) < 1000 {
        assert!(run.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let kept = part(&hub).metadata().unwrap().len();
    *server.fault.lock().unwrap() = Fault::None;
    assert!(pulling(&server, &hub.cache.folder).wait().unwrap().success());
    let folder = hub.cache.snapshot("owner/model").unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), files()["model.safetensors"]);
    let ranges = ranges(&server);
    assert!(!ranges.is_empty() && ranges.iter().all(|r| *r == format!("bytes={kept}-")), "what was there is not pulled again: {ranges:?}");
}

#[test]
fn a_server_without_ranges_sends_it_whole_again() {
    let server = Server::start(files());
    *server.fault.lock().unwrap() = Fault::Whole { cut_first: true };
    let folder = hub(&server, "whole").model("owner/model").unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), files()["model.safetensors"]);
}

#[test]
fn a_corrupted_byte_is_found_and_the_next_run_is_right() {
    let server = Server::start(files());
    *server.fault.lock().unwrap() = Fault::Corrupt;
    let hub = hub(&server, "corrupt");
    let error = hub.model("owner/model").unwrap_err().to_string();
    let hash = sha256(&files()["model.safetensors"]);
    assert!(error.contains("`model.safetensors` was damaged on the way") && error.contains(&hash), "{error}");
    assert!(!part(&hub).exists() && hub.cache.snapshot("owner/model").is_none(), "nothing of it is kept");
    assert!(hub.model("owner/model").is_ok());
}

#[test]
fn refusals_say_what_to_do() {
    let server = Server::start(files());
    let hub = hub(&server, "refused");
    for (status, expected) in [
        (401, "refuses it: it does not exist, or needs a token (set HF_TOKEN)"),
        (404, "has no its list of files: is the name right?"),
        (500, "could not be had from"),
    ] {
        *server.fault.lock().unwrap() = Fault::Status(status);
        let error = hub.model("owner/model").unwrap_err().to_string();
        assert!(error.contains(expected), "{status}: {error}");
    }
    *server.fault.lock().unwrap() = Fault::None;
    let error = hub.model("owner/other").unwrap_err().to_string();
    assert!(error.contains("is the name right?"), "{error}");
}

#[test]
fn a_slow_link_is_waited_for() {
    let server = Server::start(files());
    let piece = files()["model.safetensors"].len() / 8;
    *server.fault.lock().unwrap() = Fault::Slow { bytes: piece, pause: Duration::from_millis(60) };
    // One answer takes 480 ms, twice what is waited for: it goes on where it stopped.
    let hub = Hub { patience: Duration::from_millis(240), ..hub(&server, "slow") };
    let folder = hub.model("owner/model").unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), files()["model.safetensors"]);
    assert!(!ranges(&server).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let server = Server::start(files());
    // A process that may write so much and no more sees what a full disk shows.
    let pull = format!("trap '' XFSZ; ulimit -f 8; exec {} model pull -q owner/model", env!("CARGO_BIN_EXE_clip-wgpu"));
    let output = std::process::Command::new("sh")
        .args(["-c", &pull])
        .envs([("HF_ENDPOINT", server.endpoint()), ("HF_HUB_CACHE", empty("full").display().to_string())])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains(".incomplete: File too large"), "{error}");
}

#[test]
fn offline_opens_no_socket() {
    let server = Server::start(files());
    let hub = Hub { offline: true, ..hub(&server, "offline") };
    let error = hub.model("owner/model").unwrap_err().to_string();
    assert!(error.contains("is not in the cache") && error.contains("-m pico"), "{error}");
    assert!(hub.pull("owner/model").is_err());
    assert_eq!(server.paths(), [] as [&str; 0]);
}

/// What Python has pulled of `repo`.
fn pulled_by_python(hub: &Hub, repo: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let root = hub.cache.folder.join(format!("models--{}", repo.replace('/', "--")));
    let snapshot = root.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(root.join("refs")).unwrap();
    std::fs::write(root.join("refs/main"), COMMIT).unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(snapshot.join(name), bytes).unwrap());
    snapshot
}

/// `SiglipVisionModel.from_pretrained` pulls no recipe for pictures, and no tokenizer.
#[test]
fn what_python_left_out_of_a_snapshot_is_pulled_once_where_there_is_a_network() {
    let mut all = files();
    let recipe = br#"{"size": {"shortest_edge": 29}, "crop_size": 29, "image_mean": [0.1, 0.2, 0.3]}"#;
    all.insert("preprocessor_config.json".into(), recipe.to_vec());
    let server = Server::start(all.clone());
    let hub = hub(&server, "left-out");
    let weights = &all["model.safetensors"];
    let snapshot = pulled_by_python(&hub, "owner/model", &[("config.json", &all["config.json"]), ("model.safetensors", weights)]);
    let offline = Hub { offline: true, ..hub.clone() };
    assert_eq!(offline.model("owner/model").unwrap(), snapshot);
    *server.fault.lock().unwrap() = Fault::Status(503);
    assert_eq!(hub.model("owner/model").unwrap(), snapshot, "what is there, where the rest cannot be had");
    *server.fault.lock().unwrap() = Fault::None;
    server.requests.lock().unwrap().clear();
    assert_eq!(hub.model("owner/model").unwrap(), snapshot);
    assert_eq!(std::fs::read(snapshot.join("preprocessor_config.json")).unwrap(), recipe);
    assert!(server.paths()[0].contains(COMMIT), "of the commit that is there: {:?}", server.paths());
    assert!(!server.paths().iter().any(|path| path.contains("model.safetensors")), "weights are there: {:?}", server.paths());
    let before = server.paths().len();
    assert_eq!(hub.model("owner/model").unwrap(), snapshot);
    assert_eq!(server.paths().len(), before, "it is known that there is no tokenizer");
}

/// `open_clip.create_model` pulls the weights alone.
#[test]
fn weights_that_pythons_open_clip_pulled_are_found_offline() {
    let hub = Hub { offline: true, ..hub(&Server::start(files()), "open_clip") };
    let weights = std::fs::read(golden("open_clip_quick").join("open_clip_model.safetensors")).unwrap();
    pulled_by_python(&hub, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", &[("open_clip_model.safetensors", &weights)]);
    let found = pollster::block_on(ModelFiles::find_in("ViT-B-32/laion2b_s34b_b79k", &hub)).unwrap();
    let vision = found.config.vision.as_ref().unwrap();
    assert_eq!((vision.size, vision.patch, vision.tower.act, found.preprocess.size), (224, 32, Act::Gelu, 224));
    // With what transformers' AutoProcessor pulled beside them: open_clip's tokenizer is its own.
    pulled_by_python(&hub, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", &[("config.json", b"{}"), ("tokenizer.json", b"{}")]);
    let beside = pollster::block_on(ModelFiles::find_in("ViT-B-32/laion2b_s34b_b79k", &hub)).unwrap();
    let ids = |files: &ModelFiles| files.tokenizer.encode("<start_of_text>", 77).unwrap().ids;
    assert_eq!(ids(&beside), ids(&found));
}

#[test]
fn nobody_is_there() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start(files());
    let hub = Hub { endpoint: format!("http://{gone}"), ..hub(&server, "gone") };
    let error = hub.model("owner/model").unwrap_err().to_string();
    assert!(error.contains("could not be had from") && error.contains("-m pico") && error.contains("-m DIR"), "{error}");
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let mut hostile = files();
    hostile.insert("model-/../../../../../evil.safetensors".into(), vec![1]);
    hostile.insert("model.safetensors.index.json".into(), b"{}".to_vec());
    hostile.remove("model.safetensors");
    let server = Server::start(hostile);
    let error = hub(&server, "hostile").model("owner/model").unwrap_err().to_string();
    assert!(error.contains("evil.safetensors"), "{error}");
}

#[test]
fn names_stand_for_repositories() {
    let repo = |name: &str| repository(name).unwrap();
    assert_eq!(repo("openai/clip-vit-base-patch32").as_deref(), Some("openai/clip-vit-base-patch32"));
    assert_eq!(repo("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K").as_deref(), Some("laion/CLIP-ViT-B-32-laion2B-s34B-b79K"));
    assert_eq!(repo("ViT-B-32/laion2b_s34b_b79k").as_deref(), Some("laion/CLIP-ViT-B-32-laion2B-s34B-b79K"));
    assert_eq!(repo("ViT-B/32").as_deref(), Some("timm/vit_base_patch32_clip_224.openai"));
    assert_eq!(repo(registry::DEFAULT).as_deref(), Some("laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"));
    assert_eq!(repo("pico"), None);
    let wrong = |name: &str| repository(name).unwrap_err().to_string();
    assert!(wrong("ViT-B-32/laion3b").contains("its tags are openai, laion400m_e31"), "{}", wrong("ViT-B-32/laion3b"));
    assert!(wrong("ViT-B-32").contains("expected a tag after it (ViT-B-32/TAG): openai"), "{}", wrong("ViT-B-32"));
    assert!(wrong("a/b/c").contains("no such folder or file") && !wrong("a/b/c").contains("did you mean"), "{}", wrong("a/b/c"));
    // Slips of the keys.
    for (typed, meant) in [("ViT-B-32/laion2b_s34b_b97k", "ViT-B-32/laion2b_s34b_b79k"), ("picco", "pico")] {
        assert!(wrong(typed).ends_with(&format!("; did you mean {meant}?")), "{}", wrong(typed));
    }
    assert_eq!(registry::nearest("openai/clip-vit-base-pach32").as_deref(), Some("openai/clip-vit-base-patch32"));
    assert_eq!(registry::nearest("OpenAI/CLIP-ViT-base-patch32").as_deref(), Some("openai/clip-vit-base-patch32"));
    assert_eq!(registry::nearest("openai/clip-vit-base-patch32"), None, "it is a name, and not a slip of another");
    assert_eq!(registry::nearest("someone/my-own-model"), None);
    let nobody = Hub { endpoint: "http://127.0.0.1:9".into(), ..hub(&Server::start(files()), "nobody") };
    let error = nobody.pull("openai/clip-vit-base-pach32").unwrap_err().to_string();
    assert!(error.contains("could not be had") && error.ends_with("; did you mean openai/clip-vit-base-patch32?"), "{error}");
    let offline = Hub { offline: true, ..hub(&Server::start(files()), "slips") };
    let error = offline.model("openai/clip-vit-base-pach32").unwrap_err().to_string();
    assert!(error.ends_with("; did you mean openai/clip-vit-base-patch32?"), "{error}");
}

/// What each set of weights was trained with, against facts from their publishers; open_clip's table has 119 rows.
#[test]
fn the_table_of_weights_says_what_they_were_trained_with() {
    let of = |repo: &str| registry::of_repo(repo).unwrap_or_else(|| panic!("{repo}"));
    for (repo, quick) in [
        ("timm/vit_base_patch32_clip_224.openai", true),
        ("timm/vit_base_patch32_clip_224.laion400m_e32", true),
        ("timm/vit_base_patch16_clip_224.laion400m_e32", false),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", false),
        ("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K", false),
        ("timm/vit_huge_patch14_clip_224.metaclip_2pt5b", true),
        ("timm/vit_huge_patch14_clip_224.metaclip_altogether", false),
        ("apple/DFN2B-CLIP-ViT-L-14", true),
        ("apple/DFN2B-CLIP-ViT-L-14-39B", false),
        ("apple/DFN2B-CLIP-ViT-B-16", false),
    ] {
        assert_eq!(of(repo).quick_gelu, quick, "{repo}");
    }
    let recipe = |repo: &str| {
        let p = &of(repo).preprocess;
        (p["mean"][0].as_f64().unwrap(), p["interpolation"].as_str().unwrap().to_string(), p["resize_mode"].as_str().unwrap().to_string())
    };
    assert_eq!(recipe("laion/CLIP-ViT-L-14-laion2B-s32B-b82K"), (0.5, "bicubic".into(), "shortest".into()));
    assert_eq!(recipe("apple/DFN5B-CLIP-ViT-H-14"), (0.48145466, "bicubic".into(), "squash".into()));
    assert_eq!(recipe("UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B"), (0.485, "bilinear".into(), "squash".into()));
    assert_eq!(recipe("timm/ViT-B-16-SigLIP"), (0.5, "bicubic".into(), "squash".into()));
    // Every architecture in it is one that the engine reads.
    for p in registry::pretrained() {
        let config = serde_json::json!({"model_cfg": registry::architecture(&p.name).unwrap().config}).to_string();
        if !config.contains("timm_model_name") {
            clip_wgpu::Config::from_open_clip(&config, &p.name, &()).unwrap();
        }
    }
}

/// Against the model cards of these repositories.
#[test]
fn the_table_of_weights_names_their_licences() {
    for (repo, licence) in [
        ("laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K", "mit"),
        ("timm/vit_base_patch32_clip_224.openai", "apache-2.0"),
        ("timm/vit_huge_patch14_clip_224.metaclip_2pt5b", "cc-by-nc-4.0"),
        ("apple/DFN5B-CLIP-ViT-H-14", "apple-amlr"),
        ("UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B", "apache-2.0"),
        ("timm/ViT-B-16-SigLIP2", "apache-2.0"),
    ] {
        assert_eq!(registry::of_repo(repo).unwrap().licence, licence, "{repo}");
    }
}

/// Files that say the wrong activation and preprocessing, of weights that the table knows.
#[test]
fn what_the_files_have_wrong_is_set_right_and_said() {
    let mut files = pollster::block_on(ModelFiles::find(golden("open_clip_ratio").to_str().unwrap())).unwrap();
    let before = files.config.clone();
    let known = registry::of_repo("apple/DFN5B-CLIP-ViT-H-14").unwrap();
    let notes = known.correct(&mut files.config, &mut files.preprocess);
    assert_eq!(files.config.vision().unwrap().tower.act, Act::QuickGelu);
    assert_eq!(files.preprocess.mode, clip_wgpu::ResizeMode::Squash);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("its files say Gelu, but it was trained with QuickGelu"), "{notes:?}");
    assert_eq!(known.correct(&mut files.config, &mut files.preprocess), [] as [String; 0], "and then it is right");
    assert_eq!(before.text().unwrap().pool, TextPool::Argmax);
}
