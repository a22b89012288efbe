//! A server whose disk is full, without a free block or inode: its operator can still revoke clients. A client whose disk
//! is full or otherwise of no use: pulls go on, and
//! `setup` changes nothing.
//! Needs root, to mount a file system of a few hundred KiB. All traffic is on loopback.

#![expect(clippy::unwrap_used, reason = "in a test's helper, too, an unwrap is an assertion")]

mod first_start;
mod layers;
mod revoke;
mod setup;
mod support;
