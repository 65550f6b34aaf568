//! The routes of the telemetry server, except those of findings.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use prometheus::Registry;

use crate::export::formats::trace;
use crate::export::http::guard::{AllowedHosts, guard};
use crate::export::http::live::{LiveDocument, TasksDocument};
use crate::export::http::query::{self, Parameters};
use crate::export::http::response::{self, json};
use crate::export::http::state::HandlerState;
use crate::export::http::{findings, page};
use crate::export::metrics::text::TextFormat;
use crate::export::source::{Health, Source};

/// Creates the router. No route changes anything.
pub(crate) fn router(
    source: Arc<dyn Source>,
    application: Option<Registry>,
    allowed_hosts: AllowedHosts,
) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics_text))
        .route("/findings", get(findings::all_as_json))
        .route("/findings.txt", get(findings::all_as_text))
        .route("/findings.sarif", get(findings::all_as_sarif))
        .route("/findings/{id}", get(findings::one))
        .route("/profile.folded", get(findings::folded_stacks))
        .route("/profile.svg", get(findings::flame_graph))
        .route("/profile.pb.gz", get(findings::pprof_profile))
        .route("/stalls", get(stalls))
        .route("/tasks", get(tasks))
        .route("/trace", get(trace_of_polls))
        .route("/live", get(live))
        .route("/healthz", get(healthz))
        .method_not_allowed_fallback(async || {
            response::error(StatusCode::METHOD_NOT_ALLOWED, "This server answers only GET and HEAD requests.")
        })
        .fallback(async || {
            response::error(
                StatusCode::NOT_FOUND,
                "This path does not exist: the live page is at /, the metrics are at /metrics and the findings \
                 are at /findings.",
            )
        })
        .layer(middleware::from_fn_with_state(allowed_hosts, guard))
        .with_state(HandlerState::new(source, application))
}

async fn index() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, page::SECURITY_POLICY)], Html(page::INDEX))
}

async fn metrics_text(State(state): State<HandlerState>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = TextFormat::from_accept(accept.unwrap_or_default());
    ([(header::CONTENT_TYPE, format.content_type())], state.exposition.text(format).await).into_response()
}

async fn stalls(State(state): State<HandlerState>, parameters: Parameters) -> Response {
    match query::since(parameters) {
        Some(since) => json(&state.source.stalls(since)),
        None => invalid_since(),
    }
}

async fn trace_of_polls(State(state): State<HandlerState>, parameters: Parameters) -> Response {
    let Some(length) = query::trace_length(parameters) else {
        return response::error(
            StatusCode::BAD_REQUEST,
            "The only valid parameter is seconds=N, how far the trace reaches back: more than 0 and at most 86400.",
        );
    };
    let source = &state.source;
    // The findings are read last, so that they contain those of all stalls.
    let recording = source.flight(length);
    json(&trace::document(&recording, &source.findings()))
}

async fn tasks(State(state): State<HandlerState>) -> Response {
    let source = &state.source;
    json(&TasksDocument::new(source.snapshot().kinds, &source.stalls(Some(SystemTime::now()))))
}

async fn live(State(state): State<HandlerState>, parameters: Parameters) -> Response {
    let source = &state.source;
    match query::since(parameters) {
        Some(since) => {
            // The stalls are read last: their time becomes the time of the
            // whole document.
            let (snapshot, findings) = (source.snapshot(), source.findings());
            json(&LiveDocument::new(snapshot, source.stalls(since), findings))
        }
        None => invalid_since(),
    }
}

fn invalid_since() -> Response {
    response::error(
        StatusCode::BAD_REQUEST,
        "The only valid parameter is since=SECONDS, a Unix time such as 1700000000.5.",
    )
}

async fn healthz(State(state): State<HandlerState>) -> Response {
    match state.source.health() {
        Health::Ok => "ok\n".into_response(),
        Health::Starved { workers, longest } => {
            let longest = longest.as_secs_f64();
            let reason = format!(
                "Starved: every worker is in a long poll ({workers} of {workers}), and for at least one of them \
                 the code is not known to be the cause; the longest poll has lasted {longest:.3} s.\n"
            );
            reason.into_response()
        }
        Health::AllWorkersBlocked { workers, longest } => {
            let longest = longest.as_secs_f64();
            let reason = format!(
                "Every worker is blocked ({workers} of {workers}); the longest poll has lasted {longest:.3} s.\n"
            );
            (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
        }
    }
}
