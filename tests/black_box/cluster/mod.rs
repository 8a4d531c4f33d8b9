//! Equal nodes on one PostgreSQL and one bucket.

mod commands;
mod history;
mod lost_database;
mod partition;
mod storms;
mod tags;
mod uploads;

use std::process::Command as Process;
use std::sync::Arc;

use holdfast_tests::http::Client;
use holdfast_tests::{
    Daemon, ObjectServer, Postgres, PostgresDatabase, Registry, Service, Workbench, find_program,
};

use partition::Partition;

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
        Registry::builder()
            .store(&self.store)
            .section(&format!(
                "metadata:\n  postgres:\n    url: {url}\n    maxconnections: 20\n    connecttimeout: 2s\n    statementtimeout: 5s"
            ))
            .section(sections)
            .start()
    }

    fn clients(&self) -> Vec<Client> {
        self.nodes.iter().map(Registry::http).collect()
    }

    /// A way to the database that can be cut.
    fn partition(&self) -> (Partition, String) {
        let url = self.database.url();
        let (before, rest) = url.split_once("127.0.0.1:").expect("a TCP address");
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        let (port, after) = rest.split_at(digits);
        let partition = Partition::start(format!("127.0.0.1:{port}"));
        let url = format!("{before}127.0.0.1:{}{after}", partition.port());
        (partition, url)
    }
}

/// nginx in front of nodes: each request goes to the next.
struct Front {
    _daemon: Daemon,
    _home: Workbench,
    port: u16,
}

impl Front {
    fn start(nodes: &[Registry]) -> Front {
        let home = Workbench::new();
        let port = holdfast_tests::free_port();
        let servers: String = nodes
            .iter()
            .map(|node| {
                format!(
                    "server {} max_fails=0;",
                    node.host().replace("localhost", "127.0.0.1")
                )
            })
            .collect();
        let directory = home.root().display();
        let configuration = home.file(
            "nginx.conf",
            format!(
                "daemon off; pid {directory}/pid; error_log stderr; worker_processes 1;\n\
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
