//! Files and folders: settings in TOML, private and ready files, default directories.

pub mod directories;
pub mod file_fingerprint;
pub mod password_file;
pub mod private_file;
pub mod ready_file;
pub mod toml_file;
