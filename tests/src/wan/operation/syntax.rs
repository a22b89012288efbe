//! How a link's properties are written: `100mbit`, `200ms`, `2%:8`. The same on the command line, on the control
//! socket and in reports.
//! Must never print what it cannot parse.

use std::{
    fmt::{self, Display},
    str::FromStr,
    time::Duration,
};

use crate::wan::link::{
    conditions::{Loss, LossPoint, Queue, Recurrence},
    middlebox::rules::{QuicRejection, TcpRule, UdpRule},
    rate::Rate,
};

/// A text that does not have the expected form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct SyntaxError {
    text: String,
    expected: &'static str,
}

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wan) struct Time(pub(in crate::wan) Duration);

/// An optional property, written `none` if the link lacks it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wan) struct OrNone<T>(pub(in crate::wan) Option<T>);

/// What is done to IPv6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wan) struct Ipv6Rule {
    pub(in crate::wan) drops: bool,
}

/// A port number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wan) struct Port(pub(in crate::wan) u16);

/// A share between 0 and 1, written in percent.
struct Percent(f64);

/// A number of bytes.
struct Size(u64);

impl Time {
    /// Parses a duration for a clap argument.
    pub(in crate::wan) fn parse_arg(text: &str) -> Result<Duration, SyntaxError> {
        text.parse().map(|Self(time)| time)
    }
}

impl FromStr for Time {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        const UNITS: [(&str, f64); 4] = [("us", 1e-6), ("ms", 1e-3), ("min", 60.0), ("s", 1.0)];
        let seconds = quantity(text, &UNITS);
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        time.map(Self).ok_or_else(|| syntax_error(text, "a time such as 200ms, 250us, 1.5s or 2min"))
    }
}

impl Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() == 0 && !self.0.is_zero() {
            write!(out, "{}s", self.0.as_secs())
        } else {
            write!(out, "{}ms", rounded(self.0.as_secs_f64() * 1e3, 1e6))
        }
    }
}

impl FromStr for Rate {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        const UNITS: [(&str, f64); 4] = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0)];
        let bits = quantity(text, &UNITS).and_then(|bits| Self::new(bits.round() as u64));
        bits.ok_or_else(|| syntax_error(text, "a rate such as 100mbit, 500kbit or 1gbit"))
    }
}

impl Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}mbit", self.bits_per_second() as f64 / 1e6)
    }
}

impl FromStr for Queue {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        if text == "bdp" {
            return Ok(Self::Bdp);
        }
        let bytes = text.parse().ok().map(|Size(bytes)| Self::Bytes(bytes));
        bytes.ok_or_else(|| {
            syntax_error(text, "a queue: bdp (one bandwidth-delay product) or a size such as 64kib")
        })
    }
}

impl Display for Queue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bdp => write!(out, "bdp"),
            Self::Bytes(bytes) => write!(out, "{bytes}"),
        }
    }
}

impl FromStr for Loss {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let share = |text: &str| text.parse().ok().map(|Percent(share)| share);
        let loss = match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            None => share(text).map(|share| Self::Random { share }),
            Some((mean, burst)) => share(mean)
                .filter(|share| *share < 1.0)
                .zip(burst.parse().ok().filter(|burst| *burst >= 1.0))
                .map(|(share, burst)| Self::Bursty { share, burst }),
        };
        loss.ok_or_else(|| {
            syntax_error(text, "a loss: none, 5% (random) or 2%:8 (in bursts of 8 packets on average)")
        })
    }
}

impl Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::None => write!(out, "none"),
            Self::Random { share } => write!(out, "{}", Percent(share)),
            Self::Bursty { share, burst } => write!(out, "{}:{burst}", Percent(share)),
        }
    }
}

impl FromStr for LossPoint {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        match text {
            "before-queue" => Ok(Self::BeforeQueue),
            "after-queue" => Ok(Self::AfterQueue),
            _ => Err(syntax_error(text, "before-queue or after-queue")),
        }
    }
}

impl Display for LossPoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::BeforeQueue => "before-queue",
            Self::AfterQueue => "after-queue",
        })
    }
}

impl FromStr for UdpRule {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let rule = match (text, text.split_once(':')) {
            ("pass", _) => Some(Self::Pass),
            ("blocked", _) => Some(Self::Blocked),
            (_, Some(("limit", bytes))) => bytes.parse().ok().map(|Size(bytes)| Self::Limited { bytes }),
            (_, Some(("reject", how))) => {
                QuicRejection::ALL.into_iter().find(|kind| kind.name() == how).map(Self::Rejected)
            }
            _ => policed(text),
        };
        rule.ok_or_else(|| {
            syntax_error(
                text,
                "a rule for UDP: pass, blocked, 20mbit (policed), 20mbit:64kib (with a burst), 20mbit,20s@60s (at \
                 times), limit:64kib, reject:crypto-error, reject:retry or reject:versions",
            )
        })
    }
}

/// A policer: `RATE[:BURST][,DURATION@PERIOD]`.
fn policed(text: &str) -> Option<UdpRule> {
    let (bucket, times) = match text.split_once(',') {
        Some((bucket, times)) => (bucket, Some(times.parse().ok()?)),
        None => (text, None),
    };
    let (rate, burst) = match bucket.split_once(':') {
        Some((rate, burst)) => (rate.parse().ok()?, Some(burst.parse().ok()?)),
        None => (bucket.parse().ok()?, None),
    };
    let UdpRule::Policed { burst: common, .. } = UdpRule::policed(rate) else { return None };
    Some(UdpRule::Policed { rate, burst: burst.map_or(common, |Size(burst)| burst), times })
}

impl Display for UdpRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pass => write!(out, "pass"),
            Self::Blocked => write!(out, "blocked"),
            Self::Limited { bytes } => write!(out, "limit:{bytes}"),
            Self::Rejected(how) => write!(out, "reject:{}", how.name()),
            Self::Policed { rate, burst, times } => {
                write!(out, "{rate}")?;
                if Self::policed(rate) != (Self::Policed { rate, burst, times: None }) {
                    write!(out, ":{burst}")?;
                }
                times.map_or(Ok(()), |times| write!(out, ",{times}"))
            }
        }
    }
}

impl FromStr for TcpRule {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let rule = match (text, text.split_once(':')) {
            ("pass", _) => Some(Self::Pass),
            ("blocked", _) => Some(Self::Blocked),
            ("no-server-hello", _) => Some(Self::NoServerHello),
            (_, Some(("freeze", bytes))) => bytes.parse().ok().map(|Size(bytes)| Self::Frozen { bytes }),
            _ => None,
        };
        rule.ok_or_else(|| {
            syntax_error(text, "a rule for TCP: pass, blocked, freeze:16kib or no-server-hello")
        })
    }
}

impl Display for TcpRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pass => write!(out, "pass"),
            Self::Blocked => write!(out, "blocked"),
            Self::Frozen { bytes } => write!(out, "freeze:{bytes}"),
            Self::NoServerHello => write!(out, "no-server-hello"),
        }
    }
}

impl FromStr for Ipv6Rule {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        match text {
            "pass" => Ok(Self { drops: false }),
            "blocked" => Ok(Self { drops: true }),
            _ => Err(syntax_error(text, "a rule for IPv6: pass or blocked")),
        }
    }
}

impl Display for Ipv6Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.drops { "blocked" } else { "pass" })
    }
}

impl FromStr for Port {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        text.parse().map(Self).map_err(|_| syntax_error(text, "a port such as 443"))
    }
}

impl FromStr for Recurrence {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let times = text.split_once('@').and_then(|(duration, period)| {
            let (Time(duration), Time(period)) = (duration.parse().ok()?, period.parse().ok()?);
            (duration < period).then_some(Self { period, duration })
        });
        times.ok_or_else(|| syntax_error(text, "times such as 400ms@8s: duration@period"))
    }
}

impl Display for Recurrence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", Time(self.duration), Time(self.period))
    }
}

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

impl<T: Display> Display for OrNone<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => write!(out, "none"),
            Some(value) => value.fmt(out),
        }
    }
}

impl FromStr for Percent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let percent = quantity(text, &[("%", 1.0)]).filter(|percent| *percent <= 100.0).ok_or(())?;
        Ok(Self(percent / 100.0))
    }
}

impl Display for Percent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}%", rounded(self.0 * 100.0, 1e9))
    }
}

impl FromStr for Size {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(bytes) = text.parse() {
            return Ok(Self(bytes));
        }
        let bytes = quantity(text, &[("kib", 1024.0), ("mib", 1024.0 * 1024.0)]).ok_or(())?;
        Ok(Self(bytes.round() as u64))
    }
}

/// A number that is not negative, times its unit. A number without a unit is an error.
fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

/// Removes the rounding error of a decimal fraction in binary.
fn rounded(value: f64, precision: f64) -> f64 {
    (value * precision).round() / precision
}

fn syntax_error(text: &str, expected: &'static str) -> SyntaxError {
    SyntaxError { text: text.to_owned(), expected }
}
