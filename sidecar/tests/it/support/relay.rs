//! A network between sidecar and server that can be cut.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Passes datagrams on to a server and its answers back, unless it is cut.
pub(crate) struct Relay {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Relay {
    pub(crate) fn to(server: &str) -> Self {
        let server: SocketAddr = server.parse().unwrap();
        let socket = bound();
        let relay = Self {
            address: socket.local_addr().unwrap(),
            is_cut: Arc::new(AtomicBool::new(false)),
            is_over: Arc::new(AtomicBool::new(false)),
        };
        let (is_cut, is_over) = (Arc::clone(&relay.is_cut), Arc::clone(&relay.is_over));
        std::thread::spawn(move || forward(&socket, server, &is_cut, &is_over));
        relay
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Release);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket
}

/// Each sidecar's connection has a socket of its own towards the server, whose answers a thread of its own returns.
fn forward(socket: &UdpSocket, server: SocketAddr, is_cut: &Arc<AtomicBool>, is_over: &Arc<AtomicBool>) {
    let mut towards_server: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut datagram = [0; 1 << 16];
    while !is_over.load(Ordering::Acquire) {
        let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
        if is_cut.load(Ordering::Acquire) {
            continue;
        }
        let own = towards_server.entry(from).or_insert_with(|| {
            let own = bound();
            own.connect(server).unwrap();
            let (back, answers) = (socket.try_clone().unwrap(), own.try_clone().unwrap());
            let (is_cut, is_over) = (Arc::clone(is_cut), Arc::clone(is_over));
            std::thread::spawn(move || {
                let mut datagram = [0; 1 << 16];
                while !is_over.load(Ordering::Acquire) {
                    let Ok(length) = answers.recv(&mut datagram) else { continue };
                    if !is_cut.load(Ordering::Acquire) {
                        let _lost = back.send_to(&datagram[..length], from);
                    }
                }
            });
            own
        });
        let _lost = own.send(&datagram[..length]);
    }
}
