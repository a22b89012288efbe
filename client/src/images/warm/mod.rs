//! Fetches images ahead of time, so that engines find their layers on the disk: for `docxy-client warm`, and on a schedule
//! while the client runs.
//!
//! Must never slow a pull of an engine: layers are requested in the background, after all content that an engine waits for.

mod image;
mod images;
mod schedule;
mod scheduler;

pub(crate) use image::{WarmImage, WarmMessage, warm};
pub use images::{ImageListError, WarmImages};
pub use schedule::{DailyWindow, Interval, Schedule, ScheduleError};
pub use scheduler::WarmSettings;
pub(crate) use scheduler::{run, wait_until};
