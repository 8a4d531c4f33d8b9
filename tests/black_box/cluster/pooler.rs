//! PgBouncer between the nodes and PostgreSQL, as many who run PostgreSQL have it: each transaction may get another
//! connection.

use std::net::TcpStream;
use std::process::Command;

use holdfast_tests::{Daemon, Workbench, find_program, free_port};

use super::{Cluster, storms};

/// Connections to PostgreSQL. Fewer than the nodes have to the pooler, so that they are shared.
const SERVER_CONNECTIONS: usize = 3;

struct Pooler {
    _daemon: Daemon,
    _home: Workbench,
    port: u16,
}

impl Pooler {
    /// In its transaction mode, before this PostgreSQL.
    fn start(postgres: u16) -> Pooler {
        let (home, port) = (Workbench::new(), free_port());
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={postgres} user=holdfast\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\nmax_client_conn = 200\n"
        );
        let file = home.path("pgbouncer.ini");
        std::fs::write(&file, settings).expect("writing the pooler's settings");
        let mut command = Command::new(find_program("pgbouncer"));
        // It does not run as root.
        command.args(["-u", "postgres"]).arg(&file);
        let mut daemon = Daemon::start("pgbouncer", &mut command, &home.path("pgbouncer.log"));
        daemon.wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        Pooler {
            _daemon: daemon,
            _home: home,
            port,
        }
    }
}

#[test]
fn nodes_work_behind_a_pooler_of_transactions() {
    let mut cluster = Cluster::start(0, "");
    let url = cluster.database.url();
    let (rest, name) = url.rsplit_once('/').expect("a database");
    let port = rest.rsplit(':').next().and_then(|port| port.parse().ok());
    let pooler = Pooler::start(port.expect("a port"));
    let url = format!("postgres://holdfast@127.0.0.1:{}/{name}", pooler.port);
    let sections = "    preparedstatements: false\ngc: {grace: 0s, interval: 20ms}";
    for _ in 0..2 {
        let node = cluster.node(&url, sections);
        cluster.nodes.push(node);
    }
    storms::push_and_delete(&cluster);
    let report = cluster.nodes[0].manage(&["check", "--read-data"]).finish();
    assert_eq!(report.status.code(), Some(0), "{report:?}");
}
