//! The routes of findings: all or one, as JSON, drawn, or in others' formats.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::export::formats::{profile, sarif};
use crate::export::http::guard::refuse;
use crate::export::http::routes::{self, Sources};
use crate::finding::Finding;
use crate::report;

/// The schema name of [`FindingDocument`].
const FINDING_SCHEMA: &str = "loopscope.finding/1";

/// The flame graph's own script and style, and nothing that these could reach.
const PICTURE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; sandbox allow-scripts";

/// One finding, with the line of source that it points at.
#[derive(Debug, Serialize)]
struct FindingDocument {
    schema: &'static str,
    finding: Finding,
    /// Absent where the source is not at hand.
    source: Option<String>,
}

/// How findings are drawn.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drawing {
    /// Whether with ANSI colours, for a terminal.
    color: bool,
}

type AskedFor = Result<Query<Drawing>, QueryRejection>;

pub(crate) async fn json(State(sources): State<Sources>) -> Response {
    routes::json(&sources.source.findings())
}

pub(crate) async fn text(State(sources): State<Sources>, drawing: AskedFor) -> Response {
    let Ok(Query(Drawing { color })) = drawing else {
        return refuse_parameters();
    };
    let findings = sources.source.findings();
    off_the_loop(move || report::diagnostics(&findings, color).into_response()).await
}

/// By its id as JSON, or with `.txt` after it as text.
pub(crate) async fn one(
    State(sources): State<Sources>,
    Path(name): Path<String>,
    drawing: AskedFor,
) -> Response {
    let Ok(Query(Drawing { color })) = drawing else {
        return refuse_parameters();
    };
    let (id, is_text) = match name.strip_suffix(".txt") {
        Some(id) => (id, true),
        None => (&*name, false),
    };
    let Some(finding) = sources.source.findings().findings.into_iter().find(|finding| finding.id == id)
    else {
        return refuse(
            StatusCode::NOT_FOUND,
            "There is no such finding: see /findings for those that there are.",
        );
    };
    off_the_loop(move || {
        if is_text {
            return report::diagnostic(&finding, color).into_response();
        }
        let place = finding.site.as_ref().and_then(|site| site.file.as_deref().zip(site.line));
        let source = place.and_then(|(file, line)| report::source_line::read(file, line));
        routes::json(&FindingDocument { schema: FINDING_SCHEMA, finding, source })
    })
    .await
}

/// As SARIF.
pub(crate) async fn sarif(State(sources): State<Sources>) -> Response {
    routes::json(&sarif::document(&sources.source.findings()))
}

/// Blocked time by stack, folded.
pub(crate) async fn folded(State(sources): State<Sources>) -> Response {
    profile::folded(&sources.source.findings()).into_response()
}

/// Blocked time by stack, drawn.
pub(crate) async fn flame_graph(State(sources): State<Sources>) -> Response {
    let findings = sources.source.findings();
    let picture = off_the_loop(move || attached(profile::svg(&findings), "image/svg+xml")).await;
    ([(header::CONTENT_SECURITY_POLICY, PICTURE_POLICY)], picture).into_response()
}

/// Blocked time by stack, for pprof.
pub(crate) async fn pprof(State(sources): State<Sources>) -> Response {
    let findings = sources.source.findings();
    off_the_loop(move || attached(profile::pprof(&findings), "application/octet-stream")).await
}

fn attached(body: Option<Vec<u8>>, content_type: &'static str) -> Response {
    match body {
        Some(body) => ([(header::CONTENT_TYPE, content_type)], body).into_response(),
        None => refuse(StatusCode::INTERNAL_SERVER_ERROR, "The findings could not be drawn."),
    }
}

fn refuse_parameters() -> Response {
    refuse(StatusCode::BAD_REQUEST, "The only parameter is color=true, for a terminal that shows colours.")
}

/// Source files are read where waiting for a disk holds up nobody.
async fn off_the_loop(draw: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(draw).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "The findings could not be drawn."),
    }
}
