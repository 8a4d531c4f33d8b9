//! The results as Markdown for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::measure::{Measured, Sample, Unit};
use crate::workload::Scale;

/// The speed of one round.
pub(crate) fn speed(unit: Unit, sample: &Sample) -> String {
    let speed = sample.speed(unit);
    match unit {
        Unit::Bytes => format!("{speed:.0} MiB/s"),
        Unit::Requests => format!("{speed:.0}/s"),
    }
}

/// Two tables, one per unit, and what one must know to read them.
///
/// The ratios say how the first server stands to the one of the row: its speed, its processor time and its
/// memory, divided by those of the row.
pub(crate) fn markdown(
    results: &[Measured],
    facts: &str,
    versions: &[String],
    missing: &[String],
    scale: &Scale,
    rounds: u32,
) -> String {
    let size = scale.large_bytes >> 20;
    let rounds = if rounds == 1 {
        "1 round".to_owned()
    } else {
        format!("median of {rounds} rounds")
    };
    let mut text = format!("{}; {rounds}; {facts}.\n", versions.join(", "));
    for reason in missing {
        let _ = writeln!(text, "\n{reason}");
    }
    let large = format!("{size} MiB blob");
    table(
        &mut text,
        results,
        Unit::Bytes,
        [&large, "MiB/s", "CPU s/GiB"],
    );
    table(
        &mut text,
        results,
        Unit::Requests,
        ["small requests", "per second", "CPU s/1000"],
    );
    text
}

fn table(text: &mut String, results: &[Measured], unit: Unit, [title, speed, cost]: [&str; 3]) {
    let Some(first) = results.first() else { return };
    let alone = results.iter().all(|row| row.server == first.server);
    let _ = write!(
        text,
        "\n| {title} | server | {speed} | {cost} | peak RSS MiB |"
    );
    if !alone {
        let _ = write!(text, " {0}'s speed | {0}'s CPU | {0}'s RSS |", first.server);
    }
    text.push_str("\n|---|---|--:|--:|--:|");
    text.push_str(if alone { "\n" } else { "--:|--:|--:|\n" });
    let mut leader = first;
    for row in results.iter().filter(|row| row.unit == unit) {
        let _ = write!(
            text,
            "| {} | {} | {:.0} | {} | {:.0} |",
            row.workload,
            row.server,
            row.speed(),
            significant(row.cost()),
            row.peak_mib()
        );
        if row.server != first.server {
            let _ = write!(
                text,
                " {} | {} | {} |",
                ratio(leader.speed(), row.speed()),
                ratio(leader.cost(), row.cost()),
                ratio(leader.peak_mib(), row.peak_mib())
            );
        } else {
            leader = row;
            text.push_str(if alone { "" } else { " | | |" });
        }
        text.push('\n');
    }
}

/// All samples and their medians.
pub(crate) fn json(results: &[Measured], facts: &str, versions: &[String], scale: &Scale) -> Value {
    let results: Vec<Value> = results
        .iter()
        .map(|row| {
            let samples: Vec<Value> = row.samples.iter().map(json_sample).collect();
            let (speed, cost) = match row.unit {
                Unit::Bytes => ("mib_per_second", "cpu_seconds_per_gib"),
                Unit::Requests => ("requests_per_second", "cpu_seconds_per_1000_requests"),
            };
            json!({
                "workload": row.workload,
                "server": row.server,
                speed: row.speed(),
                cost: row.cost(),
                "peak_rss_mib": row.peak_mib(),
                "samples": samples,
            })
        })
        .collect();
    json!({
        "machine": facts,
        "servers": versions,
        "large_blob_bytes": scale.large_bytes,
        "results": results,
    })
}

fn json_sample(sample: &Sample) -> Value {
    json!({
        "amount": sample.amount,
        "seconds": sample.seconds,
        "cpu_seconds": sample.cpu_seconds,
        "peak_rss_kib": sample.peak_kib,
    })
}

/// Two decimals, three where the first would be a zero.
fn significant(value: f64) -> String {
    if value.abs() < 0.1 {
        format!("{value:.3}")
    } else {
        format!("{value:.2}")
    }
}

/// `4.5×`, or a dash where a clock of 10 ms saw nothing.
fn ratio(ours: f64, theirs: f64) -> String {
    let ratio = ours / theirs;
    if ratio.is_finite() {
        format!("{}×", significant(ratio))
    } else {
        "–".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(server: &'static str, unit: Unit, seconds: f64) -> Measured {
        let sample = Sample {
            amount: 1 << 30,
            seconds,
            cpu_seconds: seconds / 2.0,
            peak_kib: 10 * 1024,
        };
        Measured {
            workload: "pull",
            unit,
            server,
            samples: vec![sample],
        }
    }

    #[test]
    fn ratios_compare_with_the_first_server() {
        let results = [
            row("ours", Unit::Bytes, 1.0),
            row("theirs", Unit::Bytes, 4.0),
        ];
        let scale = Scale::quick();
        let text = markdown(
            &results,
            "a machine",
            &["ours 1".into()],
            &["Nobody else.".into()],
            &scale,
            1,
        );
        assert!(
            text.contains("| pull | ours | 1024 | 0.50 | 10 | | | |\n"),
            "{text}"
        );
        assert!(
            text.contains("| pull | theirs | 256 | 2.00 | 10 | 4.00× | 0.25× | 1.00× |\n"),
            "{text}"
        );
        assert!(
            text.starts_with("ours 1; 1 round; a machine.\n\nNobody else.\n"),
            "{text}"
        );
        let json = json(&results, "a machine", &[], &scale);
        assert_eq!(json["results"][1]["mib_per_second"], 256.0);
        assert_eq!(ratio(1.0, 0.0), "–");
    }
}
