//! `holdfast serve [config]`: run the registry until a signal ends it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::{configuration_error, control, in_runtime, load};
use crate::app::App;
use crate::config::{self, Auth, Config, Driver, Listen, Loaded, LogLevel, Metadata};
use crate::edge::{
    Edge, Listener, listen_control, notify_ready, notify_stopping, serve_control, serve_debug,
};
use crate::error_chain::attempt;
use crate::{health, jobs, limits, log};

pub(super) fn run(path: Option<PathBuf>, path_required: bool, accept_empty: bool) -> ExitCode {
    let loaded = match load(path, path_required) {
        Ok(loaded) => loaded,
        Err(error) => {
            let code = configuration_error(&error);
            eprintln!("\nUsage: holdfast serve [config.yml]");
            return code;
        }
    };
    let _writers = start_log(&loaded.config);
    in_runtime(fatal, serve(loaded, accept_empty))
}

pub(super) fn start_log(config: &Config) -> log::Writers {
    let level = match config.log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    log::start(level, config.log.formatter, config.log.fields.clone())
}

/// One line that says why the process ends.
fn fatal(error: &str) -> ExitCode {
    tracing::error!(fatal = true, "{error}");
    ExitCode::from(1)
}

async fn serve(loaded: Loaded, accept_empty: bool) -> Result<ExitCode, String> {
    let Loaded {
        config, warnings, ..
    } = loaded;
    for warning in &warnings {
        match warning.level {
            config::Level::Notice => tracing::info!("{warning}"),
            config::Level::Warning => tracing::warn!("{warning}"),
        }
    }
    // Signals are caught before anything is opened, so that an early one also ends in order.
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| format!("cannot wait for signals: {error}"))?;

    let mut config = config;
    limits::raise_open_files(&mut config.http.max_connections);
    let app = Arc::new(App::build(&config, accept_empty).await?);
    let edge = Edge::new(Arc::clone(&app), &config.http)?;
    let listener = Listener::open(&config.http.listen).await?;
    let stop = CancellationToken::new();
    health::start(&app.health, &config.health, app.operations.store(), &stop);
    health::watch_metadata(&app.health, app.operations.metadata().clone());
    jobs::start(&app, &config, &stop);
    if let Some(address) = &config.http.debug {
        let listener = Listener::tcp(address).await?;
        let place = listener.describe();
        tracing::info!("debug server listening {place}");
        let metrics = config.http.metrics.clone();
        tokio::spawn(serve_debug(
            listener,
            Arc::clone(&app),
            metrics,
            stop.clone(),
        ));
    }
    listen_to_commands(&app, &config, &stop);
    banner(&config, &listener);
    if config.auth == Auth::None && reachable(&config.http.listen) {
        tracing::warn!("no auth is configured: whoever reaches this address may push and delete");
    }

    let drain = config.http.drain_timeout;
    let cut = CancellationToken::new();
    let serving = tokio::spawn(edge.serve(listener, stop.clone(), cut.clone(), drain));
    notify_ready();
    let signal = tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    };
    if drain.is_zero() {
        tracing::info!("stopping at once");
    } else {
        tracing::info!("stopping server gracefully. Draining connections for {drain:?}");
    }
    notify_stopping(drain);
    stop.cancel();
    // Whoever asks twice does not want to wait.
    let impatient = tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked again: cutting off the requests that are left");
        cut.cancel();
    });
    serving
        .await
        .map_err(|error| format!("serving ended in a panic: {error}"))?;
    impatient.abort();
    app.operations
        .metadata()
        .close()
        .await
        .map_err(|error| attempt("closing the database", &error))?;
    // As a shell reports a process that the signal ended, which is what Distribution does without draining.
    let code = u8::try_from(128 + signal.as_raw_value()).unwrap_or(1);
    Ok(if drain.is_zero() {
        ExitCode::from(code)
    } else {
        ExitCode::SUCCESS
    })
}

/// Opens the control socket. A file system without sockets only costs the commands.
fn listen_to_commands(app: &Arc<App>, config: &Config, stop: &CancellationToken) {
    let Some(path) = control::socket(config) else {
        return;
    };
    match listen_control(&path) {
        Ok(listener) => {
            tokio::spawn(serve_control(listener, Arc::clone(app), stop.clone()));
        }
        Err(error) => tracing::warn!(
            path = %path.display(),
            %error,
            "no control socket: commands cannot reach this server"
        ),
    }
}

/// Whether other machines may be able to reach it, as far as the configuration tells.
fn reachable(listen: &Listen) -> bool {
    match listen {
        Listen::Tcp(address) => !address.is_loopback(),
        Listen::Unix(_) => false,
    }
}

fn banner(config: &Config, listener: &Listener) {
    // Whole paths: whoever looks for the data later does not know where this was started.
    let whole = |path: &Path| {
        std::path::absolute(path)
            .unwrap_or(path.to_owned())
            .display()
            .to_string()
    };
    let data = match &config.storage.driver {
        Driver::Filesystem { root_directory, .. } => whole(root_directory),
        Driver::InMemory => "memory".to_owned(),
        Driver::S3(s3) => format!("s3 bucket {}", s3.bucket),
        Driver::Gcs(gcs) => format!("gcs bucket {}", gcs.bucket),
        Driver::Azure(azure) => format!("azure container {}", azure.container),
        Driver::Swift(swift) => format!("swift container {}", swift.container),
    };
    let metadata = match &config.metadata {
        Metadata::File(path) => whole(path),
        Metadata::InMemory => "memory".to_owned(),
        Metadata::Postgres(postgres) => postgres.described(),
    };
    tracing::info!(
        data,
        metadata,
        "holdfast {} keeps its data in {data}",
        crate::VERSION
    );
    let tls = if config.http.tls.is_some() {
        ", tls"
    } else {
        ""
    };
    tracing::info!("listening on {}{tls}", listener.describe());
}
