//! The socket of one connection, with an outbox for lines that could not be
//! written at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::socket::Socket;
use crate::net::Stream;
use crate::outlet::SendOutcome;

/// Maximum number of bytes that wait for a server that does not read; further
/// lines are skipped.
const MAX_OUTBOX_BYTES: usize = 64 * 1024;

/// A connection. Sending never waits, and is possible from any thread.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    outbox: Mutex<Vec<u8>>,
    waiting: Notify,
    is_open: AtomicBool,
}

impl Link {
    /// Returns a link over `stream`.
    pub(crate) fn new(stream: Stream) -> Self {
        let socket = Socket::from(stream);
        Self { socket, outbox: Mutex::default(), waiting: Notify::new(), is_open: AtomicBool::new(true) }
    }

    /// Writes a line if the kernel takes it at once, and otherwise puts it into
    /// the outbox.
    pub(crate) fn send(&self, line: &[u8]) -> SendOutcome {
        if !self.is_open.load(Ordering::Relaxed) {
            return SendOutcome::Closed;
        }
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        if !outbox.is_empty() {
            if outbox.len() + line.len() > MAX_OUTBOX_BYTES {
                return SendOutcome::Skipped;
            }
            outbox.extend_from_slice(line);
            return SendOutcome::Queued;
        }
        match self.socket.try_write(line) {
            Ok(written) if written == line.len() => {
                if self.socket.has_pending_bytes() {
                    self.waiting.notify_one();
                }
                SendOutcome::Written
            }
            Ok(written) => self.queue(&mut outbox, &line[written..]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.queue(&mut outbox, line),
            Err(_) => {
                self.close();
                SendOutcome::Closed
            }
        }
    }

    fn queue(&self, outbox: &mut Vec<u8>, rest: &[u8]) -> SendOutcome {
        outbox.extend_from_slice(rest);
        self.waiting.notify_one();
        SendOutcome::Queued
    }

    /// Waits until the socket is readable. Writes the outbox in the meantime.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        loop {
            let is_outbox_empty = self.outbox.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            let pending = !is_outbox_empty || self.socket.has_pending_bytes();
            tokio::select! {
                ready = self.socket.readable() => return ready,
                ready = self.socket.writable(), if pending => {
                    ready?;
                    self.flush()?;
                }
                () = self.waiting.notified() => {}
            }
        }
    }

    /// Reads the available bytes. Without any, returns an error of the kind
    /// `WouldBlock`.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.try_read(buffer)
    }

    /// Refuses further sends.
    pub(crate) fn close(&self) {
        if self.is_open.swap(false, Ordering::Relaxed) {
            self.socket.announce_end();
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.socket.flush()?;
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        while !outbox.is_empty() {
            match self.socket.try_write(&outbox) {
                Ok(written) => drop(outbox.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Connector;

    #[tokio::test]
    async fn lines_to_a_server_that_does_not_read_are_queued_then_skipped() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let link = Link::new(Connector::plain(address).connect(0).await.expect("connected"));
        let (mut peer, _) = listener.accept().await.expect("accepted");

        let line = [b'x'; 1000];
        let mut taken = 0;
        while link.send(&line) != SendOutcome::Skipped {
            taken += 1;
        }
        let reader = tokio::spawn(async move {
            let mut bytes = vec![0; taken * line.len()];
            tokio::io::AsyncReadExt::read_exact(&mut peer, &mut bytes).await.map(|_| (peer, bytes))
        });
        let (_peer, bytes) = tokio::select! {
            _ = link.readable() => panic!("the peer never writes"),
            read = reader => read.expect("joined").expect("all of it"),
        };
        assert!(bytes.iter().all(|&byte| byte == b'x'));
    }
}
