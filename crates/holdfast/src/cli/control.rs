//! The way from a command to the registry: the server that holds the data, or this process.
//!
//! Both answer through the same handlers (`http/api`), so a command does the same with and without a server.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{configuration_error, in_runtime, installed_config, load};
use crate::app::App;
use crate::config::{Config, Driver, Loaded, Metadata};
use crate::edge::SocketPath;
use crate::error_chain::{attempt, chain};
use crate::http::api::{self, Failed};
use crate::http::body::Body;

/// Longest line of an answer.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Who answers a command.
pub(super) enum Control {
    /// The server that runs on the data.
    Server {
        client: reqwest::Client,
        /// Kept while the client needs it.
        _socket: SocketPath,
    },
    /// This process, which holds the data meanwhile.
    Here(Arc<App>),
}

/// Runs a command on the registry of this configuration; its error is one line of text.
pub(super) fn run(
    config: Option<PathBuf>,
    command: impl AsyncFnOnce(&Control) -> Result<ExitCode, String>,
) -> ExitCode {
    run_on(config, 1, false, command)
}

/// The same for a command that may be the first to work on the data.
pub(super) fn run_first(
    config: Option<PathBuf>,
    command: impl AsyncFnOnce(&Control) -> Result<ExitCode, String>,
) -> ExitCode {
    run_on(config, 1, true, command)
}

/// The same for a command that has another exit code for what could not be done.
pub(super) fn run_or(
    failure: u8,
    config: Option<PathBuf>,
    command: impl AsyncFnOnce(&Control) -> Result<ExitCode, String>,
) -> ExitCode {
    run_on(config, failure, false, command)
}

fn run_on(
    config: Option<PathBuf>,
    failure: u8,
    first: bool,
    command: impl AsyncFnOnce(&Control) -> Result<ExitCode, String>,
) -> ExitCode {
    let loaded = match load(config.or_else(installed_config), false) {
        Ok(loaded) => loaded,
        Err(error) => {
            configuration_error(&error);
            return ExitCode::from(failure);
        }
    };
    let _writers = super::serve::start_log(&loaded.config);
    let failed = |error: &str| {
        eprintln!("{error}");
        ExitCode::from(failure)
    };
    in_runtime(failed, async {
        let control = Control::open(loaded, first).await?;
        let code = command(&control).await;
        if let Control::Here(app) = control {
            let closed = app.operations.metadata().close().await;
            closed.map_err(|error| attempt("closing the database", &error))?;
        }
        code
    })
}

/// Where the server of this configuration has its control socket.
pub(super) fn socket(config: &Config) -> Option<PathBuf> {
    match &config.storage.driver {
        Driver::Filesystem { root_directory, .. } => {
            Some(root_directory.join("holdfast").join("control.sock"))
        }
        Driver::InMemory => None,
        Driver::S3(_) | Driver::Gcs(_) | Driver::Azure(_) | Driver::Swift(_) => {
            match &config.metadata {
                Metadata::File(path) => Some(path.with_file_name("control.sock")),
                Metadata::InMemory | Metadata::Postgres(_) => None,
            }
        }
    }
}

/// Whether a server on this machine has the data of this configuration.
pub(super) fn is_served(config: &Config) -> bool {
    socket(config).is_some_and(|socket| connect(&socket).is_ok())
}

impl Control {
    async fn open(loaded: Loaded, first: bool) -> Result<Control, String> {
        if let Some(socket) = socket(&loaded.config) {
            match connect(&socket) {
                Ok(server) => return Ok(server),
                // No server, or one that was killed.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => {
                    return Err(format!("cannot reach {}: {error}", socket.display()));
                }
            }
        }
        if !first
            && let Metadata::File(path) = &loaded.config.metadata
            && !path.exists()
        {
            return Err(format!(
                "there is no registry's data: {} does not exist; --config names another configuration, and \
                 `holdfast serve` or `holdfast import` begin with an old registry's directory",
                path.display()
            ));
        }
        let app = App::build(&loaded.config, false).await?;
        Ok(Control::Here(Arc::new(app)))
    }

    /// Whether this process does the work, no server being there.
    pub(super) fn is_here(&self) -> bool {
        matches!(self, Control::Here(_))
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: &impl Serialize,
    ) -> Result<T, String> {
        let mut answer = self.send(method, target, body).await?;
        let mut text = Vec::new();
        while let Some(part) = answer.next().await? {
            if text.len() + part.len() > LINE_BYTES_MAX {
                return Err("the answer is too long".to_owned());
            }
            text.extend_from_slice(&part);
        }
        serde_json::from_slice(&text)
            .map_err(|error| attempt("the answer is not understood", &error))
    }

    /// Asks for long work, and takes each event as it comes.
    pub(super) async fn follow<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: &impl Serialize,
        mut event: impl FnMut(T),
    ) -> Result<(), String> {
        let mut answer = self.send(method, target, body).await?;
        let mut text = Vec::new();
        while let Some(part) = answer.next().await? {
            text.extend_from_slice(&part);
            let mut read = 0;
            while let Some(length) = text[read..].iter().position(|byte| *byte == b'\n') {
                let line = &text[read..read + length];
                match serde_json::from_slice(line) {
                    Ok(value) => event(value),
                    Err(error) => {
                        return Err(match serde_json::from_slice::<Failed>(line) {
                            Ok(failed) => failed.error,
                            Err(_) => attempt("the answer is not understood", &error),
                        });
                    }
                }
                read += length + 1;
            }
            text.drain(..read);
            if text.len() > LINE_BYTES_MAX {
                return Err("a line of the answer is too long".to_owned());
            }
        }
        if text.is_empty() {
            Ok(())
        } else {
            Err("the answer ends in the middle of a line".to_owned())
        }
    }

    /// Asks for bytes, and hands over each part as it comes.
    pub(super) async fn download(
        &self,
        target: &str,
        body: &impl Serialize,
        mut take: impl FnMut(Bytes) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut answer = self.send(Method::POST, target, body).await?;
        while let Some(part) = answer.next().await? {
            take(part)?;
        }
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: &impl Serialize,
    ) -> Result<Answer, String> {
        let body = if method == Method::GET {
            Vec::new()
        } else {
            serde_json::to_vec(body).map_err(|error| attempt("the request", &error))?
        };
        let (status, mut answer) = match self {
            Control::Server { client, .. } => {
                let request = client
                    .request(method, format!("http://holdfast{}{target}", api::PATH))
                    .body(body);
                let response = request
                    .send()
                    .await
                    .map_err(|error| attempt("the server does not answer", &error))?;
                (response.status(), Answer::Server(response))
            }
            Control::Here(app) => {
                let (path, query) = target.split_once('?').unwrap_or((target, ""));
                let request = api::Request {
                    method: &method,
                    path,
                    query,
                    body: &body,
                    local: true,
                };
                let response = api::serve(app, &request).await;
                (response.status(), Answer::Here(response.into_body()))
            }
        };
        if status.is_success() {
            return Ok(answer);
        }
        let mut text = Vec::new();
        while let Some(part) = answer.next().await? {
            text.extend_from_slice(&part);
        }
        Err(explained(status, &text))
    }
}

/// A path with a query of what is there.
pub(super) fn query(path: &str, pairs: &[(&str, Option<&dyn fmt::Display>)]) -> String {
    let mut encoded = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
    for (name, value) in pairs {
        if let Some(value) = value {
            encoded.append_pair(name, &value.to_string());
        }
    }
    encoded.finish()
}

/// An answer, part by part.
enum Answer {
    Server(reqwest::Response),
    Here(Body),
}

impl Answer {
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Answer::Server(response) => response
                .chunk()
                .await
                .map_err(|error| attempt("the answer broke off", &error)),
            Answer::Here(body) => match body.frame().await {
                None => Ok(None),
                Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
                Some(Err(error)) => Err(chain(&error)),
            },
        }
    }
}

/// What an error of the API says, for people.
fn explained(status: StatusCode, body: &[u8]) -> String {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &answer["errors"][0];
    let message = first["message"].as_str().unwrap_or_default();
    match &first["detail"] {
        serde_json::Value::Null if message.is_empty() => format!("status {}", status.as_u16()),
        serde_json::Value::Null => message.to_owned(),
        serde_json::Value::String(detail) => format!("{message}: {detail}"),
        detail => format!("{message}: {detail}"),
    }
}

/// The server behind a socket, if one listens there.
fn connect(socket: &Path) -> io::Result<Control> {
    let socket = SocketPath::new(socket)?;
    std::os::unix::net::UnixStream::connect(socket.path())?;
    let client = reqwest::Client::builder()
        .unix_socket(socket.path())
        .no_proxy()
        .build()
        .map_err(io::Error::other)?;
    Ok(Control::Server {
        client,
        _socket: socket,
    })
}
