//! Real engines pull through real `docxy-client` and `docxy-server` processes, each in its own network namespace.
//! Needs root, iproute2 and Debian's engines.
//! Must never depend on this machine's own network or engines.
//!
//! Tests start in the order of their names. Those of `broken_tunnel`, which wait for a minute, come first.

mod broken_tunnel;
mod containerd_podman_skopeo;
mod direct_pulls;
mod dockerd;
mod image_file;
mod isolation;
mod kept_layers;
mod readme;
mod registries;
mod round_trips;
mod setup;
mod support;
