//! Which manifest a request gets for its `Accept` field, by the rules of Docker's registry.
//! Must never follow RFC 9110 instead: an `Accept` that does not match is a 404, and clients depend on that.

use http::{HeaderMap, header};
use serde_json::Value;

use crate::content::image::{Manifest, media_type};

/// The outcome of the negotiation.
pub(crate) enum Negotiated {
    AsStored,
    /// The digest of the linux/amd64 manifest, for a client that does not accept lists.
    DefaultPlatform(String),
    /// A 404 with this message.
    NotAcceptable(&'static str),
}

pub(crate) fn negotiate(headers: &HeaderMap, manifest: &Manifest, by_tag: bool) -> Negotiated {
    if accepts(headers, manifest.media_type) {
        return Negotiated::AsStored;
    }
    match manifest.media_type {
        media_type::OCI_INDEX => {
            Negotiated::NotAcceptable("OCI index found, but accept header does not support OCI indexes")
        }
        media_type::OCI_MANIFEST => {
            Negotiated::NotAcceptable("OCI manifest found, but accept header does not support OCI manifests")
        }
        media_type::DOCKER_LIST if by_tag => {
            default_platform(manifest).map_or(Negotiated::AsStored, Negotiated::DefaultPlatform)
        }
        _ => Negotiated::AsStored,
    }
}

/// `Accept` may be one field or several.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut ranges = lines
        .flat_map(|line| line.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    ranges.any(|range| range == media_type || matches!(range, "*/*" | "application/*"))
}

fn default_platform(list: &Manifest) -> Option<String> {
    let list: Value = serde_json::from_slice(&list.bytes).ok()?;
    let entries = list["manifests"].as_array()?;
    let entry = entries.iter().find(|entry| entry["platform"]["architecture"] == "amd64")?;
    Some(entry["digest"].as_str()?.to_owned())
}
