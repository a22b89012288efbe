//! The program: reads the command line, runs the command, and prints an error.

use docxy_host::process::terminal::Stream;
use docxy_server::command::Arguments;
use std::process::ExitCode;

/// An allocator that returns memory to the system after a load peak.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Misuse ends here, with exit code 2.
    let arguments = Arguments::read();
    match arguments.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr cannot be written, only the exit code reports the error.
            let _ = Stream::Stderr.write(&format!("docxy-server: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
