//! Files and folders: settings in TOML, private and ready files, default directories.
//!
//! Must never leave a half-written file in place of a whole one, or make a private one readable for others.

pub mod directories;
pub mod file_fingerprint;
pub mod input_file;
pub mod password_file;
pub mod private_file;
pub mod ready_file;
pub mod shared_permits;
pub mod toml_file;
