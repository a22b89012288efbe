//! `docxy-server revoke`: ends a client's access.

use super::{CommandError, remark};
use crate::settings::{Basics, Flags};
use crate::state::{Revocation, State};
use docxy_protocol::link::ClientName;
use jiff::Timestamp;

pub(super) fn revoke(name: &ClientName, flags: &Flags) -> Result<(), CommandError> {
    let state = State::open(&Basics::load(flags)?.state)?;
    match state.change_clients(|book| book.revoke(name, Timestamp::now()))? {
        Revocation::Now => {
            remark(&format!("{name} is revoked; a running server ends its connections within 2 seconds"))
        }
        Revocation::Before(time) => remark(&format!("{name} is revoked already, since {time}")),
    }
    Ok(())
}
