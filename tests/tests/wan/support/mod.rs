//! An emulated link under test.

pub(crate) mod test_link;
