//! Labels and prompts that are known by name.

/// The labels of a set: `imagenet`, OpenAI's names of its 1,000 classes in the classes' order (two names stand there twice).
pub fn labels(name: &str) -> Option<Vec<&'static str>> {
    (name == "imagenet").then(|| include_str!("../../assets/imagenet/labels.txt").lines().collect())
}

/// The prompts of a set: `imagenet80` and `imagenet7`, OpenAI's for ImageNet and the seven best of them.
pub fn templates(name: &str) -> Option<Vec<&'static str>> {
    match name {
        "imagenet80" => Some(include_str!("../../assets/imagenet/templates-80.txt").lines().collect()),
        "imagenet7" => Some(include_str!("../../assets/imagenet/templates-7.txt").lines().collect()),
        _ => None,
    }
}
