//! Runs a program for which the kernel refuses every choice of a TCP congestion control, as it does for a user who may
//! not have BBR, or without its module. The kernel's own list is the machine's, and read-only in a namespace.
//! Must never refuse anything else.

use std::{
    collections::BTreeMap, convert::Infallible, env, os::unix::process::CommandExt as _, process::Command,
};

use anyhow::{Context as _, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// The number of the system call `setsockopt`.
const SETSOCKOPT: i64 = if cfg!(target_arch = "x86_64") { 54 } else { 208 };

/// Its second and third argument: the protocol and the option.
const IPPROTO_TCP: u64 = 6;
const TCP_CONGESTION: u64 = 13;

/// `without-bbr ERRNO PROGRAM [ARGUMENT]…` becomes the program.
fn main() -> Result<Infallible> {
    let mut arguments = env::args_os().skip(1);
    let error = arguments.next().and_then(|error| error.to_str()?.parse().ok()).context("no error number")?;
    let program = arguments.next().context("no program")?;
    apply_filter(&filter(error)?)?;
    Err(Command::new(program).args(arguments).exec().into())
}

fn filter(error: u32) -> Result<BpfProgram> {
    let argument =
        |index, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let rule = SeccompRule::new(vec![argument(1, IPPROTO_TCP)?, argument(2, TCP_CONGESTION)?])?;
    let filter = SeccompFilter::new(
        BTreeMap::from([(SETSOCKOPT, vec![rule])]),
        SeccompAction::Allow,
        SeccompAction::Errno(error),
        env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}
