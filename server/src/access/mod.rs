//! Who has access: invitations and revocations, for the commands and the admin page.
//!
//! Must never store a client's secret: only its hash is kept.

mod invitation;
pub(crate) mod live_clients;
mod revocation;

pub(crate) use invitation::{InviteError, add_client, invite, new_link};
pub(crate) use revocation::revoke;
