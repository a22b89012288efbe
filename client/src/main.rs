//! The program: runs the command, and reports errors.

use docxy_client::command::Arguments;
use docxy_host::process::terminal::Stream;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Misuse ends the program here, with exit code 2.
    let arguments = Arguments::read();
    match arguments.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr fails too, the exit code reports the error.
            let _ = Stream::Stderr.write(&format!("docxy-client: {}\n", error.message()));
            ExitCode::from(error.exit_code())
        }
    }
}
