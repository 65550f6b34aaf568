//! Site `upstream`: another service, over the network, that TOPIC asks.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::inject::dice::Mistake;

/// How long its answer is waited for where that is done right.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"?\n";

/// The service: one of our own that is slow; without the mistake there is none to ask.
#[derive(Debug)]
pub(crate) struct Upstream(Option<SlowService>);

#[derive(Debug)]
struct SlowService {
    mistake: Mistake,
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Upstream {
    /// Starts the slow service if the mistake is to be made.
    ///
    /// # Errors
    ///
    /// If the service gets no port of this machine or no thread.
    pub(crate) fn start(mistake: Option<Mistake>) -> io::Result<Self> {
        let Some(mistake) = mistake else { return Ok(Self(None)) };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, duration) = (listener.local_addr()?, mistake.duration());
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        // A thread, as a task might wait for the very worker that waits for it.
        thread::Builder::new().name("upstream".into()).spawn(move || serve(&listener, duration, &seen))?;
        Ok(Self(Some(SlowService { mistake, address, ended })))
    }

    /// Asks it; whether it answered.
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
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread, so that it sees this. If it does not, it is asleep and sees it next.
        let _ = TcpStream::connect(self.address);
    }
}

/// Right: the task waits, and not for ever.
async fn right(address: SocketAddr) -> io::Result<u8> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(REQUEST).await?;
        stream.read_u8().await
    };
    tokio::time::timeout(ANSWER_TIMEOUT, ask).await?
}

/// Wrong: the worker waits for a peer's bytes.
#[inline(never)]
fn wrong(address: SocketAddr) -> io::Result<u8> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(REQUEST)?;
    let mut answer = [0];
    let read = stream.read_exact(&mut answer); // THE MISTAKE
    read.map(|()| answer[0])
}

/// One question after the other, each after its time.
fn serve(listener: &TcpListener, duration: Duration, ended: &AtomicBool) {
    while let Ok((mut stream, _)) = listener.accept() {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(duration);
        // Whoever asked may have left.
        let _ = stream.write_all(b"!");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::Site;

    #[tokio::test]
    async fn right_and_wrong_get_the_same_answer() {
        let mistake = Injections::parse(["upstream=1ms"]).expect("valid").at(Site::Upstream);
        let upstream = Upstream::start(mistake).expect("started");
        let address = upstream.0.as_ref().expect("running").address;
        assert_eq!(right(address).await.expect("answered"), b'!');
        assert_eq!(wrong(address).expect("answered"), b'!');
        assert!(upstream.ask().await);
    }
}
