//! Waits with a timeout for a message that never comes.

use std::sync::mpsc;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (sender, receiver) = mpsc::channel::<u8>();
    async move {
        let received = receiver.recv_timeout(stall); // BLOCKS: channel std::sync::mpsc::Receiver::recv_timeout
        assert!(received.is_err());
        drop(sender);
    }
}
