//! The program: reads the command line, runs the command, says how it went.

use docxy_client::command::Arguments;
use docxy_host::terminal::Stream;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Misuse ends here, with exit code 2.
    let arguments = Arguments::read();
    match arguments.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If not even stderr takes it, the exit code has to do.
            let _ = Stream::Stderr.write(&format!("docxy-client: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
