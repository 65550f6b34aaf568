//! Helpers of the tests: a chat server and a web server with configurable
//! faults, a fake telemetry server, a TLS front, and the program under test.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod chat;
pub(crate) mod program;
pub(crate) mod schema;
pub(crate) mod telemetry;
pub(crate) mod tls;
pub(crate) mod web;
