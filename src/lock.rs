//! A mutex that a panic cannot poison, and a condition variable for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

/// A mutex that ignores poisoning.
///
/// A panic in one thread must not stop every other thread of loopscope that
/// needs the same lock, or reach the application's own calls. The next owner
/// therefore continues with the value as it is. A critical section must leave
/// the value usable at every point that can panic.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits for the lock and takes it.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock, or returns `None` if it is held.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A condition variable for a [`Lock`].
#[derive(Debug, Default)]
pub(crate) struct Signal(Condvar);

impl Signal {
    /// Releases the lock, waits for a notification, and takes the lock again.
    /// May also return without a notification.
    pub(crate) fn wait<'l, T>(&self, guard: MutexGuard<'l, T>) -> MutexGuard<'l, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the same, and returns at the deadline at the latest, if there is
    /// one.
    pub(crate) fn wait_until<'l, T>(
        &self,
        guard: MutexGuard<'l, T>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'l, T> {
        let Some(deadline) = deadline else { return self.wait(guard) };
        let timeout = deadline.saturating_duration_since(Instant::now());
        let (guard, _) = self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
        guard
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn a_panic_does_not_disable_the_lock() {
        let lock = Arc::new(Lock::new(1));
        let owner = Arc::clone(&lock);
        let panicked = thread::spawn(move || {
            *owner.lock() = 2;
            let _held = owner.lock();
            panic!("while the lock is held");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*lock.lock(), 2);
        assert_eq!(lock.try_lock().as_deref(), Some(&2));
    }

    #[test]
    fn a_held_lock_is_not_taken_again() {
        let lock = Lock::new(());
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
    }
}
