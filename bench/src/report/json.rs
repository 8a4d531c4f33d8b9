//! The report for programs: the medians and all samples.

use serde_json::{Value, json};

use super::Report;
use crate::measure::{Figure, Measured, Sample, Unit};

impl Report {
    pub(super) fn json(&self) -> Value {
        let results: Vec<Value> = self.measured.iter().map(result).collect();
        json!({
            "facts": self.facts,
            "not_measured": self.missing,
            "results": results,
        })
    }
}

fn result(row: &Measured) -> Value {
    let samples: Vec<Value> = row.samples.iter().map(sample).collect();
    let (speed, cost) = match row.unit {
        Unit::Bytes => ("mib_per_second", "cpu_seconds_per_gib"),
        Unit::Requests => ("requests_per_second", "cpu_seconds_per_1000_requests"),
        Unit::Images => ("images_per_second", "cpu_seconds_per_image"),
        Unit::Collected => ("manifests_per_second", "cpu_seconds_per_1000_manifests"),
        Unit::Start => ("start_milliseconds", "cpu_seconds_per_start"),
        Unit::Image => ("milliseconds", "cpu_seconds_per_image"),
    };
    json!({
        "workload": row.id(),
        "server": row.contestant,
        "compared_with": row.baseline,
        speed: row.figure(Figure::Speed),
        cost: row.figure(Figure::Cost),
        "p50_milliseconds": row.figure(Figure::P50),
        "p99_milliseconds": row.figure(Figure::P99),
        "p999_milliseconds": row.figure(Figure::P999),
        "requests": row.figure(Figure::Asked),
        "cores_busy": row.figure(Figure::Busy),
        "peak_rss_mib": row.figure(Figure::Peak),
        "samples": samples,
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "amount": sample.amount,
        "seconds": sample.seconds,
        "cpu_seconds": sample.cpu_seconds,
        "peak_rss_kib": sample.peak_kib,
        "requests": sample.requests,
        "latency_milliseconds": sample.latency.map(|latency| [latency.p50, latency.p99, latency.p999]),
    })
}
