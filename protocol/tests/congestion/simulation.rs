//! Puts senders on a link and lets time run.

use crate::link::{Conditions, Link};
use crate::receiver::Receiver;
use crate::report::{Report, Sample};
use crate::sender::{Control, Sender};
use crate::source::{Source, Supply};
use crate::{Time, ms, secs};
use std::time::{Duration, Instant};

/// Between samples of the trace.
const SAMPLING: Duration = ms(100);

/// What is to be simulated.
#[derive(Debug, Clone)]
pub(crate) struct Simulation {
    pub(crate) name: String,
    pub(crate) link: Conditions,
    /// Other conditions later, ascending.
    pub(crate) changes: Vec<(Time, Conditions)>,
    /// What the sender has to send.
    pub(crate) plan: Vec<(Time, Supply)>,
    pub(crate) lasting: Duration,
    pub(crate) seed: u64,
}

impl Simulation {
    /// Bulk for 20 s.
    pub(crate) fn new(name: &str, link: Conditions, seed: u64) -> Self {
        let plan = vec![(Time::ZERO, Supply::Endless)];
        Self { name: name.to_owned(), link, changes: Vec::new(), plan, lasting: secs(20), seed }
    }

    pub(crate) fn lasting(self, lasting: Duration) -> Self {
        Self { lasting, ..self }
    }

    pub(crate) fn plan(self, plan: &[(Time, Supply)]) -> Self {
        Self { plan: plan.to_vec(), ..self }
    }

    /// Other conditions from a time on, after all changes so far.
    pub(crate) fn at(mut self, time: Time, change: impl FnOnce(Conditions) -> Conditions) -> Self {
        let now = self.changes.last().map_or(self.link, |(_, conditions)| *conditions);
        self.changes.push((time, change(now)));
        self
    }

    /// Nothing gets through from a time on, for a while.
    pub(crate) fn outage(self, time: Time, lasting: Duration) -> Self {
        self.at(time, |link| Conditions { down: true, ..link })
            .at(time + lasting, |link| Conditions { down: false, ..link })
    }

    /// One sender, alone.
    pub(crate) fn run<A: Control + 'static>(&self, algorithm: impl FnOnce(Instant) -> A) -> Report {
        let epoch = Instant::now();
        self.run_beside(epoch, Box::new(algorithm(epoch)), Vec::new())
    }

    /// One sender beside others, which have endless data from their times on. All begin with `epoch`.
    pub(crate) fn run_beside(
        &self,
        epoch: Instant,
        algorithm: Box<dyn Control>,
        others: Vec<(Time, Box<dyn Control>)>,
    ) -> Report {
        let first = (self.plan.clone(), algorithm);
        let others = others.into_iter().map(|(from, other)| (vec![(from, Supply::Endless)], other));
        let mut flows: Vec<(Sender, Receiver)> = std::iter::once(first)
            .chain(others)
            .enumerate()
            .map(|(n, (plan, algorithm))| {
                let receiver = Receiver::new(algorithm.manner().ack_threshold);
                (Sender::new(n, epoch, algorithm, Source::new(&plan)), receiver)
            })
            .collect();
        let mut link = Link::new(self.link, self.seed);
        let mut report = Report::new(self, flows.len());
        let mut changes = self.changes.iter().peekable();
        let mut sampled = Time::ZERO;
        loop {
            let timers = flows
                .iter()
                .map(|(sender, receiver)| sender.deadline.min(receiver.deadline.unwrap_or(Time::MAX)));
            let change = changes.peek().map_or(Time::MAX, |(time, _)| *time);
            let now = timers.min().unwrap_or(Time::MAX).min(link.next()).min(change).min(sampled);
            if now >= self.lasting {
                return report;
            }
            link.advance(now);
            report.waited(now, &mut link.waits);
            while let Some((_, conditions)) = changes.next_if(|(time, _)| *time <= now) {
                link.change(*conditions);
            }
            while let Some((packet, fate)) = link.arrival(now) {
                match fate {
                    Ok(()) => {
                        let new = flows[packet.flow].1.on_packet(now, &packet);
                        report.delivered(now, packet.flow, new);
                    }
                    Err(cause) => report.dropped(now, packet.flow, cause),
                }
            }
            for (n, (_, receiver)) in flows.iter_mut().enumerate() {
                if let Some(ack) = receiver.acknowledge(now, n) {
                    link.send_back(now, ack);
                }
            }
            while let Some(ack) = link.arrival_back(now) {
                let (sender, receiver) = &mut flows[ack.flow];
                sender.on_ack(now, ack, &receiver.arrived);
                sender.deadline = now;
            }
            for (sender, _) in &mut flows {
                if sender.deadline > now {
                    continue;
                }
                sender.on_deadline(now);
                sender.poll(now, |packet| {
                    report.sent(now, packet.flow);
                    if let Err(cause) = link.send(now, packet) {
                        report.dropped(now, packet.flow, cause);
                    }
                });
            }
            if sampled <= now {
                let sender = &flows[0].0;
                report.trace.push(Sample {
                    at: now,
                    measured: sender.algorithm.measured(),
                    in_flight: sender.in_flight,
                    queue: link.queue_delay(),
                    lost: sender.lost,
                });
                sampled += SAMPLING;
            }
        }
    }
}
