//! The responses about errors: one sentence each.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Why a request gets no document: a status, and one sentence that says what
/// would be right.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) sentence: Cow<'static, str>,
}

impl Failure {
    /// Returns the failure of a request with invalid parameters.
    pub(crate) const fn bad_request(sentence: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    pub(crate) const fn new(status: StatusCode, sentence: &'static str) -> Self {
        Self { status, sentence: Cow::Borrowed(sentence) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = error(self.status, &self.sentence);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Returns an error response: a status, and one sentence that says what would
/// be right.
pub(crate) fn error(status: StatusCode, sentence: &str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}
