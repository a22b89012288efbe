//! How long a command waits for the servers of its links, and what it is told then.

use super::reason::{LineCause, LineReason};
use super::status::Refuser;
use super::*;
use docxy_protocol::fault::Fault;

fn states(statuses: &[TunnelStatus]) -> Vec<ServerState> {
    let server = |id| Server::new(id, format!("server-{id}"), Trust::Trusted, Arc::default());
    (1..).zip(statuses).map(|(id, status)| ServerState::new(server(id), status.clone())).collect()
}

fn refused(reason: &str) -> TunnelStatus {
    TunnelStatus::Refused { by: Refuser::Server, reason: LineReason::new(LineCause::Revoked, reason) }
}

/// The fault of a command that waits this long, and whether it came sooner.
async fn fault_within(statuses: &[TunnelStatus], wait: Duration) -> (Fault, bool) {
    let (_sender, receiver) = watch::channel(states(statuses));
    let tunnel = Tunnel::of_servers(receiver);
    let deadline = Deadline::including_first_connect(wait);
    let fault = tunnel.session(Need::ANY, None, deadline).await.unwrap_err();
    (fault, Instant::now() < deadline.at)
}

#[tokio::test]
async fn a_command_ends_at_once_if_all_servers_refuse_it() {
    let both = [refused("the key is another"), refused("revoked")];
    let (fault, is_early) = fault_within(&both, Duration::from_secs(60)).await;
    assert!(is_early, "{fault}");
    assert_eq!(fault.detail.as_str(), "the key is another; revoked");
}

/// A line that loses packets may need a few attempts, so a server that does not answer may still come.
#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_beside_one_that_refuses() {
    let silent =
        TunnelStatus::Connecting { reason: Some(LineReason::new(LineCause::NoResponse, "no response")) };
    let (fault, is_early) = fault_within(&[refused("revoked"), silent], Duration::from_millis(50)).await;
    assert!(!is_early, "{fault}");
    assert!(fault.detail.as_str().contains("no response; revoked"), "{fault}");
}
