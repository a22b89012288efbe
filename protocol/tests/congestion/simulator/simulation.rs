//! Runs senders and receivers over a link in virtual time.

use crate::simulator::link::{Conditions, Link};
use crate::simulator::receiver::Receiver;
use crate::simulator::report::{Report, TracePoint};
use crate::simulator::sender::{Controller, Sender};
use crate::simulator::traffic_source::{Supply, TrafficSource};
use crate::{Time, ms, secs};
use std::time::{Duration, Instant};

/// Time between points of the trace.
const TRACE_INTERVAL: Duration = ms(100);

/// A simulation to run.
#[derive(Debug, Clone)]
pub(crate) struct Simulation {
    pub(crate) name: String,
    pub(crate) link: Conditions,
    /// Later conditions, in ascending order of time.
    pub(crate) changes: Vec<(Time, Conditions)>,
    /// What the first sender's application has to send.
    pub(crate) schedule: Vec<(Time, Supply)>,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

impl Simulation {
    /// Bulk for 20 s.
    pub(crate) fn new(name: &str, link: Conditions, seed: u64) -> Self {
        let schedule = vec![(Time::ZERO, Supply::Unlimited)];
        Self { name: name.to_owned(), link, changes: Vec::new(), schedule, duration: secs(20), seed }
    }

    pub(crate) fn duration(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    pub(crate) fn traffic(self, schedule: &[(Time, Supply)]) -> Self {
        Self { schedule: schedule.to_vec(), ..self }
    }

    /// Changes the conditions at `time`, which must be after all earlier changes.
    pub(crate) fn change_at(mut self, time: Time, change: impl FnOnce(Conditions) -> Conditions) -> Self {
        let now = self.changes.last().map_or(self.link, |(_, conditions)| *conditions);
        self.changes.push((time, change(now)));
        self
    }

    /// Adds an outage at `time`.
    pub(crate) fn outage(self, time: Time, duration: Duration) -> Self {
        self.change_at(time, |link| Conditions { down: true, ..link })
            .change_at(time + duration, |link| Conditions { down: false, ..link })
    }

    /// Runs one sender alone.
    pub(crate) fn run<A: Controller + 'static>(&self, algorithm: impl FnOnce(Instant) -> A) -> Report {
        let epoch = Instant::now();
        self.run_with_competitors(epoch, Box::new(algorithm(epoch)), Vec::new())
    }

    /// Runs one sender beside competing ones, which send bulk from their start times on. All controllers
    /// begin at `epoch`.
    pub(crate) fn run_with_competitors(
        &self,
        epoch: Instant,
        controller: Box<dyn Controller>,
        competitors: Vec<(Time, Box<dyn Controller>)>,
    ) -> Report {
        let measured = (self.schedule.clone(), controller);
        let competitors =
            competitors.into_iter().map(|(from, competitor)| (vec![(from, Supply::Unlimited)], competitor));
        let mut flows: Vec<(Sender, Receiver)> = std::iter::once(measured)
            .chain(competitors)
            .enumerate()
            .map(|(n, (schedule, controller))| {
                let receiver = Receiver::new(controller.transport().ack_threshold);
                (Sender::new(n, epoch, controller, TrafficSource::new(&schedule)), receiver)
            })
            .collect();
        let mut link = Link::new(self.link, self.seed);
        let mut report = Report::new(self, flows.len());
        let mut changes = self.changes.iter().peekable();
        let mut next_trace = Time::ZERO;
        loop {
            let timers = flows
                .iter()
                .map(|(sender, receiver)| sender.deadline.min(receiver.ack_deadline.unwrap_or(Time::MAX)));
            let change = changes.peek().map_or(Time::MAX, |(time, _)| *time);
            let now = timers.min().unwrap_or(Time::MAX).min(link.next_event()).min(change).min(next_trace);
            if now >= self.duration {
                return report;
            }
            link.dequeue(now);
            report.dequeued(now, &mut link.queue_delays);
            while let Some((_, conditions)) = changes.next_if(|(time, _)| *time <= now) {
                link.set_conditions(*conditions);
            }
            while let Some((packet, result)) = link.deliver(now) {
                match result {
                    Ok(()) => {
                        let new = flows[packet.flow].1.on_packet(now, &packet);
                        report.delivered(now, packet.flow, new);
                    }
                    Err(cause) => report.dropped(now, packet.flow, cause),
                }
            }
            for (n, (_, receiver)) in flows.iter_mut().enumerate() {
                if let Some(ack) = receiver.take_ack(now, n) {
                    link.send_ack(now, ack);
                }
            }
            while let Some(ack) = link.deliver_ack(now) {
                let (sender, receiver) = &mut flows[ack.flow];
                sender.on_ack(now, ack, &receiver.arrived);
                sender.deadline = now;
            }
            for (sender, _) in &mut flows {
                if sender.deadline > now {
                    continue;
                }
                sender.on_timeout(now);
                sender.poll_transmit(now, |packet| {
                    report.sent(now, packet.flow);
                    if let Err(cause) = link.send(now, packet) {
                        report.dropped(now, packet.flow, cause);
                    }
                });
            }
            if next_trace <= now {
                let sender = &flows[0].0;
                report.trace.push(TracePoint {
                    at: now,
                    measured: sender.controller.measured(),
                    in_flight: sender.in_flight,
                    queue_delay: link.queue_delay(),
                    lost_bytes: sender.lost_bytes,
                });
                next_trace += TRACE_INTERVAL;
            }
        }
    }
}
