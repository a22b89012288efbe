//! The program as its operator uses it: arguments, output, exit codes and files.

mod client_package;
mod clients_file;
mod invitations;
mod machine;
mod start;
