//! The OCI conformance suite: running its program and reading its report.
//!
//! The suite is the program of `opencontainers/distribution-spec`, directory `conformance`, in the form it
//! has had since it knows `OCI_VERSION=dev`. It writes `junit.xml`, of which only attributes are read here.

use std::path::{Path, PathBuf};

use crate::{Registry, Workbench, find_program};

/// What the suite reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Checks made, groups of checks included.
    pub tests: usize,
    /// Checks and groups that failed.
    pub failures: usize,
    /// Checks and groups that could not be made because the registry lacks a feature.
    pub skipped: usize,
    /// The names of the checks that failed.
    pub failed_cases: Vec<String>,
    /// The names of the checks that were skipped.
    pub skipped_cases: Vec<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} of {} failed, {} skipped",
            self.failures, self.tests, self.skipped
        )?;
        for name in &self.failed_cases {
            writeln!(f, "  failed: {name}")?;
        }
        for name in &self.skipped_cases {
            writeln!(f, "  skipped: {name}")?;
        }
        Ok(())
    }
}

/// Runs the suite against a registry that speaks plain HTTP.
///
/// `version` is that of the specification, as in `1.1` or `dev`; `settings` are further variables.
///
/// # Panics
/// When the suite is not there or leaves no report.
#[must_use]
#[track_caller]
pub fn run(registry: &Registry, version: &str, settings: &[(&str, &str)]) -> Report {
    let home = Workbench::new();
    let results = home.path("results");
    let command = home
        .at_home(crate::Command::at(&program()))
        .env("OCI_REGISTRY", registry.host())
        .env("OCI_TLS", "disabled")
        .env("OCI_VERSION", version)
        .env("OCI_RESULTS_DIR", &results);
    // The exit status says less than the report: it is 1 for a skipped check as for a failed one.
    let output = settings
        .iter()
        .fold(command, |command, (name, value)| command.env(name, value))
        .finish();
    let junit = std::fs::read_to_string(results.join("junit.xml"));
    read(&junit.unwrap_or_else(|error| panic!("the suite left no report ({error}): {output}")))
}

/// `HOLDFAST_CONFORMANCE`, or `oci-conformance` among the tools.
fn program() -> PathBuf {
    std::env::var_os("HOLDFAST_CONFORMANCE").map_or_else(
        || find_program("oci-conformance"),
        |path| Path::new(&path).to_owned(),
    )
}

/// Reads a report in the JUnit format, as the suite writes it.
///
/// # Panics
/// When it has no totals: a report that cannot be read must not look like a pass.
#[must_use]
pub fn read(junit: &str) -> Report {
    let totals = elements(junit, "testsuites")
        .next()
        .expect("a <testsuites> element in the report");
    let number = |name| {
        attribute(totals, name).map_or(0, |value| value.parse().expect("a total is a number"))
    };
    let cases = |status| {
        let matching = elements(junit, "testcase")
            .filter(move |case| attribute(case, "status") == Some(status));
        matching
            .filter_map(|case| attribute(case, "name"))
            .map(str::to_owned)
            .collect()
    };
    Report {
        tests: number("tests"),
        failures: number("failures") + number("errors"),
        skipped: number("skipped"),
        failed_cases: cases("failure"),
        skipped_cases: cases("skipped"),
    }
}

/// The attributes of every start tag of this name. `<` cannot stand unescaped elsewhere in XML.
fn elements<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    xml.split('<').skip(1).filter_map(move |tag| {
        let attributes = tag.strip_prefix(name)?.split('>').next()?;
        (attributes.is_empty() || attributes.starts_with(' ')).then_some(attributes)
    })
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = tag.split_once(&format!(" {name}=\""))?;
    value.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_cases_are_read() {
        let report = read(
            r#"<testsuites time="1.0" tests="5" failures="2" skipped="1" disabled="1">
                <testsuite name="all" tests="5" failures="2" errors="0" skipped="1">
                    <testcase name="all/ping" classname="" status="passed"><system-err>a &lt;testcase</system-err></testcase>
                    <testcase name="all/mount" classname="" status="skipped"></testcase>
                    <testcase name="all/range" classname="" status="failure"></testcase>
                </testsuite>
            </testsuites>"#,
        );
        let expected = Report {
            tests: 5,
            failures: 2,
            skipped: 1,
            failed_cases: vec!["all/range".to_owned()],
            skipped_cases: vec!["all/mount".to_owned()],
        };
        assert_eq!(report, expected);
    }
}
