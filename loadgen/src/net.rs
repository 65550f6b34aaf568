//! Connections to the target, from several loopback addresses if one has too
//! few ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Number of connections from one loopback address. It is well below the number
/// of ephemeral ports, which is about 28,000 for one source and one target.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;

/// Connects to `address`; `number` is the number of the connection and selects
/// the loopback address that it comes from.
pub(crate) async fn connect(address: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source(address.ip(), number) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
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
fn source(target: IpAddr, number: usize) -> Option<IpAddr> {
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
        assert_eq!(source(loopback, 9_999), None);
        assert_eq!(source(loopback, 10_000), Some(IpAddr::from([127, 0, 0, 2])));
        assert_eq!(source(loopback, 25_000), Some(IpAddr::from([127, 0, 0, 3])));
        assert_eq!(source(IpAddr::from([192, 0, 2, 1]), 25_000), None);
    }
}
