//! Receives from a channel of `crossbeam`.

use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    async move {
        crate::stage::later(stall, move || sender.send(1));
        let received = receiver.recv(); // BLOCKS: channel crossbeam_channel::channel::Receiver::recv
        assert_eq!(received, Ok(1));
    }
}
