//! Functions that the compiler merges because their code is equal. It does so
//! in a crate that is compiled in one unit.

pub mod tail_call_folded;
pub mod tail_call_merged;

/// Prevents the compiler from turning the preceding call into a jump.
fn keep() {
    std::hint::black_box(());
}
