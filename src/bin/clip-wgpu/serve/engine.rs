//! The model behind the server: what several requests ask for at once is encoded in one batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clip_wgpu::{Clip, Error, Result};
use tokio::sync::{mpsc, oneshot};

use crate::output::complain;

/// How long a batch waits for more, once its first request is there.
const PATIENCE: Duration = Duration::from_millis(4);
/// Requests that wait at most; one more is told to come again.
const QUEUE: usize = 256;

/// What is to be encoded.
pub enum Work {
    /// `[n, 3, size, size]`
    Pixels(Vec<f32>),
    Ids(Vec<Vec<u32>>),
}

/// Why nothing was encoded.
pub enum Refusal {
    /// Too many requests wait.
    Busy,
    Failed(String),
}

type Reply = oneshot::Sender<std::result::Result<Vec<f32>, String>>;

/// What was done so far.
#[derive(Default)]
pub struct Counts {
    pub requests: AtomicU64,
    pub batches: AtomicU64,
    pub items: AtomicU64,
}

/// A handle on the thread that encodes. It ends when all handles are gone and what waits is done.
#[derive(Clone)]
pub struct Engine {
    pub clip: Arc<Clip>,
    pub counts: Arc<Counts>,
    queue: mpsc::Sender<(Work, Reply)>,
}

impl Engine {
    pub fn start(clip: Clip, most: usize) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let engine = Self { clip: Arc::new(clip), counts: Arc::default(), queue };
        let (clip, counts) = (engine.clip.clone(), engine.counts.clone());
        std::thread::spawn(move || encode_all(&clip, &counts, most, waiting));
        engine
    }

    /// Embeddings of unit length, `[n, width]`.
    pub async fn encode(&self, work: Work) -> std::result::Result<Vec<f32>, Refusal> {
        let (reply, made) = oneshot::channel();
        let ended = || Refusal::Failed("the engine ended: start the server again".into());
        self.queue.try_send((work, reply)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        made.await.map_err(|_| ended())?.map_err(Refusal::Failed)
    }
}

fn encode_all(clip: &Clip, counts: &Counts, most: usize, mut waiting: mpsc::Receiver<(Work, Reply)>) {
    while let Some(first) = waiting.blocking_recv() {
        let each = clip.config.vision.as_ref().map_or(1, |v| 3 * v.size * v.size);
        let items = |work: &Work| match work {
            Work::Pixels(pixels) => pixels.len() / each,
            Work::Ids(ids) => ids.len(),
        };
        let mut count = items(&first.0);
        let mut batch = vec![first];
        let begun = Instant::now();
        while count < most && begun.elapsed() < PATIENCE {
            match waiting.try_recv() {
                Ok(next) => {
                    count += items(&next.0);
                    batch.push(next);
                }
                Err(_) => std::thread::sleep(PATIENCE / 8),
            }
        }
        batch.retain(|(_, reply)| !reply.is_closed()); // whoever asked has gone
        let (pictures, texts): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(work, _)| matches!(work, Work::Pixels(_)));
        encode(clip, counts, pictures);
        encode(clip, counts, texts);
    }
}

/// One batch of pictures or of texts.
fn encode(clip: &Clip, counts: &Counts, batch: Vec<(Work, Reply)>) {
    if batch.is_empty() {
        return;
    }
    let (mut pixels, mut ids, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let each = clip.config.vision.as_ref().map_or(1, |v| 3 * v.size * v.size);
    let (requests, width) = (batch.len() as u64, clip.config.embed);
    for (work, reply) in batch {
        let count = match work {
            Work::Pixels(more) => {
                let count = more.len() / each;
                pixels.extend(more);
                count
            }
            Work::Ids(more) => {
                let count = more.len();
                ids.extend(more);
                count
            }
        };
        rows.push((count, reply));
    }
    let made: Result<Vec<f32>> = pollster::block_on(async {
        Ok(if ids.is_empty() { clip.encode_pixels(&pixels).await?.data } else { clip.encode_ids(&ids).await?.data })
    });
    let items: usize = rows.iter().map(|(count, _)| count).sum();
    counts.requests.fetch_add(requests, Ordering::Relaxed);
    counts.batches.fetch_add(1, Ordering::Relaxed);
    counts.items.fetch_add(items as u64, Ordering::Relaxed);
    let mut first = 0;
    for (count, reply) in rows {
        let own = made.as_ref().map(|data| data[first * width..][..count * width].to_vec());
        first += count;
        let _ = reply.send(own.map_err(ToString::to_string)); // whoever asked may have gone
    }
    if let Err(error @ Error::DeviceLost(_)) = made {
        complain(&format!("{error}: ending, so that whoever watches this server starts it again"));
        std::thread::sleep(Duration::from_secs(1)); // the answers are on their way
        std::process::exit(1);
    }
}
