//! The network that the tests run in: three namespaces in a row, laptop — abroad — hub, as a user's blocked laptop, his
//! server abroad and Docker Hub are. Nothing is forwarded, so the middle one is the only way from end to end.
//! Must never touch the machine's own interfaces, routes or settings.

mod lab;
mod namespace;

pub use lab::Lab;
pub use namespace::{Namespace, command_in};
