//! Matches a regular expression against a large text.

use std::time::{Duration, Instant};

use regex::Regex;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let expression = Regex::new(r"(\w+\s+){4}(needle|pin)\b").unwrap();
    let text = "some words and then some more words ".repeat(50_000);
    async move {
        let end = Instant::now() + stall;
        while Instant::now() < end {
            let found = expression.is_match(&text); // BLOCKS: cpu regex::regex::string::is_match
            assert!(!found);
        }
    } // BLOCKS
}
