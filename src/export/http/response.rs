//! The bodies of responses: JSON, or one sentence about an error.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Returns `document` as a JSON response.
pub(crate) fn json(document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "The document could not be written as JSON."),
    }
}

/// Returns an error response: a status, and one sentence that says what would
/// be right.
pub(crate) fn error(status: StatusCode, sentence: &'static str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}
