//! How much the kernel may hold for a client that is near.
//!
//! Left alone, the kernel lets a fast connection have 4 MiB waiting. A client at the other end of the world
//! needs that; one on the same network does not, and many of them then cycle through more memory than the
//! processor's caches hold. So a connection whose first round trip was short gets a small buffer, and any
//! other is left alone.
//!
//! `TCP_INFO` has no safe wrapper in the libraries this crate uses, hence the one unsafe call.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::TcpStream;

/// A client with a shorter round trip is near. A buffer of 256 KiB, which is what the kernel makes of half
/// as much, then still allows 256 MiB/s on one connection.
const NEAR: Duration = Duration::from_millis(1);

/// Sets the send buffer of a new connection to `bytes` if its client is near.
///
/// It is a setting for speed: where it cannot be made, nothing else changes.
pub(super) fn fit(stream: &TcpStream, bytes: usize) {
    if bytes > 0 && round_trip(stream).is_ok_and(is_near) {
        let _ = set_socket_send_buffer_size(stream, bytes);
    }
}

/// A round trip of zero was not measured: the handshake may have needed a second try.
fn is_near(round_trip: Duration) -> bool {
    !round_trip.is_zero() && round_trip < NEAR
}

/// The round trip of the connection as the kernel has measured it, that of the handshake at first.
#[expect(unsafe_code, reason = "TCP_INFO has no safe wrapper")]
fn round_trip(stream: &TcpStream) -> io::Result<Duration> {
    /// `struct tcp_info` (linux/tcp.h) begins with 8 bytes and 15 numbers of 32 bits; then comes `tcpi_rtt`,
    /// in microseconds. The kernel fills as much of it as is asked for.
    const RTT: usize = 2 + 15;
    let mut info = [0_u32; RTT + 1];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` is `length` bytes long and every pattern of bits is a number; the kernel writes no more
    // than `length` bytes to it. The descriptor is open for as long as `stream` is borrowed.
    let failed = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if failed != 0 || (length as usize) < size_of_val(&info) {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::from_micros(info[RTT].into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_send_buffer_size;

    #[tokio::test]
    async fn a_client_on_this_machine_is_near() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let measured = round_trip(&stream).unwrap();
        let before = socket_send_buffer_size(&stream).unwrap();
        fit(&stream, 0);
        assert_eq!(socket_send_buffer_size(&stream).unwrap(), before);
        fit(&stream, 65_536);
        let changed = socket_send_buffer_size(&stream).unwrap() != before;
        // On a machine that is very busy the handshake may take longer.
        assert_eq!(changed, is_near(measured), "{measured:?}");
    }

    #[test]
    fn near_is_less_than_a_millisecond_and_measured() {
        for (micros, near) in [(0, false), (1, true), (999, true), (1000, false)] {
            assert_eq!(is_near(Duration::from_micros(micros)), near, "{micros}");
        }
    }
}
