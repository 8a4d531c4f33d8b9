//! Keys of `version`, `log` and the sections that died with Distribution 2.8.

use super::Kind::{Any, Choice, Flag, Section, Text};
use super::{Entry, key};

const LEVELS: &[&str] = &["error", "warn", "info", "debug"];

const NO_REPORTING: &str = "reports to outside services are not sent, as in Distribution 3";
const NO_SCHEMA1: &str = "schema 1 manifests are not accepted, as in Distribution 3";

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("version", Text, "", "Version of the configuration format; must be `0.1`."),
    key("log.level", Choice(LEVELS), "info", "Least severe level that is logged."),
    key("log.formatter", Choice(&["text", "json", "logstash"]), "text", "Shape of a log line."),
    key("log.fields.*", Any, "", "A fixed field added to every log line."),
    key("log.accesslog.disabled", Flag, "false", "Turns the access log on standard output off."),
    key("log.reportcaller", Flag, "false", "Adds the place in the source to each line.").not_yet(),
    key("log.hooks", Section, "", "Messages sent by mail when something is logged.").not_yet(),
    key("log.hooks[].type", Text, "", "Kind of hook; `mail` is the only one.").not_yet(),
    key("log.hooks[].disabled", Flag, "false", "Turns the hook off.").not_yet(),
    key("log.hooks[].levels[]", Text, "", "A level that triggers the hook.").not_yet(),
    key("log.hooks[].options.smtp.addr", Text, "", "Mail server as host:port.").not_yet(),
    key("log.hooks[].options.smtp.username", Text, "", "User at the mail server.").not_yet(),
    key("log.hooks[].options.smtp.password", Text, "", "Password at the mail server.").secret().not_yet(),
    key("log.hooks[].options.smtp.insecure", Flag, "false", "Has no effect in Distribution either.").not_yet(),
    key("log.hooks[].options.from", Text, "", "Sender of the mail.").not_yet(),
    key("log.hooks[].options.to[]", Text, "", "A recipient of the mail.").not_yet(),
    key("loglevel", Choice(LEVELS), "", "Older spelling of `log.level`, used when that is not set.").alias("log.level"),
];

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const RETIRED: &[Entry] = &[
    key("reporting", Section, "", "Error reports to outside services (Distribution 2.8).").ignored(NO_REPORTING),
    key("reporting.bugsnag.apikey", Text, "", "Bugsnag key.").secret().ignored(NO_REPORTING),
    key("reporting.bugsnag.releasestage", Text, "", "Bugsnag release stage.").ignored(NO_REPORTING),
    key("reporting.bugsnag.endpoint", Text, "", "Bugsnag endpoint.").ignored(NO_REPORTING),
    key("reporting.newrelic.licensekey", Text, "", "New Relic licence key.").secret().ignored(NO_REPORTING),
    key("reporting.newrelic.name", Text, "", "New Relic application name.").ignored(NO_REPORTING),
    key("reporting.newrelic.verbose", Flag, "", "New Relic debug output.").ignored(NO_REPORTING),
    key("compatibility", Section, "", "Support of older formats (Distribution 2.8).").ignored(NO_SCHEMA1),
    key("compatibility.schema1.enabled", Flag, "", "Accepts schema 1 manifests.").ignored(NO_SCHEMA1),
    key("compatibility.schema1.signingkeyfile", Text, "", "Key that signs converted manifests.").ignored(NO_SCHEMA1),
];
