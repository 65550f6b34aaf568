//! What the tests share: a chat server that errs on purpose, a telemetry that
//! tells what it is told, and the program under test.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod chat;
pub(crate) mod program;
pub(crate) mod schema;
pub(crate) mod telemetry;
pub(crate) mod web;
