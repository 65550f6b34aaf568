//! Certificates, and a TLS front that passes the bytes to a server in plain
//! text.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority that issues certificates, and the file of its own one.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

impl Authority {
    /// Returns an authority whose certificate is in a file that `name`
    /// distinguishes from those of other tests.
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, format!("loadgen test {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = std::env::temp_dir().join(format!("loadgen-ca-{name}-{}.pem", std::process::id()));
        std::fs::write(&file, certificate.pem()).expect("a file");
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Returns the path of its certificate.
    pub(crate) fn path(&self) -> &str {
        self.file.to_str().expect("text")
    }

    /// Returns the settings of a server named `localhost`.
    pub(crate) fn server(&self) -> ServerConfig {
        self.server_with(|_| {})
    }

    /// Returns the settings of a server named `localhost` whose certificate has
    /// expired.
    pub(crate) fn expired_server(&self) -> ServerConfig {
        self.server_with(|params| {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
        })
    }

    fn server_with(&self, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key is that of the certificate")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Starts a front for the server at `address`. Returns the port of the front,
/// whose thread ends with the test's process.
pub(crate) fn front(address: SocketAddr, config: ServerConfig) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(pass_connections(listener, address, TlsAcceptor::from(Arc::new(config))));
    });
    port
}

async fn pass_connections(listener: std::net::TcpListener, address: SocketAddr, acceptor: TlsAcceptor) {
    listener.set_nonblocking(true).expect("a socket");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _ = client.set_nodelay(true);
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let Ok(mut server) = tokio::net::TcpStream::connect(address).await else { return };
            let _ = server.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
