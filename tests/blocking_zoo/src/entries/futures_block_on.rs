//! Runs another executor inside the task.

use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (sender, receiver) = futures::channel::oneshot::channel();
    async move {
        crate::stage::later(stall, move || sender.send(1));
        let received = futures::executor::block_on(receiver); // BLOCKS: other futures_executor::local_pool::block_on
        assert_eq!(received, Ok(1));
    }
}
