//! Metrics for Prometheus: the text of both programs' `/metrics`.
//!
//! Reads counters that other modules keep, when it is asked. Must never keep a count of its own, and no label may be
//! something that a stranger or a user chooses.

mod process;

pub use process::ProcessStart;

use bytes::Bytes;
use docxy_protocol::accept::accepts;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::time::Duration;

/// Labels, each a name and its value.
pub type Labels<const N: usize> = [(&'static str, String); N];

/// A histogram for each value of one label, from a fixed list.
pub type Histograms = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// The upper bounds of histograms of durations, in seconds: from a small request on a good line to a large pull on a
/// bad one.
const DURATION_BUCKETS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 15.0, 60.0, 300.0, 1800.0];

/// Those of shares, such as loss.
const RATIO_BUCKETS: [f64; 9] = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

/// Those of rates, in bytes per second: from 64 kB/s, by four.
const RATE_BUCKETS: [f64; 8] = [64e3, 256e3, 1e6, 4e6, 16e6, 64e6, 256e6, 1e9];

/// Of durations, in seconds.
#[must_use]
pub fn durations() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

/// Of durations, in seconds, by a label.
#[must_use]
pub fn durations_by_label() -> Histograms {
    Family::new_with_constructor(durations)
}

/// What a line is like, each second that it carries something.
#[derive(Debug)]
pub struct LineHistograms {
    /// In seconds.
    round_trip: Histogram,
    /// The share of the sent packets that was lost.
    loss: Histogram,
    /// In bytes per second.
    rate: Histogram,
}

/// Bytes in a second from which it counts: an idle line shows its pings only.
pub const BUSY_BYTES_MIN: u64 = 16 * 1024;

impl Default for LineHistograms {
    fn default() -> Self {
        let ratios = Histogram::new(RATIO_BUCKETS);
        Self { round_trip: durations(), loss: ratios, rate: Histogram::new(RATE_BUCKETS) }
    }
}

impl LineHistograms {
    /// A second with this round-trip time, this share of lost packets, if that is known, and this rate in bytes per
    /// second.
    pub fn observe(&self, round_trip: Duration, loss: Option<f64>, rate: f64) {
        self.round_trip.observe(round_trip.as_secs_f64());
        loss.inspect(|loss| self.loss.observe(*loss));
        self.rate.observe(rate);
    }

    /// Writes them for the program of this name.
    ///
    /// # Errors
    /// See [`MetricsWriter::counter`].
    pub fn write(&self, program: &str, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        let help = "Round-trip time in seconds, each second that a line carried something";
        metrics.metric(&format!("{program}_round_trip_seconds"), help, &self.round_trip)?;
        let help = "Share of the packets from the server that were lost, each such second";
        metrics.metric(&format!("{program}_loss_ratio"), help, &self.loss)?;
        let help = "Bytes per second from server to client, each such second";
        metrics.metric(&format!("{program}_rate_bytes_per_second"), help, &self.rate)
    }
}

/// Writes metrics, each under its full name. A counter's name gets the suffix `_total`.
#[derive(Debug)]
pub struct MetricsWriter<'a>(DescriptorEncoder<'a>);

impl MetricsWriter<'_> {
    /// A number that only grows.
    ///
    /// # Errors
    /// None: the text is in memory. This goes for all methods.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, help, &ConstCounter::new(value))
    }

    /// Such numbers, by labels.
    ///
    /// # Errors
    /// See [`Self::counter`].
    pub fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, &ConstCounter::new(0_u64))?;
        values
            .into_iter()
            .try_for_each(|(labels, value)| ConstCounter::new(value).encode(encoder.encode_family(&labels)?))
    }

    /// A number of this moment.
    ///
    /// # Errors
    /// See [`Self::counter`].
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.metric(name, help, &ConstGauge::new(value))
    }

    /// Such numbers, by labels.
    ///
    /// # Errors
    /// See [`Self::counter`].
    pub fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, f64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, &ConstGauge::new(0.0))?;
        values
            .into_iter()
            .try_for_each(|(labels, value)| ConstGauge::new(value).encode(encoder.encode_family(&labels)?))
    }

    /// A metric that others keep, such as a histogram.
    ///
    /// # Errors
    /// See [`Self::counter`].
    pub fn metric(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.begin(name, help, metric)?)
    }

    /// What this program is: `NAME_build_info`.
    ///
    /// # Errors
    /// See [`Self::counter`].
    pub fn build_info(&mut self, name: &str, version: &'static str) -> fmt::Result {
        self.metric(name, "The version of this program", &Info::new([("version", version)]))
    }

    fn begin<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
        metric: &impl EncodeMetric,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, metric.metric_type())
    }
}

/// The response to a request for metrics with these fields: what `write` writes, in the text format of Prometheus, or as
/// OpenMetrics if the request names that.
pub fn response(
    headers: &HeaderMap,
    write: impl Fn(&mut MetricsWriter<'_>) -> fmt::Result + Send + Sync + 'static,
) -> Response<Bytes> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Written(write)));
    let mut body = String::new();
    let is_named = |line: &HeaderValue| line.to_str().is_ok_and(|line| line.contains("openmetrics-text"));
    let is_open_metrics = headers.get_all(ACCEPT).iter().any(is_named) && accepts(headers, OPEN_METRICS);
    // Writing to a string never fails.
    let (content_type, _) = if is_open_metrics {
        (OPEN_METRICS, text::encode(&mut body, &registry))
    } else {
        (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut body, &registry))
    };
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The media type of OpenMetrics, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a function writes.
struct Written<F>(F);

impl<F> fmt::Debug for Written<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

impl<F> Collector for Written<F>
where
    F: Fn(&mut MetricsWriter<'_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut MetricsWriter(encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(accept: Option<&'static str>) -> (String, String) {
        let mut headers = HeaderMap::new();
        accept.map(|accept| headers.insert(ACCEPT, HeaderValue::from_static(accept)));
        let histogram = durations();
        histogram.observe(0.3);
        let response = response(&headers, move |metrics| {
            metrics.build_info("docxy_x_build", "1.0")?;
            metrics.counters("docxy_x_bytes", "Bytes", [([("leg", "quic".to_owned())], 7)])?;
            metrics.metric("docxy_x_seconds", "Seconds", &histogram)
        });
        let content_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        (content_type, String::from_utf8(response.into_body().to_vec()).unwrap())
    }

    #[test]
    fn open_metrics_only_where_it_is_named() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, is_open_metrics) in [
            (None, false),
            (Some("*/*"), false),
            (Some("application/*"), false),
            (Some("text/plain;version=0.0.4"), false),
            (Some("application/openmetrics-text;q=0,*/*"), false),
            (Some(prometheus), true),
        ] {
            let (content_type, text) = text(accept);
            assert_eq!(
                content_type.starts_with("application/openmetrics-text"),
                is_open_metrics,
                "{accept:?}"
            );
            assert_eq!(text.ends_with("# EOF\n"), is_open_metrics, "{accept:?}");
            for line in [
                "docxy_x_bytes_total{leg=\"quic\"} 7",
                "docxy_x_build_info{version=\"1.0\"} 1",
                "docxy_x_seconds_count 1",
            ] {
                assert!(text.contains(line), "{text}");
            }
        }
    }
}
