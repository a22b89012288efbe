//! The client: dials, watches and uses sessions as its supervisor does, and obeys the policy.

use super::network::Timeline;
use super::report::Report;
use crate::{Time, ms, secs};
use docxy_client::tunnel::leg::{
    Carried, Carriers, Instruction, Knowledge, LegChoice, LegPolicy, SessionLoss, Traffic, Way,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::time::{Duration, Instant};

/// The time of a step while something is under way, and while nothing is.
const STEP: Duration = ms(250);
const IDLE_STEP: Duration = secs(2);

/// Silence after which another session is dialed: with load, and with pings alone.
const SILENCE_LOADED: Duration = ms(1000);
const SILENCE_IDLE: Duration = ms(2500);

/// The time from the start of one race to the next.
const RACE_INTERVAL: Duration = ms(2500);

/// Mbit/s of a session that begins.
const INITIAL_RATE: f64 = 2.0;

/// A simulation.
#[derive(Debug, Clone)]
pub(crate) struct Simulation {
    pub(crate) timeline: Timeline,
    /// When pulls begin, and their megabytes.
    pub(crate) pulls: Vec<(Time, f64)>,
    pub(crate) duration: Time,
    /// Whether the client knows how much is lost.
    pub(crate) knows_loss: bool,
    /// Whether the environment names a proxy.
    pub(crate) has_proxy: bool,
    pub(crate) known: Knowledge,
    pub(crate) seed: u64,
}

struct Session {
    way: Way,
    received: f64,
    rate: f64,
    silent_since: Option<Time>,
}

/// A dial: when it ends, and whether with a session.
struct Dial {
    way: Way,
    ends: Time,
    succeeds: bool,
}

struct Race {
    began: Time,
    dials: Vec<Dial>,
    /// The ways that follow, and when the next one does.
    rest: Vec<Way>,
    next_at: Time,
    head_start: Duration,
}

struct Client<'a> {
    simulation: &'a Simulation,
    policy: LegPolicy,
    epoch: Instant,
    now: Time,
    session: Option<Session>,
    race: Option<Race>,
    beside_dial: Option<Dial>,
    beside: Option<Session>,
    carriers: Carriers,
    /// Megabytes of pulls that are left.
    left: f64,
    rng: Pcg64Mcg,
    report: Report,
    last_progress: Time,
}

impl Simulation {
    pub(crate) fn run(&self) -> (Report, Knowledge) {
        let epoch = Instant::now();
        let mut client = Client {
            simulation: self,
            policy: LegPolicy::new(LegChoice::Auto, self.has_proxy, &self.known, epoch),
            epoch,
            now: Time::ZERO,
            session: None,
            race: None,
            beside_dial: None,
            beside: None,
            carriers: Carriers::Both,
            left: 0.0,
            rng: Pcg64Mcg::seed_from_u64(self.seed),
            report: Report::default(),
            last_progress: Time::ZERO,
        };
        client.report.minutes = vec![(0.0, 0.0); (self.duration.as_secs() / 60 + 1) as usize];
        let mut pulls = self.pulls.iter().peekable();
        while client.now < self.duration {
            while let Some((_, megabytes)) = pulls.next_if(|(at, _)| *at <= client.now) {
                if client.left == 0.0 {
                    client.last_progress = client.now;
                }
                client.left += megabytes;
            }
            client.step();
        }
        let known = client.policy.knowledge(client.instant());
        (client.report, known)
    }
}

impl Client<'_> {
    fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    fn random(&mut self) -> f64 {
        self.rng.random()
    }

    fn step(&mut self) {
        self.advance_race();
        self.advance_beside();
        let is_busy = self.left > 0.0
            || self.race.is_some()
            || self.beside.is_some()
            || self.beside_dial.is_some()
            || self.session.as_ref().is_none_or(|session| session.silent_since.is_some());
        let step = if is_busy { STEP } else { IDLE_STEP };
        self.now += step;
        self.carry(step);
        self.watch();
        self.observe();
    }

    fn dial(&self, way: Way) -> Dial {
        let network = self.simulation.timeline.at(self.now);
        let (time, succeeds) = network.treatment(way).dial(way, network.rtt);
        Dial { way, ends: self.now + time, succeeds }
    }

    fn begin_race(&mut self) {
        let order = self.policy.dial_order(SessionLoss::Broke, self.instant());
        let mut rest = order.ways;
        let dials = vec![self.dial(rest.remove(0))];
        let (head_start, next_at) = (order.head_start, self.now + order.head_start);
        self.race = Some(Race { began: self.now, dials, rest, next_at, head_start });
    }

    fn advance_race(&mut self) {
        let Some(mut race) = self.race.take() else {
            if self.session.is_none() {
                self.begin_race();
            }
            return;
        };
        let failed = race.dials.last().is_some_and(|dial| dial.ends <= self.now && !dial.succeeds);
        if !race.rest.is_empty() && (race.next_at <= self.now || failed) {
            race.next_at = self.now + race.head_start;
            race.dials.push(self.dial(race.rest.remove(0)));
        }
        let up = race.dials.iter().filter(|dial| dial.ends <= self.now && dial.succeeds);
        if let Some(way) = up.min_by_key(|dial| dial.ends).map(|dial| dial.way) {
            let (now, random) = (self.instant(), self.random());
            self.policy.lost(SessionLoss::Broke, now, random);
            self.drop_beside();
            self.policy.up(way, now);
            self.use_way(way, None);
            if self.policy.race_goes_on() {
                self.beside_dial = race.dials.into_iter().find(|dial| dial.way == Way::Quic);
                self.carriers = Carriers::Both;
            }
            return;
        }
        let all_failed = race.rest.is_empty() && race.dials.iter().all(|dial| dial.ends <= self.now);
        if all_failed && self.now >= race.began + RACE_INTERVAL {
            self.begin_race();
        } else {
            self.race = Some(race);
        }
    }

    fn use_way(&mut self, way: Way, session: Option<Session>) {
        self.session = Some(session.unwrap_or_else(|| Session::new(way)));
        self.race = None;
        self.report.legs.push((self.now, way));
    }

    fn drop_beside(&mut self) {
        (self.beside, self.beside_dial) = (None, None);
    }

    fn advance_beside(&mut self) {
        let Some(dial) = self.beside_dial.take_if(|dial| dial.ends <= self.now) else { return };
        let (now, random) = (self.instant(), self.random());
        if !dial.succeeds {
            self.policy.beside_failed(now, random);
            return;
        }
        self.beside = Some(Session::new(dial.way));
        let instruction = self.policy.beside_up(now);
        self.obey(instruction);
    }

    /// Moves bytes for this long.
    fn carry(&mut self, step: Duration) {
        let network = *self.simulation.timeline.at(self.now);
        let minute = (self.now.as_secs() / 60) as usize;
        let is_loaded = self.left > 0.0;
        if is_loaded && let Some(minute) = self.report.minutes.get_mut(minute) {
            minute.1 += network.best() / 8.0 * step.as_secs_f64();
        }
        let alone = self.beside.is_some() && self.carriers == Carriers::TrialOnly;
        let noise = self.rng.random_range(0.92..1.08);
        let mut sessions = [
            self.session.as_mut().map(|session| (session, is_loaded && !alone)),
            self.beside.as_mut().map(|session| (session, is_loaded)),
        ];
        let wants: Vec<f64> = sessions
            .iter_mut()
            .flatten()
            .map(|(session, is_loaded)| session.wanted(&network, *is_loaded, step))
            .collect();
        let full = wants.iter().sum::<f64>() > network.capacity;
        let fair = network.capacity / wants.iter().filter(|rate| **rate > 0.0).count().max(1) as f64;
        let unused: f64 = wants.iter().map(|rate| (fair - rate).max(0.0)).sum::<f64>();
        let mut carried = 0.0;
        for (want, (session, is_loaded)) in wants.iter().zip(sessions.iter_mut().flatten()) {
            let rate = if !full || *want <= fair { *want } else { (fair + unused).min(*want) };
            let megabytes = rate * noise / 8.0 * step.as_secs_f64();
            let bytes = session.receive(megabytes * 1e6, &network);
            carried += bytes / 1e6;
            let is_alive = network.treatment(session.way).rate > 0.0
                && network
                    .treatment(session.way)
                    .stops_after
                    .is_none_or(|stop| session.received < stop as f64);
            session.silent_since = if bytes > 0.0 || (!*is_loaded && is_alive) {
                None
            } else {
                session.silent_since.or(Some(self.now))
            };
        }
        if let [_, Some((beside, _))] = &sessions {
            self.report.trial_bytes = self.report.trial_bytes.max(beside.received as u64);
        }
        if let Some(minute) = self.report.minutes.get_mut(minute) {
            minute.0 += carried;
        }
        if carried > 0.0 || !is_loaded || network.best() == 0.0 {
            self.last_progress = self.now;
        } else {
            let begun = self.last_progress.max(self.simulation.timeline.last_change(self.now));
            self.report.stalls.push((self.now, self.now.saturating_sub(begun)));
        }
        if is_loaded {
            self.left = (self.left - carried).max(0.0);
            if self.left == 0.0 {
                self.report.completed.push(self.now);
            }
        }
    }

    /// Dials another session if the one in use is silent, and drops those that have recovered.
    fn watch(&mut self) {
        let limit = if self.left > 0.0 { SILENCE_LOADED } else { SILENCE_IDLE };
        let is_silent = |session: &Session, now: Time| {
            session.silent_since.is_some_and(|since| now.saturating_sub(since) >= limit)
        };
        let Some(session) = &self.session else { return };
        if !is_silent(session, self.now) {
            self.race = None;
            return;
        }
        if self.race.is_none() {
            self.begin_race();
        }
    }

    fn observe(&mut self) {
        let Some(session) = &self.session else { return };
        let network = self.simulation.timeline.at(self.now);
        let is_loaded = self.left > 0.0;
        let alone = self.beside.is_some() && self.carriers == Carriers::TrialOnly;
        let loss = network.treatment(session.way).loss;
        let traffic = Traffic {
            in_use: Carried { received: session.received as u64, is_loaded: is_loaded && !alone },
            on_trial: Carried {
                received: self.beside.as_ref().map_or(0, |beside| beside.received as u64),
                is_loaded: is_loaded && self.beside.is_some(),
            },
            loss: self.simulation.knows_loss.then_some(loss),
            rtt: network.rtt,
        };
        let (now, random) = (self.instant(), self.random());
        let instruction = self.policy.observe(now, traffic, random);
        self.obey(instruction);
    }

    fn obey(&mut self, instruction: Option<Instruction>) {
        match instruction {
            Some(Instruction::DialBeside(way, reason)) => {
                assert!(self.beside.is_none() && self.beside_dial.is_none(), "one session beside");
                self.report.attempts.push((self.now, way, reason));
                self.beside_dial = Some(self.dial(way));
                self.carriers = Carriers::Both;
            }
            Some(Instruction::Carry(carriers)) => self.carriers = carriers,
            Some(Instruction::MoveTo(way, _)) => {
                let beside = self.beside.take();
                assert_eq!(beside.as_ref().map(|beside| beside.way), Some(way));
                self.use_way(way, beside);
            }
            Some(Instruction::CloseBeside) => self.drop_beside(),
            None => {}
        }
    }
}

impl Session {
    const fn new(way: Way) -> Self {
        Self { way, received: 0.0, rate: INITIAL_RATE, silent_since: None }
    }

    /// Mbit/s that it would carry alone.
    fn wanted(&mut self, network: &super::network::Network, is_loaded: bool, step: Duration) -> f64 {
        let treatment = network.treatment(self.way);
        if !is_loaded {
            return 0.0;
        }
        let growth = 2f64.powf(step.as_secs_f64() / network.rtt.as_secs_f64());
        self.rate = (self.rate * growth).min(treatment.rate.min(network.capacity)).max(INITIAL_RATE);
        self.rate.min(treatment.rate)
    }

    fn receive(&mut self, bytes: f64, network: &super::network::Network) -> f64 {
        let left = match network.treatment(self.way).stops_after {
            Some(stop) => (stop as f64 - self.received).max(0.0),
            None => f64::INFINITY,
        };
        let bytes = bytes.min(left);
        self.received += bytes;
        bytes
    }
}
