//! The browser, and the programs whose page it shows.

pub(crate) mod browser;
pub(crate) mod testbed;
