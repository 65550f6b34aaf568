//! Parses a large JSON document.

use std::time::{Duration, Instant};

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let text = serde_json::to_string(&vec![("key", 1.5, vec![true; 8]); 50_000]).unwrap();
    async move {
        let end = Instant::now() + stall;
        while Instant::now() < end {
            let parsed: serde_json::Value = serde_json::from_str(&text).unwrap(); // BLOCKS: cpu serde_json::de::from_str
            std::hint::black_box(&parsed);
            drop(parsed); // BLOCKS
        }
    } // BLOCKS
}
