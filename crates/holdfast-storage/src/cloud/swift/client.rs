//! Requests to Swift: with a token that is renewed, and made again when the service asks for patience.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Once, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequestBody, HttpResponse};
use object_store::{PutPayload, RetryConfig};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};
use url::Url;

use super::identity::{Session, SwiftIdentity};

/// The name of the service in errors.
pub(super) const STORE: &str = "Swift";
/// Most bytes of an answer that is not content: a page of a listing or a manifest.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of what the service says about a failure is kept.
const SAID_BYTES_MAX: usize = 1024;

/// How long a login may take, and how long one is waited for.
const LOGIN_PATIENCE: Duration = Duration::from_secs(30);
/// The same while the old token is still good.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(5);
/// So long after a failed login there is no other.
const FAILURE_LIFE: Duration = Duration::from_secs(5);

/// What Swift's middleware ratelimit says.
const RATE_LIMITED: u16 = 498;

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'p> {
    /// The account.
    Account,
    /// The container.
    Container,
    /// An object of the container.
    Object(&'p str),
}

/// A request, but for its token.
pub(super) struct Asked<'p> {
    pub(super) method: Method,
    pub(super) place: Place<'p>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: PutPayload,
}

impl<'p> Asked<'p> {
    pub(super) fn new(method: Method, place: Place<'p>) -> Asked<'p> {
        Asked {
            method,
            place,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: PutPayload::default(),
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Asked<'p> {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: HeaderValue) -> Asked<'p> {
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    pub(super) fn body(mut self, body: impl Into<PutPayload>) -> Asked<'p> {
        self.body = body.into();
        self
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The service said no, or not now.
    #[error("the service said {status}: {said}")]
    Answered { status: StatusCode, said: String },
    /// The service said to ask elsewhere, where the token or the password is not for.
    #[error("the service said {status}, to ask {place}; redirects are not followed")]
    Redirected { status: StatusCode, place: String },
    /// There was no answer, or not all of it.
    #[error(transparent)]
    Connection(#[from] HttpError),
    /// There was an answer that means nothing.
    #[error("the answer is not understood: {0}")]
    Answer(String),
    /// The identity service gave no token.
    #[error("no token from {url}")]
    Identity { url: String, source: Arc<Failure> },
}

pub(super) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Failure::Answered { status, .. } => Some(*status),
            Failure::Redirected { .. }
            | Failure::Connection(_)
            | Failure::Answer(_)
            | Failure::Identity { .. } => None,
        }
    }

    /// Whether the same request may succeed later. A conflict is two requests for one object at once.
    fn passes(&self) -> bool {
        match self {
            Failure::Answered { status, .. } => match *status {
                StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::CONFLICT => true,
                StatusCode::INSUFFICIENT_STORAGE => false,
                status => status.is_server_error() || status.as_u16() == RATE_LIMITED,
            },
            Failure::Connection(error) => error.kind() != HttpErrorKind::Decode,
            Failure::Redirected { .. } | Failure::Answer(_) | Failure::Identity { .. } => false,
        }
    }

    /// The same as an error of `object_store`, about an object.
    pub(super) fn about(self, path: &str) -> object_store::Error {
        use object_store::Error as E;
        let (path, refused) = (path.to_owned(), matches!(self, Failure::Identity { .. }));
        let cause = match &self {
            Failure::Identity { source, .. } => source.status(),
            failure => failure.status(),
        };
        let source = Box::new(self);
        match cause {
            Some(StatusCode::NOT_FOUND) if !refused => E::NotFound { path, source },
            Some(StatusCode::PRECONDITION_FAILED) => E::Precondition { path, source },
            Some(StatusCode::FORBIDDEN) => E::PermissionDenied { path, source },
            Some(StatusCode::UNAUTHORIZED) => E::Unauthenticated { path, source },
            _ => E::Generic {
                store: STORE,
                source,
            },
        }
    }
}

/// A login that failed.
struct Failed {
    at: Instant,
    failure: Arc<Failure>,
}

/// One account of Swift and a container in it.
pub(super) struct Client {
    http: HttpClient,
    retry: RetryConfig,
    identity: SwiftIdentity,
    container: String,
    current: std::sync::Mutex<Option<Arc<Session>>>,
    /// Held by who logs in; the last failure, if there was no success since.
    turn: Mutex<Option<Failed>>,
    weakened: Once,
}

/// Without what is secret.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        http: HttpClient,
        retry: RetryConfig,
        identity: SwiftIdentity,
        container: String,
    ) -> Client {
        Client {
            http,
            retry,
            identity,
            container,
            current: std::sync::Mutex::default(),
            turn: Mutex::default(),
            weakened: Once::new(),
        }
    }

    pub(super) fn container(&self) -> &str {
        &self.container
    }

    /// The answer to a request, with a token that is good.
    pub(super) async fn send(&self, asked: &Asked<'_>) -> Outcome<HttpResponse> {
        let session = self.session(None).await?;
        let answer = self.ask(asked, &session).await;
        match answer {
            // It may have ended before its time.
            Err(failure) if failure.status() == Some(StatusCode::UNAUTHORIZED) => {
                let session = self.session(Some(&session)).await?;
                self.ask(asked, &session).await
            }
            answer => answer,
        }
    }

    async fn ask(&self, asked: &Asked<'_>, session: &Session) -> Outcome<HttpResponse> {
        let mut url = self.url(&session.storage, asked.place);
        if !asked.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&asked.query);
        }
        let mut headers = asked.headers.clone();
        headers.insert(X_AUTH_TOKEN, session.token.clone());
        let body = asked.body.clone();
        self.exchange(&asked.method, &url, &headers, body).await
    }

    /// The URL of a place in an account.
    pub(super) fn url(&self, storage: &Url, place: Place<'_>) -> Url {
        let mut url = storage.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            match place {
                Place::Account => {}
                Place::Container => {
                    segments.push(&self.container);
                }
                Place::Object(name) => {
                    segments.push(&self.container).extend(name.split('/'));
                }
            }
        }
        url
    }

    /// An object as the source of a copy.
    pub(super) fn copy_source(&self, name: &str) -> HeaderValue {
        let nowhere = Url::parse("http://swift/").expect("it is a URL");
        let url = self.url(&nowhere, Place::Object(name));
        HeaderValue::from_str(url.path()).expect("an encoded path is ASCII")
    }

    /// Asks, and asks again as long as patience may help.
    pub(super) async fn exchange(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: PutPayload,
    ) -> Outcome<HttpResponse> {
        let began = Instant::now();
        let mut pause = self.retry.backoff.init_backoff;
        for tried in 0.. {
            // An empty payload would be sent as one of unknown length.
            let mut request = Request::new(match body.content_length() {
                0 => HttpRequestBody::empty(),
                _ => HttpRequestBody::from(body.clone()),
            });
            *request.method_mut() = method.clone();
            *request.uri_mut() = url.as_str().parse().map_err(|_| not_a_url(url.as_str()))?;
            *request.headers_mut() = headers.clone();
            if *method != Method::GET && *method != Method::HEAD {
                let length = HeaderValue::from(body.content_length());
                request.headers_mut().insert(header::CONTENT_LENGTH, length);
            }
            let failure = match self.http.execute(request).await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) if answer.status().is_redirection() => Failure::Redirected {
                    status: answer.status(),
                    place: place(url, answer.headers()),
                },
                Ok(answer) => Failure::Answered {
                    status: answer.status(),
                    said: said(answer).await,
                },
                Err(error) => Failure::Connection(error),
            };
            let over = began.elapsed() + pause > self.retry.retry_timeout;
            if !failure.passes() || tried >= self.retry.max_retries || over {
                return Err(failure);
            }
            tracing::debug!(%failure, "a request to Swift is made again");
            tokio::time::sleep(pause).await;
            pause = longer(pause, &self.retry);
        }
        unreachable!("the loop returns")
    }

    /// A token that is good, as far as anybody knows, and that is not `spent`.
    ///
    /// One request at a time logs in. While the old token is good the others go on with it, and so does that one if it
    /// fails. Else they wait, and a failure is that of all who waited and of who comes in the next seconds.
    pub(super) async fn session(&self, spent: Option<&Arc<Session>>) -> Outcome<Arc<Session>> {
        let old = match self.known(spent) {
            Some(session) if session.is_fresh(Instant::now()) => return Ok(session),
            old => old,
        };
        let (turn, patience) = match &old {
            Some(old) => match self.turn.try_lock() {
                Ok(turn) => (turn, RENEWAL_PATIENCE),
                Err(_) => return Ok(Arc::clone(old)),
            },
            None => {
                let turn = timeout(LOGIN_PATIENCE, self.turn.lock()).await;
                let turn = turn.map_err(|_| self.no_token(Arc::new(late())))?;
                (turn, LOGIN_PATIENCE)
            }
        };
        let outcome = self.log_in_unless_done(turn, spent, patience).await;
        match old {
            Some(old) => Ok(outcome.unwrap_or(old)),
            None => outcome,
        }
    }

    async fn log_in_unless_done(
        &self,
        mut failed: MutexGuard<'_, Option<Failed>>,
        spent: Option<&Arc<Session>>,
        patience: Duration,
    ) -> Outcome<Arc<Session>> {
        if let Some(session) = self.known(spent)
            && session.is_fresh(Instant::now())
        {
            return Ok(session);
        }
        if let Some(failed) = &*failed
            && failed.at.elapsed() < FAILURE_LIFE
        {
            return Err(self.no_token(Arc::clone(&failed.failure)));
        }
        let answer = timeout(patience, self.identity.log_in(self)).await;
        let session = match answer.unwrap_or_else(|_| Err(late())) {
            Ok(session) => Arc::new(session),
            Err(failure) => {
                tracing::debug!(%failure, "no token from the identity service");
                let failure = Arc::new(failure);
                *failed = Some(Failed {
                    at: Instant::now(),
                    failure: Arc::clone(&failure),
                });
                return Err(self.no_token(failure));
            }
        };
        if self.identity.is_weakened_by(&session.storage) {
            // Not refused: the service of many a private network is so, and `registry:2` takes it.
            self.weakened.call_once(|| {
                let place = without_user(session.storage.as_str());
                tracing::warn!(
                    "the https identity service has Swift at {place}: tokens and content go unencrypted"
                );
            });
        }
        *failed = None;
        *self.current() = Some(Arc::clone(&session));
        Ok(session)
    }

    /// The token at hand, if it has not ended and is not `spent`, which is forgotten.
    fn known(&self, spent: Option<&Arc<Session>>) -> Option<Arc<Session>> {
        let mut current = self.current();
        current.take_if(|session| {
            spent.is_some_and(|spent| Arc::ptr_eq(spent, session))
                || !session.is_valid(Instant::now())
        });
        current.clone()
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Arc<Session>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_token(&self, source: Arc<Failure>) -> Failure {
        Failure::Identity {
            url: without_user(&self.identity.auth_url),
            source,
        }
    }

    /// How a stream that broke off is gone on with.
    pub(super) fn retry(&self) -> &RetryConfig {
        &self.retry
    }
}

/// The pause after this one.
pub(super) fn longer(pause: Duration, retry: &RetryConfig) -> Duration {
    pause
        .mul_f64(retry.backoff.base)
        .min(retry.backoff.max_backoff)
}

fn late() -> Failure {
    Failure::Answer("it did not come in time".to_owned())
}

pub(super) fn not_a_url(text: &str) -> Failure {
    Failure::Answer(format!("{:?} is not a URL of the web", without_user(text)))
}

/// A URL, or what was meant as one, without the name and the password that it may have.
pub(super) fn without_user(text: &str) -> String {
    let parsed = Url::parse(text).ok();
    let has_none =
        |url: &Url| url.has_host() && url.username().is_empty() && url.password().is_none();
    match text.rsplit_once('@') {
        Some((_, rest)) if !parsed.as_ref().is_some_and(has_none) => format!("…@{rest}"),
        _ => text.to_owned(),
    }
}

/// Where an answer to a request of `url` sends to, without what may be secret.
fn place(url: &Url, headers: &HeaderMap) -> String {
    let location = headers.get(header::LOCATION);
    let location = location.and_then(|location| url.join(location.to_str().ok()?).ok());
    location.map_or_else(
        || "nobody".to_owned(),
        |mut location| {
            location.set_query(None);
            location.set_fragment(None);
            without_user(location.as_str())
        },
    )
}

/// The whole of an answer that is not content.
pub(super) async fn whole(answer: HttpResponse) -> Outcome<Bytes> {
    let mut stream = answer.into_body().bytes_stream();
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.try_next().await? {
        if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
            let text = format!("it has more than {ANSWER_BYTES_MAX} bytes");
            return Err(Failure::Answer(text));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// An answer in JSON.
pub(super) async fn json<T: serde::de::DeserializeOwned>(answer: HttpResponse) -> Outcome<T> {
    let bytes = whole(answer).await?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::Answer(error.to_string()))
}

/// The beginning of what the service says about a failure, on one line.
async fn said(answer: HttpResponse) -> String {
    let mut stream = answer.into_body().bytes_stream();
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = stream.try_next().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() >= SAID_BYTES_MAX {
            bytes.truncate(SAID_BYTES_MAX);
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
