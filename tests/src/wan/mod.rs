//! The link emulator: connects two network namespaces by a link with delay, a bottleneck, loss and filters, as a
//! wide-area network (WAN) has. Each end is a TUN device; a thread of this process moves packets between them.
//! Must never touch the machine's own network, nor create anything that outlives the process.
//!
//! ```no_run
//! use docxy_tests::wan::{NamespacePair, Rate, Wan, presets};
//!
//! let pair = NamespacePair::new()?;
//! let wan = Wan::join(&pair.left, &pair.right, presets::TRANSPACIFIC_5.link, 1)?;
//! pair.right.command("docxy-server").arg("run").spawn()?;
//! wan.change(|link| link.right_to_left.rate = Some(Rate::mbit(50)));
//! println!("{}", wan.report()?);
//! # Ok::<(), anyhow::Error>(())
//! ```

mod error;
mod link;
mod operation;
mod packets;
mod report;
mod running_link;

pub use error::Error;
pub use link::{
    conditions::{Conditions, Direction, Link, Loss, LossPoint, Queue, Recurrence},
    counters::{Counters, DropCause, Drops, Traffic},
    middlebox::rules::{QuicRejection, TcpRule, UdpRule},
    packet::{Datagram, Flow, Packet, Payload, Protocol, Segment},
    pipe::{Pipe, Reschedule, Timing, Verdict},
    presets::{self, LinkPreset, PRESETS},
    rate::Rate,
};
pub use operation::{control, options::LinkOptions, syntax::SyntaxError};
pub use packets::{
    lateness_histogram::LatenessSummary,
    namespace::{End, run_in_namespace},
    namespace_pair::NamespacePair,
};
pub use report::{DirectionReport, Report};
pub use running_link::Wan;
