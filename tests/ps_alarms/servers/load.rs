//! Puts one of the servers under load until it is killed:
//! `load http|hyper|grpc HOST:PORT CONNECTIONS`.

use std::env;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const REQUESTS_OF_A_CONNECTION: u64 = 500;
const PAUSE_BETWEEN_REQUESTS: Duration = Duration::from_millis(5);
/// Streams of events last longer than other requests.
const REQUESTS_TO_A_STREAM: u64 = 100;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn path(n: u64) -> String {
    if n % REQUESTS_TO_A_STREAM == REQUESTS_TO_A_STREAM - 1 {
        return "/events".to_owned();
    }
    match n % 7 {
        0 => format!("/count/{}", n % 50),
        1 => format!("/table/{n}"),
        2 => "/limited".to_owned(),
        3 => format!("/job/{n}"),
        4 => format!("/joined/{n}"),
        5 => format!("/pool/{n}"),
        _ => format!("/raced/{n}"),
    }
}

async fn http(address: &str, first: u64) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    for n in first..first + REQUESTS_OF_A_CONNECTION {
        let body = if n % 3 == 0 { Bytes::from(vec![b'a'; 2_000]) } else { Bytes::new() };
        let request = Request::get(path(n)).header("host", address).body(Full::new(body))?;
        sender.ready().await?;
        sender.send_request(request).await?.into_body().collect().await?;
        time::sleep(PAUSE_BETWEEN_REQUESTS).await;
    }
    connection.abort();
    Ok(())
}

async fn grpc(address: &str) -> Result<(), Failure> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = HealthClient::new(channel);
    let request = || HealthCheckRequest { service: "load".to_owned() };
    let mut watch = client.watch(request()).await?.into_inner();
    for n in 0..REQUESTS_OF_A_CONNECTION {
        client.check(request()).await?;
        if n % 10 == 0 {
            watch.message().await?;
        }
        time::sleep(PAUSE_BETWEEN_REQUESTS).await;
    }
    Ok(())
}

#[tokio::main(worker_threads = 1)]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [kind, address, connections] = &arguments[..] else { return Err("load KIND HOST:PORT CONNECTIONS".into()) };
    for first in 0..connections.parse()? {
        let (kind, address) = (kind.clone(), address.clone());
        tokio::spawn(async move {
            for round in 0.. {
                let result = match kind.as_str() {
                    "grpc" => grpc(&address).await,
                    _ => http(&address, first * 13 + round).await,
                };
                if let Err(error) = result {
                    eprintln!("{error}");
                    time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    std::future::pending().await
}
