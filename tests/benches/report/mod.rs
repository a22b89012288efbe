//! What a bench measures and reports: the machine, the usage of processes, what a reader received, and the output.
//! Must never know what is measured.

pub(crate) mod figure;
pub(crate) mod machine;
pub(crate) mod output;
pub(crate) mod reader_report;
pub(crate) mod usage;
