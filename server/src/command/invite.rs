//! `docxy-server invite`: adds a client and prints its link.
//!
//! Must never store a client before its link is complete: the name would be taken, without a link.

use super::error::CommandError;
use super::open_state;
use crate::address;
use crate::settings::{CommonSettings, Flags};
use crate::state::{ClientsError, State, StateError, random};
use docxy_host::terminal::print;
use docxy_protocol::link::{ClientName, ClientSecret, Host, Link};
use jiff::Timestamp;

pub(super) fn invite(name: &ClientName, flags: &Flags) -> Result<(), CommandError> {
    let basics = CommonSettings::load(flags)?;
    let state = open_state(&basics, &format!("invite {name}"))?;
    let public = basics.public.map_or_else(|| state.public_address(), |given| Ok(Some(given)))?;
    let address = address::for_links(public.as_ref(), &basics.listen)?;
    let link = new_link(&state, name, address)?;
    add_client(&state, &link)?;
    print(&format!("{}\n", link.expose_with_sum())).map_err(CommandError::Output)
}

/// A link with a new secret. It is not valid before [`add_client`].
pub(super) fn new_link(
    state: &State,
    name: &ClientName,
    (host, port): (Host, u16),
) -> Result<Link, StateError> {
    Ok(Link {
        name: name.clone(),
        secret: ClientSecret::from_random(random()?),
        host,
        ports: vec![port],
        pin: state.identity()?.pin,
        sni: None,
    })
}

/// Adds the client of a link.
pub(super) fn add_client(state: &State, link: &Link) -> Result<(), ClientsError> {
    state.change_clients(|list| list.add(&link.name, &link.secret, Timestamp::now()))
}
