//! A future that is kept, was granted a lock and is not polled.

use crate::attach::document::PsLeaf;
use crate::futures::type_name;
use crate::futures::value::{Reader, Value};

/// The modules of the locks and their guards. A permit of a `Semaphore` or a
/// place in a channel may be held for long in normal work.
pub(super) const LOCK_MODULES: [&str; 2] = ["tokio::sync::mutex::", "tokio::sync::rwlock::"];
/// The number of variables that are looked at.
const MAX_VARIABLES: usize = 64;
/// The number of pointers that are looked through to a future.
const MAX_POINTERS: usize = 4;

/// Returns the name of a variable of the async functions with these `states`
/// that is a future to which the semaphore at `address` has granted permits.
/// `held` returns what a pin, a box or a pointer holds, and `leaf_of` what a
/// future waits for.
pub(super) fn granted(
    reader: &mut Reader<'_>,
    states: &[Value],
    address: u64,
    held: fn(&mut Reader<'_>, &Value) -> Option<Value>,
    leaf_of: fn(&mut Reader<'_>, Value) -> Option<PsLeaf>,
) -> Option<String> {
    let members = states.iter().flat_map(|state| {
        let names = state.of_type.layout.members.iter().map(|member| member.name.as_str());
        names.filter(|name| *name != "__awaitee").map(move |name| (state, name))
    });
    for (state, name) in members.take(MAX_VARIABLES) {
        let Some(future) = reader.member(state, name).and_then(|value| async_function(reader, value, held))
        else {
            continue;
        };
        let leaf = leaf_of(reader, future);
        let is_granted = matches!(leaf, Some(PsLeaf::Semaphore { address: of, is_granted: Some(true), .. })
            if of == address);
        if is_granted {
            return Some(type_name::printable(name));
        }
    }
    None
}

/// Returns the async function that a variable is, or that it owns or pins.
fn async_function(
    reader: &mut Reader<'_>,
    mut value: Value,
    held: fn(&mut Reader<'_>, &Value) -> Option<Value>,
) -> Option<Value> {
    for _ in 0..MAX_POINTERS {
        if type_name::is_coroutine(&value.of_type.layout.name) {
            return Some(value);
        }
        let base = type_name::base(&value.of_type.path);
        let is_pointer = value.of_type.layout.is_pointer;
        if !is_pointer && !["core::pin::Pin", "alloc::boxed::Box"].contains(&base) {
            return None;
        }
        value = held(reader, &value)?;
    }
    None
}
