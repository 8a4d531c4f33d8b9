//! Redis servers of Debian's package, with sentinels or as a cluster.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::registry::free_port;
use crate::{Certificates, Daemon, Workbench, eventually, find_program};

/// A Redis server, or a sentinel, on the loopback interface; dropping it ends it.
#[derive(Debug)]
pub struct RedisServer {
    daemon: Daemon,
    home: Workbench,
    port: u16,
    arguments: Vec<String>,
    /// What the client program needs to get in.
    client: Vec<String>,
}

impl RedisServer {
    /// A server that lets everybody in.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more of the server's options.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        let port = free_port();
        let mut arguments = vec!["--port".to_owned(), port.to_string()];
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        Self::launch(Workbench::new(), port, arguments, Vec::new())
    }

    /// A server that speaks TLS alone and wants a certificate of its clients and a password.
    #[must_use]
    pub fn start_with_tls(password: &str) -> (Self, Certificates) {
        let (home, port) = (Workbench::new(), free_port());
        let files = Certificates::generate(home.root());
        let path = |path: &Path| path.display().to_string();
        let arguments = [
            ["--port", "0"],
            ["--tls-port", &port.to_string()],
            ["--tls-cert-file", &path(&files.server)],
            ["--tls-key-file", &path(&files.server_key)],
            ["--tls-ca-cert-file", &path(&files.authority)],
            ["--requirepass", password],
        ];
        let client = [
            ["--cacert", &path(&files.authority)],
            ["--cert", &path(&files.client)],
            ["--key", &path(&files.client_key)],
            ["-a", password],
        ];
        let owned = |pairs: &[[&str; 2]]| pairs.concat().into_iter().map(str::to_owned).collect();
        let mut client: Vec<String> = owned(&client);
        client.extend(["--tls".to_owned(), "--no-auth-warning".to_owned()]);
        let server = Self::launch(home, port, owned(&arguments), client);
        (server, files)
    }

    /// A copy of this server.
    #[must_use]
    pub fn replica(&self) -> Self {
        let port = self.port.to_string();
        Self::start_with(&[
            "--replicaof",
            "127.0.0.1",
            &port,
            "--repl-diskless-sync-delay",
            "0",
        ])
    }

    /// A sentinel that watches this server under a name and decides alone.
    #[must_use]
    pub fn sentinel(&self, name: &str) -> Self {
        let (home, port) = (Workbench::new(), free_port());
        let file = home.file(
            "sentinel.conf",
            format!(
                "port {port}\nsentinel monitor {name} 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds {name} 300\nsentinel failover-timeout {name} 2000\n",
                self.port
            ),
        );
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        Self::launch(home, port, arguments, Vec::new())
    }

    /// Three servers that share the keys.
    ///
    /// # Panics
    /// When they do not come to be a cluster.
    #[must_use]
    pub fn cluster() -> Vec<Self> {
        let node = |_| {
            // The bus has a port of its own, by default 10,000 above, which may be in use.
            let bus = free_port().to_string();
            Self::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
        };
        let nodes: Vec<Self> = (0..3).map(node).collect();
        let mut create = Command::new(find_program("redis-cli"));
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(Self::address));
        let output = create
            .args(["--cluster-yes", "--cluster-replicas", "0"])
            .stdin(Stdio::null())
            .output()
            .expect("running redis-cli");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        eventually("all nodes of the cluster know it", || {
            let known = |node: &Self| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            nodes.iter().all(known)
        });
        nodes
    }

    fn launch(home: Workbench, port: u16, arguments: Vec<String>, client: Vec<String>) -> Self {
        let daemon = spawn(&home, &arguments);
        let mut server = Self {
            daemon,
            home,
            port,
            arguments,
            client,
        };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let mut cli = self.cli();
        cli.arg("PING");
        self.daemon.wait_until(|| {
            let output = cli.output().expect("running redis-cli");
            output.stdout.starts_with(b"PONG")
        });
    }

    fn cli(&self) -> Command {
        let mut command = Command::new(find_program("redis-cli"));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command.args(&self.client).stdin(Stdio::null());
        command
    }

    /// `localhost:<port>`, which is also in the certificate.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The answer to a command, as `redis-cli` prints it.
    ///
    /// # Panics
    /// When the client program cannot be run.
    #[must_use]
    pub fn ask(&self, command: &[&str]) -> String {
        let output = self.cli().args(command).output();
        let output = output.expect("running redis-cli").stdout;
        String::from_utf8_lossy(&output).trim_end().to_owned()
    }

    /// Gives a command whose answer nobody wants.
    pub fn tell(&self, command: &[&str]) {
        let _ = self.ask(command);
    }

    /// Stops the process as it is: connections stay, and nobody answers.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn wake(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.daemon.pid())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("signalling Redis");
    }

    /// Ends it at once; what it held is gone.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again at the same address after [`kill`](Self::kill).
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        self.daemon = spawn(&self.home, &self.arguments);
        self.wait();
    }
}

fn spawn(home: &Workbench, arguments: &[String]) -> Daemon {
    let mut command = Command::new(find_program("redis-server"));
    command
        .args(arguments)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(home.root());
    Daemon::start("redis-server", &mut command, &home.path("redis.log"))
}
