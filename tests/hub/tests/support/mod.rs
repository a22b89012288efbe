//! A stand-in with content, and its client.

pub(crate) mod https_client;
pub(crate) mod test_hub;
