//! What a task's future waits for.

use crate::attach::document::{PsAwait, PsLeaf};

/// What a task's future waits for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Chain {
    /// Outermost first.
    pub(crate) awaits: Vec<PsAwait>,
    pub(crate) leaf: Option<PsLeaf>,
    /// The variable of an async function of the chain that is a future to which
    /// the lock that the chain waits for was granted.
    pub(crate) unpolled: Option<String>,
    /// Why the chain is empty or ends early, as a sentence.
    pub(crate) missing: Option<String>,
}

impl Chain {
    pub(crate) fn missing(why: impl Into<String>) -> Self {
        Self { missing: Some(why.into()), ..Self::default() }
    }
}
