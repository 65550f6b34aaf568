//! The state that all request handlers share.

use std::sync::Arc;

use prometheus::Registry;

use crate::export::metrics::gather::Exposition;
use crate::export::source::Source;

/// What request handlers read from.
#[derive(Clone)]
pub(crate) struct HandlerState {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) exposition: Arc<Exposition>,
}

impl HandlerState {
    pub(crate) fn new(source: Arc<dyn Source>, application: Option<Registry>) -> Self {
        let exposition = Arc::new(Exposition::new(Arc::clone(&source), application));
        Self { source, exposition }
    }
}
