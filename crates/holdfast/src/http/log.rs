//! One line for each request under Distribution's field names, and one in Apache's combined format.

use std::time::Instant;

use http::Response;
use http::header::{CONTENT_TYPE, HOST, REFERER, USER_AGENT};
use http::request::Parts;
use tracing::Level;

use super::body::Body;
use super::{Peer, origin, text};
use crate::app::HttpSettings;
use crate::log::{self, now};
use crate::metrics::requests::Watch;

/// What is known of a request beside its answer.
#[derive(Default)]
pub(super) struct Outcome {
    /// Who asked.
    pub(super) user: Option<String>,
    /// What was asked.
    pub(super) action: Option<&'static str>,
    /// The first error code of the answer.
    pub(super) error: Option<&'static str>,
    /// Its detail, as JSON.
    pub(super) detail: Option<String>,
    /// The request as it is counted.
    pub(super) watch: Option<Watch>,
}

/// One answered request.
pub(super) struct Line<'a> {
    /// The id the answer carries in `X-Request-Id`.
    pub(super) id: &'a str,
    /// Whose headers say who asks.
    pub(super) http: &'a HttpSettings,
    /// The other end.
    pub(super) peer: Peer,
    /// The head of the request.
    pub(super) parts: &'a Parts,
    /// Who asked what, and what went wrong.
    pub(super) outcome: &'a Outcome,
    /// The answer.
    pub(super) response: &'a Response<Body>,
    /// Bytes of the answer's body; for `HEAD`, what they would be.
    pub(super) written: u64,
    /// When it came. What has passed since is the time it took to answer, the body not included.
    pub(super) started: Instant,
    /// Also write an access line.
    pub(super) access_line: bool,
}

/// Logs a request, and writes its access line.
pub(super) fn request(line: &Line<'_>) {
    let (headers, outcome) = (&line.parts.headers, line.outcome);
    // What a client does wrong is no trouble of the server: a HEAD of an absent blob begins every push.
    let failed = line.response.status().is_server_error();
    let wanted = if failed {
        tracing::enabled!(Level::ERROR)
    } else {
        tracing::enabled!(Level::INFO)
    };
    if !wanted && !line.access_line {
        return;
    }
    let client = origin::client(line.http, line.peer, headers);
    if line.access_line {
        log::access(&access_line(line, &client));
    }
    if !wanted {
        return;
    }
    macro_rules! write {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                http.request.id = line.id,
                http.request.method = line.parts.method.as_str(),
                http.request.host = text(headers, HOST),
                http.request.uri = uri(line.parts),
                http.request.remoteaddr = %client,
                http.request.useragent = text(headers, USER_AGENT),
                http.response.status = line.response.status().as_u16(),
                http.response.written = line.written,
                http.response.contenttype = text(line.response.headers(), CONTENT_TYPE),
                http.response.duration = ?line.started.elapsed(),
                auth.user.name = outcome.user.as_deref(),
                action = outcome.action,
                err.code = outcome.error.map(|code| code.to_ascii_lowercase().replace('_', " ")),
                err.detail = outcome.detail.as_deref(),
                $message
            )
        };
    }
    if failed {
        write!(error, "response completed with error");
    } else if outcome.error.is_some() {
        write!(info, "response completed with error");
    } else {
        write!(info, "response completed");
    }
}

/// Path and query without the proof that opens an upload session: whoever reads the log must not write to
/// it. A quote is escaped, so that a path cannot end its field.
fn uri(parts: &Parts) -> String {
    let path = parts.uri.path();
    let text = match parts.uri.query() {
        None => path.to_owned(),
        Some(query) => {
            let secret = |pair: &str| {
                let name = pair.split('=').next().unwrap_or_default();
                percent_encoding::percent_decode_str(name).eq(b"_state".iter().copied())
            };
            let shown = query
                .split('&')
                .map(|pair| if secret(pair) { "_state=" } else { pair });
            format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
        }
    };
    text.replace('"', "%22")
}

/// Apache's combined format, as Distribution writes it: the user is always a dash.
fn access_line(line: &Line<'_>, client: &origin::Client) -> String {
    let headers = &line.parts.headers;
    let quoted = |name| {
        text(headers, name)
            .unwrap_or_default()
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
    };
    format!(
        "{} - - [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\"\n",
        client.host(),
        now().format("%d/%b/%Y:%H:%M:%S +0000"),
        line.parts.method,
        uri(line.parts),
        line.parts.version,
        line.response.status().as_u16(),
        line.written,
        quoted(REFERER),
        quoted(USER_AGENT),
    )
}
