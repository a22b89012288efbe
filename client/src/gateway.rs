//! Asks the registry through the tunnel, whatever the tunnel is doing at the moment.
//!
//! An error of ours sends an engine to the origin that it cannot reach, so a request waits for
//! the tunnel rather than fail, and is asked again where a connection was lost before it answered.

use crate::exchange::{self, Answer, ExchangeError};
use crate::tunnel::{Line, Patience, Tunnel};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Request;

/// A way to the registries.
#[derive(Debug, Clone)]
pub struct Gateway {
    tunnel: Tunnel,
}

impl Gateway {
    /// Through this tunnel.
    #[must_use]
    pub const fn new(tunnel: Tunnel) -> Self {
        Self { tunnel }
    }

    /// Sends a request and returns the answer, whose body is still on its way. An answer that comes
    /// after the asker has given up is worth less than a word on whose fault that was, so the
    /// answer's head has to come within the same time.
    ///
    /// # Errors
    /// A fault that names the hop that failed: the tunnel, where it did not come up in time.
    pub async fn ask(&self, request: Request, patience: Patience) -> Result<Answer, Fault> {
        let request = request.confined();
        let mut spent: Option<Line> = None;
        let mut overtaken = false;
        loop {
            let line = self.tunnel.line(spent.as_ref(), patience).await?;
            let asked = exchange::run(&line, &request);
            match tokio::time::timeout_at(patience.until().into(), asked).await.unwrap_or_else(|_| too_late())
            {
                Ok(answer) => return Ok(answer),
                Err(ExchangeError::Fault(fault)) => return Err(fault),
                Err(ExchangeError::LineLost) => spent = Some(line),
                Err(ExchangeError::Overtaken(fault)) if overtaken => return Err(fault),
                Err(ExchangeError::Overtaken(_)) => overtaken = true,
            }
        }
    }
}

/// Everything under way may be waiting for engines that don't read, or the far side is slow.
fn too_late() -> Result<Answer, ExchangeError> {
    Err(Fault::new(Hop::Tunnel, FaultKind::TimedOut, "no answer in time through the tunnel").into())
}
