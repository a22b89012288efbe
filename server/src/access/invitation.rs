//! Adds a client.
//!
//! Must never store a client before its link is complete: the name would be taken, without a link.

use crate::address::{self, AddressError, PublicAddress};
use crate::state::{ClientsError, State, StateError, random};
use docxy_protocol::link::{ClientName, ClientSecret, Host, Link};
use jiff::Timestamp;
use std::net::SocketAddr;

/// Why a client was not added.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The name is taken, or the clients cannot be changed.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// There is no address for the link.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// Adds a client, and returns its link. The address in it is `public`, else the one that `run` had last. Blocks for as long
/// as the disk takes.
///
/// # Errors
/// If there is no address for links, the name is taken, or the clients cannot be changed.
pub(crate) fn invite(
    state: &State,
    name: &ClientName,
    public: Option<PublicAddress>,
    listen: &[SocketAddr],
) -> Result<Link, InviteError> {
    let public = public.map_or_else(|| state.public_address(), |given| Ok(Some(given)))?;
    let address = address::for_links(public.as_ref(), listen)?;
    let link = new_link(state, name, address)?;
    add_client(state, &link)?;
    Ok(link)
}

/// A link with a new secret. It is not valid before [`add_client`].
pub(crate) fn new_link(
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
pub(crate) fn add_client(state: &State, link: &Link) -> Result<(), ClientsError> {
    state.change_clients(|list| list.add(&link.name, &link.secret, Timestamp::now()))
}
