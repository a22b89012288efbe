//! Many clients in this process, each with its own tunnel, by the client's library. With one process for each
//! client, the machine would be the limit.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use docxy_client::{
    gateway::Gateway,
    metadata::Metadata,
    tunnel::{Deadline, JoinedLink, Need, Session, Trust, Tunnel, TunnelConfig},
};
use docxy_protocol::{
    authorization::Authorization,
    name::Registry,
    request::{Method, Operation, Request},
};
use futures_util::future::join_all;
use tokio::task::block_in_place;

use super::{Burst, Reconnects};

/// Concurrent pulls of one client: fewer than its limit, so that no pull waits for another.
pub(super) const PULLS_PER_CLIENT: u32 = 180;

/// How long a client may take to connect or reconnect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Clients whose tunnels are up.
pub(super) struct Fleet(Vec<(Tunnel, Session)>);

impl Fleet {
    /// Connects one client for each link.
    pub(super) async fn connect(links: &[String]) -> Result<Self> {
        let settings = links.iter().map(|link| {
            let links = vec![JoinedLink { link: link.parse()?, trust: Trust::Trusted }];
            Ok(TunnelConfig { links, ..TunnelConfig::default() })
        });
        let settings = settings.collect::<Result<Vec<_>>>()?;
        let connecting = settings.into_iter().map(|settings| async {
            let tunnel = Tunnel::start(settings);
            let session =
                tunnel.session(Need::ANY, None, Deadline::including_first_connect(CONNECT_TIMEOUT)).await;
            Ok((tunnel, session.map_err(|fault| anyhow!("{fault}"))?))
        });
        Ok(Self(join_all(connecting).await.into_iter().collect::<Result<_>>()?))
    }

    /// Pulls a blob `count` times concurrently.
    pub(super) async fn pull(&self, count: u32, repository: &str, digest: &str) -> Result<Burst> {
        let operation =
            Operation::Blob { repository: repository.parse()?, digest: digest.parse()?, method: Method::Get };
        let request =
            Request::new(Registry::docker_hub(), operation).with_authorization(Authorization::Public);
        let gateway = |tunnel: &Tunnel| Gateway::new(tunnel.clone(), CONNECT_TIMEOUT, Metadata::open(None));
        let gateways: Vec<_> = self.0.iter().map(|(tunnel, _)| gateway(tunnel)).collect();
        let started = Instant::now();
        let pulls = gateways.iter().cycle().take(count as usize);
        let pulls = pulls.map(|gateway| tokio::spawn(pull(gateway.clone(), request.clone())));
        let mut errors = Vec::new();
        for pull in join_all(pulls).await {
            errors.extend(pull?.err().map(|error| format!("{error:#}")));
        }
        Ok(Burst { seconds: started.elapsed().as_secs_f64(), errors })
    }

    /// Calls `restart`, then measures the seconds until each client has another connection. Clients that never get
    /// one are errors.
    pub(super) async fn reconnect_after(&self, restart: impl FnOnce() -> Result<()>) -> Result<Reconnects> {
        let waiting = self.0.iter().map(|(tunnel, session)| {
            let (tunnel, session) = (tunnel.clone(), session.clone());
            tokio::spawn(async move {
                let (lost, deadline) = (session.into_lost(), Deadline::after(CONNECT_TIMEOUT));
                let reconnected = tunnel.session(Need::ANY, Some(&lost), deadline).await;
                reconnected.map(|_| Instant::now())
            })
        });
        let waiting: Vec<_> = waiting.collect();
        block_in_place(restart)?;
        let started = Instant::now();
        let mut restart = Reconnects::default();
        for reconnected in join_all(waiting).await {
            match reconnected? {
                Ok(at) => restart.seconds.push(at.saturating_duration_since(started).as_secs_f64()),
                Err(fault) => restart.errors.push(fault.to_string()),
            }
        }
        Ok(restart)
    }

    /// Closes all tunnels.
    pub(super) async fn close(self) {
        join_all(self.0.into_iter().map(|(tunnel, session)| async move {
            drop(session);
            tunnel.close().await;
        }))
        .await;
    }
}

async fn pull(gateway: Gateway, request: Request) -> Result<()> {
    let response = gateway.send_own(request).await.map_err(|fault| anyhow!("{fault}"))?;
    ensure!(response.status().is_success(), "{}", response.status());
    let mut body = response.into_body();
    while body.next().await.map_err(|fault| anyhow!("{fault}"))?.is_some() {}
    Ok(())
}
