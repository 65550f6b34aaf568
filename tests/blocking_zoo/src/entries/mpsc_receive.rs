//! Waits for a late message.

use std::sync::mpsc;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (sender, receiver) = mpsc::channel();
    async move {
        crate::stage::later(stall, move || sender.send(1));
        let received = receiver.recv(); // BLOCKS: channel std::sync::mpsc::Receiver::recv
        assert_eq!(received, Ok(1));
    }
}
