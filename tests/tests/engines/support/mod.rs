//! The testbed of the engines, and the pulls that several of them make.

pub(crate) mod all_images;
pub(crate) mod oci_layout;
pub(crate) mod testbed;
