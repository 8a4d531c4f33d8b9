//! Log lines in Distribution's three formats on stderr.
//!
//! Text is logfmt with sorted keys, `json` one object a line, `logstash` the same with logstash's names for
//! time and message. Each line is one write, so lines of several threads never mix.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::config::Formatter;
use crate::error_chain::chain;
use crate::{clock, random};

/// Longest text of one field, in bytes; what clients send may be much longer.
const MAX_FIELD_BYTES: usize = 2048;

/// Lines that may wait for a reader that is slow; the rest are dropped and counted.
const WAITING_LINES: usize = 8192;

/// Room for the fields of a request line.
const USUAL_FIELDS: usize = 24;

/// Where access lines go, once the log is started.
static ACCESS: OnceLock<NonBlocking> = OnceLock::new();

/// Keeps the threads that write; dropping it writes what waits, for a second at most.
pub(crate) struct Writers(#[expect(dead_code, reason = "kept to be dropped")] [WorkerGuard; 2]);

/// Starts the log of this process.
///
/// A thread writes, so that a terminal or a pipe that nobody reads stops no request.
pub(crate) fn start(level: Level, format: Formatter, fields: BTreeMap<String, Value>) -> Writers {
    let mut fixed = fields;
    fixed.insert("instance.id".to_owned(), random::hex::<16>().into());
    fixed.insert("version".to_owned(), crate::VERSION.into());
    let writer = || NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES);
    let (errors, errors_guard) = writer().finish(std::io::stderr());
    let (access, access_guard) = writer().finish(std::io::stdout());
    let lines = Lines {
        format,
        fixed,
        out: errors,
    };
    let lines = lines.with_filter(tracing_subscriber::filter::LevelFilter::from_level(level));
    // Nobody starts it twice; if somebody did, the first would go on.
    let _ = ACCESS.set(access);
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
    Writers([errors_guard, access_guard])
}

/// Writes an access line on stdout.
pub(crate) fn access(line: &str) {
    if let Some(out) = ACCESS.get() {
        // A full queue drops the line; nothing else can fail here.
        let _ = out.clone().write_all(line.as_bytes());
    }
}

struct Lines {
    format: Formatter,
    fixed: BTreeMap<String, Value>,
    out: NonBlocking,
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
            values: Vec::with_capacity(USUAL_FIELDS),
            message: String::new(),
        };
        fields.values.extend(
            self.fixed
                .iter()
                .map(|(key, value)| (key.as_str(), Cow::Borrowed(value))),
        );
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let time = now().to_rfc3339_opts(SecondsFormat::Nanos, true);
        let line = render(self.format, level, &fields.message, fields.values, &time);
        // A log that cannot be written must not stop the registry.
        let _ = self.out.clone().write_all(line.as_bytes());
    }
}

type Values<'a> = Vec<(&'a str, Cow<'a, Value>)>;

fn render(
    format: Formatter,
    level: &str,
    message: &str,
    mut fields: Values<'_>,
    time: &str,
) -> String {
    let text = |text: &str| Cow::Owned(Value::String(text.to_owned()));
    match format {
        Formatter::Text => {}
        Formatter::Json => fields.extend([
            ("level", text(level)),
            ("msg", text(message)),
            ("time", text(time)),
        ]),
        Formatter::Logstash => fields.extend([
            ("@timestamp", text(time)),
            ("@version", text("1")),
            ("level", text(level)),
            ("message", text(message)),
        ]),
    }
    fields.sort_by_key(|(key, _)| *key);
    let mut line = String::with_capacity(512);
    if format == Formatter::Text {
        line.push_str("time=");
        logfmt(&mut line, time);
        let _ = write!(line, " level={level} msg=");
        logfmt(&mut line, message);
        for (key, value) in &fields {
            let _ = write!(line, " {key}=");
            match value.as_ref() {
                Value::String(text) => logfmt(&mut line, text),
                other => {
                    let _ = write!(line, "{other}");
                }
            }
        }
    } else {
        let mut bytes = Vec::with_capacity(512);
        let fields = fields.iter().map(|(key, value)| (key, value.as_ref()));
        // Strings and numbers are always JSON.
        let _ = serde_json::Serializer::new(&mut bytes).collect_map(fields);
        line = String::from_utf8(bytes).unwrap_or_default();
    }
    line.push('\n');
    line
}

/// A value as logfmt: bare when it is plain, quoted and escaped otherwise.
fn logfmt(line: &mut String, text: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        line.push_str(text);
    } else {
        let _ = write!(line, "{text:?}");
    }
}

struct Fields<'a> {
    values: Values<'a>,
    message: String,
}

impl Fields<'_> {
    fn put_text(&mut self, field: &Field, mut text: String) {
        if text.len() > MAX_FIELD_BYTES {
            text.truncate(text.floor_char_boundary(MAX_FIELD_BYTES));
            text.push('…');
        }
        self.put(field, Value::String(text));
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.values.push((name, Cow::Owned(value))),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put_text(field, chain(value));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
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

/// The time now, for lines.
pub(crate) fn now() -> DateTime<Utc> {
    clock::date(clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats() {
        let line = |format| {
            let fields = vec![
                ("b", Cow::Owned(Value::from(1))),
                ("a", Cow::Owned(Value::from("x \"y\""))),
            ];
            render(
                format,
                "info",
                "hello there",
                fields,
                "2026-01-02T03:04:05Z",
            )
        };
        assert_eq!(
            line(Formatter::Text),
            "time=\"2026-01-02T03:04:05Z\" level=info msg=\"hello there\" a=\"x \\\"y\\\"\" b=1\n"
        );
        assert_eq!(
            line(Formatter::Json),
            "{\"a\":\"x \\\"y\\\"\",\"b\":1,\"level\":\"info\",\"msg\":\"hello there\",\"time\":\"2026-01-02T03:04:05Z\"}\n"
        );
        assert_eq!(
            line(Formatter::Logstash),
            "{\"@timestamp\":\"2026-01-02T03:04:05Z\",\"@version\":\"1\",\"a\":\"x \\\"y\\\"\",\"b\":1,\"level\":\"info\",\"message\":\"hello there\"}\n"
        );
    }

    #[test]
    fn no_value_breaks_a_line() {
        let logged = |text| {
            let mut line = String::new();
            logfmt(&mut line, text);
            line
        };
        assert_eq!(logged("a\nb"), "\"a\\nb\"");
        assert_eq!(logged(""), "\"\"");
        assert_eq!(logged("plain-1.2/x"), "plain-1.2/x");
    }
}
