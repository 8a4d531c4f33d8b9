//! The report for people: a table per group.

use std::fmt::Write as _;

use super::{Report, number, ratio};
use crate::measure::{Figure, Measured, Unit};

/// What not every round has.
const SOME: [(Figure, &str); 4] = [
    (Figure::Asked, "requests"),
    (Figure::P50, "p50 ms"),
    (Figure::P99, "p99 ms"),
    (Figure::P999, "p99.9 ms"),
];

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Holdfast beside its peers\n\n");
        for fact in &self.facts {
            let _ = writeln!(text, "* {fact}");
        }
        if !self.missing.is_empty() {
            text.push_str("\nNot measured:\n\n");
            for sentence in &self.missing {
                let first = sentence.lines().next().unwrap_or_default();
                let _ = writeln!(text, "* {first}");
            }
        }
        if self.serious {
            text.push_str(&self.goals());
        }
        for (group, about) in &self.groups {
            let rows: Vec<&Measured> = self.rows(group);
            if rows.is_empty() {
                continue;
            }
            let _ = write!(text, "\n## {group}\n\n{about}\n");
            for unit in [
                Unit::Bytes,
                Unit::Requests,
                Unit::Images,
                Unit::Collected,
                Unit::Start,
                Unit::Image,
            ] {
                let rows: Vec<&Measured> = rows
                    .iter()
                    .copied()
                    .filter(|row| row.unit == unit)
                    .collect();
                if !rows.is_empty() {
                    table(&mut text, unit, &rows);
                }
            }
        }
        text
    }

    fn rows(&self, group: &str) -> Vec<&Measured> {
        self.measured
            .iter()
            .filter(|row| row.group == group)
            .collect()
    }
}

/// The ratios say how the row compared with stands to this row: its figure divided by this row's.
fn table(text: &mut String, unit: Unit, rows: &[&Measured]) {
    let [speed, cost] = unit.titles();
    let some: Vec<_> = SOME
        .into_iter()
        .filter(|(figure, _)| rows.iter().any(|row| row.figure(*figure).is_some()))
        .collect();
    let mut columns = vec![(Figure::Speed, speed)];
    columns.extend(some.iter().copied());
    columns.extend([
        (Figure::Cost, cost),
        (Figure::Busy, "cores busy"),
        (Figure::Peak, "peak RSS MiB"),
    ]);
    let mut ratios = vec![Figure::Speed];
    ratios.extend(
        some.iter()
            .map(|(figure, _)| *figure)
            .filter(|figure| [Figure::P99, Figure::Asked].contains(figure)),
    );
    ratios.extend([Figure::Cost, Figure::Peak]);

    text.push_str("\n| workload | server |");
    for (_, title) in &columns {
        let _ = write!(text, " {title} |");
    }
    for figure in &ratios {
        let _ = write!(text, " {} ratio |", title(*figure, unit));
    }
    text.push_str("\n|---|---|");
    text.push_str(&"--:|".repeat(columns.len() + ratios.len()));
    text.push('\n');
    for row in rows {
        let _ = write!(text, "| {} | {} |", row.case, row.contestant);
        for (figure, _) in &columns {
            let value = row.figure(*figure);
            let _ = write!(text, " {} |", value.map_or(String::new(), number));
        }
        let leader = rows
            .iter()
            .find(|other| other.case == row.case && other.contestant == row.baseline)
            .filter(|leader| leader.contestant != row.contestant);
        for figure in &ratios {
            let shown = leader.map(|leader| ratio(leader.figure(*figure), row.figure(*figure)));
            let _ = write!(text, " {} |", shown.unwrap_or_default());
        }
        text.push('\n');
    }
}

fn title(figure: Figure, unit: Unit) -> &'static str {
    match figure {
        Figure::Speed if unit.is_time() => "time",
        Figure::Speed => "speed",
        Figure::Cost => "CPU",
        Figure::Busy => "cores",
        Figure::Peak => "RSS",
        Figure::P50 => "p50",
        Figure::P99 => "p99",
        Figure::P999 => "p99.9",
        Figure::Asked => "requests",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;

    fn row(contestant: &str, seconds: f64) -> Measured {
        let sample = Sample {
            amount: 1024.0 * 1024.0 * 1024.0,
            seconds,
            cpu_seconds: seconds / 2.0,
            peak_kib: 10 * 1024,
            latency: None,
            requests: None,
        };
        Measured {
            group: "pull",
            case: "one".into(),
            unit: Unit::Bytes,
            contestant: contestant.into(),
            baseline: "ours".into(),
            samples: vec![sample],
        }
    }

    #[test]
    fn ratios_compare_with_the_baseline() {
        let report = Report {
            facts: vec!["a machine".into()],
            serious: true,
            groups: vec![("pull", "Blobs.".into()), ("push", "Not run.".into())],
            measured: vec![row("ours", 1.0), row("theirs", 4.0)],
            missing: vec!["Nobody else.".into()],
        };
        let text = report.markdown();
        for line in [
            "* a machine\n",
            "* Nobody else.\n",
            "## pull\n\nBlobs.\n",
            "| one | ours | 1024 | 0.500 | 0.500 | 10.0 |  |  |  |\n",
            "| one | theirs | 256 | 2.00 | 0.500 | 10.0 | 4.00× | 0.250× | 1.00× |\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(!text.contains("## push"), "{text}");
        assert_eq!(report.json()["results"][1]["mib_per_second"], 256.0);
    }
}
