//! What a socket is connected to. The sockets of another process are those that
//! `/proc/PID/net` lists.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::lock::Lock;
use crate::per_process::PerProcess;
use crate::process::Process;

/// How much of each list is read.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// A longer line is no line of these lists.
const MAX_LINE_BYTES: u64 = 1024;
/// How many sockets are kept.
const MAX_SOCKETS: usize = 1 << 20;
/// The lists, and the protocol of each.
const LISTS: [(&str, Protocol); 5] = [
    ("net/tcp", Protocol::Internet(Transport::Tcp)),
    ("net/tcp6", Protocol::Internet(Transport::Tcp)),
    ("net/udp", Protocol::Internet(Transport::Udp)),
    ("net/udp6", Protocol::Internet(Transport::Udp)),
    ("net/unix", Protocol::Unix),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    UnixStream,
    UnixDatagram,
    Unknown,
}

/// The address of the peer, or the socket's own address if it has no peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Peer(String),
    Own(String),
}

#[derive(Debug, Clone, Copy)]
enum Protocol {
    Internet(Transport),
    Unix,
}

/// What is known of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) transport: Transport,
    pub(crate) address: Option<Address>,
}

/// The sockets of the network that a process is in, by their inodes.
#[derive(Debug, Default)]
pub(crate) struct SocketTable {
    by_inode: HashMap<u64, Socket>,
}

/// A table is used for this time: to read one takes milliseconds.
const MAX_AGE: Duration = Duration::from_secs(1);
/// A socket that is not in a table of this age is not looked for again.
const MIN_AGE: Duration = Duration::from_millis(10);

/// The table that was read last.
static LAST: PerProcess<Lock<Option<(Process, Instant, SocketTable)>>> = PerProcess::new();

/// Returns the socket with an inode in the network that a process is in.
pub(crate) fn find(process: Process, inode: u64) -> Option<Socket> {
    let mut last = LAST.get().lock();
    if let Some((_, at, table)) = last.as_ref().filter(|(of, at, _)| *of == process && at.elapsed() < MAX_AGE)
    {
        let found = table.find(inode).cloned();
        if found.is_some() || at.elapsed() < MIN_AGE {
            return found;
        }
    }
    let table = SocketTable::of(process);
    let found = table.find(inode).cloned();
    *last = Some((process, Instant::now(), table));
    found
}

impl SocketTable {
    /// Reads the sockets as they are now.
    pub(crate) fn of(process: Process) -> Self {
        let sockets = LISTS.iter().flat_map(|(list, protocol)| read(process, list, *protocol));
        Self { by_inode: sockets.take(MAX_SOCKETS).collect() }
    }

    /// Returns the socket with an inode.
    pub(crate) fn find(&self, inode: u64) -> Option<&Socket> {
        self.by_inode.get(&inode)
    }
}

/// Returns the inode and the socket of each line.
fn read(process: Process, list: &'static str, protocol: Protocol) -> impl Iterator<Item = (u64, Socket)> {
    let file = File::open(process.proc_path(list)).ok();
    let mut reader = file.map(|file| BufReader::new(file.take(MAX_LIST_BYTES)));
    let lines = std::iter::from_fn(move || {
        let mut line = Vec::new();
        let length = reader.as_mut()?.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).ok()?;
        (length > 0).then_some(line)
    });
    lines.filter_map(move |line| {
        let line = String::from_utf8_lossy(&line);
        match protocol {
            Protocol::Internet(transport) => parse_internet(&line, transport),
            Protocol::Unix => parse_unix(&line),
        }
    })
}

/// Parses a line of `net/tcp` and its like. The inode is the tenth field.
fn parse_internet(line: &str, transport: Transport) -> Option<(u64, Socket)> {
    let mut fields = line.split_whitespace();
    let (own, peer) = (fields.nth(1)?, fields.next()?);
    let inode = fields.nth(6)?.parse().ok().filter(|inode| *inode != 0)?;
    let (own, peer) = (parse_address(own)?, parse_address(peer)?);
    let is_unknown = peer.ip().is_unspecified() && peer.port() == 0;
    let address = if is_unknown { Address::Own(own.to_string()) } else { Address::Peer(peer.to_string()) };
    Some((inode, Socket { transport, address: Some(address) }))
}

/// Parses an address in hexadecimal: words of 32 bits as they are in memory,
/// and the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = [0; 16];
    let words = ip.len() / 8;
    for (index, word) in bytes.chunks_exact_mut(4).enumerate().take(words) {
        let digits = ip.get(index * 8..index * 8 + 8)?;
        word.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    match ip.len() {
        8 => Some(SocketAddr::from((Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]), port))),
        32 => Some(SocketAddr::from((Ipv6Addr::from(bytes), port))),
        _ => None,
    }
}

/// Parses a line of `net/unix`: the type is the fifth field, the inode the
/// seventh, and a path may follow. The list does not have the peer.
fn parse_unix(line: &str) -> Option<(u64, Socket)> {
    const STREAM: u32 = 1;
    const DATAGRAM: u32 = 2;
    let mut fields = line.split_whitespace();
    let kind = u32::from_str_radix(fields.nth(4)?, 16).ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let transport = match kind {
        STREAM => Transport::UnixStream,
        DATAGRAM => Transport::UnixDatagram,
        _ => return None,
    };
    let path = fields.next().filter(|path| path.starts_with('/'));
    Some((inode, Socket { transport, address: path.map(|path| Address::Own(path.to_owned())) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_peer_or_else_the_own_address() {
        let tcp = "  1: 0100007F:1F90 0200007F:0050 01 00000000:00000000 00:00000000 00000000  0  0 77 1 0";
        let expected = |address| Some((77, Socket { transport: Transport::Tcp, address: Some(address) }));
        let found = parse_internet(tcp, Transport::Tcp);
        assert_eq!(found, expected(Address::Peer("127.0.0.2:80".to_owned())));
        let listener = tcp.replace("0200007F:0050", "00000000:0000");
        let found = parse_internet(&listener, Transport::Tcp);
        assert_eq!(found, expected(Address::Own("127.0.0.1:8080".to_owned())));
        let unix = "ffff: 00000002 00000000 00010000 0001 01 4242 /run/a.sock";
        let address = Some(Address::Own("/run/a.sock".to_owned()));
        assert_eq!(parse_unix(unix), Some((4242, Socket { transport: Transport::UnixStream, address })));
    }

    #[test]
    fn lines_of_other_forms_are_no_sockets() {
        for line in ["", "a", "  sl  local_address rem_address   st", "1: 1:2 3:4 5 6 7 8 9 10 11 12"] {
            assert_eq!(parse_internet(line, Transport::Tcp), None, "{line}");
            assert_eq!(parse_unix(line), None, "{line}");
        }
        for address in ["", ":", "0100007F", "0100007F:", "\u{e4}\u{e4}\u{e4}\u{e4}:1", "0100007F0:1"] {
            assert_eq!(parse_address(address), None, "{address}");
        }
    }
}
