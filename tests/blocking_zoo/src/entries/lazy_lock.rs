//! Waits for a static that another thread is still computing.

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

static SETTINGS: LazyLock<u64> = LazyLock::new(|| {
    crate::stage::slowly();
    7
});

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    crate::stage::make_slow(stall);
    async move {
        thread::spawn(|| LazyLock::force(&SETTINGS));
        crate::stage::await_slow();
        let value = *SETTINGS; // BLOCKS: lock std::sync::LazyLock::deref
        assert_eq!(value, 7);
    }
}
