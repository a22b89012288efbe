//! What Prometheus expects of every process (its "Writing client libraries", section "Standard and runtime collectors").

use super::MetricsWriter;
use crate::platform::{descriptors, memory};
use prometheus_client::metrics::counter::ConstCounter;
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// When this process started.
#[derive(Debug, Clone, Copy)]
pub struct ProcessStart(SystemTime);

impl ProcessStart {
    /// It starts now.
    #[must_use]
    pub fn now() -> Self {
        Self(SystemTime::now())
    }

    /// The moment.
    #[must_use]
    pub fn timestamp(&self) -> SystemTime {
        self.0
    }

    /// Writes its age, memory, descriptors and processor time. What the system does not tell is left out.
    ///
    /// # Errors
    /// See [`MetricsWriter::counter`].
    pub fn write(&self, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        let started = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        metrics.gauge("process_start_time_seconds", "Start time of the process since the epoch", started)?;
        if let Some(bytes) = memory::resident() {
            metrics.gauge("process_resident_memory_bytes", "Resident memory", bytes as f64)?;
        }
        if let Some(count) = descriptors::open() {
            metrics.gauge("process_open_fds", "Open file descriptors", count as f64)?;
        }
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        let help = "User and system processor time";
        metrics.metric("process_cpu_seconds", help, &ConstCounter::new(seconds))
    }
}
