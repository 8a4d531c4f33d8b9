//! One measurement, and what several of them come to.

use hdrhistogram::Histogram;

/// What a workload counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// MiB/s, processor seconds per GiB.
    Bytes,
    /// Requests per second, processor seconds per 1,000 of them.
    Requests,
    /// Images per second, processor seconds per image.
    Images,
    /// Manifests collected with their blobs: a second, processor seconds per 1,000 of them.
    Collected,
    /// Times in milliseconds, of which less is better.
    Start,
    /// The same, of images.
    Image,
}

/// One round on one server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Bytes, requests, images or starts.
    pub(crate) amount: f64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_kib: u64,
    /// Of requests at a fixed rate.
    pub(crate) latency: Option<Latency>,
    /// Made of a bucket, where the content is in one.
    pub(crate) requests: Option<u64>,
}

/// Percentiles in milliseconds; infinite where the server did not carry the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

/// All rounds of one case on one contestant.
pub(crate) struct Measured {
    pub(crate) group: &'static str,
    pub(crate) case: String,
    pub(crate) unit: Unit,
    pub(crate) contestant: String,
    /// With whose figures this contestant's are compared: Holdfast, set up likewise.
    pub(crate) baseline: String,
    pub(crate) samples: Vec<Sample>,
}

/// The figures that are shown and that goals speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Speed,
    Cost,
    /// Cores that the server kept busy.
    Busy,
    Peak,
    P50,
    P99,
    P999,
    /// Requests made of a bucket.
    Asked,
}

impl Unit {
    /// Whether what stands for speed is a time.
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Unit::Start | Unit::Image)
    }

    /// The amount that counts as one in speeds.
    fn speed_unit(self) -> f64 {
        match self {
            Unit::Bytes => 1024.0 * 1024.0,
            Unit::Requests | Unit::Images | Unit::Collected => 1.0,
            Unit::Start | Unit::Image => 1.0,
        }
    }

    /// The amount that processor time is given for.
    fn cost_unit(self) -> f64 {
        match self {
            Unit::Bytes => 1024.0 * 1024.0 * 1024.0,
            Unit::Requests | Unit::Collected => 1000.0,
            Unit::Images | Unit::Start | Unit::Image => 1.0,
        }
    }

    /// Heads of the columns of speed and cost.
    pub(crate) fn titles(self) -> [&'static str; 2] {
        match self {
            Unit::Bytes => ["MiB/s", "CPU s/GiB"],
            Unit::Requests => ["requests/s", "CPU s/1,000"],
            Unit::Images => ["images/s", "CPU s/image"],
            Unit::Collected => ["manifests/s", "CPU s/1,000"],
            Unit::Start => ["start ms", "CPU s/start"],
            Unit::Image => ["ms", "CPU s/image"],
        }
    }
}

impl Latency {
    /// The percentiles of a histogram of microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>, overloaded: bool) -> Latency {
        let at = |quantile: f64| match overloaded {
            true => f64::INFINITY,
            false => histogram.value_at_quantile(quantile) as f64 / 1000.0,
        };
        Latency {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }
}

impl Sample {
    /// A figure of this round; none where the round does not have it.
    pub(crate) fn figure(&self, figure: Figure, unit: Unit) -> Option<f64> {
        let value = match figure {
            Figure::Cost if self.amount == 0.0 => return None,
            Figure::Speed if unit.is_time() => self.seconds * 1000.0 / self.amount,
            Figure::Speed => self.amount / unit.speed_unit() / self.seconds,
            Figure::Cost => self.cpu_seconds / (self.amount / unit.cost_unit()),
            Figure::Busy => self.cpu_seconds / self.seconds,
            Figure::Peak => self.peak_kib as f64 / 1024.0,
            Figure::P50 => self.latency?.p50,
            Figure::P99 => self.latency?.p99,
            Figure::P999 => self.latency?.p999,
            Figure::Asked => self.requests? as f64 / self.amount,
        };
        Some(value)
    }
}

impl Measured {
    /// Its name in `--only`, in the goals and in the JSON.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.group, self.case)
    }

    /// The median of the rounds; of memory the highest.
    pub(crate) fn figure(&self, figure: Figure) -> Option<f64> {
        let values: Option<Vec<f64>> = self
            .samples
            .iter()
            .map(|sample| sample.figure(figure, self.unit))
            .collect();
        let values = values.filter(|values| !values.is_empty())?;
        match figure {
            Figure::Peak => values.into_iter().reduce(f64::max),
            Figure::Speed
            | Figure::Cost
            | Figure::Busy
            | Figure::P50
            | Figure::P99
            | Figure::P999
            | Figure::Asked => Some(median(values)),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn speeds_and_costs() {
        let sample = Sample {
            amount: 2.0 * 1024.0 * 1024.0 * 1024.0,
            seconds: 4.0,
            cpu_seconds: 1.0,
            ..Sample::default()
        };
        assert_eq!(sample.figure(Figure::Speed, Unit::Bytes), Some(512.0));
        assert_eq!(sample.figure(Figure::Cost, Unit::Bytes), Some(0.5));
        assert_eq!(sample.figure(Figure::P99, Unit::Bytes), None);
        let sample = Sample {
            amount: 500.0,
            ..sample
        };
        assert_eq!(sample.figure(Figure::Speed, Unit::Requests), Some(125.0));
        assert_eq!(sample.figure(Figure::Cost, Unit::Requests), Some(2.0));
        assert_eq!(sample.figure(Figure::Speed, Unit::Start), Some(8.0));
    }

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        for microseconds in 1..=1000_u64 {
            histogram.record(microseconds).unwrap();
        }
        let latency = Latency::of(&histogram, false);
        assert!((latency.p50 - 0.5).abs() < 0.001, "{latency:?}");
        assert!((latency.p99 - 0.99).abs() < 0.001, "{latency:?}");
        assert!((latency.p999 - 0.999).abs() < 0.001, "{latency:?}");
        assert_eq!(Latency::of(&histogram, true).p50, f64::INFINITY);
    }

    #[test]
    fn of_memory_the_highest_round_counts() {
        let round = |peak_kib| Sample {
            peak_kib,
            amount: 1.0,
            seconds: 1.0,
            ..Sample::default()
        };
        let measured = Measured {
            group: "pull",
            case: "one".into(),
            unit: Unit::Requests,
            contestant: "a".into(),
            baseline: "a".into(),
            samples: vec![round(1024), round(3072), round(2048)],
        };
        assert_eq!(measured.figure(Figure::Peak), Some(3.0));
        assert_eq!(measured.figure(Figure::P50), None);
    }
}
