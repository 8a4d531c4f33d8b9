//! Equal nodes on one PostgreSQL and one bucket.

mod commands;
mod encryption;
mod history;
mod lost_database;
mod partition;
mod pooler;
mod standby;
mod storms;
mod tags;
mod uploads;

use std::process::Command as Process;
use std::sync::Arc;

use holdfast_tests::http::Client;
use holdfast_tests::{
    Daemon, Link, Network, ObjectServer, Postgres, PostgresDatabase, Registry, RegistryBuilder,
    Service, Workbench, find_program,
};

/// Nodes with what they share. Every field ends with it.
struct Cluster {
    nodes: Vec<Registry>,
    store: Arc<ObjectServer>,
    postgres: Postgres,
    database: PostgresDatabase,
}

impl Cluster {
    fn start(nodes: usize, sections: &str) -> Cluster {
        let postgres = Postgres::start();
        let database = postgres.database();
        let store = Arc::new(ObjectServer::start(Service::Versity));
        let mut cluster = Cluster {
            nodes: Vec::new(),
            store,
            postgres,
            database,
        };
        for _ in 0..nodes {
            let node = cluster.node(&cluster.database.url(), sections);
            cluster.nodes.push(node);
        }
        cluster
    }

    /// One more node, which reaches the database at this URL.
    fn node(&self, url: &str, sections: &str) -> Registry {
        self.builder(url, "5s", sections).start()
    }

    fn builder(&self, url: &str, statement_timeout: &str, sections: &str) -> RegistryBuilder {
        Registry::builder()
            .store(&self.store)
            .section(&format!(
                "metadata:\n  postgres:\n    url: {url}\n    maxconnections: 20\n    connecttimeout: 2s\n    statementtimeout: {statement_timeout}"
            ))
            .section(sections)
    }

    /// One more node, on a machine apart.
    fn distant(&self, statement_timeout: &str) -> Distant {
        let network = Network::start();
        let url = self.database.url();
        let (before, rest) = url.split_once("127.0.0.1:").expect("a TCP address");
        let (port, after) = rest.split_once('/').expect("a database");
        let database = network.link(&format!("127.0.0.1:{port}"));
        let bucket = network.link(&self.store.address());
        let url = format!("{before}{}/{after}?sslmode=disable", database.address());
        let node = self.builder(&url, statement_timeout, "");
        let node = node.store_at(&bucket.address()).on(&network).start();
        Distant {
            node,
            database,
            bucket,
            _network: network,
        }
    }

    fn clients(&self) -> Vec<Client> {
        self.nodes.iter().map(Registry::http).collect()
    }
}

/// A node on a machine apart, and its links to what the cluster shares.
struct Distant {
    node: Registry,
    database: Link,
    bucket: Link,
    _network: Network,
}

/// nginx in front of nodes: each request goes to the next.
struct Front {
    _daemon: Daemon,
    _home: Workbench,
    port: u16,
}

impl Front {
    fn start<'a>(nodes: impl IntoIterator<Item = &'a Registry>) -> Front {
        let home = Workbench::new();
        let port = holdfast_tests::free_port();
        let server = |node: &Registry| {
            let place = match node.socket() {
                socket if socket.exists() => format!("unix:{}", socket.display()),
                _ => node.host().replace("localhost", "127.0.0.1"),
            };
            format!("server {place} max_fails=0;")
        };
        let servers: String = nodes.into_iter().map(server).collect();
        let directory = home.root().display();
        let configuration = home.file(
            "nginx.conf",
            format!(
                "daemon off; user root; pid {directory}/pid; error_log stderr; worker_processes 1;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{\n\
                 access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
                 fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;\n\
                 upstream nodes {{ {servers} }}\n\
                 server {{ listen 127.0.0.1:{port}; client_max_body_size 0; proxy_request_buffering off;\n\
                 proxy_buffering off; proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
                 proxy_next_upstream error timeout http_503; location / {{ proxy_pass http://nodes; }}\n\
                 location ~ /blobs/uploads/$ {{ proxy_next_upstream error timeout http_503 non_idempotent;\n\
                 proxy_pass http://nodes; }} }} }}\n"
            ),
        );
        let mut command = Process::new(find_program("nginx"));
        command
            .arg("-p")
            .arg(home.root())
            .arg("-c")
            .arg(&configuration);
        let mut daemon = Daemon::start("nginx", &mut command, &home.path("nginx.log"));
        let address = format!("127.0.0.1:{port}");
        daemon.wait_until(|| std::net::TcpStream::connect(&address).is_ok());
        Front {
            _daemon: daemon,
            _home: home,
            port,
        }
    }

    /// `localhost:<port>`.
    fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }
}
