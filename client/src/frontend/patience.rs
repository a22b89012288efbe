//! How long each engine waits: for the tunnel, and for the head of a response.
//!
//! An engine that times out shows its user no reason. The fault in a response names the hop that is down, so it must
//! arrive before. Must never be stricter than the engine: what it would wait for without Docxy, it waits for here.

use crate::gateway::{Deadline, Engine, ResponseDeadline};
use docxy_protocol::name::Reference;
use docxy_protocol::request::Operation;
use std::time::Duration;

/// `/v2/` and tokens: dockerd times out after 15 s.
const PING_AND_TOKEN_TIMEOUT: Duration = Duration::from_secs(12);

/// A little less than the 30 s after which containerd 2.3, and Docker with it, give up without a response head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(25);

/// How long an engine waits for the tunnel if it sends its request again, or its limit is not known: less than the
/// usual 30 s.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(25);

/// The same for a command that a person waits for, and that sends its request two to six times.
const COMMAND_TUNNEL_TIMEOUT: Duration = Duration::from_secs(8);

/// How long an engine waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EnginePatience {
    /// For the whole response head, the tunnel included, at most so long.
    Limited(Duration),
    /// For the tunnel so long, and then for the response as long as it takes.
    LimitedTunnel(Duration),
    /// For both as long as it takes.
    Unlimited,
}

/// The engines, by a product in their `User-Agent`. The first row that matches counts.
const ENGINES: [(&str, EnginePatience); 17] = [
    // Docker with the containerd store names both: `docker/29.2.1 … containerd-client/2.2.1+unknown …`.
    ("containerd-client", EnginePatience::Limited(HEAD_TIMEOUT)),
    // Also k3s, nerdctl and `docker buildx imagetools`. Before 2.3 it has no limit: see `of`.
    ("containerd", EnginePatience::Limited(HEAD_TIMEOUT)),
    // Docker with the classic store has no limit, and does not repeat the request for a manifest. It ignores the
    // status of `/v2/`.
    ("docker", EnginePatience::Unlimited),
    // `docker manifest inspect` sends three requests in turn.
    ("Docker-Client", EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT)),
    // BuildKit has no limit. It repeats requests.
    ("buildkit", EnginePatience::LimitedTunnel(TUNNEL_TIMEOUT)),
    // go-containerregistry repeats a request twice: crane, kaniko, ko, cosign.
    ("crane", EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT)),
    ("go-containerregistry", EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT)),
    // oras-go repeats a request five times: oras, helm, notation.
    ("oras", EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT)),
    ("oras-go", EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT)),
    ("helm", EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT)),
    ("notation", EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT)),
    // regclient repeats a request up to five times.
    ("regclient", EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT)),
    // The library of podman, skopeo, buildah and CRI-O has no limit. Its commands repeat a pull three times.
    ("containers", EnginePatience::LimitedTunnel(TUNNEL_TIMEOUT)),
    ("skopeo", EnginePatience::LimitedTunnel(TUNNEL_TIMEOUT)),
    ("buildah", EnginePatience::LimitedTunnel(TUNNEL_TIMEOUT)),
    ("libpod", EnginePatience::LimitedTunnel(TUNNEL_TIMEOUT)),
    ("cri-o", EnginePatience::LimitedTunnel(TUNNEL_TIMEOUT)),
];

/// Other programs may wait for a response as long as it takes, but not for a tunnel that is down.
const OTHER: EnginePatience = EnginePatience::LimitedTunnel(TUNNEL_TIMEOUT);

/// The first version of containerd with a limit on response heads.
const CONTAINERD_WITH_LIMIT: (u64, u64) = (2, 3);

impl EnginePatience {
    fn of(engine: &Engine) -> Self {
        let agent = engine.agent();
        let row = ENGINES.iter().find_map(|(name, patience)| Some((agent.product(name)?, *name, *patience)));
        match row {
            Some((product, "containerd", _))
                if product.major_minor().is_some_and(|version| version < CONTAINERD_WITH_LIMIT) =>
            {
                Self::LimitedTunnel(TUNNEL_TIMEOUT)
            }
            Some((_, _, patience)) => patience,
            None => OTHER,
        }
    }
}

/// The deadline of this operation for this engine. `stall_timeout` is how long the user wants to wait at most.
pub(super) fn deadline(operation: &Operation, engine: &Engine, stall_timeout: Duration) -> ResponseDeadline {
    match (operation, EnginePatience::of(engine)) {
        (Operation::Ping | Operation::Token(_), _) => {
            ResponseDeadline::after(PING_AND_TOKEN_TIMEOUT.min(stall_timeout))
        }
        (_, EnginePatience::Limited(limit)) => ResponseDeadline::after(limit.min(stall_timeout)),
        (_, EnginePatience::LimitedTunnel(limit)) => {
            ResponseDeadline::patient(Deadline::after(limit.min(stall_timeout)), stall_timeout)
        }
        // This begins a pull. One that is under way is worth a longer wait.
        (Operation::Manifest { reference: Reference::Tag(_), .. }, EnginePatience::Unlimited) => {
            ResponseDeadline::patient(Deadline::after(TUNNEL_TIMEOUT.min(stall_timeout)), stall_timeout)
        }
        (_, EnginePatience::Unlimited) => {
            ResponseDeadline::patient(Deadline::after(stall_timeout), stall_timeout)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use http::header::USER_AGENT;

    #[test]
    fn each_engine_has_its_patience() {
        let limited = EnginePatience::Limited(HEAD_TIMEOUT);
        let command = EnginePatience::LimitedTunnel(COMMAND_TUNNEL_TIMEOUT);
        for (agent, expected) in [
            (
                "docker/29.7.0 go/go1.25.6 git-commit/6bc6209 kernel/6.8.0 os/linux arch/amd64 \
                 containerd-client/2.3.1+unknown storage-driver/overlayfs \
                 UpstreamClient(Docker-Client/29.7.0 \\(linux\\))",
                limited,
            ),
            ("containerd/2.3.0", limited),
            ("containerd/v2.10.1-k3s1", limited),
            ("containerd/unknown", limited),
            ("containerd/1.6.20~ds1", OTHER),
            ("containerd/v2.1.4-k3s1", OTHER),
            (
                "docker/20.10.24+dfsg1 go/go1.19.8 os/linux UpstreamClient(Docker-Client/20.10.24 \\(linux\\))",
                EnginePatience::Unlimited,
            ),
            ("Docker-Client/29.7.0 (linux)", command),
            ("crane/0.21.4 go-containerregistry/0.21.4", command),
            ("kaniko/v1.23 go-containerregistry/0.20", command),
            ("regclient/regctl (v0.8.0)", command),
            ("oras/1.2.0", command),
            ("Helm/3.17.0", command),
            ("containers/5.24.1 (github.com/containers/image)", OTHER),
            ("buildkit/v0.32", OTHER),
            ("curl/8.5.0", OTHER),
            ("", OTHER),
        ] {
            let headers = HeaderMap::from_iter([(USER_AGENT, agent.parse().unwrap())]);
            assert_eq!(EnginePatience::of(&Engine::new(1, &headers)), expected, "{agent}");
        }
    }
}
