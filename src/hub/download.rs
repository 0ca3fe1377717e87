//! One file from the Hub: resumed where it broke off, and checked before it counts.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;

use super::{Hub, Sibling};
use crate::error::{Error, Result};

/// Attempts that bring nothing before a download is given up.
const ATTEMPTS: u32 = 4;

/// GET, from byte `from` on where it is said.
pub fn get(hub: &Hub, url: &str, from: Option<u64>) -> std::result::Result<Response<Body>, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(hub.patience.min(Duration::from_secs(10))))
        .timeout_recv_response(Some(hub.patience))
        .timeout_recv_body(Some(hub.patience))
        .user_agent(concat!("clip-wgpu/", env!("CARGO_PKG_VERSION")))
        .redirect_auth_headers(RedirectAuthHeaders::SameHost) // a repository that was renamed; not those that files lie at
        .build();
    let mut request = ureq::Agent::new_with_config(config).get(url);
    if let Some(token) = &hub.token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    if let Some(from) = from {
        request = request.header("Range", format!("bytes={from}-"));
    }
    request.call()
}

/// The hash that the Hub names a file's content by.
enum Hash {
    Sha256(Sha256),
    /// Of a git blob, whose header goes first.
    Git(Sha1),
}

impl Hash {
    fn new(file: &Sibling) -> Self {
        match file.lfs {
            Some(_) => Hash::Sha256(Sha256::new()),
            None => Hash::Git(Sha1::new_with_prefix(format!("blob {}\0", file.bytes()))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Git(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        match self {
            Hash::Sha256(hash) => hex(&hash.finalize()),
            Hash::Git(hash) => hex(&hash.finalize()),
        }
    }
}

/// Pulls one file into the cache. `count` is told of bytes as they come, those of an earlier try among them.
///
/// # Errors
/// [`Error::Model`] with what the network or the Hub said, and for content that is not what the Hub named; [`Error::Io`].
pub fn file(hub: &Hub, repo: &str, commit: &str, file: &Sibling, count: &(dyn Fn(u64) + Sync)) -> Result<()> {
    let fail = |message: String| Error::Model { name: repo.into(), message };
    let blob = hub.cache.blob(repo, file).ok_or_else(|| fail(format!("the Hub does not say the hash of `{}`", file.name)))?;
    let folder = blob.parent().unwrap_or(&blob);
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let part = blob.with_extension("incomplete");
    let mut out = File::options().create(true).read(true).append(true).open(&part).map_err(Error::io(&part))?;
    // Two programs may want the same file: the second waits here, and then finds it.
    out.lock().map_err(Error::io(&part))?;
    if hub.cache.has(repo, file) {
        count(file.bytes());
        return Ok(());
    }

    let (mut hash, mut have) = begun(&mut out, &part, file)?;
    count(have);
    let url = format!("{}/{repo}/resolve/{commit}/{}", hub.endpoint, file.name);
    let mut idle = 0;
    while have < file.bytes() {
        let before = have;
        let broken = match get(hub, &url, (have > 0).then_some(have)) {
            Ok(response) => {
                if have > 0 && response.status() != 206 {
                    (hash, have) = (Hash::new(file), 0); // the server sends it whole again
                    out.set_len(0).map_err(Error::io(&part))?;
                }
                receive(response, &mut out, &part, &mut hash, &mut have, file.bytes(), count)?
            }
            Err(error @ ureq::Error::StatusCode(400..=499)) => return Err(hub.refused(repo, &format!("file `{}`", file.name), error)),
            Err(error) => Some(error.to_string()),
        };
        idle = if have > before { 0 } else { idle + 1 };
        if let Some(why) = broken.filter(|_| idle >= ATTEMPTS) {
            let message = format!(
                "`{}` broke off at {have} of {} bytes ({why}); they are kept: run it again to go on from there",
                file.name,
                file.bytes()
            );
            return Err(fail(message));
        }
        if idle > 0 {
            std::thread::sleep(Duration::from_millis(100 << idle.min(6)));
        }
    }
    out.sync_all().map_err(Error::io(&part))?;
    let found = hash.finish();
    if Some(found.as_str()) != file.etag() {
        std::fs::remove_file(&part).map_err(Error::io(&part))?;
        let expected = file.etag().unwrap_or_default();
        return Err(fail(format!("`{}` was damaged on the way: expected the hash {expected}, found {found}; run it again", file.name)));
    }
    std::fs::rename(&part, &blob).map_err(Error::io(&blob))
}

/// What an earlier try left, hashed.
fn begun(out: &mut File, part: &Path, file: &Sibling) -> Result<(Hash, u64)> {
    let mut hash = Hash::new(file);
    let mut have = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match out.read(&mut buffer).map_err(Error::io(part))? {
            _ if have > file.bytes() => {
                out.set_len(0).map_err(Error::io(part))?; // longer than the file: not ours
                return Ok((Hash::new(file), 0));
            }
            0 => return Ok((hash, have)),
            n => {
                hash.update(&buffer[..n]);
                have += n as u64;
            }
        }
    }
}

/// Writes what comes; why it broke off, where it did before the file was whole.
fn receive(
    response: Response<Body>,
    out: &mut File,
    part: &Path,
    hash: &mut Hash,
    have: &mut u64,
    whole: u64,
    count: &(dyn Fn(u64) + Sync),
) -> Result<Option<String>> {
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 18];
    while *have < whole {
        match body.read(&mut buffer) {
            Ok(0) => return Ok(Some("the connection was closed".into())),
            Ok(n) => {
                let n = n.min((whole - *have) as usize);
                out.write_all(&buffer[..n]).map_err(Error::io(part))?;
                hash.update(&buffer[..n]);
                *have += n as u64;
                count(n as u64);
            }
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
    Ok(None)
}
