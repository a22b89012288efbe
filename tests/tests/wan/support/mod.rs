//! An emulated link under test.

pub(crate) mod test_link;
pub(crate) mod tunnel_testbed;
