//! The test in `tests/` is what this package is for.
