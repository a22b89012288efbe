//! What a link does to packets. Must never read a clock or a device.

pub(in crate::wan) mod bottleneck;
pub(in crate::wan) mod conditions;
pub(in crate::wan) mod counters;
pub(in crate::wan) mod forgery;
pub(in crate::wan) mod loss_model;
pub(in crate::wan) mod middlebox;
pub(in crate::wan) mod packet;
pub(in crate::wan) mod pipe;
pub mod presets;
pub(in crate::wan) mod rate;
