//! A link with a round-trip time: two TUN devices, the far one in a network namespace of its own, and threads
//! that carry every packet from one to the other 25 ms later.
//!
//! Packets have an MTU of 1,500 bytes, but may come in larger groups as with any network card that offers
//! segmentation; they are carried as they are. What does not fit into the line is dropped, as a router would.
//! Creating devices and namespaces needs root and Debian's `iproute2`.
//! Source: the kernel's Documentation/networking/tuntap.rst; RFC 2544 for the addresses.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, SyncDevice};

use crate::Result;

/// The round-trip time that is added.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(50);

const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);
const PREFIX_BITS: u8 = 30;
const MTU: u16 = 1500;
/// Packets that a device holds for us. The kernel's 500 are dropped at a few Gbit/s.
const DEVICE_PACKETS: &str = "10000";
/// Bytes under way in one direction.
const LINE_BYTES: usize = 128 << 20;
/// The largest group of packets, with the header that describes it.
const GROUP_BYTES: usize = 65_536 + 64;
/// Nobody else is in the far namespace, so every port is free.
const FIRST_PORT: u16 = 5000;

/// The link. Dropping it removes the namespace, and with it the devices.
pub(crate) struct DelayLine {
    namespace: String,
    next_port: AtomicU16,
    immediate: Arc<AtomicBool>,
}

/// Packets under way in one direction.
#[derive(Default)]
struct Line {
    /// Whether packets are not to be delayed at present.
    immediate: Arc<AtomicBool>,
    packets: Mutex<Packets>,
    arrived: Condvar,
}

#[derive(Default)]
struct Packets {
    queue: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    ended: bool,
}

impl DelayLine {
    /// Sets up the link; an error says why it cannot be had here.
    pub(crate) fn create() -> Result<DelayLine> {
        if !rustix::process::geteuid().is_root() {
            return Err("adding a round-trip time needs root".into());
        }
        let number = std::process::id();
        let namespace = format!("holdfast-bench-{number}");
        let near_name = format!("hfb{number}n");
        let far_name = format!("hfb{number}f");
        let near = device(&near_name)?;
        let far = device(&far_name)?;
        ip(&["netns", "add", &namespace])?;
        let line = DelayLine {
            namespace,
            next_port: AtomicU16::new(FIRST_PORT),
            immediate: Arc::default(),
        };
        let name = line.namespace.as_str();
        ip(&["link", "set", &far_name, "netns", name])?;
        let address = |address| format!("{address}/{PREFIX_BITS}");
        ip(&["addr", "add", &address(NEAR), "dev", &near_name])?;
        ip(&[
            "link",
            "set",
            &near_name,
            "txqueuelen",
            DEVICE_PACKETS,
            "up",
        ])?;
        ip(&["-n", name, "addr", "add", &address(FAR), "dev", &far_name])?;
        ip(&[
            "-n",
            name,
            "link",
            "set",
            &far_name,
            "txqueuelen",
            DEVICE_PACKETS,
            "up",
        ])?;
        let (near, far) = (Arc::new(near), Arc::new(far));
        carry(near.clone(), far.clone(), &line.immediate);
        carry(far, near, &line.immediate);
        Ok(line)
    }

    /// The namespace at the far end, where servers run.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The address of the far end.
    pub(crate) fn address(&self) -> IpAddr {
        FAR.into()
    }

    /// Whether packets are delayed. They are at first; filling a server takes too long then.
    pub(crate) fn delay(&self, delay: bool) {
        self.immediate.store(!delay, Ordering::Relaxed);
    }

    /// A port that no server has had yet.
    pub(crate) fn port(&self) -> u16 {
        self.next_port.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.namespace]);
    }
}

fn device(name: &str) -> Result<SyncDevice> {
    let device = DeviceBuilder::new().name(name).mtu(MTU).offload(true);
    let device = device.build_sync();
    device.map_err(|error| format!("a TUN device cannot be created: {error}").into())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), message.trim()).into())
}

/// Two threads that carry packets until a device is gone.
fn carry(from: Arc<SyncDevice>, to: Arc<SyncDevice>, immediate: &Arc<AtomicBool>) {
    let line = Arc::new(Line {
        immediate: immediate.clone(),
        ..Line::default()
    });
    let entrance = line.clone();
    thread::spawn(move || {
        let mut group = vec![0; GROUP_BYTES];
        while let Ok(bytes) = retried(|| from.recv(&mut group)) {
            entrance.enter(&group[..bytes], Instant::now());
        }
        entrance.end();
    });
    thread::spawn(move || {
        while let Some((due, packet)) = line.leave() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A packet that the device refuses is lost, as on any link.
            let _ = retried(|| to.send(&packet));
        }
    });
}

fn retried(mut action: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match action() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Line {
    /// Takes a packet in, or drops it where the line is full.
    fn enter(&self, packet: &[u8], now: Instant) {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        if packets.bytes + packet.len() <= LINE_BYTES {
            packets.bytes += packet.len();
            let due = match self.immediate.load(Ordering::Relaxed) {
                true => now,
                false => now + ROUND_TRIP / 2,
            };
            packets.queue.push_back((due, packet.to_vec()));
            self.arrived.notify_one();
        }
    }

    /// The next packet and when it is due at the other end; none when the line has ended.
    fn leave(&self) -> Option<(Instant, Vec<u8>)> {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some((due, packet)) = packets.queue.pop_front() {
                packets.bytes -= packet.len();
                return Some((due, packet));
            }
            if packets.ended {
                return None;
            }
            packets = self
                .arrived
                .wait(packets)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        packets.ended = true;
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_in_order_half_a_round_trip_later() {
        let (line, now) = (Line::default(), Instant::now());
        line.enter(b"one", now);
        line.enter(b"two", now + Duration::from_millis(1));
        line.end();
        let (due, packet) = line.leave().unwrap();
        assert_eq!(
            (due - now, packet.as_slice()),
            (ROUND_TRIP / 2, b"one".as_slice())
        );
        assert_eq!(line.leave().unwrap().1, b"two");
        assert!(line.leave().is_none());
    }

    #[test]
    fn the_delay_can_be_turned_off() {
        let (line, now) = (Line::default(), Instant::now());
        line.immediate.store(true, Ordering::Relaxed);
        line.enter(b"one", now);
        assert_eq!(line.leave().unwrap().0, now);
    }

    #[test]
    fn a_full_line_drops() {
        let (line, now) = (Line::default(), Instant::now());
        let half = vec![0; LINE_BYTES / 2 + 1];
        line.enter(&half, now);
        line.enter(&half, now);
        line.end();
        assert!(line.leave().is_some());
        assert!(line.leave().is_none());
    }
}
