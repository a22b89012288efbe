//! Real engines pull through real `docxy-client` and `docxy-server` processes, each in its own network namespace.
//! Needs root, iproute2 and Debian's engines.
//! Must never depend on this machine's own network or engines.

mod all_images;
mod containerd_podman_skopeo;
mod dockerd;
mod harness;
mod hostile_registry;
mod image_file;
mod isolation;
mod oci_layout;
mod real_registry;
mod round_trips;
mod testbed;
