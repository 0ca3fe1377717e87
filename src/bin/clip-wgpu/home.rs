//! The user's folders for the files of programs, on each system where it has them.

use std::path::PathBuf;

/// For what should stay; `None` where there is no home.
#[cfg(feature = "index")]
pub fn data() -> Option<PathBuf> {
    folder("XDG_DATA_HOME", ".local/share", "Library/Application Support")
}

/// For what can be made again.
pub fn caches() -> Option<PathBuf> {
    folder("XDG_CACHE_HOME", ".cache", "Library/Caches")
}

fn folder(variable: &str, linux: &str, macos: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let of_home = |path: &str| std::env::home_dir().map(|home| home.join(path));
    match () {
        _ if cfg!(windows) => set("LOCALAPPDATA"),
        _ if cfg!(target_os = "macos") => of_home(macos),
        _ => set(variable).or_else(|| of_home(linux)),
    }
}
