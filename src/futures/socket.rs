//! What a descriptor refers to.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::futures::type_name;
use crate::process::Process;

/// A table of sockets is read up to this size.
const MAX_TABLE_BYTES: u64 = 16 << 20;
/// The state of a socket that listens, in the tables of TCP.
const LISTENS: &str = "0A";

/// Returns what a descriptor of a process refers to, such as
/// `tcp to 127.0.0.1:80`.
pub(super) fn object(process: Process, fd: i32) -> Option<String> {
    let link = std::fs::read_link(process.proc_path(&format!("fd/{fd}"))).ok()?;
    let link = link.to_string_lossy();
    let inode = link.strip_prefix("socket:[").and_then(|inode| inode.strip_suffix(']'));
    let described = inode.and_then(|inode| {
        ["tcp", "tcp6", "udp", "udp6"]
            .into_iter()
            .find_map(|table| find(process, table, |line| internet(table, line, inode)))
            .or_else(|| find(process, "unix", |line| unix(line, inode)))
    });
    Some(type_name::printable(&described.unwrap_or_else(|| link.into_owned())))
}

fn find(process: Process, table: &str, of_line: impl Fn(&str) -> Option<String>) -> Option<String> {
    let file = File::open(process.proc_path(&format!("net/{table}"))).ok()?;
    let lines = BufReader::new(file.take(MAX_TABLE_BYTES)).lines();
    lines.map_while(Result::ok).find_map(|line| of_line(&line))
}

/// Describes a line of a table of TCP or UDP, if it is that of a socket.
fn internet(table: &str, line: &str, inode: &str) -> Option<String> {
    let fields: Vec<_> = line.split_whitespace().take(10).collect();
    let [_, local, peer, state, .., of_line] = fields[..] else { return None };
    if of_line != inode || fields.len() < 10 {
        return None;
    }
    let protocol = table.trim_end_matches('6');
    let (local, peer) = (address(local)?, address(peer)?);
    Some(if peer.port() != 0 {
        format!("{protocol} to {peer}")
    } else if protocol == "udp" || state == LISTENS {
        format!("{protocol} on {local}")
    } else {
        format!("{protocol} without a peer")
    })
}

/// Reads `0100007F:1F90`. The kernel writes an address as words of the machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at * 8)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// Describes a line of the table of Unix sockets, if it is that of a socket.
fn unix(line: &str, inode: &str) -> Option<String> {
    let mut fields = line.split_whitespace().skip(6);
    let (of_line, path) = (fields.next()?, fields.next());
    if of_line != inode {
        return None;
    }
    Some(match path {
        Some(path) => format!("unix socket {path}"),
        None => "unix socket without a path".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tables_of_sockets_are_described() {
        let of = |line, table| internet(table, line, "77");
        let line =
            "  1: 0100007F:1F90 0200007F:0050 01 00000000:00000000 00:00000000 00000000  0  0 77 1 0 20";
        assert_eq!(of(line, "tcp").as_deref(), Some("tcp to 127.0.0.2:80"));
        let line =
            "  1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 77 1 0 20";
        assert_eq!(of(line, "tcp").as_deref(), Some("tcp on 0.0.0.0:8080"));
        assert_eq!(of(line, "udp").as_deref(), Some("udp on 0.0.0.0:8080"));
        let line = "  1: 00000000000000000000000001000000:1F90 0000000000000000FFFF00000100007F:0016 01 \
                    0:0 0:0 0 0 0 77 1";
        assert_eq!(of(line, "tcp6").as_deref(), Some("tcp to 127.0.0.1:22"));
        assert_eq!(of("  1: 1:2 3:4", "tcp"), None);
        assert_eq!(of("", "tcp"), None);
        let line = "0000: 00000002 00000000 00010000 0001 01    77 /run/a.sock";
        assert_eq!(unix(line, "77").as_deref(), Some("unix socket /run/a.sock"));
        assert_eq!(unix(line, "7"), None);
    }
}
