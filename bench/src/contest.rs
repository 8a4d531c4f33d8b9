//! The run: groups one after the other, in a group the cases, in a case the rounds, in a round every
//! contestant in turn. Each round begins with another contestant, so that whatever else the machine does
//! meets them all alike.

use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::{Bench, Round};
use crate::measure::{Figure, Measured, Sample};
use crate::report;
use crate::server::Server;
use crate::software::{Found, Variant};
use crate::workload::{Case, Group, Limit};

/// How often and how long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: u32,
    /// A contestant that took longer in a case gets no further round in it.
    pub(crate) budget: Duration,
}

/// The outcome of a group.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) measured: Vec<Measured>,
    /// A sentence for everything that went wrong.
    pub(crate) failures: Vec<String>,
    /// A sentence for everything that cannot be run here.
    pub(crate) missing: Vec<String>,
}

/// A server that takes part in a group, or its way to start one.
struct Contestant {
    name: String,
    baseline: String,
    found: Found,
    variant: Variant,
    server: Option<Server>,
    /// What made it leave the group.
    failed: bool,
}

/// Runs the cases of a group whose ids are wanted.
pub(crate) fn run(
    group: &mut dyn Group,
    found: &[Found],
    wanted: &dyn Fn(&str) -> bool,
    rounds: Rounds,
    bench: &Bench,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if let Err(error) = group.prepare(bench) {
        let sentence = format!("{} is not run: {error}.", group.name());
        eprintln!("{sentence}");
        outcome.missing.push(sentence);
        return Ok(outcome);
    }
    let group = &*group;
    let mut contestants = contestants(group, found);
    let cases: Vec<_> = group
        .cases(&bench.scale)
        .into_iter()
        .filter(|case| wanted(&format!("{}/{}", group.name(), case.name())))
        .collect();
    if !group.fresh() {
        for contestant in &mut contestants {
            contestant.join(group, bench, &mut outcome)?;
        }
    }
    for case in &cases {
        measure(
            group,
            case.as_ref(),
            &contestants,
            rounds,
            bench,
            &mut outcome,
        )?;
    }
    // The servers end before their directories go.
    for contestant in contestants {
        let home = contestant.home(group);
        drop(contestant);
        let _ = bench.discard(&bench.data().join(home));
    }
    Ok(outcome)
}

fn contestants(group: &dyn Group, found: &[Found]) -> Vec<Contestant> {
    let variants = group.variants(found[0].software);
    let name = |name: &str, variant: Variant| match variants.len() {
        0 | 1 => name.to_owned(),
        _ => format!("{name}{}", variant.suffix()),
    };
    let first = found[0].software.name;
    let mut contestants = Vec::new();
    for &variant in &variants {
        for found in found {
            if group.variants(found.software).contains(&variant) {
                contestants.push(Contestant {
                    name: name(found.software.name, variant),
                    baseline: name(first, variant),
                    found: found.clone(),
                    variant,
                    server: None,
                    failed: false,
                });
            }
        }
    }
    contestants
}

impl Contestant {
    fn home(&self, group: &dyn Group) -> String {
        let variant = self
            .variant
            .suffix()
            .replace(|letter: char| !letter.is_alphanumeric(), "");
        format!("{}-{}{variant}", group.name(), self.found.software.name)
    }

    /// Starts the server and fills it.
    fn join(&mut self, group: &dyn Group, bench: &Bench, outcome: &mut Outcome) -> Result<()> {
        eprintln!("{}: {} is started and filled", group.name(), self.name);
        let home = self.home(group);
        let server = Server::start(&self.found, self.variant, group.link(), &home, bench);
        let filled = server.and_then(|server| {
            group
                .fill(&server, bench)
                .map_err(|error| format!("{error}\n{}", server.log()))?;
            Ok(server)
        });
        match filled {
            _ if bench.running.interrupted() => Err("interrupted".into()),
            Ok(server) => {
                self.server = Some(server);
                Ok(())
            }
            Err(error) => {
                self.failed = true;
                outcome.fail(format!("{} of {}: {error}", group.name(), self.name));
                Ok(())
            }
        }
    }

    fn round(
        &self,
        group: &dyn Group,
        case: &dyn Case,
        condition: &'static str,
        bench: &Bench,
    ) -> Result<Sample> {
        let round = |server: &Server| {
            let sample = case.round(&Round {
                bench,
                server,
                condition,
            });
            sample.map_err(|error| format!("{error}\n{}", server.log()).into())
        };
        if !group.fresh() {
            return round(self.server.as_ref().ok_or("the server is not running")?);
        }
        let home = self.home(group);
        let server = Server::start(&self.found, self.variant, group.link(), &home, bench)?;
        group.fill(&server, bench)?;
        let sample = round(&server);
        drop(server);
        bench.discard(&bench.data().join(&home))?;
        sample
    }
}

impl Outcome {
    fn fail(&mut self, sentence: String) {
        eprintln!("FAILED: {sentence}");
        self.failures.push(sentence);
    }
}

/// Who has a turn in a round.
enum Turn<'a> {
    Server(&'a Contestant, &'static str),
    Limit(Limit<'a>),
}

impl Turn<'_> {
    fn name(&self) -> String {
        match self {
            Turn::Server(contestant, condition) => format!("{}{condition}", contestant.name),
            Turn::Limit(limit) => limit.name.to_owned(),
        }
    }
}

struct Seat<'a> {
    turn: Turn<'a>,
    samples: Vec<Sample>,
    spent: Duration,
    failed: bool,
}

/// All rounds of one case.
fn measure(
    group: &dyn Group,
    case: &dyn Case,
    contestants: &[Contestant],
    rounds: Rounds,
    bench: &Bench,
    outcome: &mut Outcome,
) -> Result<()> {
    let baseline = contestants.first().map(|first| first.name.clone());
    let servers = contestants
        .iter()
        .filter(|contestant| !contestant.failed && case.takes(contestant.found.software))
        .flat_map(|contestant| {
            let conditions = case.conditions().iter();
            conditions.map(move |condition| Turn::Server(contestant, condition))
        });
    let limits = case.limits().into_iter().map(Turn::Limit);
    let mut seats: Vec<Seat<'_>> = servers
        .chain(limits)
        .map(|turn| Seat {
            turn,
            samples: Vec::new(),
            spent: Duration::ZERO,
            failed: false,
        })
        .collect();
    let places = seats.len();
    let (unit, case_name) = (case.unit(), case.name());
    for round in 0..rounds.count as usize {
        for turn in 0..places {
            let seat = &mut seats[(turn + round) % places];
            if seat.failed || seat.spent > rounds.budget {
                continue;
            }
            let begun = Instant::now();
            let name = seat.turn.name();
            let result = match &seat.turn {
                Turn::Server(contestant, condition) => {
                    contestant.round(group, case, condition, bench)
                }
                Turn::Limit(limit) => (limit.round)(bench),
            };
            if bench.running.interrupted() {
                return Err("interrupted".into());
            }
            match result {
                Ok(sample) => {
                    let shown = report::line(unit, &sample);
                    let number = round + 1;
                    eprintln!(
                        "{}/{case_name}, {name}, round {number}: {shown}",
                        group.name()
                    );
                    seat.samples.push(sample);
                }
                Err(error) => {
                    seat.failed = true;
                    outcome.fail(format!("{}/{case_name} on {name}: {error}", group.name()));
                }
            }
            seat.spent += begun.elapsed();
        }
    }
    for seat in seats {
        let contestant = seat.turn.name();
        let baseline = match seat.turn {
            Turn::Server(contestant, _) => contestant.baseline.clone(),
            Turn::Limit(_) => baseline.clone().unwrap_or_default(),
        };
        let measured = Measured {
            group: group.name(),
            case: case_name.clone(),
            unit,
            contestant,
            baseline,
            samples: seat.samples,
        };
        if measured.figure(Figure::Speed).is_some() {
            outcome.measured.push(measured);
        }
    }
    Ok(())
}
