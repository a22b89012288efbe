//! What registries really send and engines really ask: names, links, URLs and manifests beside the usual ones. Each
//! input is from a public bug report, or a sibling of one.

mod manifests;
mod names;
mod nested_indexes;
mod page_links;
mod redirect_urls;
mod requested;
