//! What a file descriptor refers to: a path, or the two ends of a socket.
#![allow(unsafe_code)]

use std::fs;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::raw::c_int;
use std::path::PathBuf;

/// What a descriptor refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// A file, directory, device or named pipe, by its path.
    Path(PathBuf),
    /// A pipe without a name.
    Pipe,
    /// A socket.
    Socket { transport: Transport, address: Option<Address> },
    /// Anything else, as the kernel names it.
    Other(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    UnixStream,
    UnixDatagram,
    Unknown,
}

/// One end of a socket: the peer's, or its own where it has no peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Peer(String),
    Own(String),
}

impl Descriptor {
    /// Asks the kernel about a descriptor of this process, without a change to
    /// what it refers to. `None` where there is no such descriptor.
    pub(crate) fn of(fd: i32) -> Option<Self> {
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        let name = link.to_string_lossy();
        Some(if name.starts_with('/') {
            Self::Path(link)
        } else if name.starts_with("pipe:") {
            Self::Pipe
        } else if name.starts_with("socket:") {
            Self::Socket { transport: transport(fd), address: address(fd) }
        } else {
            Self::Other(name.into_owned())
        })
    }
}

impl std::fmt::Display for Descriptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Pipe => f.write_str("a pipe"),
            Self::Other(name) => f.write_str(name),
            Self::Socket { transport, address } => {
                f.write_str(match transport {
                    Transport::Tcp => "tcp",
                    Transport::Udp => "udp",
                    Transport::UnixStream | Transport::UnixDatagram => "unix",
                    Transport::Unknown => "socket",
                })?;
                match address {
                    Some(Address::Peer(peer)) => write!(f, " to {peer}"),
                    Some(Address::Own(own)) => write!(f, " on {own}"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn transport(fd: i32) -> Transport {
    match (option(fd, libc::SO_DOMAIN), option(fd, libc::SO_TYPE)) {
        (Some(libc::AF_INET | libc::AF_INET6), Some(libc::SOCK_STREAM)) => Transport::Tcp,
        (Some(libc::AF_INET | libc::AF_INET6), Some(libc::SOCK_DGRAM)) => Transport::Udp,
        (Some(libc::AF_UNIX), Some(libc::SOCK_STREAM)) => Transport::UnixStream,
        (Some(libc::AF_UNIX), Some(libc::SOCK_DGRAM)) => Transport::UnixDatagram,
        _ => Transport::Unknown,
    }
}

fn option(fd: i32, name: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: at most `length` bytes are written to `value`.
    let failed =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    (failed == 0).then_some(value)
}

fn address(fd: i32) -> Option<Address> {
    let peer = named(fd, libc::getpeername).map(Address::Peer);
    peer.or_else(|| named(fd, libc::getsockname).map(Address::Own))
}

type Name = unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> c_int;

fn named(fd: i32, name: Name) -> Option<String> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: at most `length` bytes are written to `storage`, for which all
    // zero is valid.
    let storage = unsafe {
        if name(fd, storage.as_mut_ptr().cast(), &raw mut length) != 0 {
            return None;
        }
        storage.assume_init()
    };
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which of the addresses it is, and the
            // storage is large enough, and aligned, for each of them.
            let address = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(address.sin_port))).to_string())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(SocketAddr::from((ip, u16::from_be(address.sin6_port))).to_string())
        }
        libc::AF_UNIX => {
            // SAFETY: as above.
            let address = unsafe { &*(&raw const storage).cast::<libc::sockaddr_un>() };
            let bytes = address.sun_path.iter().map(|byte| byte.to_ne_bytes()[0]);
            let path: Vec<_> = bytes.take_while(|byte| *byte != 0).collect();
            (!path.is_empty()).then(|| String::from_utf8_lossy(&path).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn sockets_say_who_is_at_their_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        let of = |fd| Descriptor::of(fd).unwrap().to_string();
        assert_eq!(of(listener.as_raw_fd()), format!("tcp on {address}"));
        assert_eq!(of(stream.as_raw_fd()), format!("tcp to {address}"));
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(of(socket.as_raw_fd()), format!("udp on {}", socket.local_addr().unwrap()));
    }

    #[test]
    fn files_and_pipes_are_told_apart() {
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(Descriptor::of(file.as_raw_fd()), Some(Descriptor::Path("/dev/null".into())));
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(Descriptor::of(reader.as_raw_fd()), Some(Descriptor::Pipe));
        assert_eq!(Descriptor::of(-1), None);
    }
}
