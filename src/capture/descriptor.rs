//! What a file descriptor refers to: for example a path, or a socket and its
//! address.
#![allow(unsafe_code)]

use std::fs;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::raw::c_int;
use std::path::PathBuf;

use crate::capture::sockets::{self, Address, Socket, Transport};
use crate::process::Process;

/// The object that a descriptor refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// The path of a file, directory, device or named pipe.
    Path(PathBuf),
    /// An unnamed pipe.
    Pipe,
    /// A socket.
    Socket { transport: Transport, address: Option<Address> },
    /// Any other object, by the kernel's name for it.
    Other(String),
}

impl Descriptor {
    /// Returns what a descriptor of a process refers to, without a change to
    /// that object; `None` if the descriptor is not open. For a socket of
    /// another process, the sockets of its network are listed.
    pub(crate) fn from_fd(process: Process, fd: i32) -> Option<Self> {
        Some(match Self::without_socket(process, fd)? {
            Link::Object(object) => object,
            Link::Socket(inode) => match process {
                Process::Own => Self::Socket { transport: transport(fd), address: address(fd) },
                Process::Other(_) => Self::from_list(sockets::find(process, inode)),
            },
        })
    }

    fn without_socket(process: Process, fd: i32) -> Option<Link> {
        let link = fs::read_link(process.proc_path(&format!("fd/{fd}"))).ok()?;
        let name = link.to_string_lossy();
        Some(if name.starts_with('/') {
            Link::Object(Self::Path(link))
        } else if name.starts_with("pipe:") {
            Link::Object(Self::Pipe)
        } else if let Some(inode) = name.strip_prefix("socket:") {
            Link::Socket(inode.trim_matches(['[', ']']).parse().unwrap_or(0))
        } else {
            Link::Object(Self::Other(name.into_owned()))
        })
    }

    fn from_list(socket: Option<Socket>) -> Self {
        match socket {
            Some(Socket { transport, address }) => Self::Socket { transport, address },
            None => Self::Socket { transport: Transport::Unknown, address: None },
        }
    }
}

/// What the link of a descriptor says.
enum Link {
    Object(Descriptor),
    /// A socket with this inode.
    Socket(u64),
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
    // SAFETY: the call writes at most `length` bytes to `value`.
    let failed =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    (failed == 0).then_some(value)
}

fn address(fd: i32) -> Option<Address> {
    let peer = socket_name(fd, libc::getpeername).map(Address::Peer);
    peer.or_else(|| socket_name(fd, libc::getsockname).map(Address::Own))
}

/// `getpeername` or `getsockname`.
type GetName = unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> c_int;

fn socket_name(fd: i32, get_name: GetName) -> Option<String> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the call writes at most `length` bytes to `storage`, for which
    // all-zero is valid.
    let storage = unsafe {
        if get_name(fd, storage.as_mut_ptr().cast(), &raw mut length) != 0 {
            return None;
        }
        storage.assume_init()
    };
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which type of address the storage holds,
            // and the storage is large enough and aligned for each type.
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
    fn a_socket_is_described_by_its_peer_or_its_own_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        let describe = |fd| Descriptor::from_fd(Process::Own, fd).unwrap().to_string();
        assert_eq!(describe(listener.as_raw_fd()), format!("tcp on {address}"));
        assert_eq!(describe(stream.as_raw_fd()), format!("tcp to {address}"));
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(describe(socket.as_raw_fd()), format!("udp on {}", socket.local_addr().unwrap()));
    }

    #[test]
    fn a_socket_is_described_in_the_same_way_from_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener_6 = TcpListener::bind("[::1]:0");
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (pair, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut all = vec![listener.as_raw_fd(), stream.as_raw_fd(), datagrams.as_raw_fd(), pair.as_raw_fd()];
        all.extend(listener_6.iter().map(AsRawFd::as_raw_fd));
        for fd in all {
            let own = Descriptor::from_fd(Process::Own, fd).unwrap();
            let other = Descriptor::from_fd(Process::Other(crate::os::getpid()), fd).unwrap();
            assert_eq!(own, other);
        }
    }

    #[test]
    fn files_and_pipes_are_distinguished() {
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(
            Descriptor::from_fd(Process::Own, file.as_raw_fd()),
            Some(Descriptor::Path("/dev/null".into()))
        );
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(Descriptor::from_fd(Process::Own, reader.as_raw_fd()), Some(Descriptor::Pipe));
        assert_eq!(Descriptor::from_fd(Process::Own, -1), None);
    }
}
