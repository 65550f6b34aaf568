//! What the variables of async functions have of a lock.

use crate::attach::document::PsLeaf;
use crate::futures::macro_line::AWAITEE;
use crate::futures::type_name;
use crate::futures::unpolled::LOCK_MODULES;
use crate::futures::value::{Reader, Value};
use crate::futures::walk;

/// What holds a future that is not an async function.
const WRAPPERS: [&str; 2] = ["core::pin::Pin", "alloc::boxed::Box"];
/// The number of values that are searched in one task.
const MAX_SEARCHED: usize = 512;
/// A guard may be in a struct, which may be in another one.
const MAX_DEPTH: usize = 4;

/// What a task has of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Guard,
    /// A future that was granted the lock and was not polled since.
    UnpolledFuture,
}

/// Returns what a variable of an async function of the future has of the lock
/// whose semaphore is at an address.
pub(super) fn of(reader: &mut Reader<'_>, future: Value, semaphore: u64) -> Option<Hold> {
    let states = walk::states(reader, future);
    let mut queue: Vec<_> = states.into_iter().map(|state| (state, 0)).collect();
    let mut searched = 0;
    while let Some((value, depth)) = queue.pop() {
        searched += 1;
        if searched > MAX_SEARCHED {
            return None;
        }
        let layout = &value.of_type.layout;
        let base = type_name::base(&value.of_type.path);
        if LOCK_MODULES.iter().any(|module| base.starts_with(module)) && base.ends_with("Guard") {
            if is_guard_of(reader, &value, semaphore) {
                return Some(Hold::Guard);
            }
        } else if type_name::is_coroutine(&layout.name) || WRAPPERS.contains(&base) {
            if is_granted(reader, value, semaphore) {
                return Some(Hold::UnpolledFuture);
            }
        } else if layout.variants.is_some() {
            queue.extend(reader.unwrap(&value).map(|inner| (inner, depth + 1)));
        } else if depth < MAX_DEPTH && !layout.is_pointer {
            // What an async function awaits is polled. It is among the states.
            let members =
                if depth == 0 { kept_members(reader, &value) } else { reader.members_with_size(&value) };
            queue.extend(members.into_iter().map(|member| (member, depth + 1)));
        }
    }
    None
}

/// Returns the variables of an async function, without what it awaits.
fn kept_members(reader: &mut Reader<'_>, state: &Value) -> Vec<Value> {
    let members = state.of_type.layout.members.iter().filter(|member| member.name != AWAITEE);
    let values: Vec<_> = members.filter_map(|member| reader.of_member(state, member)).collect();
    values.into_iter().filter(|value| value.of_type.layout.size > 0).collect()
}

/// Returns whether a guard is of this lock. Some guards point to the semaphore
/// of the lock, the others to the lock.
fn is_guard_of(reader: &mut Reader<'_>, guard: &Value, semaphore: u64) -> bool {
    if let Some(pointer) = reader.member(guard, "s") {
        return reader.pointer_in(&pointer) == Some(semaphore);
    }
    reader.at_path(guard, &["lock", "s"]).is_some_and(|of_lock| of_lock.address == semaphore)
}

/// Returns whether a future waits for the lock, and was granted it.
fn is_granted(reader: &mut Reader<'_>, future: Value, semaphore: u64) -> bool {
    let leaf = walk::chain(reader, future).leaf;
    matches!(leaf, Some(PsLeaf::Semaphore { address, is_granted: Some(true), .. }) if address == semaphore)
}
