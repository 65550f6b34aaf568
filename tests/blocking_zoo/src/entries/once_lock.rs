//! Waits for a value that another thread is still computing.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let cell = Arc::new(OnceLock::new());
    let made = Arc::clone(&cell);
    crate::stage::hold(stall, move |holder| {
        made.get_or_init(|| {
            holder.hold(());
            7
        });
    });
    async move {
        let value = *cell.get_or_init(|| 8); // BLOCKS: lock std::sync::OnceLock::get_or_init
        assert_eq!(value, 7);
    }
}
