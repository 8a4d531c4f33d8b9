//! A machine apart, with a link to each service it needs, and links that can be cut.
//!
//! The machine is a network namespace, which ends with the test process however that ends. A link is a pair of
//! Ethernet devices; a relay at its near end passes connections on to the service. Cut, both ends send to an address
//! of the Ethernet that nobody has: every packet is lost, nothing is refused or reset, and what TCP sent before and
//! after is sent again once the link is whole. Source: ip-link(8), ip-neighbour(8); RFC 2544 for the addresses.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::Command;

/// Holds the namespace until the test process ends.
const HOLDER: &str = "ip link set lo up && echo ready && read end";
/// The last links of the range that is set aside for measurements, four addresses each.
const RANGE: u32 = u32::from_be_bytes([198, 19, 0, 0]);
const LINKS: u32 = 16_384;
/// Processes of a machine have numbers that are near each other, and no test process has so many links.
const LINKS_PER_PROCESS: u32 = 8;
/// Locally administered, and nobody's.
const NOBODY: &str = "02:00:00:00:00:01";

/// A machine apart. It reaches nothing but itself and its links.
#[derive(Debug)]
pub struct Network {
    holder: Child,
}

/// A way to a service.
#[derive(Debug)]
pub struct Link {
    namespace: String,
    near: End,
    far: End,
    port: u16,
}

#[derive(Debug)]
struct End {
    device: String,
    address: Ipv4Addr,
}

impl Network {
    /// Sets the machine up, without links.
    ///
    /// # Panics
    /// When the tests do not run as root, or may not make namespaces.
    #[must_use]
    pub fn start() -> Network {
        assert!(
            rustix::process::geteuid().is_root(),
            "tests of a network make namespaces: run them as root"
        );
        let mut holder = Process::new("unshare")
            .args(["--net", "sh", "-c", HOLDER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("making a network namespace");
        let mut said = String::new();
        let output = holder.stdout.take().expect("it is piped");
        let read = BufReader::new(output).read_line(&mut said);
        assert!(read.is_ok() && said == "ready\n", "no network namespace");
        Network { holder }
    }

    /// The file that stands for the namespace.
    pub(crate) fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// Links the machine to a service of this one, given as `127.0.0.1:<port>`.
    ///
    /// # Panics
    /// When the devices cannot be made.
    #[must_use]
    pub fn link(&self, service: &str) -> Link {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let place = (process.wrapping_mul(LINKS_PER_PROCESS) + number) % LINKS;
        let end = |letter, offset| End {
            device: format!("hft{process}{letter}{number}"),
            address: Ipv4Addr::from(RANGE + place * 4 + offset),
        };
        let mut link = Link {
            namespace: self.namespace(),
            near: end("n", 1),
            far: end("f", 2),
            port: 0,
        };
        let holder = self.holder.id().to_string();
        ip(&["link", "add", &link.near.device, "type", "veth", "peer"])
            .args(["name", &link.far.device, "netns", &holder])
            .run();
        for (end, ip) in link.ends() {
            let address = format!("{}/30", end.address);
            ip(&["addr", "add", &address, "dev", &end.device]).run();
            ip(&["link", "set", &end.device, "up"]).run();
        }
        link.port = relay(link.near.address, service);
        link
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

type Ip<'a> = Box<dyn Fn(&[&str]) -> Command + 'a>;

impl Link {
    /// Where the machine apart reaches the service.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.near.address, self.port)
    }

    /// Loses every packet from now on, in both directions.
    pub fn cut(&self) {
        for ((end, ip), other) in self.ends().into_iter().zip([&self.far, &self.near]) {
            let other = other.address.to_string();
            ip(&["neigh", "replace", &other, "lladdr", NOBODY])
                .args(["nud", "permanent", "dev", &end.device])
                .run();
        }
    }

    /// Makes it whole again.
    pub fn mend(&self) {
        for ((end, ip), other) in self.ends().into_iter().zip([&self.far, &self.near]) {
            let other = other.address.to_string();
            ip(&["neigh", "del", &other, "dev", &end.device]).run();
        }
    }

    /// Its two ends, and `ip` where each of them is.
    fn ends(&self) -> [(&End, Ip<'_>); 2] {
        let far = |arguments: &[&str]| within(&self.namespace, "ip").args(arguments);
        [(&self.near, Box::new(ip)), (&self.far, Box::new(far))]
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its other end goes with it. It may have gone with the namespace.
        let _ = ip(&["link", "del", &self.near.device]).finish();
    }
}

fn ip(arguments: &[&str]) -> Command {
    Command::new("ip").args(arguments)
}

/// A program in a network namespace.
fn within(namespace: &str, program: &str) -> Command {
    Command::new("nsenter").args([&format!("--net={namespace}"), program])
}

/// Passes connections to this address on to a service; the port.
fn relay(address: Ipv4Addr, service: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let service = service.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&service) else {
                continue;
            };
            let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else {
                continue;
            };
            thread::spawn(move || pass(from, to));
            thread::spawn(move || pass(server, client));
        }
    });
    port
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
