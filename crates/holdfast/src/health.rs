//! Health checks: each runs on its own rhythm, and while one fails every request is refused with 503.
//!
//! Source: Distribution's `health` section. The storage check really writes, reads back and deletes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_metadata::Metadata;
use holdfast_storage::{BlobStore, Error as StorageError};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::config::{FileCheck, HttpCheck, Rhythm, TcpCheck};
use crate::error_chain::attempt;

/// Time a check may take when its own configuration names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the checks found last.
#[derive(Default)]
pub(crate) struct Health {
    failing: Mutex<BTreeMap<String, String>>,
    count: AtomicUsize,
}

impl Health {
    /// The name of a failing check.
    pub(crate) fn failing(&self) -> Option<String> {
        // The usual answer costs one load.
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.table().keys().next().cloned()
    }

    /// Every failing check with what it found.
    pub(crate) fn failures(&self) -> BTreeMap<String, String> {
        self.table().clone()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, name: &str, failure: Option<String>) {
        let mut table = self.table();
        let was = table.contains_key(name);
        match failure {
            Some(text) => {
                if !was {
                    tracing::error!(
                        check = name,
                        error = text,
                        "a health check fails; requests are refused"
                    );
                }
                table.insert(name.to_owned(), text);
            }
            None => {
                if table.remove(name).is_some() {
                    tracing::info!(check = name, "a health check recovered");
                }
            }
        }
        self.count.store(table.len(), Ordering::Relaxed);
    }
}

/// Refuses requests from the moment on when the metadata database is found damaged: only a restart puts it right.
pub(crate) fn watch_metadata(health: &Arc<Health>, metadata: Metadata) {
    let health = Arc::clone(health);
    tokio::spawn(async move {
        metadata.damaged().await;
        let text = "the metadata database is damaged; restart the server, which puts it together from a snapshot";
        health.record("metadata", Some(text.to_owned()));
    });
}

/// Counts failures in a row.
struct Patience {
    threshold: u64,
    failures: u64,
}

impl Patience {
    /// What to record after a check, if it changes anything.
    fn judge(&mut self, result: Result<(), String>) -> Option<String> {
        match result {
            Ok(()) => {
                self.failures = 0;
                None
            }
            Err(text) => {
                self.failures = self.failures.saturating_add(1);
                (self.failures >= self.threshold).then_some(text)
            }
        }
    }
}

/// Starts every configured check; they end with `stop`.
pub(crate) fn start(
    health: &Arc<Health>,
    config: &crate::config::Health,
    store: &Arc<dyn BlobStore>,
    stop: &CancellationToken,
) {
    let runner = Runner {
        health: Arc::clone(health),
        stop: stop.clone(),
    };
    if let Some(rhythm) = config.storage_driver {
        let store = Arc::clone(store);
        runner.run(
            format!("storagedriver_{}", store.driver()),
            rhythm,
            None,
            move || {
                let store = Arc::clone(&store);
                async move {
                    match store.probe().await {
                        // A full store still serves pulls and deletes; pushes say so themselves.
                        Err(error @ StorageError::Full { .. }) => {
                            tracing::warn!(%error, "the storage is full");
                            Ok(())
                        }
                        probed => probed.map_err(|error| attempt("storage", &error)),
                    }
                }
            },
        );
    }
    for FileCheck { file, rhythm } in config.files.clone() {
        runner.run(file.display().to_string(), rhythm, None, move || {
            let file = file.clone();
            async move {
                if file.exists() {
                    Err("file exists".to_owned())
                } else {
                    Ok(())
                }
            }
        });
    }
    for TcpCheck {
        addr,
        timeout,
        rhythm,
    } in config.tcp.clone()
    {
        runner.run(addr.to_string(), rhythm, timeout, move || {
            let target = (addr.host.clone(), addr.port);
            async move {
                TcpStream::connect(target)
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        });
    }
    if config.http.is_empty() {
        // A client reads every certificate that the system trusts: time and memory that most never need.
        return;
    }
    let client = crate::outbound::client();
    for check in config.http.clone() {
        let client = client.clone();
        runner.run(
            check.uri.to_string(),
            check.rhythm,
            check.timeout,
            move || head(client.clone(), check.clone()),
        );
    }
}

async fn head(client: Result<reqwest::Client, String>, check: HttpCheck) -> Result<(), String> {
    let client = client?;
    let mut request = client.head(check.uri);
    for header in &check.headers {
        for value in &header.values {
            request = request.header(&header.name, value);
        }
    }
    let answer = request
        .send()
        .await
        .map_err(|error| attempt("request", &error))?;
    if answer.status().as_u16() == check.status_code {
        Ok(())
    } else {
        Err(format!(
            "status {}, expected {}",
            answer.status().as_u16(),
            check.status_code
        ))
    }
}

struct Runner {
    health: Arc<Health>,
    stop: CancellationToken,
}

impl Runner {
    fn run<F, Check>(&self, name: String, rhythm: Rhythm, timeout: Option<Duration>, check: Check)
    where
        Check: Fn() -> F + Send + 'static,
        F: Future<Output = Result<(), String>> + Send,
    {
        let (health, stop) = (Arc::clone(&self.health), self.stop.clone());
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        tokio::spawn(async move {
            let mut patience = Patience {
                threshold: rhythm.threshold,
                failures: 0,
            };
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(rhythm.interval) => {}
                }
                let result = tokio::time::timeout(timeout, check()).await;
                let result =
                    result.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
                health.record(&name, patience.judge(result));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_and_recovery() {
        let mut patience = Patience {
            threshold: 3,
            failures: 0,
        };
        let failure = || Err("down".to_owned());
        assert_eq!(patience.judge(failure()), None);
        assert_eq!(patience.judge(failure()), None);
        assert_eq!(patience.judge(failure()), Some("down".to_owned()));
        assert_eq!(patience.judge(Ok(())), None);
        assert_eq!(patience.judge(failure()), None);
    }

    #[test]
    fn one_failing_check_is_named() {
        let health = Health::default();
        assert_eq!(health.failing(), None);
        health.record("b", Some("x".into()));
        health.record("a", Some("y".into()));
        assert_eq!(health.failing(), Some("a".to_owned()));
        health.record("a", None);
        health.record("b", None);
        assert_eq!(health.failing(), None);
    }
}
