//! The network of the tests: three namespaces in a row (laptop, abroad, hub), as a user's laptop behind a firewall,
//! the server abroad and Docker Hub. Nothing is forwarded, so the only path from end to end leads through the
//! programs in the middle one.
//! Must never touch the machine's own interfaces, routes or settings.

mod hosts_file;
mod lab;
mod namespace;

pub use hosts_file::HostsFile;
pub use lab::Lab;
pub use namespace::{Namespace, command_in};
