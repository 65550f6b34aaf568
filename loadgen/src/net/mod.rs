//! Connections to the target, in plain text or with TLS, from several loopback
//! addresses if one has too few ports.

mod stream;
mod tls;
mod tls_error;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpSocket, TcpStream};

use crate::plan::{Target, TlsOptions};
use crate::record::{Failure, RunState};
pub(crate) use stream::Stream;
use tls::TlsClient;

/// Number of connections from one loopback address. It is well below the number
/// of ephemeral ports, which is about 28,000 for one source and one target.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;

/// Opens connections to one target. Copies share their settings.
#[derive(Debug, Clone)]
pub(crate) struct Connector(Arc<Settings>);

#[derive(Debug)]
struct Settings {
    address: SocketAddr,
    from: Vec<IpAddr>,
    /// The handshakes, and the run that records how long they take; `None` for
    /// a target in plain text.
    tls: Option<(TlsClient, Arc<RunState>)>,
}

impl Connector {
    /// Returns a connector for `target`, which is that of the run: resolves its
    /// name and reads the certificates.
    ///
    /// # Errors
    ///
    /// If the name has no address, the addresses of `--from` do not fit, or
    /// there are no certificates to verify the target with.
    pub(crate) async fn new(run: &Arc<RunState>, target: &Target) -> Result<Self, String> {
        Self::with_tls(run, target, &run.plan.tls).await
    }

    /// Returns a connector for a server that the generator has started itself:
    /// it accepts any certificate.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub(crate) async fn to_own_server(run: &Arc<RunState>, target: &Target) -> Result<Self, String> {
        Self::with_tls(run, target, &TlsOptions { is_insecure: true, ..TlsOptions::default() }).await
    }

    async fn with_tls(run: &Arc<RunState>, target: &Target, options: &TlsOptions) -> Result<Self, String> {
        let from = run.plan.from.clone();
        let address = resolve(target.address()).await?;
        check_from(&from, address)?;
        let tls = target.has_tls().then(|| TlsClient::new(options, target)).transpose()?;
        let tls = tls.map(|tls| (tls, Arc::clone(run)));
        Ok(Self(Arc::new(Settings { address, from, tls })))
    }

    /// Opens a connection that is ready for the protocol of the target;
    /// `number` is the number of the connection and selects the local address
    /// that it comes from.
    pub(crate) async fn connect(&self, number: usize) -> Result<Stream, Failure> {
        let Settings { address, from, tls } = &*self.0;
        let stream = connect(*address, number, from).await.map_err(|error| Failure::connecting(&error))?;
        let Some((tls, run)) = tls else { return Ok(Stream::Plain(stream)) };
        let begin = Instant::now();
        let stream = tls.handshake(stream).await?;
        run.logins.on_handshake(begin.elapsed());
        Ok(stream)
    }
}

#[cfg(test)]
impl Connector {
    /// Returns a connector for `address` in plain text.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self(Arc::new(Settings { address, from: Vec::new(), tls: None }))
    }
}

/// Connects to `address`; `number` is the number of the connection and selects
/// the local address that it comes from: one of `from`, or if that is empty one
/// of loopback.
async fn connect(address: SocketAddr, number: usize, from: &[IpAddr]) -> io::Result<TcpStream> {
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
fn check_from(from: &[IpAddr], target: SocketAddr) -> Result<(), String> {
    match from.iter().find(|address| address.is_ipv4() != target.is_ipv4()) {
        Some(address) => Err(format!(
            "--from {address} cannot be used, because the target {target} is not of the same address family"
        )),
        None => Ok(()),
    }
}

/// Returns the first address of `target`, which is `HOST:PORT`.
async fn resolve(target: &str) -> Result<SocketAddr, String> {
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
