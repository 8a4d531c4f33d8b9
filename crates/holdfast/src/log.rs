//! Log lines in Distribution's three formats on stderr, and access lines on stdout.
//!
//! Text is logfmt with sorted keys, `json` one object a line, `logstash` the same with logstash's names for
//! time and message. Each line is one write, so lines of several threads never mix.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use http::header::{HeaderValue, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::clock;
use crate::http::Peer;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=info msg="…" key=value`
    Text,
    /// `{"level":"info","msg":"…","time":"…"}`
    Json,
    /// `{"@timestamp":"…","@version":"1","level":"info","message":"…"}`
    Logstash,
}

/// Starts the log of this process. Later calls change nothing.
pub fn start(level: Level, format: Format, fields: BTreeMap<String, Value>) {
    let mut fixed = fields;
    fixed.insert(
        "instance.id".to_owned(),
        uuid::Uuid::new_v4().to_string().into(),
    );
    fixed.insert("version".to_owned(), crate::VERSION.into());
    let lines = Lines { format, fixed };
    let lines = lines.with_filter(tracing_subscriber::filter::LevelFilter::from_level(level));
    // A second start in one process (tests) keeps the first.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
}

struct Lines {
    format: Format,
    fixed: BTreeMap<String, Value>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        // Libraries below us speak up only when something is wrong.
        if !event.metadata().target().starts_with("holdfast")
            && *event.metadata().level() > Level::WARN
        {
            return;
        }
        let mut fields = Fields {
            values: self.fixed.clone(),
            message: String::new(),
        };
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let line = render(
            self.format,
            level,
            &fields.message,
            fields.values,
            &rfc3339(),
        );
        // A log that cannot be written must not stop the registry.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn render(
    format: Format,
    level: &str,
    message: &str,
    mut fields: BTreeMap<String, Value>,
    time: &str,
) -> String {
    let text = |text: &str| Value::String(text.to_owned());
    let mut line = match format {
        Format::Text => {
            let mut line = format!(
                "time={} level={level} msg={}",
                logfmt(&text(time)),
                logfmt(&text(message))
            );
            for (key, value) in &fields {
                let _ = write!(line, " {key}={}", logfmt(value));
            }
            line
        }
        Format::Json => {
            fields.extend([
                ("level".into(), text(level)),
                ("msg".into(), text(message)),
                ("time".into(), text(time)),
            ]);
            serde_json::to_string(&fields).unwrap_or_default()
        }
        Format::Logstash => {
            fields.extend([
                ("@timestamp".into(), text(time)),
                ("@version".into(), text("1")),
                ("level".into(), text(level)),
                ("message".into(), text(message)),
            ]);
            serde_json::to_string(&fields).unwrap_or_default()
        }
    };
    line.push('\n');
    line
}

/// A value as logfmt: bare when it is plain, quoted and escaped otherwise.
fn logfmt(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text,
        other => return other.to_string(),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.clone()
    } else {
        format!("{text:?}")
    }
}

struct Fields {
    values: BTreeMap<String, Value>,
    message: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => {
                self.values.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(clock::now().as_micros()).unwrap_or_default()
}

fn rfc3339() -> String {
    now().to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// One answered request.
pub struct RequestLine<'a> {
    /// The id the answer carries in `X-Request-Id`.
    pub id: &'a str,
    /// The other end.
    pub peer: Peer,
    /// The head of the request.
    pub parts: &'a Parts,
    /// Who asked.
    pub user: Option<&'a str>,
    /// What was asked.
    pub action: Option<&'static str>,
    /// The answer.
    pub status: StatusCode,
    /// Bytes of the answer's body.
    pub written: u64,
    /// The type of the answer.
    pub content_type: Option<&'a HeaderValue>,
    /// The first error code of the answer.
    pub error: Option<&'static str>,
    /// Its detail, as JSON.
    pub detail: Option<&'a str>,
    /// How long it took to answer, the body not included.
    pub elapsed: Duration,
    /// Also write an access line.
    pub access_line: bool,
}

/// Logs a request under Distribution's field names, and writes its access line.
pub fn request(line: &RequestLine<'_>) {
    let headers = &line.parts.headers;
    if line.access_line {
        let _ = std::io::stdout()
            .lock()
            .write_all(access_line(line).as_bytes());
    }
    let failed = line.error.is_some() && line.status != StatusCode::UNAUTHORIZED;
    if !(if failed {
        tracing::enabled!(Level::ERROR)
    } else {
        tracing::enabled!(Level::INFO)
    }) {
        return;
    }
    let client = crate::http::client_address(line.peer, headers);
    macro_rules! log {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                http.request.id = line.id,
                http.request.method = line.parts.method.as_str(),
                http.request.host = header(headers, "host"),
                http.request.uri = %line.parts.uri,
                http.request.remoteaddr = client,
                http.request.useragent = header(headers, "user-agent"),
                http.response.status = line.status.as_u16(),
                http.response.written = line.written,
                http.response.contenttype = line.content_type.and_then(|value| value.to_str().ok()),
                http.response.duration = format!("{:?}", line.elapsed),
                auth.user.name = line.user,
                action = line.action,
                err.code = line.error.map(|code| code.to_ascii_lowercase().replace('_', " ")),
                err.detail = line.detail,
                $message
            )
        };
    }
    if failed {
        log!(error, "response completed with error");
    } else {
        log!(info, "response completed");
    }
}

/// Apache's combined format, as Distribution writes it.
fn access_line(line: &RequestLine<'_>) -> String {
    let headers = &line.parts.headers;
    let address = crate::http::client_address(line.peer, headers);
    let host = address
        .parse::<std::net::SocketAddr>()
        .map_or(address, |address| address.ip().to_string());
    let quoted = |name| {
        header(headers, name)
            .unwrap_or_default()
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
    };
    format!(
        "{host} - - [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\"\n",
        now().format("%d/%b/%Y:%H:%M:%S +0000"),
        line.parts.method,
        line.parts.uri,
        line.parts.version,
        line.status.as_u16(),
        line.written,
        quoted(REFERER.as_str()),
        quoted(USER_AGENT.as_str()),
    )
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats() {
        let fields = || {
            BTreeMap::from([
                ("b".to_owned(), Value::from(1)),
                ("a".to_owned(), Value::from("x \"y\"")),
            ])
        };
        let line = |format| {
            render(
                format,
                "info",
                "hello there",
                fields(),
                "2026-01-02T03:04:05Z",
            )
        };
        assert_eq!(
            line(Format::Text),
            "time=\"2026-01-02T03:04:05Z\" level=info msg=\"hello there\" a=\"x \\\"y\\\"\" b=1\n"
        );
        assert_eq!(
            line(Format::Json),
            "{\"a\":\"x \\\"y\\\"\",\"b\":1,\"level\":\"info\",\"msg\":\"hello there\",\"time\":\"2026-01-02T03:04:05Z\"}\n"
        );
        assert_eq!(
            line(Format::Logstash),
            "{\"@timestamp\":\"2026-01-02T03:04:05Z\",\"@version\":\"1\",\"a\":\"x \\\"y\\\"\",\"b\":1,\"level\":\"info\",\"message\":\"hello there\"}\n"
        );
    }

    #[test]
    fn no_value_breaks_a_line() {
        assert_eq!(logfmt(&Value::from("a\nb")), "\"a\\nb\"");
        assert_eq!(logfmt(&Value::from("")), "\"\"");
        assert_eq!(logfmt(&Value::from("plain-1.2/x")), "plain-1.2/x");
    }
}
