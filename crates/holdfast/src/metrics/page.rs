//! Prometheus' text format, version 0.0.4.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{Display, Write as _};

/// The `Content-Type` of a page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics being written: each family by its head, then its samples.
#[derive(Default)]
pub(crate) struct Page(String);

impl Page {
    /// Begins a family of numbers that only grow; its name ends in `_total`.
    pub(crate) fn counter(&mut self, name: &str, about: &str) {
        self.head(name, "counter", about);
    }

    /// Begins a family of numbers that come and go.
    pub(crate) fn gauge(&mut self, name: &str, about: &str) {
        self.head(name, "gauge", about);
    }

    /// Begins a family of histograms.
    pub(crate) fn histogram(&mut self, name: &str, about: &str) {
        self.head(name, "histogram", about);
    }

    /// Adds a sample. Only the values of labels are escaped: all else is text of this program.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// The page.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, kind: &str, about: &str) {
        let _ = writeln!(self.0, "# HELP {name} {about}\n# TYPE {name} {kind}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let mut page = Page::default();
        page.gauge("a_b", "About it.");
        page.sample("a_b", &[], 1.5);
        page.counter("c_total", "Another.");
        page.sample("c_total", &[("x", "1"), ("y", "a\\b\"c\nd")], 2);
        let text = "# HELP a_b About it.\n# TYPE a_b gauge\na_b 1.5\n\
                    # HELP c_total Another.\n# TYPE c_total counter\nc_total{x=\"1\",y=\"a\\\\b\\\"c\\nd\"} 2\n";
        assert_eq!(page.into_text(), text);
    }
}
