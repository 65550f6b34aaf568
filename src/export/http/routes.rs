//! What each route answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use prometheus::Registry;
use serde::Serialize;

use crate::export::formats::trace;
use crate::export::http::guard::{Hosts, guard, refuse};
use crate::export::http::live::{LiveDocument, TasksDocument};
use crate::export::http::{findings, page};
use crate::export::metrics::gather::Exposition;
use crate::export::metrics::text::TextFormat;
use crate::export::source::{Health, Source};
use crate::unix_time;

/// What the handlers read from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) source: Arc<dyn Source>,
    metrics: Arc<Exposition>,
}

/// All routes. Every one only reads.
pub(crate) fn router(source: Arc<dyn Source>, application: Option<Registry>, hosts: Hosts) -> Router {
    let metrics = Arc::new(Exposition::new(Arc::clone(&source), application));
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics_text))
        .route("/findings", get(findings::json))
        .route("/findings.txt", get(findings::text))
        .route("/findings.sarif", get(findings::sarif))
        .route("/findings/{id}", get(findings::one))
        .route("/profile.folded", get(findings::folded))
        .route("/profile.svg", get(findings::flame_graph))
        .route("/profile.pb.gz", get(findings::pprof))
        .route("/stalls", get(stalls))
        .route("/tasks", get(tasks))
        .route("/trace", get(trace_of_polls))
        .route("/live", get(live))
        .route("/healthz", get(healthz))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "This server only answers GET and HEAD.")
        })
        .fallback(async || {
            refuse(StatusCode::NOT_FOUND, "There is no such page: see / for those that there are.")
        })
        .layer(middleware::from_fn_with_state(hosts, guard))
        .with_state(Sources { source, metrics })
}

async fn index() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, page::SECURITY_POLICY)], Html(page::INDEX))
}

async fn metrics_text(State(sources): State<Sources>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = TextFormat::from_accept(accept.unwrap_or_default());
    ([(header::CONTENT_TYPE, format.content_type())], sources.metrics.text(format).await).into_response()
}

async fn stalls(
    State(sources): State<Sources>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    match since(query) {
        Some(since) => json(&sources.source.stalls(since)),
        None => refuse_since(),
    }
}

async fn trace_of_polls(
    State(sources): State<Sources>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let Some(seconds) = seconds(query) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "The only parameter is seconds=N: how far to look back, above 0 and at most 86400.",
        );
    };
    let source = &sources.source;
    let stalls = source.stalls(None);
    let since = stalls.now.checked_sub(seconds).unwrap_or(SystemTime::UNIX_EPOCH);
    let polls = source.flight(unix_time::to_nanos(since));
    json(&trace::document(&polls, &source.stalls(Some(since)), &source.findings()))
}

/// How far to look back; a minute if nothing is said.
fn seconds(query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(86_400);
    match query.ok()?.0.as_slice() {
        [] => Some(Duration::from_secs(60)),
        [(name, value)] if name == "seconds" => {
            let seconds = Duration::try_from_secs_f64(value.parse().ok()?).ok()?;
            (!seconds.is_zero() && seconds <= LONGEST).then_some(seconds)
        }
        _ => None,
    }
}

async fn tasks(State(sources): State<Sources>) -> Response {
    let source = &sources.source;
    json(&TasksDocument::new(source.snapshot().kinds, &source.stalls(Some(SystemTime::now()))))
}

async fn live(
    State(sources): State<Sources>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let source = &sources.source;
    match since(query) {
        Some(since) => {
            // The stalls last, so that their time is that of the whole.
            let (snapshot, findings) = (source.snapshot(), source.findings());
            json(&LiveDocument::new(snapshot, source.stalls(since), findings))
        }
        None => refuse_since(),
    }
}

fn refuse_since() -> Response {
    refuse(
        StatusCode::BAD_REQUEST,
        "The only parameter is since=SECONDS, a time of the Unix epoch such as 1700000000.5.",
    )
}

/// The time asked for, in nanoseconds; `None` if the parameters make no sense.
fn since(query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Option<Option<SystemTime>> {
    match query.ok()?.0.as_slice() {
        [] => Some(None),
        [(name, value)] if name == "since" => {
            let since = Duration::try_from_secs_f64(value.parse().ok()?).ok()?;
            let nanos = u64::try_from(since.as_nanos()).ok()?;
            Some(Some(unix_time::from_nanos(nanos)))
        }
        _ => None,
    }
}

async fn healthz(State(sources): State<Sources>) -> Response {
    match sources.source.health() {
        Health::Ok => "ok\n".into_response(),
        Health::AllWorkersBlocked { workers, longest } => {
            let longest = longest.as_secs_f64();
            let reason = format!(
                "Every worker is blocked ({workers} of {workers}); the longest poll has lasted {longest:.3} s.\n"
            );
            (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
        }
    }
}

pub(crate) fn json(document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "The document could not be written as JSON."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(parameters: &[(&str, &str)]) -> Option<Option<u64>> {
        let owned = parameters.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Some(since(Ok(Query(owned)))?.map(unix_time::to_nanos))
    }

    #[test]
    fn since_is_seconds_of_the_unix_epoch() {
        assert_eq!(parsed(&[]), Some(None));
        assert_eq!(parsed(&[("since", "1.5")]), Some(Some(1_500_000_000)));
        assert_eq!(parsed(&[("since", "0")]), Some(Some(0)));
        for wrong in ["", "-1", "nan", "inf", "1e300", "yesterday", "1.5s", "18446744074"] {
            assert_eq!(parsed(&[("since", wrong)]), None, "{wrong}");
        }
        assert_eq!(parsed(&[("since", "1"), ("since", "2")]), None);
        assert_eq!(parsed(&[("sinec", "1")]), None);
    }
}
