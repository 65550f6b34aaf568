//! Waits for a late datagram.

use std::net::UdpSocket;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    async move {
        crate::stage::later(stall, move || peer.send_to(b"x", address));
        let received = socket.recv_from(&mut [0; 16]); // BLOCKS: network std::net::UdpSocket::recv_from
        assert_eq!(received.unwrap().0, 1);
    }
}
