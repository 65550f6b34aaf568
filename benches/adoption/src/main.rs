//! An echo server, watched by loopscope if that is one of its features. It
//! prints its memory in KiB after some connections, and ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 100;

fn main() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().worker_threads(2);
    #[cfg(feature = "loopscope")]
    let scope = loopscope::Scope::builder().start().expect("a scope");
    #[cfg(feature = "loopscope")]
    let builder = scope.watch(&mut builder);
    builder.build().expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener));
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = TcpStream::connect(address).await.expect("a connection");
            client.write_all(b"ping").await.expect("a write");
            client.read_exact(&mut [0; 4]).await.expect("an answer");
            clients.push(client);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("{}", own_memory_kib());
    });
}

async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Returns the resident memory that is not a part of a file.
fn own_memory_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").to_owned()
}
