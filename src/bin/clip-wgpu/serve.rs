mod api;
mod engine;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use clip_wgpu::{Clip, Error, Result};
use serde_json::json;

use self::engine::Engine;
use crate::Outcome;
use crate::context::Globals;
use crate::everyday::Everyday;
use crate::index::Db;
use crate::output::{complain, say};
use crate::search::rows::Rows;
use crate::store::{Model, Store};

/// Serve a page to search your pictures, and a JSON API: /search, /embed, /classify
///
/// Requests that come together are encoded in one batch. /openapi.json documents the API. It listens on this machine only, unless
/// another address and a token are given.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu serve
  clip-wgpu serve -m pico --listen 127.0.0.1:0
  CLIP_WGPU_TOKEN=secret clip-wgpu serve --listen 0.0.0.0:8080
  curl -s localhost:8080/search -G --data-urlencode 'q=a dog on a beach'")]
pub struct Serve {
    #[command(flatten)]
    db: Db,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// What clients must show (Authorization: Bearer TOKEN); needed for any address but this machine's own
    #[arg(long, value_name = "TOKEN", env = "CLIP_WGPU_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The largest request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    most: u16,
}

/// What requests are answered from.
pub struct Server {
    engine: Engine,
    model: String,
    token: Option<String>,
    index: Mutex<Option<Index>>,
    everyday: Option<Everyday>,
    /// Pictures are decoded by so many at once: a large one takes hundreds of megabytes.
    decoders: tokio::sync::Semaphore,
}

/// An open index, and what was read of it.
struct Index {
    store: Store,
    expected: Model,
    read: Option<(i64, Arc<Rows>)>,
}

impl Index {
    /// The rows as they are now.
    fn rows(&mut self, clip: &Clip) -> Result<Arc<Rows>> {
        let version = self.store.version()?;
        if let Some((_, rows)) = self.read.as_ref().filter(|(then, _)| *then == version) {
            return Ok(rows.clone());
        }
        self.store.expect_model(&self.expected)?;
        let rows = Arc::new(Rows::read(&self.store, clip, |_, _| true)?);
        self.read = Some((version, rows.clone()));
        Ok(rows)
    }
}

impl Server {
    /// The index's rows; none where there is no index.
    async fn rows(self: &Arc<Self>) -> Result<Option<Arc<Rows>>> {
        let server = self.clone();
        let read = move || {
            let mut index = server.index.lock().unwrap_or_else(PoisonError::into_inner);
            let rows = index.as_mut().map(|index| index.rows(&server.engine.clip)).transpose();
            rows.inspect_err(|e| complain(&e.to_string()))
        };
        tokio::task::spawn_blocking(read).await.map_err(|e| Error::io("the index")(e.into()))?
    }
}

impl Serve {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        if self.token.as_ref().is_none_or(String::is_empty) && !self.listen.ip().is_loopback() {
            return Err(Error::Argument(format!(
                "{}: other machines could search your pictures: give a --token, or listen on 127.0.0.1",
                self.listen
            )));
        }
        let path = self.db.path()?;
        let store = path.exists().then(|| Store::open(&path)).transpose()?.filter(|store| store.model().is_ok_and(|m| m.is_some()));
        let g = &match &store {
            Some(store) => g.for_index(store)?,
            None => g.clone(),
        };
        let clip = g.load()?;
        let model = g.model_of(&clip)?;
        store.iter().try_for_each(|store| store.expect_model(&model))?;
        if store.is_none() {
            g.warn(&format!("{}: no index, so there is nothing to search in; /embed and /classify answer", path.display()));
        }
        let name = model.name.clone();
        let everyday = store.as_ref().map(|store| Everyday::of(&clip, store)).transpose()?.flatten();
        let server = Server {
            engine: Engine::start(clip, g.batch.into()),
            model: model.name.clone(),
            token: self.token.filter(|t| !t.is_empty()),
            index: Mutex::new(store.map(|store| Index { store, expected: model, read: None })),
            everyday,
            decoders: tokio::sync::Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
        };
        let router = api::router(Arc::new(server), usize::from(self.most) << 20);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::io("the server's threads"))?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(self.listen).await.map_err(Error::io(self.listen.to_string()))?;
            let at = listener.local_addr().map_err(Error::io(self.listen.to_string()))?;
            let url = format!("http://{at}");
            say(&if g.json { json!({"url": url, "model": name}).to_string() } else { url })?; // one line, whoever waits for it
            axum::serve(listener, router).with_graceful_shutdown(asked_to_stop()).await.map_err(Error::io(at.to_string()))
        })?;
        g.warn("stopped: what was asked for was answered");
        Ok(Outcome::Done)
    }
}

/// How long a stop waits for requests that are not whole yet, or whose answers are not read.
const STOPPING: Duration = Duration::from_secs(30);

/// The first signal; a second one, or half a minute, ends the program whatever is under way.
async fn asked_to_stop() {
    signal().await;
    tokio::spawn(async {
        tokio::select! { () = signal() => {}, () = tokio::time::sleep(STOPPING) => {} }
        std::process::exit(crate::interrupt::STATUS.into());
    });
}

/// Ctrl-C, or what service managers send.
async fn signal() {
    let interrupt = async { tokio::signal::ctrl_c().await.unwrap_or_else(|_| complain("Ctrl-C cannot be watched for")) };
    #[cfg(unix)]
    {
        let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(terminate) => terminate,
            Err(_) => return interrupt.await,
        };
        tokio::select! { () = interrupt => {}, _ = terminate.recv() => {} }
    }
    #[cfg(not(unix))]
    interrupt.await;
}
