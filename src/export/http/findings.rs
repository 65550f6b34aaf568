//! The routes of findings: all findings or one, as JSON, as text, or in the
//! formats of other tools.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::export::formats::sarif::fingerprints::Fingerprints;
use crate::export::formats::{profile, sarif};
use crate::export::http::document::DocumentWriter;
use crate::export::http::negotiation::AcceptedEncodings;
use crate::export::http::query::{self, Parameters};
use crate::export::http::render::{DocumentRequest, JSON, NOT_RENDERED, TEXT};
use crate::export::http::response::Failure;
use crate::export::http::state::HandlerState;
use crate::export::source::Source;
use crate::finding::Finding;
use crate::report;
use crate::report::source_line;

/// The schema name of [`SingleFindingDocument`].
const SINGLE_FINDING_SCHEMA: &str = "loopscope.finding/1";

/// Allows the flame graph its own script and style, and no access to anything
/// else.
const FLAME_GRAPH_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; sandbox allow-scripts";

const NO_SUCH_FINDING: Failure = Failure::new(
    StatusCode::NOT_FOUND,
    "There is no finding with this id: /findings lists all findings with their ids.",
);

/// One finding, and the text of its source line.
#[derive(Debug, Serialize)]
struct SingleFindingDocument {
    schema: &'static str,
    finding: Finding,
    /// `None` if the source file cannot be read, or has changed.
    source: Option<String>,
}

pub(crate) async fn all_as_json(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let filter = query::findings(parameters)?;
    let request = DocumentRequest::new(format!("/findings {filter:?}"), JSON, encodings);
    Ok(state.document(request, move |source, document| document.json(&filter.apply(source.findings()))).await)
}

pub(crate) async fn all_as_text(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let (filter, color) = query::findings_text(parameters)?;
    let request = DocumentRequest::new(format!("/findings.txt {filter:?} {color}"), TEXT, encodings);
    let write = move |source: &dyn Source, document: &mut DocumentWriter| {
        document.bytes(report::diagnostics(&filter.apply(source.findings()), color).as_bytes())
    };
    Ok(state.document(request, write).await)
}

pub(crate) async fn all_as_sarif(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let filter = query::findings(parameters)?;
    let request = DocumentRequest::new(format!("/findings.sarif {filter:?}"), JSON, encodings);
    let write = move |source: &dyn Source, document: &mut DocumentWriter| {
        let all = source.findings();
        let fingerprints = Fingerprints::new(&all.findings);
        document.json(&sarif::document(&filter.apply(all), &fingerprints))
    };
    Ok(state.document(request, write).await)
}

/// Returns one finding: `ID` as JSON, `ID.txt` as text.
pub(crate) async fn one(
    State(state): State<HandlerState>,
    Path(name): Path<String>,
    encodings: AcceptedEncodings,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let color = query::color(parameters)?;
    let content_type = if name.ends_with(".txt") { TEXT } else { JSON };
    let request = DocumentRequest::new(format!("/findings/{name} {color}"), content_type, encodings);
    let write = move |source: &dyn Source, document: &mut DocumentWriter| {
        let text_id = name.strip_suffix(".txt");
        let id = text_id.unwrap_or(&name);
        let findings = source.findings().findings;
        let finding = findings.into_iter().find(|finding| finding.id == id).ok_or(NO_SUCH_FINDING)?;
        if text_id.is_some() {
            return document.bytes(report::diagnostic(&finding, color).as_bytes());
        }
        let source = finding.site.as_ref().and_then(source_line::of_site);
        document.json(&SingleFindingDocument { schema: SINGLE_FINDING_SCHEMA, finding, source })
    };
    Ok(state.document(request, write).await)
}

/// Returns blocked time by stack, as folded stacks.
pub(crate) async fn folded_stacks(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
) -> Response {
    let request = DocumentRequest::new("/profile.folded", TEXT, encodings);
    let write = |source: &dyn Source, document: &mut DocumentWriter| {
        document.bytes(profile::folded(&source.findings()).as_bytes())
    };
    state.document(request, write).await
}

/// Returns blocked time by stack, as a flame graph.
pub(crate) async fn flame_graph(State(state): State<HandlerState>, encodings: AcceptedEncodings) -> Response {
    let request = DocumentRequest::new("/profile.svg", "image/svg+xml", encodings);
    let write = |source: &dyn Source, document: &mut DocumentWriter| {
        document.bytes(&profile::svg(&source.findings()).ok_or(NOT_RENDERED)?)
    };
    let svg = state.document(request, write).await;
    ([(header::CONTENT_SECURITY_POLICY, FLAME_GRAPH_POLICY)], svg).into_response()
}

/// Returns blocked time by stack, as a profile for `pprof`.
pub(crate) async fn pprof_profile(
    State(state): State<HandlerState>,
    encodings: AcceptedEncodings,
) -> Response {
    let request = DocumentRequest {
        encoding: encodings.for_compressed(),
        ..DocumentRequest::new("/profile.pb.gz", "application/octet-stream", encodings)
    };
    let write = |source: &dyn Source, document: &mut DocumentWriter| {
        document.bytes(&profile::pprof(&source.findings()).ok_or(NOT_RENDERED)?)
    };
    state.document(request, write).await
}
