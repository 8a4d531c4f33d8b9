//! The goals for the data path, all in this place, and how far a run comes.
//!
//! A goal is a ratio to another row of the same case (or of another case), or a figure. It covers several
//! cases and servers where it says so; what is shown is the worst of them.

use std::fmt::Write as _;

use super::{Report, number};
use crate::limits;
use crate::measure::{Figure, Measured};
use crate::software::{DISTRIBUTION_V3, DOCKER_REGISTRY, HOLDFAST, NGINX, NGINX_TUNED, ZOT};

const REGISTRIES: &[&str] = &[DOCKER_REGISTRY, DISTRIBUTION_V3, ZOT];
const LARGE_PULLS: &[&str] = &[
    "1 GiB, 1 client",
    "1 GiB, 4 clients",
    "1 GiB, 32 clients",
    "4 MiB, 1 client",
    "4 MiB, 4 clients",
    "4 MiB, 32 clients",
];
/// Bytes of 20 and of 150 MB, in MiB.
const IDLE_MIB: f64 = 20e6 / 1_048_576.0;
const MANY_CLIENTS_MIB: f64 = 150e6 / 1_048_576.0;

struct Goal {
    text: &'static str,
    group: &'static str,
    cases: &'static [&'static str],
    contestant: &'static str,
    against: Against,
    measure: Measure,
    bound: Bound,
}

/// What Holdfast's figure is divided by.
#[derive(Clone, Copy)]
enum Against {
    /// Other rows of the same case.
    Rows(&'static [&'static str]),
    /// The same server in another case: group and case.
    Case(&'static str, &'static str),
    Nothing,
}

#[derive(Clone, Copy)]
enum Measure {
    Speed,
    /// The inverse of speed.
    Time,
    Of(Figure),
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

const GOAL: Goal = Goal {
    text: "",
    group: "pull",
    cases: LARGE_PULLS,
    contestant: HOLDFAST,
    against: Against::Nothing,
    measure: Measure::Speed,
    bound: Bound::AtLeast(1.0),
};

const GOALS: &[Goal] = &[
    Goal {
        text: "Pull of 1 GiB and 4 MiB, 1 to 32 clients: CPU at most 0.6 × nginx",
        against: Against::Rows(&[NGINX]),
        measure: Measure::Of(Figure::Cost),
        bound: Bound::AtMost(0.6),
        ..GOAL
    },
    Goal {
        text: "… at most 1.0 × nginx with a small send buffer",
        against: Against::Rows(&[NGINX_TUNED]),
        measure: Measure::Of(Figure::Cost),
        bound: Bound::AtMost(1.0),
        ..GOAL
    },
    Goal {
        text: "… throughput at least 1.3 × nginx",
        against: Against::Rows(&[NGINX]),
        bound: Bound::AtLeast(1.3),
        ..GOAL
    },
    Goal {
        text: "… CPU at most ⅓ of each registry",
        against: Against::Rows(REGISTRIES),
        measure: Measure::Of(Figure::Cost),
        bound: Bound::AtMost(1.0 / 3.0),
        ..GOAL
    },
    Goal {
        text: "Pull with 50 ms of round-trip time: at least 0.95 × nginx",
        group: "pull-distant",
        cases: &[
            "1 GiB distant, 1 client",
            "1 GiB distant, 4 clients",
            "4 MiB distant, 32 clients",
        ],
        against: Against::Rows(&[NGINX]),
        bound: Bound::AtLeast(0.95),
        ..GOAL
    },
    Goal {
        text: "Pull over TLS: CPU at most 0.7 × nginx",
        group: "pull-tls",
        against: Against::Rows(&[NGINX]),
        measure: Measure::Of(Figure::Cost),
        bound: Bound::AtMost(0.7),
        ..GOAL
    },
    Goal {
        text: "… throughput at least 1.8 × each registry",
        group: "pull-tls",
        against: Against::Rows(REGISTRIES),
        bound: Bound::AtLeast(1.8),
        ..GOAL
    },
    Goal {
        text: "Pull from a cold cache: at least 0.95 × reading the file",
        group: "pull-cold",
        cases: &[
            "1 GiB cold, 1 client",
            "256 MiB cold, 4 clients",
            "4 MiB cold, 4 clients",
        ],
        against: Against::Rows(&[limits::READ]),
        bound: Bound::AtLeast(0.95),
        ..GOAL
    },
    Goal {
        text: "Pull of 64 KiB, 32 clients: at least 0.9 × nginx",
        cases: &["64 KiB, 32 clients"],
        against: Against::Rows(&[NGINX]),
        bound: Bound::AtLeast(0.9),
        ..GOAL
    },
    Goal {
        text: "… at least 100 × docker-registry 2.8.2",
        cases: &["64 KiB, 32 clients"],
        against: Against::Rows(&[DOCKER_REGISTRY]),
        bound: Bound::AtLeast(100.0),
        ..GOAL
    },
    Goal {
        text: "Manifest by tag, 128 connections: at least 80 × docker-registry 2.8.2",
        group: "manifest",
        cases: &["by tag, 128 connections"],
        against: Against::Rows(&[DOCKER_REGISTRY]),
        bound: Bound::AtLeast(80.0),
        ..GOAL
    },
    Goal {
        text: "… at least 20 × Distribution v3 and zot",
        group: "manifest",
        cases: &["by tag, 128 connections"],
        against: Against::Rows(&[DISTRIBUTION_V3, ZOT]),
        bound: Bound::AtLeast(20.0),
        ..GOAL
    },
    Goal {
        text: "… at least 0.9 × nginx with the same bytes as a file",
        group: "manifest",
        cases: &["by tag, 128 connections"],
        against: Against::Rows(&[NGINX]),
        bound: Bound::AtLeast(0.9),
        ..GOAL
    },
    Goal {
        text: "… p99 at most a tenth of each registry's, at 400 requests per second",
        group: "manifest",
        cases: &["by tag, 128 connections, 400 per second"],
        against: Against::Rows(REGISTRIES),
        measure: Measure::Of(Figure::P99),
        bound: Bound::AtMost(0.1),
        ..GOAL
    },
    Goal {
        text: "Manifest with htpasswd: at least 0.9 × anonymous",
        group: "manifest",
        cases: &["by tag, 128 connections"],
        contestant: "holdfast (htpasswd)",
        against: Against::Rows(&[HOLDFAST]),
        bound: Bound::AtLeast(0.9),
        ..GOAL
    },
    Goal {
        text: "Push of 1 GiB: at most 1.1 × the time of receiving and hashing",
        group: "push-large",
        cases: &[
            "1 GiB, in chunks, 1 at once",
            "1 GiB, single PUT, 1 at once",
        ],
        against: Against::Rows(&[limits::RECEIVE_AND_HASH]),
        measure: Measure::Time,
        bound: Bound::AtMost(1.1),
        ..GOAL
    },
    Goal {
        text: "… at least 4 × docker-registry 2.8.2",
        group: "push-large",
        cases: &[
            "1 GiB, in chunks, 1 at once",
            "1 GiB, single PUT, 1 at once",
        ],
        against: Against::Rows(&[DOCKER_REGISTRY]),
        bound: Bound::AtLeast(4.0),
        ..GOAL
    },
    Goal {
        text: "Push of 64 KiB, 32 clients: at least 0.8 × files synced by as many threads",
        group: "push-small",
        cases: &["64 KiB, 32 clients"],
        against: Against::Rows(&[limits::SYNCED_FILES]),
        bound: Bound::AtLeast(0.8),
        ..GOAL
    },
    Goal {
        text: "… at least 15 × docker-registry 2.8.2",
        group: "push-small",
        cases: &["64 KiB, 32 clients"],
        against: Against::Rows(&[DOCKER_REGISTRY]),
        bound: Bound::AtLeast(15.0),
        ..GOAL
    },
    Goal {
        text: "Push of 12-layer images, 64 pushers: at least 4 × each registry",
        group: "push-image",
        cases: &["nothing shared, 64 pushers", "shared base, 64 pushers"],
        against: Against::Rows(REGISTRIES),
        bound: Bound::AtLeast(4.0),
        ..GOAL
    },
    Goal {
        text: "Images on a bucket with 20 ms for each request: at least 2 × each registry",
        group: "bucket",
        cases: &[
            "push, a layer at a time",
            "push, 3 layers at once",
            "pull, a layer at a time",
            "pull, 3 layers at once",
            "pull again, 3 layers at once",
        ],
        against: Against::Rows(REGISTRIES),
        // Of images on buckets the speed is a time already.
        measure: Measure::Speed,
        bound: Bound::AtMost(0.5),
        ..GOAL
    },
    Goal {
        text: "Page of tags at 1,000,000: at most 1.2 × the time at 1,000",
        group: "lists-huge",
        cases: &["tags, 1000000"],
        against: Against::Case("lists-huge", "tags, 1000"),
        measure: Measure::Time,
        bound: Bound::AtMost(1.2),
        ..GOAL
    },
    Goal {
        text: "Idle memory: at most 20 MB (here in MiB)",
        group: "footprint",
        cases: &["start, 10 manifests"],
        measure: Measure::Of(Figure::Peak),
        bound: Bound::AtMost(IDLE_MIB),
        ..GOAL
    },
    Goal {
        text: "Memory with 1,000 pulls of 1 GiB: at most 150 MB (here in MiB)",
        cases: &["1 GiB, 1000 clients"],
        measure: Measure::Of(Figure::Peak),
        bound: Bound::AtMost(MANY_CLIENTS_MIB),
        ..GOAL
    },
    Goal {
        text: "Start with 1,000,000 manifests: at most 1.2 × the time with 10",
        group: "footprint-huge",
        cases: &["start, 1000000 manifests"],
        against: Against::Case("footprint", "start, 10 manifests"),
        // Of starts the speed is a time already.
        measure: Measure::Speed,
        bound: Bound::AtMost(1.2),
        ..GOAL
    },
    Goal {
        text: "Collecting garbage: p99 of pulls and pushes at most 1.5 × idle",
        group: "gc-huge",
        cases: &[
            "by tag, 1000 per second, 1000000 manifests",
            "64 KiB pushes, 200 per second, 1000000 manifests",
        ],
        contestant: "holdfast (collecting)",
        against: Against::Rows(&[HOLDFAST]),
        measure: Measure::Of(Figure::P99),
        bound: Bound::AtMost(1.5),
    },
    Goal {
        text: "… CPU for a deleted manifest among 1,000,000: at most 1.5 × among 10,000",
        group: "gc-huge",
        cases: &["gc run, 1000000 manifests"],
        against: Against::Case("gc", "gc run, 10000 manifests"),
        measure: Measure::Of(Figure::Cost),
        bound: Bound::AtMost(1.5),
        ..GOAL
    },
    Goal {
        text: "… CPU at most half of Distribution's garbage-collect",
        group: "gc",
        cases: &["garbage-collect, 10000 manifests"],
        against: Against::Rows(&[DOCKER_REGISTRY, DISTRIBUTION_V3]),
        measure: Measure::Of(Figure::Cost),
        bound: Bound::AtMost(0.5),
        ..GOAL
    },
];

impl Bound {
    /// How far a value is past the bound, as a part of it; negative where it is within.
    fn excess(self, value: f64) -> f64 {
        match self {
            Bound::AtLeast(bound) => (bound - value) / bound,
            Bound::AtMost(bound) => (value - bound) / bound,
        }
    }
}

impl Goal {
    /// Every value that the run has for this goal, and where it is from.
    fn values<'a>(&self, report: &'a Report) -> Vec<(f64, &'a Measured, &'a str)> {
        let mut values = Vec::new();
        for case in self.cases {
            let Some(row) = report.row(self.group, case, self.contestant) else {
                continue;
            };
            let Some(ours) = self.of(row) else { continue };
            let others: Vec<&Measured> = match self.against {
                Against::Nothing => {
                    values.push((ours, row, ""));
                    continue;
                }
                Against::Rows(names) => names
                    .iter()
                    .filter_map(|name| report.row(self.group, case, name))
                    .collect(),
                Against::Case(group, case) => report
                    .row(group, case, self.contestant)
                    .into_iter()
                    .collect(),
            };
            for other in others {
                if let Some(theirs) = self.of(other) {
                    values.push((ours / theirs, row, other.contestant.as_str()));
                }
            }
        }
        values.retain(|(value, ..)| value.is_finite());
        values
    }

    fn of(&self, row: &Measured) -> Option<f64> {
        match self.measure {
            Measure::Speed => row.figure(Figure::Speed),
            Measure::Time => row.figure(Figure::Speed).map(|speed| 1.0 / speed),
            Measure::Of(figure) => row.figure(figure),
        }
    }
}

impl Report {
    /// A row per goal; empty where nothing of any goal was measured.
    pub(super) fn goals(&self) -> String {
        let mut text = String::new();
        for goal in GOALS {
            let values = goal.values(self);
            let excess = |value: f64| goal.bound.excess(value);
            let worst = values
                .iter()
                .max_by(|(one, ..), (other, ..)| excess(*one).total_cmp(&excess(*other)));
            let Some((value, row, against)) = worst else {
                continue;
            };
            let outcome = match excess(*value) {
                excess if excess <= 0.0 => "met".to_owned(),
                excess => format!("**missed by {:.0} %**", excess * 100.0),
            };
            let shown = match goal.against {
                Against::Nothing => number(*value),
                Against::Rows(_) | Against::Case(..) => format!("{}×", number(*value)),
            };
            let beside = match against {
                &"" => String::new(),
                against => format!(" beside {against}"),
            };
            let _ = writeln!(
                text,
                "| {} | {shown} | {outcome} | {}{beside} |",
                goal.text, row.case
            );
        }
        if text.is_empty() {
            return text;
        }
        format!("\n## Goals\n\n| goal | measured | | worst of |\n|---|--:|---|---|\n{text}")
    }

    fn row(&self, group: &str, case: &str, contestant: &str) -> Option<&Measured> {
        self.measured
            .iter()
            .find(|row| row.group == group && row.case == case && row.contestant == contestant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Sample, Unit};

    fn row(case: &str, contestant: &str, cpu_seconds: f64) -> Measured {
        Measured {
            group: "pull",
            case: case.into(),
            unit: Unit::Bytes,
            contestant: contestant.into(),
            baseline: HOLDFAST.into(),
            samples: vec![Sample {
                amount: 1024.0 * 1024.0 * 1024.0,
                seconds: 1.0,
                cpu_seconds,
                peak_kib: 100 * 1024,
                latency: None,
                requests: None,
            }],
        }
    }

    #[test]
    fn the_worst_case_decides() {
        let report = Report {
            facts: Vec::new(),
            serious: true,
            groups: Vec::new(),
            measured: vec![
                row("1 GiB, 1 client", HOLDFAST, 0.1),
                row("1 GiB, 1 client", NGINX, 0.2),
                row("4 MiB, 4 clients", HOLDFAST, 0.3),
                row("4 MiB, 4 clients", NGINX, 0.25),
                row("1 GiB, 1000 clients", HOLDFAST, 1.0),
            ],
            missing: Vec::new(),
        };
        let goals = report.goals();
        for line in [
            "CPU at most 0.6 × nginx | 1.20× | **missed by 100 %** | 4 MiB, 4 clients beside nginx |\n",
            "throughput at least 1.3 × nginx | 1.00× | **missed by 23 %** |",
            "(here in MiB) | 100 | met | 1 GiB, 1000 clients |\n",
        ] {
            assert!(goals.contains(line), "{line} is not in {goals}");
        }
        assert!(!goals.contains("TLS"), "{goals}");
    }

    #[test]
    fn bounds_are_met_exactly() {
        assert_eq!(Bound::AtLeast(4.0).excess(4.0), 0.0);
        assert_eq!(Bound::AtLeast(4.0).excess(3.0), 0.25);
        assert_eq!(Bound::AtMost(2.0).excess(3.0), 0.5);
        assert!(Bound::AtMost(2.0).excess(1.0) < 0.0);
    }
}
