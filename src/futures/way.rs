//! The way from a future to what it waits for.

use std::rc::Rc;

use crate::attach::document::PsAwait;
use crate::futures::types::FunctionName;
use crate::futures::value::Value;

/// The way from a future to what it waits for.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Outermost first.
    pub(super) awaits: Vec<PsAwait>,
    /// The contents of the async functions on the way, the outermost first.
    pub(super) states: Vec<Value>,
    /// The innermost function of an `impl` of which the type is known.
    pub(super) last_method: Option<Rc<FunctionName>>,
    /// The number of futures around that wait for several.
    pub(super) depth: usize,
}
