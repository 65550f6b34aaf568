//! A tonic server with the health service: single answers and streams.

use std::time::Duration;

use tokio::time;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus;

#[tokio::main]
async fn main() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("load", ServingStatus::Serving).await;
    tokio::spawn(async move {
        let mut interval = time::interval(Duration::from_millis(20));
        for n in 0_u64.. {
            interval.tick().await;
            let status = if n % 2 == 0 { ServingStatus::Serving } else { ServingStatus::NotServing };
            reporter.set_service_status("load", status).await;
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    println!("{}", listener.local_addr().expect("the listener has an address"));
    let mut server = Server::builder().concurrency_limit_per_connection(32).timeout(Duration::from_secs(30));
    server.add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await.expect("the server runs");
}
