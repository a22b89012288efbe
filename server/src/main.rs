//! The program: reads the command line, runs the command, says how it went.

use clap::Parser as _;
use docxy_host::terminal::Stream;
use docxy_server::command::Arguments;
use std::process::ExitCode;

/// One that gives memory back to the system when a rush is over.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Misuse ends here, with exit code 2.
    let arguments = Arguments::parse();
    match arguments.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If not even stderr takes it, the exit code has to do.
            let _ = Stream::Stderr.write(&format!("docxy-server: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
