//! How a running link is steered from outside its process: a line with a request, a line of JSON back.
//! Must never know how lines come and go, nor offer what [`Wan`] does not.

use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use super::{LinkOptions, Wan, syntax::Time};

/// What came of a request: `{"Ok":…}` or `{"Err":"why"}`.
pub type Response = Result<Value, String>;

/// A request, as words of a line.
#[derive(Clone, Debug, Subcommand)]
pub enum Request {
    /// Change the link's conditions; what is queued leaves at the new rate
    Set(Box<LinkOptions>),
    /// Nothing goes in or comes out for so long, from now; 0s ends it
    Outage {
        /// [such as 3s]
        #[arg(value_name = "TIME", value_parser = Time::read)]
        duration: Duration,
    },
    /// Drop all UDP flows seen so far: only new source ports get through
    BlockFlows,
    /// Drop UDP from or to a port
    BlockPort {
        /// At either end
        port: u16,
    },
    /// Undo all blocks of flows and ports
    Unblock,
    /// What the link has done so far, as JSON
    Report,
}

/// A line of words that are all of one request.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    request: Request,
}

/// Does what a line asks for.
pub fn handle(line: &str, wan: &Wan) -> Response {
    let line = CommandLine::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
    match line.request {
        Request::Set(options) => wan.change(|link| options.apply(link)),
        Request::Outage { duration } => wan.outage(duration),
        Request::BlockFlows => wan.block_udp_flows(),
        Request::BlockPort { port } => wan.block_udp_port(port),
        Request::Unblock => wan.unblock_udp(),
        Request::Report => {
            let report = wan.report().map_err(|error| error.to_string())?;
            return Ok(json!(report));
        }
    }
    Ok(Value::Null)
}
