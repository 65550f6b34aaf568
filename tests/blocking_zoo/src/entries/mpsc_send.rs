//! Sends to a full channel.

use std::sync::mpsc;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (sender, receiver) = mpsc::sync_channel(1);
    sender.send(1).unwrap();
    async move {
        crate::stage::later(stall, move || [receiver.recv(), receiver.recv()]);
        sender.send(2).unwrap(); // BLOCKS: channel std::sync::mpsc::SyncSender::send
        crate::stage::keep();
    }
}
