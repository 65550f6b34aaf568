//! The routes of the telemetry server, except those of findings.

use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};

use crate::export::formats::trace;
use crate::export::http::document::DocumentWriter;
use crate::export::http::guard::{AllowedHosts, guard};
use crate::export::http::live::{LiveDocument, TasksDocument};
use crate::export::http::negotiation::{self, AcceptedEncodings};
use crate::export::http::polls::PollsDocument;
use crate::export::http::query::{self, Parameters};
use crate::export::http::render::{DocumentRequest, JSON};
use crate::export::http::response::{self, Failure};
use crate::export::http::state::HandlerState;
use crate::export::http::{findings, page};
use crate::export::source::{Health, Source};

/// Creates the router. No route changes anything.
pub(crate) fn router(state: HandlerState, allowed_hosts: AllowedHosts) -> Router {
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
        .route("/polls", get(polls))
        .route("/tasks", get(tasks))
        .route("/trace", get(trace_of_polls))
        .route("/live", get(live))
        .route("/healthz", get(healthz))
        // Browsers request it for each document that names no icon.
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
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
        .with_state(state)
}

async fn index(State(state): State<HandlerState>, encodings: AcceptedEncodings) -> Response {
    let request = DocumentRequest::new("/", "text/html; charset=utf-8", encodings);
    let page = state.document(request, |_, document| document.bytes(page::INDEX.as_bytes())).await;
    ([(header::CONTENT_SECURITY_POLICY, page::SECURITY_POLICY)], page).into_response()
}

async fn metrics_text(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    headers: HeaderMap,
) -> Response {
    let format = negotiation::metrics_format(&headers);
    let request = DocumentRequest::new(format!("/metrics {format:?}"), format.content_type(), encodings);
    ([(header::VARY, "accept, accept-encoding")], state.metrics(request, format).await).into_response()
}

async fn stalls(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let since = query::since(parameters)?;
    let request = DocumentRequest::new(format!("/stalls {since:?}"), JSON, encodings);
    Ok(state.document(request, move |source, document| document.json(&source.stalls(since))).await)
}

async fn trace_of_polls(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let length = query::trace_length(parameters)?;
    let request = DocumentRequest::new(format!("/trace {length:?}"), JSON, encodings);
    let write = move |source: &dyn Source, document: &mut DocumentWriter| {
        // The findings are read last, so that they contain those of all stalls.
        let recording = source.flight(length);
        document.json(&trace::document(&recording, &source.findings()))
    };
    Ok(state.document(request, write).await)
}

async fn polls(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let range = query::polls_range(parameters)?;
    let request = DocumentRequest::new(format!("/polls {range:?}"), JSON, encodings);
    let write = move |source: &dyn Source, document: &mut DocumentWriter| {
        document.json(&PollsDocument::new(source.recorded_polls(range.start()), &range))
    };
    Ok(state.document(request, write).await)
}

async fn tasks(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    if query::tree(parameters)? {
        return Ok(state.task_tree(DocumentRequest::new("/tasks?tree", JSON, encodings)).await);
    }
    let request = DocumentRequest::new("/tasks", JSON, encodings);
    let write = |source: &dyn Source, document: &mut DocumentWriter| {
        let kinds = source.snapshot().kinds;
        document.json(&TasksDocument::new(kinds, &source.stalls(Some(SystemTime::now()))))
    };
    Ok(state.document(request, write).await)
}

async fn live(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let since = query::since(parameters)?;
    let request = DocumentRequest::new(format!("/live {since:?}"), JSON, encodings);
    let write = move |source: &dyn Source, document: &mut DocumentWriter| {
        // The stalls are read last: their time becomes the time of the whole
        // document.
        let (snapshot, findings) = (source.snapshot(), source.findings());
        document.json(&LiveDocument::new(snapshot, source.stalls(since), findings))
    };
    Ok(state.document(request, write).await)
}

/// Waits for no rendering, so that a probe gets its answer at once.
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
