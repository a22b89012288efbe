//! `docxy-server invite`: adds a client and prints its link.
//!
//! Must never store a client before its link is complete: the name would be taken, without a link.

use super::error::CommandError;
use crate::address;
use crate::settings::{Basics, Flags};
use crate::state::{ClientsError, State, random};
use docxy_host::terminal::print;
use docxy_protocol::link::{ClientName, ClientSecret, Host, Link};
use jiff::Timestamp;

pub(super) fn invite(name: &ClientName, flags: &Flags) -> Result<(), CommandError> {
    let basics = Basics::load(flags)?;
    let address = address::for_links(basics.public.as_ref(), &basics.listen)?;
    let state = State::open(&basics.state)?;
    let link = new_client(&state, name, address)?;
    print(&format!("{}\n", link.expose())).map_err(CommandError::Output)
}

/// Adds a client. Its link names this address.
pub(super) fn new_client(
    state: &State,
    name: &ClientName,
    (host, port): (Host, u16),
) -> Result<Link, ClientsError> {
    let link = Link {
        name: name.clone(),
        secret: ClientSecret::from_random(random()?),
        host,
        ports: vec![port],
        pin: state.identity()?.pin,
        sni: None,
    };
    state.change_clients(|book| book.add(name, &link.secret, Timestamp::now()))?;
    Ok(link)
}
