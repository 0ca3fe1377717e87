//! The API: `assets/serve/openapi.json` says what it takes and gives.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use clip_wgpu::nearest::Hit;
use clip_wgpu::{Embeddings, Error, Image};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Server;
use super::engine::{Refusal, Work};
use crate::output::path_of;
use crate::search::gallery;
use crate::search::rows::Rows;
use crate::search::{self, query::Part};

/// Texts, pictures or labels of one request, at most.
const MOST: usize = 1000;

/// A refusal: its status, and what to do.
pub struct No(StatusCode, String);

impl No {
    fn new(status: StatusCode, what: impl ToString) -> Self {
        Self(status, what.to_string())
    }

    fn bad(what: impl ToString) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, what)
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => No::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait: come again in a second"),
            Refusal::Failed(why) => No::new(StatusCode::INTERNAL_SERVER_ERROR, why),
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(json!({"error": self.1}))).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

/// A JSON body; what is wrong with one is said as everything else.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(No))]
struct Body<T>(T);

impl From<JsonRejection> for No {
    fn from(rejection: JsonRejection) -> Self {
        No::new(rejection.status(), rejection.body_text())
    }
}

type Answer = Result<Json<Value>, No>;
type Shared = State<Arc<Server>>;

pub fn router(server: Arc<Server>, most_bytes: usize) -> Router {
    Router::new()
        .route("/", get(page))
        .route(
            "/openapi.json",
            get(|| async { ([(header::CONTENT_TYPE, "application/json")], include_str!("../../../../assets/serve/openapi.json")) }),
        )
        .route("/status", get(status))
        .route("/search", get(search_words).post(search))
        .route("/pictures", get(pictures))
        .route("/thumbnail", get(thumbnail))
        .route("/embed", post(embed))
        .route("/classify", post(classify))
        .fallback(|| async { No::new(StatusCode::NOT_FOUND, "no such page: /openapi.json lists what there is") })
        .layer(middleware::from_fn_with_state(server.clone(), allowed))
        .layer(DefaultBodyLimit::max(most_bytes))
        .with_state(server)
}

/// Lets in who has the token; without one, only who names this machine as a loopback address does: a page of another site that
/// had its own name point here cannot read your pictures.
async fn allowed(State(server): Shared, request: Request, next: Next) -> Response {
    let mut response = match refusal(&server, &request) {
        Some(no) => no.into_response(),
        None => next.run(request).await,
    };
    // Nor may it show your pictures as its own.
    response.headers_mut().insert("cross-origin-resource-policy", header::HeaderValue::from_static("same-origin"));
    response
}

fn refusal(server: &Server, request: &Request) -> Option<No> {
    let text = |name| request.headers().get(name).and_then(|v: &header::HeaderValue| v.to_str().ok()).unwrap_or_default();
    if let Some(token) = &server.token {
        let in_query = || Query::<Shown>::try_from_uri(request.uri()).ok().map(|Query(shown)| shown.token);
        let given = text(header::AUTHORIZATION).strip_prefix("Bearer ").map(String::from).or_else(in_query);
        let wrong = || No::new(StatusCode::UNAUTHORIZED, "expected the server's token (Authorization: Bearer TOKEN)");
        return (!given.is_some_and(|given| same(&given, token))).then(wrong);
    }
    let host = text(header::HOST);
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
    let wrong = || No::new(StatusCode::FORBIDDEN, format!("expected the host localhost, found `{host}`"));
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    (name != "localhost" && !address.is_ok_and(|address| address.is_loopback())).then(wrong)
}

/// A token in an address, for what a browser asks for by itself.
#[derive(Deserialize)]
struct Shown {
    token: String,
}

/// In a time that does not tell where they differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; img-src 'self' blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    (
        [(header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, "no-referrer")],
        Html(include_str!("../../../../assets/serve/index.html")),
    )
}

async fn status(State(server): Shared) -> Answer {
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
    let counts = &server.engine.counts;
    let pictures = server.rows().await.map_err(unreadable)?.map_or(0, |rows| rows.paths.len());
    Ok(Json(
        json!({"model": server.model, "device": server.engine.clip.executor.name(), "width": server.engine.clip.config.embed, "pictures": pictures,
        "encoded": {"requests": count(&counts.requests), "batches": count(&counts.batches), "items": count(&counts.items)}}),
    ))
}

#[derive(Deserialize)]
struct Words {
    q: String,
    top: Option<usize>,
    threshold: Option<f32>,
    #[serde(rename = "token")]
    _token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Parts of a mix.
    terms: Vec<Term>,
    top: Option<usize>,
    threshold: Option<f32>,
}

/// A text or a picture, and its weight.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Term {
    text: Option<String>,
    image: Option<String>,
    #[serde(default = "one")]
    weight: f32,
}

fn one() -> f32 {
    1.0
}

async fn search_words(state: Shared, words: Result<Query<Words>, axum::extract::rejection::QueryRejection>) -> Answer {
    let Query(Words { q, top, threshold, .. }) = words.map_err(|e| No::bad(e.body_text()))?;
    search(state, Body(Asked { terms: vec![Term { text: Some(q), image: None, weight: 1.0 }], top, threshold })).await
}

async fn search(State(server): Shared, Body(asked): Body<Asked>) -> Answer {
    let rows = indexed(&server).await?;
    let top = asked.top.unwrap_or(20);
    if !(1..=MOST).contains(&top) || asked.terms.is_empty() || asked.terms.len() > 16 {
        return Err(No::bad(format!("expected 1 to {MOST} as `top` and 1 to 16 `terms`")));
    }
    let mut parts = Vec::new();
    for term in asked.terms {
        let (is_picture, embedding) = match (term.text, term.image) {
            (Some(text), None) => (false, texts(&server, vec![text]).await?),
            (None, Some(image)) => (true, images(&server, vec![image]).await?),
            _ => return Err(No::bad("expected a `text` or an `image` in each term")),
        };
        parts.push(Part { weight: term.weight, is_picture, embedding });
    }
    let found = tokio::task::spawn_blocking(move || {
        let answer = search::answer(&rows, server.everyday.as_ref(), &parts, top, asked.threshold)?;
        let hit = |hit: &Hit| json!({"path": rows.paths[hit.row], "score": hit.score});
        let nearest = answer.nearest.map(|(hit, fit)| json!({"path": rows.paths[hit.row], "score": hit.score, "fit": fit}));
        Ok::<_, Error>(json!({"hits": answer.hits.iter().map(hit).collect::<Value>(), "nearest": nearest}))
    });
    found.await.map_err(broken)?.map(Json).map_err(No::bad)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    from: usize,
    top: Option<usize>,
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// What there is, in order of path.
async fn pictures(State(server): Shared, page: Result<Query<Page>, axum::extract::rejection::QueryRejection>) -> Answer {
    let Query(Page { from, top, .. }) = page.map_err(|e| No::bad(e.body_text()))?;
    let top = top.unwrap_or(60);
    at_most(top, "pictures as `top`")?;
    let rows = indexed(&server).await?;
    let paths: Vec<&String> = rows.paths.iter().skip(from).take(top).collect();
    Ok(Json(json!({"total": rows.paths.len(), "pictures": paths})))
}

async fn indexed(server: &Arc<Server>) -> Result<Arc<Rows>, No> {
    let none = || No::new(StatusCode::NOT_FOUND, "no index was served: make one with clip-wgpu index FOLDER");
    server.rows().await.map_err(unreadable)?.ok_or_else(none)
}

fn unreadable(error: Error) -> No {
    No::new(StatusCode::INTERNAL_SERVER_ERROR, error)
}

#[derive(Deserialize)]
struct Of {
    path: String,
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// Of an indexed picture only.
async fn thumbnail(State(server): Shared, of: Result<Query<Of>, axum::extract::rejection::QueryRejection>) -> Result<Response, No> {
    let Query(Of { path, .. }) = of.map_err(|e| No::bad(e.body_text()))?;
    let rows = server.rows().await.map_err(unreadable)?;
    if rows.is_none_or(|rows| rows.paths.binary_search(&path).is_err()) {
        return Err(No::new(StatusCode::NOT_FOUND, "no picture of the index"));
    }
    let _one = server.decoders.acquire().await.map_err(closed)?;
    let jpeg = tokio::task::spawn_blocking(move || gallery::thumbnail(&path_of(&path))).await.map_err(broken)?;
    let jpeg = jpeg.map_err(|e| No::new(StatusCode::NOT_FOUND, e))?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=3600")], jpeg).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToEmbed {
    #[serde(default)]
    texts: Vec<String>,
    /// Files in base64.
    #[serde(default)]
    images: Vec<String>,
}

async fn embed(State(server): Shared, Body(asked): Body<ToEmbed>) -> Answer {
    if asked.texts.is_empty() && asked.images.is_empty() {
        return Err(No::bad("expected `texts` or `images`, found neither"));
    }
    let (texts, images) = (texts(&server, asked.texts).await?, images(&server, asked.images).await?);
    let width = server.engine.clip.config.embed;
    let rows = |data: &[f32]| data.chunks(width).map(|row| json!(row)).collect::<Value>();
    Ok(Json(json!({"model": server.model, "width": width, "texts": rows(&texts), "images": rows(&images)})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToClassify {
    image: String,
    labels: Vec<String>,
    #[serde(default)]
    templates: Vec<String>,
}

async fn classify(State(server): Shared, Body(asked): Body<ToClassify>) -> Answer {
    at_most(asked.labels.len(), "labels")?;
    at_most(asked.labels.len() * asked.templates.len(), "prompts (labels in templates)")?;
    let data = images(&server, vec![asked.image]).await?;
    let ranked = tokio::task::spawn_blocking(move || {
        let clip = &server.engine.clip;
        let classifier = pollster::block_on(clip.classifier(&asked.labels, &asked.templates)).map_err(asked_wrong)?;
        let score = clip.score();
        let embeddings = Embeddings { rows: 1, width: clip.config.embed, data };
        let scores =
            pollster::block_on(classifier.scores(&embeddings, score)).map_err(|e| No::new(StatusCode::INTERNAL_SERVER_ERROR, e))?;
        Ok::<Value, No>(classifier.ranked(&scores).iter().map(|(label, score)| json!({"label": label, "score": score})).collect::<Value>())
    });
    Ok(Json(json!({"labels": ranked.await.map_err(broken)??})))
}

fn asked_wrong(error: Error) -> No {
    match error {
        Error::Argument(_) | Error::Text(_) => No::bad(error),
        _ => No::new(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

fn broken(error: tokio::task::JoinError) -> No {
    No::new(StatusCode::INTERNAL_SERVER_ERROR, error)
}

fn closed(error: tokio::sync::AcquireError) -> No {
    No::new(StatusCode::INTERNAL_SERVER_ERROR, error)
}

fn at_most(count: usize, what: &str) -> Result<(), No> {
    if count > MOST { Err(No::bad(format!("expected at most {MOST} {what}, found {count}"))) } else { Ok(()) }
}

/// Embeddings of texts, `[n, width]`.
async fn texts(server: &Arc<Server>, texts: Vec<String>) -> Result<Vec<f32>, No> {
    at_most(texts.len(), "texts")?;
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let ids = texts.iter().map(|t| server.engine.clip.tokenize(t).map(|t| t.ids).map_err(No::bad)).collect::<Result<_, _>>()?;
    finite(server.engine.encode(Work::Ids(ids)).await?)
}

/// Embeddings of pictures, files in base64: `[n, width]`.
async fn images(server: &Arc<Server>, images: Vec<String>) -> Result<Vec<f32>, No> {
    at_most(images.len(), "images")?;
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let clip = server.engine.clip.clone();
    let decode = move || {
        let mut pixels = Vec::new();
        for (i, image) in images.iter().enumerate() {
            let bytes = BASE64_STANDARD.decode(image).map_err(|e| No::bad(format!("image {i}: expected a file in base64: {e}")))?;
            let image = Image::decode(&bytes).map_err(|e| No::bad(format!("image {i}: {e}")))?;
            pixels.extend(clip.pixels(std::slice::from_ref(&image)));
        }
        Ok::<Vec<f32>, No>(pixels)
    };
    let one = server.decoders.acquire().await.map_err(closed)?;
    let pixels = tokio::task::spawn_blocking(decode).await.map_err(broken)??;
    drop(one);
    finite(server.engine.encode(Work::Pixels(pixels)).await?)
}

fn finite(rows: Vec<f32>) -> Result<Vec<f32>, No> {
    if rows.iter().all(|v| v.is_finite()) {
        Ok(rows)
    } else {
        Err(No::bad("an embedding is not finite: a value too large for the arithmetic"))
    }
}
