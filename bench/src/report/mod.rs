//! The results as Markdown for people and as JSON for programs.

mod goals;
mod json;
mod markdown;

use std::fs;
use std::path::Path;

use crate::Result;
use crate::measure::{Figure, Measured, Sample, Unit};

/// Everything a report says.
pub(crate) struct Report {
    /// Machine, settings and versions, a line each.
    pub(crate) facts: Vec<String>,
    /// Whether the figures are to be taken seriously: a short run says nothing about goals.
    pub(crate) serious: bool,
    /// Name and explanation of each group that was run.
    pub(crate) groups: Vec<(&'static str, String)>,
    pub(crate) measured: Vec<Measured>,
    /// What was not measured, and what failed.
    pub(crate) missing: Vec<String>,
}

impl Report {
    /// `report.md` and `report.json` in a directory, which is made where it is missing.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(directory)?;
        write("report.md", self.markdown())?;
        write("report.json", format!("{:#}\n", self.json()))?;
        Ok(())
    }
}

/// One round in few words.
pub(crate) fn line(unit: Unit, sample: &Sample) -> String {
    let shown = |figure| sample.figure(figure, unit).map_or("–".to_owned(), number);
    let [speed, cost] = unit.titles();
    let mut text = format!(
        "{} {speed}, {} {cost}",
        shown(Figure::Speed),
        shown(Figure::Cost)
    );
    if sample.latency.is_some() {
        text += &format!(
            ", p50 {} ms, p99 {} ms",
            shown(Figure::P50),
            shown(Figure::P99)
        );
    }
    if sample.requests.is_some() {
        text += &format!(", {} requests", shown(Figure::Asked));
    }
    text
}

/// Three significant digits, and whole numbers from 100 up.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_infinite() => "overloaded".to_owned(),
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

/// `4.5×`, or a dash where a clock of 10 ms saw nothing or a server could not.
fn ratio(ours: Option<f64>, theirs: Option<f64>) -> String {
    match ours.zip(theirs).map(|(ours, theirs)| ours / theirs) {
        Some(ratio) if ratio.is_finite() => format!("{}×", number(ratio)),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (1234.5, "1234"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.1234, "0.123"),
            (0.01234, "0.0123"),
            (0.0, "0"),
            (f64::INFINITY, "overloaded"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn ratios_of_nothing_are_dashes() {
        assert_eq!(ratio(Some(3.0), Some(2.0)), "1.50×");
        assert_eq!(ratio(Some(3.0), Some(0.0)), "–");
        assert_eq!(ratio(Some(3.0), Some(f64::INFINITY)), "0×");
        assert_eq!(ratio(None, Some(1.0)), "–");
    }
}
