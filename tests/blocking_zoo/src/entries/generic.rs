//! Blocks in a generic function of a generic type.

use std::collections::HashMap;
use std::fmt::Debug;
use std::thread;
use std::time::Duration;

struct Cache<K, V>(HashMap<K, V>);

impl<K: Debug, V: Debug> Cache<K, V> {
    #[inline(never)]
    fn refresh<F: FnOnce() -> Duration>(&self, how_long: F) {
        thread::sleep(how_long()); // BLOCKS: sleep std::thread::sleep
        std::hint::black_box(&self.0);
    }
}

pub(crate) async fn prepare(stall: Duration) {
    let cache = Cache(HashMap::from([("key".to_owned(), vec![1_u8])]));
    cache.refresh(|| stall);
}
