//! The socket of a chat connection, in plain text or with TLS. Reading and
//! writing never wait, and are possible from any thread.

use std::io::{self, Read as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConnection;

use crate::net::Stream;

/// Maximum number of bytes that TLS keeps for a server that does not read.
const MAX_TLS_BUFFER_BYTES: usize = 16 * 1024;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsSocket>),
}

/// A socket with TLS, after the handshake.
#[derive(Debug)]
pub(super) struct TlsSocket {
    tcp: TcpStream,
    session: Mutex<ClientConnection>,
}

impl From<Stream> for Socket {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Plain(tcp) => Self::Plain(tcp),
            Stream::Tls(stream) => {
                let (tcp, mut session) = stream.into_inner();
                session.set_buffer_limit(Some(MAX_TLS_BUFFER_BYTES));
                Self::Tls(Box::new(TlsSocket { tcp, session: Mutex::new(session) }))
            }
        }
    }
}

impl Socket {
    /// Reads the available bytes. Without any, returns an error of the kind
    /// `WouldBlock`.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => read_available(tcp, buffer),
            Self::Tls(socket) => socket.try_read(buffer),
        }
    }

    /// Writes as many bytes as are taken at once. If none is, returns an error
    /// of the kind `WouldBlock`.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write(bytes),
            Self::Tls(socket) => socket.try_write(bytes),
        }
    }

    /// Returns whether taken bytes wait for the kernel. If so, [`Self::flush`]
    /// must be called when the socket is writable.
    pub(super) fn has_pending_bytes(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(socket) => socket.session().wants_write(),
        }
    }

    /// Writes the taken bytes that wait, as far as the kernel takes them.
    pub(super) fn flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(socket) => socket.flush(&mut socket.session()),
        }
    }

    /// Announces the end to the server, if the protocol has a way and the
    /// kernel takes it at once.
    pub(super) fn announce_end(&self) {
        if let Self::Tls(socket) = self {
            let mut session = socket.session();
            session.send_close_notify();
            let _ = socket.flush(&mut session);
        }
    }

    /// Waits until there are bytes to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.readable().await,
            Self::Tls(socket) if socket.has_decrypted_bytes() => Ok(()),
            Self::Tls(socket) => socket.tcp.readable().await,
        }
    }

    /// Waits until the kernel takes bytes.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.writable().await,
            Self::Tls(socket) => socket.tcp.writable().await,
        }
    }
}

/// Reads the available bytes. If they do not fill the buffer, none is left, and
/// the next [`Socket::readable`] waits for more. With `TcpStream::try_read` it
/// would not wait before another read has found nothing.
///
/// Tokio forgets that the socket is readable if the closure would block, but
/// not news that come after the closure has begun. Its `poll_read` does the
/// same after a short read.
fn read_available(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    let read = tcp.try_io(Interest::READABLE, || {
        length = (&*SockRef::from(tcp)).read(buffer)?;
        let is_empty = 0 < length && length < buffer.len();
        if is_empty { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if length > 0 { Ok(length) } else { read.map(|()| 0) }
}

impl TlsSocket {
    fn session(&self) -> MutexGuard<'_, ClientConnection> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether bytes are decrypted and not read: no event of the TCP
    /// socket announces them.
    fn has_decrypted_bytes(&self) -> bool {
        let state = self.session().process_new_packets();
        // The next read returns the error.
        state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session();
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without the announcement that TLS has.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            session.read_tls(&mut NonBlocking(&self.tcp))?;
            let processed = session.process_new_packets();
            // An alert that says what is wrong, or an answer such as that to a
            // request for new keys.
            self.flush(&mut session)?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut session = self.session();
        let taken = session.writer().write(bytes)?;
        self.flush(&mut session)?;
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&self, session: &mut ClientConnection) -> io::Result<()> {
        while session.wants_write() {
            match session.write_tls(&mut NonBlocking(&self.tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads and writes what is possible without waiting.
struct NonBlocking<'a>(&'a TcpStream);

impl io::Read for NonBlocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for NonBlocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
