//! The routes of findings: all findings or one, as JSON, as text, or in the
//! formats of other tools.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::export::formats::{profile, sarif};
use crate::export::http::response::{self, json};
use crate::export::http::state::HandlerState;
use crate::finding::Finding;
use crate::report;

/// The schema name of [`SingleFindingDocument`].
const SINGLE_FINDING_SCHEMA: &str = "loopscope.finding/1";

/// Allows the flame graph its own script and style, and no access to anything
/// else.
const FLAME_GRAPH_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; sandbox allow-scripts";

/// One finding, and the text of its source line.
#[derive(Debug, Serialize)]
struct SingleFindingDocument {
    schema: &'static str,
    finding: Finding,
    /// `None` if the source file cannot be read.
    source: Option<String>,
}

/// The query parameters of findings as text.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TextOptions {
    /// Whether the text has ANSI colours, for a terminal.
    color: bool,
}

type TextQuery = Result<Query<TextOptions>, QueryRejection>;

pub(crate) async fn all_as_json(State(state): State<HandlerState>) -> Response {
    json(&state.source.findings())
}

pub(crate) async fn all_as_text(State(state): State<HandlerState>, query: TextQuery) -> Response {
    let Ok(Query(TextOptions { color })) = query else {
        return invalid_text_options();
    };
    let findings = state.source.findings();
    on_blocking_pool(move || report::diagnostics(&findings, color).into_response()).await
}

/// Returns one finding: `ID` as JSON, `ID.txt` as text.
pub(crate) async fn one(
    State(state): State<HandlerState>,
    Path(name): Path<String>,
    query: TextQuery,
) -> Response {
    let Ok(Query(TextOptions { color })) = query else {
        return invalid_text_options();
    };
    let (id, is_text) = match name.strip_suffix(".txt") {
        Some(id) => (id, true),
        None => (&*name, false),
    };
    let Some(finding) = state.source.findings().findings.into_iter().find(|finding| finding.id == id) else {
        return response::error(
            StatusCode::NOT_FOUND,
            "There is no finding with this id: /findings lists all findings with their ids.",
        );
    };
    on_blocking_pool(move || {
        if is_text {
            return report::diagnostic(&finding, color).into_response();
        }
        let line = finding.site.as_ref().and_then(|site| site.file.as_deref().zip(site.line));
        let source = line.and_then(|(file, line)| report::source_line::read(file, line));
        json(&SingleFindingDocument { schema: SINGLE_FINDING_SCHEMA, finding, source })
    })
    .await
}

pub(crate) async fn all_as_sarif(State(state): State<HandlerState>) -> Response {
    let findings = state.source.findings();
    on_blocking_pool(move || json(&sarif::document(&findings))).await
}

/// Returns blocked time by stack, as folded stacks.
pub(crate) async fn folded_stacks(State(state): State<HandlerState>) -> Response {
    profile::folded(&state.source.findings()).into_response()
}

/// Returns blocked time by stack, as a flame graph.
pub(crate) async fn flame_graph(State(state): State<HandlerState>) -> Response {
    let findings = state.source.findings();
    let svg = on_blocking_pool(move || rendered(profile::svg(&findings), "image/svg+xml")).await;
    ([(header::CONTENT_SECURITY_POLICY, FLAME_GRAPH_POLICY)], svg).into_response()
}

/// Returns blocked time by stack, as a profile for `pprof`.
pub(crate) async fn pprof_profile(State(state): State<HandlerState>) -> Response {
    let findings = state.source.findings();
    on_blocking_pool(move || rendered(profile::pprof(&findings), "application/octet-stream")).await
}

fn rendered(body: Option<Vec<u8>>, content_type: &'static str) -> Response {
    match body {
        Some(body) => ([(header::CONTENT_TYPE, content_type)], body).into_response(),
        None => rendering_failed(),
    }
}

fn rendering_failed() -> Response {
    response::error(StatusCode::INTERNAL_SERVER_ERROR, "The findings could not be rendered in this format.")
}

fn invalid_text_options() -> Response {
    response::error(
        StatusCode::BAD_REQUEST,
        "The only valid parameter is color=true or color=false: whether the text has ANSI colours.",
    )
}

/// Renders on a thread of the blocking pool, because rendering reads source
/// files and must not delay other requests.
async fn on_blocking_pool(render: impl FnOnce() -> Response + Send + 'static) -> Response {
    tokio::task::spawn_blocking(render).await.unwrap_or_else(|_| rendering_failed())
}
