//! The control protocol of a running link: one line with a request, one line of JSON back.
//! Must never do I/O, nor offer what [`Wan`] does not.

use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::wan::{
    operation::{options::LinkOptions, syntax::Time},
    running_link::Wan,
};

/// The outcome of a request: `{"Ok":…}` or `{"Err":"why"}`.
pub type Response = Result<Value, String>;

/// A request, parsed from the words of a line.
#[derive(Clone, Debug, Subcommand)]
pub enum Request {
    /// Change the link's conditions; queued packets leave at the new rate
    Set(Box<LinkOptions>),
    /// Drop all packets for this long, from now on; 0s ends the outage
    Outage {
        /// [such as 3s]
        #[arg(value_name = "TIME", value_parser = Time::parse_arg)]
        duration: Duration,
    },
    /// Drop all flows, UDP and TCP, that have used the link: only new source ports get through
    BlockFlows,
    /// Drop UDP and TCP from or to a port
    BlockPort {
        /// At either end
        port: u16,
    },
    /// Undo all blocks of flows and ports
    Unblock,
    /// Print counters and delays so far, as JSON
    Report,
}

/// A line that holds one request.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    request: Request,
}

/// Carries out the request in a line.
pub fn handle(line: &str, wan: &Wan) -> Response {
    let line = CommandLine::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
    match line.request {
        Request::Set(options) => wan.change(|link| options.apply(link)),
        Request::Outage { duration } => wan.outage(duration),
        Request::BlockFlows => wan.block_flows(),
        Request::BlockPort { port } => wan.block_port(port),
        Request::Unblock => wan.unblock(),
        Request::Report => {
            let report = wan.report().map_err(|error| error.to_string())?;
            return Ok(json!(report));
        }
    }
    Ok(Value::Null)
}
