//! `holdfast healthcheck`: for images and units that have no curl.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{configuration_error, control, installed_config, load};
use crate::config::{ClientAuth, Listen, Tls};
use crate::edge::SocketPath;
use crate::error_chain::attempt;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration of the registry to ask; else $REGISTRY_CONFIGURATION_PATH, else
    /// /etc/docker/registry/config.yml or /etc/distribution/config.yml, else the embedded default.
    config: Option<PathBuf>,
    /// Ask this URL instead, for example http://127.0.0.1:5000/healthz.
    #[arg(long)]
    url: Option<String>,
    /// Seconds to wait for the answer.
    #[arg(long, default_value_t = 5)]
    timeout: u64,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let (url, socket) = match arguments.url {
        Some(url) => (url, None),
        None => match target(arguments.config) {
            Ok(target) => target,
            Err(error) => return configuration_error(&error),
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let asked = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            runtime.block_on(ask(&url, socket, Duration::from_secs(arguments.timeout)))
        });
    match asked {
        Ok(()) => {
            println!("healthy");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("unhealthy: {url}: {error}");
            ExitCode::from(1)
        }
    }
}

/// The URL, and the socket it is asked through, of the registry with this configuration.
fn target(config: Option<PathBuf>) -> Result<(String, Option<PathBuf>), String> {
    let config = load(config.or_else(installed_config), false)?.config;
    let http = &config.http;
    let local = "http://localhost/healthz".to_owned();
    // Who has no certificate to show is not answered on the main address.
    if http.tls.as_ref().is_some_and(demands_certificate)
        && let Some(socket) = control::socket(&config)
    {
        return Ok((local, Some(socket)));
    }
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    Ok(match &http.listen {
        Listen::Unix(path) => (local, Some(path.clone())),
        Listen::Tcp(address) => {
            let host = match address.host.as_str() {
                "" | "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
                host if host.contains(':') => format!("[{host}]"),
                host => host.to_owned(),
            };
            (format!("{scheme}://{host}:{}/healthz", address.port), None)
        }
    })
}

fn demands_certificate(tls: &Tls) -> bool {
    let demanded = match tls.client_auth {
        ClientAuth::RequireAndVerify | ClientAuth::RequireAny => true,
        ClientAuth::VerifyIfGiven | ClientAuth::Request => false,
    };
    demanded && !tls.client_cas.is_empty()
}

async fn ask(url: &str, socket: Option<PathBuf>, timeout: Duration) -> Result<(), String> {
    // The question is whether this process answers, not who it is: its certificate names a public host.
    let mut builder = reqwest::Client::builder()
        .timeout(timeout)
        .danger_accept_invalid_certs(true)
        .no_proxy();
    let socket = socket
        .map(|path| SocketPath::new(&path))
        .transpose()
        .map_err(|error| error.to_string())?;
    if let Some(socket) = &socket {
        builder = builder.unix_socket(socket.path());
    }
    let client = builder.build().map_err(|error| attempt("client", &error))?;
    let answer = client
        .get(url)
        .send()
        .await
        .map_err(|error| attempt("no answer", &error))?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(format!("status {}", answer.status().as_u16()))
    }
}
