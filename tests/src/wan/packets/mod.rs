//! Where packets come from and go to: TUN devices in namespaces. Must never decide what happens to one.

pub(in crate::wan) mod device;
pub(in crate::wan) mod emulation;
pub(in crate::wan) mod io_loop;
pub(in crate::wan) mod lateness_histogram;
pub(in crate::wan) mod namespace;
pub(in crate::wan) mod namespace_pair;
