//! Starts a server on a free port and connects clients to it. Clients wait for
//! lines, never for a fixed time.
#![allow(dead_code, unreachable_pub)]

#[cfg(unix)]
pub mod program;
pub mod tls;

use std::time::Duration;

use chat_server::{Args, ClientLimits, Config, Listeners, serve};
use clap::Parser;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A test fails if one of its waits takes longer than this. No result depends
/// on the actual duration.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    pub address: std::net::SocketAddr,
    /// Set if a flag asks for TLS.
    pub tls_address: Option<std::net::SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Starts a server with these flags.
    pub async fn start(flags: &[&str]) -> Self {
        Self::with_limits(flags, ClientLimits::default()).await
    }

    /// Starts a server with these flags and client limits. Its sockets have
    /// small send buffers.
    pub async fn with_limits(flags: &[&str], limits: ClientLimits) -> Self {
        let name: &[&str] = if flags.contains(&"--server-name") { &[] } else { &["--server-name", "s"] };
        let args = Args::try_parse_from([&["chat-server"], name, flags].concat()).expect("flags");
        let config = Config::try_from(args).expect("valid flags").with_client_limits(limits);
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_send_buffer_size(16 * 1024).expect("set");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = socket.listen(4096).expect("a listener");
        let address = listener.local_addr().expect("bound");
        let (mut listeners, mut tls_address) = (Listeners::from(listener), None);
        if flags.iter().any(|flag| flag.starts_with("--tls-")) {
            let tls = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            tls_address = Some(tls.local_addr().expect("bound"));
            listeners = listeners.with_tls(tls);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let running = tokio::spawn(serve(listeners, config, shutdown));
        Self { address, tls_address, stop: Some(stop), running }
    }

    /// Starts the shutdown and waits for its end.
    pub async fn stop(mut self) {
        self.begin_stop();
        timeout(STEP_TIMEOUT, self.running)
            .await
            .expect("ends in time")
            .expect("no panic")
            .expect("no error");
    }

    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn connect(&self) -> Client {
        let (read, write) = TcpStream::connect(self.address).await.expect("accepted").into_split();
        Client { read: BufReader::new(read), write }
    }

    /// Connects with small buffers, so that the server soon notices when the
    /// client does not read.
    pub async fn connect_with_small_buffers(&self) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 * 1024).expect("set");
        let (read, write) = socket.connect(self.address).await.expect("accepted").into_split();
        Client { read: BufReader::with_capacity(512, read), write }
    }

    /// Returns a registered client.
    pub async fn client(&self, nick: &str) -> Client {
        let mut client = self.connect().await;
        client.register(nick).await;
        client
    }

    /// Returns a registered client in a channel.
    pub async fn member(&self, nick: &str, channel: &str) -> Client {
        let mut client = self.client(nick).await;
        client.send(&format!("JOIN {channel}")).await;
        client.until(" 366 ").await;
        client
    }
}

/// The client's end of a connection.
pub struct Client<R = OwnedReadHalf, W = OwnedWriteHalf> {
    pub read: BufReader<R>,
    pub write: W,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Client<R, W> {
    pub async fn send(&mut self, lines: &str) {
        self.send_bytes(format!("{lines}\r\n").as_bytes()).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let write = async {
            self.write.write_all(bytes).await?;
            // A TLS stream keeps what the socket does not accept.
            self.write.flush().await
        };
        timeout(STEP_TIMEOUT, write).await.expect("sent in time").expect("connected");
    }

    /// Registers with this nick.
    pub async fn register(&mut self, nick: &str) {
        self.send(&format!("NICK {nick}\r\nUSER {nick} 0 * :Real {nick}")).await;
        self.until(" 422 ").await;
    }

    /// Returns the next line without its ending, or `None` at the end of the
    /// connection.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read =
            timeout(STEP_TIMEOUT, self.read.read_until(b'\n', &mut line)).await.expect("a line in time");
        let tag_bytes = if line.starts_with(b"@") {
            line.iter().position(|&byte| byte == b' ').unwrap_or(0) + 1
        } else {
            0
        };
        assert!(line.len() - tag_bytes <= 512, "{} bytes", line.len());
        (read.is_ok() && !line.is_empty()).then(|| String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Returns all lines up to the first that contains `part`.
    pub async fn lines_until(&mut self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
            if lines.last().is_some_and(|line| line.contains(part)) {
                return lines;
            }
        }
        panic!("the connection ended before {part:?}, after {lines:#?}");
    }

    /// Returns the first line that contains `part`.
    pub async fn until(&mut self, part: &str) -> String {
        self.lines_until(part).await.pop().expect("at least one")
    }

    /// Sends `line` and returns the replies. A PING after it marks their end.
    pub async fn ask(&mut self, line: &str) -> Vec<String> {
        self.ask_of("s", line).await
    }

    /// The same for a server with another name.
    pub async fn ask_of(&mut self, server: &str, line: &str) -> Vec<String> {
        self.send(&format!("{line}\r\nPING done")).await;
        let mut lines = self.lines_until(&format!("PONG {server} :done")).await;
        lines.pop();
        lines
    }

    /// Returns all lines up to the end of the connection.
    pub async fn lines_until_end(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        lines
    }
}
