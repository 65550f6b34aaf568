//! Queries a database that is a C library.

use std::time::{Duration, Instant};

pub(crate) async fn prepare(stall: Duration) {
    let database = rusqlite::Connection::open_in_memory().unwrap(); // BLOCKS
    let query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT sum(i) FROM n";
    let end = Instant::now() + stall;
    while Instant::now() < end {
        let sum: i64 = database.query_row(query, [], |row| row.get(0)).unwrap(); // BLOCKS: cpu rusqlite::Connection::query_row
        std::hint::black_box(sum);
    }
}
