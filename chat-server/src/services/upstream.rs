//! Injection site `upstream`: TOPIC asks another service over the network.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::inject::mistake::Mistake;

/// Time that the right way waits for the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"?\n";

/// The service. With the mistake it is a slow local one; without the mistake
/// there is no service to ask.
#[derive(Debug)]
pub(crate) struct Upstream(Option<SlowService>);

#[derive(Debug)]
struct SlowService {
    mistake: Mistake,
    address: SocketAddr,
    has_ended: Arc<AtomicBool>,
}

impl Upstream {
    /// Starts the slow service if `--inject` turns the mistake on.
    ///
    /// # Errors
    ///
    /// Returns an error if no port can be bound or the thread cannot be
    /// started.
    pub(crate) fn start(mistake: Option<Mistake>) -> io::Result<Self> {
        let Some(mistake) = mistake else { return Ok(Self(None)) };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, duration) = (listener.local_addr()?, mistake.duration());
        let has_ended = Arc::new(AtomicBool::new(false));
        let has_ended_for_service = has_ended.clone();
        // The service needs a separate thread. As a task, it could be queued on
        // the worker that `wrong` blocks, and neither would continue.
        thread::Builder::new()
            .name("upstream".into())
            .spawn(move || serve(&listener, duration, &has_ended_for_service))?;
        Ok(Self(Some(SlowService { mistake, address, has_ended })))
    }

    /// Asks the service. Returns whether it answered.
    pub(crate) async fn ask(&self) -> bool {
        let Some(slow) = &self.0 else { return true };
        let answer = match slow.mistake.decide() {
            Some(_) => wrong(slow.address),
            None => right(slow.address).await,
        };
        answer.is_ok()
    }
}

impl Drop for SlowService {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        // Wakes the thread so that it sees the flag. If the connect fails, the
        // thread is handling a request and sees the flag at the next one.
        let _ = TcpStream::connect(self.address);
    }
}

/// Right: the task waits, with a timeout.
async fn right(address: SocketAddr) -> io::Result<u8> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(REQUEST).await?;
        stream.read_u8().await
    };
    tokio::time::timeout(ANSWER_TIMEOUT, ask).await?
}

/// Wrong: the worker waits for the bytes of the peer.
#[inline(never)]
fn wrong(address: SocketAddr) -> io::Result<u8> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(REQUEST)?;
    let mut answer = [0];
    let read = stream.read_exact(&mut answer); // THE MISTAKE
    read.map(|()| answer[0])
}

/// Answers one request after the other, each after `duration`.
fn serve(listener: &TcpListener, duration: Duration, has_ended: &AtomicBool) {
    while let Ok((mut stream, _)) = listener.accept() {
        if has_ended.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(duration);
        // The session that asked may have ended.
        let _ = stream.write_all(b"!");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::InjectionSite;

    #[tokio::test]
    async fn right_and_wrong_get_the_same_answer() {
        let mistake = Injections::parse(["upstream=1ms"]).expect("valid").at(InjectionSite::Upstream);
        let upstream = Upstream::start(mistake).expect("started");
        let address = upstream.0.as_ref().expect("running").address;
        assert_eq!(right(address).await.expect("answered"), b'!');
        assert_eq!(wrong(address).expect("answered"), b'!');
        assert!(upstream.ask().await);
    }
}
