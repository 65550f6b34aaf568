//! Calls a function of the same name in another crate, whose functions the
//! compiler merges.

use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    zoo_merged::tail_call_folded::block(stall); // zoo-merged has the line
    crate::stage::keep();
}
