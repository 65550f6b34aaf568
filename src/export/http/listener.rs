//! The listening socket of the telemetry thread.

use std::io;
use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::fd::AsFd;

#[cfg(unix)]
use crate::fork::NotForChildren;

/// A listening socket that a forked child does not keep open. Else the address
/// would be taken for as long as a child lives.
#[derive(Debug)]
pub(crate) struct Listener<S> {
    // Dropped before the socket is closed.
    #[cfg(unix)]
    not_for_children: NotForChildren,
    socket: S,
}

#[cfg(unix)]
impl<S: AsFd> Listener<S> {
    fn new(socket: S) -> Self {
        Self { not_for_children: NotForChildren::new(socket.as_fd()), socket }
    }
}

#[cfg(not(unix))]
impl<S> Listener<S> {
    fn new(socket: S) -> Self {
        Self { socket }
    }
}

impl<S> Listener<S> {
    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }
}

impl Listener<TcpListener> {
    /// Listens on `address`. Returns the address with the port that the system
    /// chose.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok((Self::new(socket), address))
    }

    /// Returns the listener for the runtime that the calling thread is in.
    pub(crate) fn into_async(self) -> io::Result<Listener<tokio::net::TcpListener>> {
        let Self { socket, .. } = self;
        // An error closes the socket, so children must not close it from here
        // on. One that is forked before the next line ends keeps it.
        #[cfg(unix)]
        drop(self.not_for_children);
        tokio::net::TcpListener::from_std(socket).map(Listener::new)
    }
}
