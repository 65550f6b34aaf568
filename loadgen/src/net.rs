//! Connections to the target, from several loopback addresses if one has too
//! few ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Number of connections from one loopback address. It is well below the number
/// of ephemeral ports, which is about 28,000 for one source and one target.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;

/// Connects to `address`; `number` is the number of the connection and selects
/// the local address that it comes from: one of `from`, or if that is empty one
/// of loopback.
pub(crate) async fn connect(address: SocketAddr, number: usize, from: &[IpAddr]) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let given = number.checked_rem(from.len()).and_then(|index| from.get(index).copied());
    if let Some(source) = given.or_else(|| loopback_source(address.ip(), number)) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Checks that connections to `target` can come from each address of `from`.
pub(crate) fn check_from(from: &[IpAddr], target: SocketAddr) -> Result<(), String> {
    match from.iter().find(|address| address.is_ipv4() != target.is_ipv4()) {
        Some(address) => Err(format!(
            "--from {address} cannot be used, because the target {target} is not of the same address family"
        )),
        None => Ok(()),
    }
}

/// Returns the first address of `target`, which is `HOST:PORT`.
pub(crate) async fn resolve(target: &str) -> Result<SocketAddr, String> {
    let mut addresses = tokio::net::lookup_host(target)
        .await
        .map_err(|error| format!("the address of {target} cannot be found: {error}"))?;
    addresses.next().ok_or_else(|| format!("{target} has no address"))
}

/// Returns the loopback address that connection `number` must come from. Each
/// block of [`CONNECTIONS_PER_ADDRESS`] connections has its own address; `None`
/// for the first block and for other targets, where the kernel chooses.
fn loopback_source(target: IpAddr, number: usize) -> Option<IpAddr> {
    let block = u8::try_from(number / CONNECTIONS_PER_ADDRESS).ok()?;
    let loopback = matches!(target, IpAddr::V4(address) if address.is_loopback());
    (loopback && block > 0).then(|| Ipv4Addr::new(127, 0, 0, block.saturating_add(1)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_loopback_connections_come_from_several_addresses() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(loopback_source(loopback, 9_999), None);
        assert_eq!(loopback_source(loopback, 10_000), Some(IpAddr::from([127, 0, 0, 2])));
        assert_eq!(loopback_source(loopback, 25_000), Some(IpAddr::from([127, 0, 0, 3])));
        assert_eq!(loopback_source(IpAddr::from([192, 0, 2, 1]), 25_000), None);
    }

    #[tokio::test]
    async fn connections_come_from_the_given_addresses_in_turn() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let target = listener.local_addr().expect("an address");
        let from = [IpAddr::from([127, 0, 0, 5]), IpAddr::from([127, 0, 0, 6])];
        for (number, expected) in [(0, from[0]), (1, from[1]), (2, from[0])] {
            let stream = connect(target, number, &from).await.expect("connected");
            assert_eq!(stream.local_addr().expect("an address").ip(), expected);
        }
        assert_eq!(check_from(&from, target), Ok(()));
        assert!(check_from(&["::1".parse().expect("an address")], target).is_err());
    }
}
