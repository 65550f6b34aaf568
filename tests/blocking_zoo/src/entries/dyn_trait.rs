//! Blocks behind a trait object.

use std::thread;
use std::time::Duration;

trait Store: Send + Sync {
    fn save(&self);
}

struct Slow(Duration);

impl Store for Slow {
    fn save(&self) {
        thread::sleep(self.0); // BLOCKS: sleep std::thread::sleep
        // Not `keep`: the compiler would merge this function with the one of
        // `in_drop`, which would then be found instead.
        std::hint::black_box(self);
    }
}

pub(crate) async fn prepare(stall: Duration) {
    let store: Box<dyn Store> = std::hint::black_box(Box::new(Slow(stall)));
    store.save();
}
