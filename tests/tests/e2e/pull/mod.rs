//! What an engine sees when it pulls: content, ranges, lists, limits; and `docxy-client pull`.

mod blobs;
mod cancellation;
mod command;
mod conditional_requests;
mod large_manifests;
mod manifests;
mod other_registries;
mod quota;
mod ranges;
mod registry_limits;
mod stdout;
mod tags_and_referrers;
mod unsupported_requests;
