//! A link as command-line options, of the `wan` program and of its control socket.
//! Must never omit a property of a link: the link in a report can be typed as options again.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use clap::Args;

use crate::wan::{
    link::{
        conditions::{Conditions, Link, Loss, LossPoint, Queue, Recurrence},
        middlebox::rules::{TcpRule, UdpRule},
        rate::Rate,
    },
    operation::syntax::{Ipv6Rule, OrNone, Port, Time},
};

/// Changes to a link. Each value is for both directions, or `A/B`: A from left to right, B from right to left. An
/// empty side stays unchanged.
#[derive(Args, Clone, Debug, Default)]
pub struct LinkOptions {
    /// Round-trip time, half of it in each direction [such as 200ms]
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    rtt: Option<Time>,
    /// One-way delay [such as 100ms, or 20ms/180ms]
    #[arg(long, value_name = "TIME")]
    delay: Option<PerDirection<Time>>,
    /// Delay each packet by up to this much more, without reordering
    #[arg(long, value_name = "TIME")]
    jitter: Option<PerDirection<Time>>,
    /// Rate of the bottleneck, counted in bytes of IP packets [such as 100mbit, 50mbit/10mbit, none]
    #[arg(long, value_name = "RATE")]
    rate: Option<PerDirection<OrNone<Rate>>>,
    /// Limit of the drop-tail queue: one bandwidth-delay product, or bytes [bdp, 64kib]
    #[arg(long, value_name = "SIZE")]
    queue: Option<PerDirection<Queue>>,
    /// Loss: random, or in bursts (mean share:mean burst length) [such as 5%, 2%:8, none]
    #[arg(long, value_name = "LOSS")]
    loss: Option<PerDirection<Loss>>,
    /// Where packets are lost: before the queue, or after it, having used the bottleneck [before-queue,
    /// after-queue]
    #[arg(long, value_name = "WHERE")]
    loss_point: Option<PerDirection<LossPoint>>,
    /// What is done to UDP: policed to a rate (with a burst, at times), blocked, flows that end after some bytes, or
    /// QUIC's handshakes rejected [pass, 20mbit, 20mbit:64kib, 20mbit,20s@60s, blocked, limit:64kib,
    /// reject:crypto-error, reject:retry, reject:versions]
    #[arg(long, value_name = "RULE")]
    udp: Option<PerDirection<UdpRule>>,
    /// What is done to TCP: blocked, connections that freeze after some bytes, or TLS handshakes without a
    /// ServerHello [pass, blocked, freeze:16kib, no-server-hello]
    #[arg(long, value_name = "RULE")]
    tcp: Option<PerDirection<TcpRule>>,
    /// What is done to IPv6 [pass, blocked]
    #[arg(long, value_name = "RULE")]
    ipv6: Option<PerDirection<Ipv6Rule>>,
    /// Reset TCP from and to this port, and drop its UDP [such as 443, none]
    #[arg(long, value_name = "PORT")]
    reset_port: Option<PerDirection<OrNone<Port>>>,
    /// Periodic outages: duration@period [such as 400ms@8s, none]
    #[arg(long, value_name = "OUTAGES")]
    outages: Option<PerDirection<OrNone<Recurrence>>>,
}

/// A value for each direction; one may be missing.
#[derive(Clone, Copy, Debug)]
struct PerDirection<T> {
    left_to_right: Option<T>,
    right_to_left: Option<T>,
}

impl LinkOptions {
    /// Applies the changes to a link.
    pub fn apply(&self, link: &mut Link) {
        if let Some(Time(rtt)) = self.rtt {
            for conditions in link.both_mut() {
                conditions.delay = rtt / 2;
            }
        }
        set(self.delay, link, |conditions, Time(delay)| conditions.delay = delay);
        set(self.jitter, link, |conditions, Time(jitter)| conditions.jitter = jitter);
        set(self.rate, link, |conditions, OrNone(rate)| conditions.rate = rate);
        set(self.queue, link, |conditions, queue| conditions.queue = queue);
        set(self.loss, link, |conditions, loss| conditions.loss = loss);
        set(self.loss_point, link, |conditions, loss_point| conditions.loss_point = loss_point);
        set(self.udp, link, |conditions, udp| conditions.udp = udp);
        set(self.tcp, link, |conditions, tcp| conditions.tcp = tcp);
        set(self.ipv6, link, |conditions, Ipv6Rule { drops }| conditions.drops_ipv6 = drops);
        set(self.reset_port, link, |conditions, OrNone(port)| {
            conditions.reset_port = port.map(|Port(number)| number);
        });
        set(self.outages, link, |conditions, OrNone(outages)| conditions.outages = outages);
    }
}

/// The options that turn a perfect link into this one.
impl Display for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        type Write = fn(&Conditions) -> String;
        const OPTIONS: [(&str, Write); 11] = [
            ("--delay", |conditions| Time(conditions.delay).to_string()),
            ("--jitter", |conditions| Time(conditions.jitter).to_string()),
            ("--rate", |conditions| OrNone(conditions.rate).to_string()),
            ("--queue", |conditions| conditions.queue.to_string()),
            ("--loss", |conditions| conditions.loss.to_string()),
            ("--loss-point", |conditions| conditions.loss_point.to_string()),
            ("--udp", |conditions| conditions.udp.to_string()),
            ("--tcp", |conditions| conditions.tcp.to_string()),
            ("--ipv6", |conditions| Ipv6Rule { drops: conditions.drops_ipv6 }.to_string()),
            ("--reset-port", |conditions| OrNone(conditions.reset_port).to_string()),
            ("--outages", |conditions| OrNone(conditions.outages).to_string()),
        ];
        let mut words = Vec::new();
        for (option, write) in OPTIONS {
            let values = [&self.left_to_right, &self.right_to_left].map(write);
            let [left_to_right, right_to_left] = &values;
            if left_to_right != right_to_left {
                words.push(format!("{option} {left_to_right}/{right_to_left}"));
            } else if option == "--delay" {
                words.push(format!("--rtt {}", Time(self.rtt())));
            } else if *left_to_right != write(&Conditions::PERFECT) {
                words.push(format!("{option} {left_to_right}"));
            }
        }
        out.write_str(&words.join(" "))
    }
}

fn set<T: Copy>(values: Option<PerDirection<T>>, link: &mut Link, set: impl Fn(&mut Conditions, T)) {
    let Some(PerDirection { left_to_right, right_to_left }) = values else { return };
    for (conditions, value) in link.both_mut().into_iter().zip([left_to_right, right_to_left]) {
        if let Some(value) = value {
            set(conditions, value);
        }
    }
}

impl<T: FromStr + Copy> FromStr for PerDirection<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let parse = |text: &str| if text.is_empty() { Ok(None) } else { text.parse().map(Some) };
        match text.split_once('/') {
            Some((left, right)) => Ok(Self { left_to_right: parse(left)?, right_to_left: parse(right)? }),
            None => {
                let both = Some(text.parse()?);
                Ok(Self { left_to_right: both, right_to_left: both })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::wan::link::presets::PRESETS;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct CommandLine {
        #[command(flatten)]
        options: LinkOptions,
    }

    fn link(options: &str) -> Result<Link, String> {
        let line =
            CommandLine::try_parse_from(options.split_whitespace()).map_err(|error| error.to_string())?;
        let mut link = Link::symmetric(Conditions::PERFECT);
        line.options.apply(&mut link);
        Ok(link)
    }

    #[test]
    fn the_link_in_a_report_can_be_typed_as_options() {
        for named in PRESETS {
            let options = named.link.to_string();
            assert_eq!(link(&options), Ok(named.link), "{options}");
        }
        for options in [
            "--rtt 0ms",
            "--delay 20ms/180.25ms --rate 50mbit/0.5mbit --queue 65536 --loss 1.5%/none",
            "--rtt 7ms --jitter 0.001ms --rate none/1000mbit --loss 7%:2.5 --loss-point after-queue",
            "--rtt 1ms --udp 20mbit:65536/blocked --outages 100ms@1s/none",
            "--rtt 1ms --udp 20mbit,20s@60s/5mbit:3000,1s@2s --tcp blocked/freeze:16384",
            "--rtt 1ms --udp reject:retry/limit:65536 --tcp pass/no-server-hello --ipv6 blocked/pass",
            "--rtt 1ms --udp reject:versions/reject:crypto-error --reset-port none/443",
        ] {
            assert_eq!(link(options).unwrap().to_string(), options);
        }
    }

    #[test]
    fn units_are_parsed() {
        let written = link("--delay 1.5s/250us --rate 1gbit/500kbit --queue 64kib/1mib").unwrap();
        assert_eq!(written.left_to_right.delay, Duration::from_millis(1500));
        assert_eq!(written.right_to_left.delay, Duration::from_micros(250));
        assert_eq!(written.left_to_right.rate, Some(Rate::mbit(1000)));
        assert_eq!(written.right_to_left.rate, Rate::new(500_000));
        assert_eq!(written.left_to_right.queue, Queue::Bytes(65_536));
        assert_eq!(written.right_to_left.queue, Queue::Bytes(1_048_576));
    }

    #[test]
    fn an_empty_side_stays_unchanged() {
        let written = link("--rtt 100ms --delay /70ms");
        assert!(written.unwrap_err().contains("cannot be used with"));
        let written = link("--rate 10mbit/ --loss /5%").unwrap();
        assert_eq!(written.left_to_right.rate, Some(Rate::mbit(10)));
        assert_eq!(written.right_to_left.rate, None);
        assert_eq!(written.left_to_right.loss, Loss::None);
        assert_eq!(written.right_to_left.loss, Loss::Random { share: 0.05 });
    }

    #[test]
    fn an_invalid_value_is_rejected_with_an_example() {
        for (options, hint) in [
            ("--rtt 200", "200ms"),
            ("--rtt=-1ms", "200ms"),
            ("--rate 0mbit", "100mbit"),
            ("--rate fast", "100mbit"),
            ("--loss 101%", "5%"),
            ("--loss 0.05", "5%"),
            ("--loss 100%:3", "2%:8"),
            ("--loss 2%:0", "2%:8"),
            ("--queue many", "64kib"),
            ("--udp maybe", "20mbit"),
            ("--udp reject:politely", "reject:retry"),
            ("--udp 20mbit,60s@20s", "20s@60s"),
            ("--tcp limit:16kib", "freeze:16kib"),
            ("--ipv6 off", "blocked"),
            ("--reset-port 65536", "443"),
            ("--outages 8s@400ms", "400ms@8s"),
            ("--loss-point queue", "after-queue"),
        ] {
            let error = link(options).expect_err(options);
            assert!(error.contains(hint), "{options}: {error}");
        }
    }
}
