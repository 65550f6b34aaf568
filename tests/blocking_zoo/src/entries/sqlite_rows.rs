//! Collects the rows of a database: the database computes in an iterator.

use std::time::{Duration, Instant};

pub(crate) async fn prepare(stall: Duration) {
    let database = rusqlite::Connection::open_in_memory().unwrap();
    let query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT i FROM n WHERE i % 1000 = 0";
    let mut statement = database.prepare(query).unwrap();
    let end = Instant::now() + stall;
    while Instant::now() < end {
        let rows = statement.query_map([], |row| row.get(0)).unwrap(); // BLOCKS
        let numbers: Result<Vec<i64>, _> = rows.collect(); // BLOCKS: cpu rusqlite::row::Rows::next
        std::hint::black_box(numbers.unwrap());
    }
}
