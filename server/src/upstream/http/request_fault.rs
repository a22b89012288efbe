//! The fault for a request that failed before there was a response: for clients, and for the log.
//!
//! Clients must never learn about the server's own network from it: neither the address of a name, nor
//! the names in a certificate, nor the proxy. The operator's log has them.

use super::address_guard::GuardError;
use crate::upstream::error::{UpstreamError, chain};
use docxy_host::net::proxy::ProxyError;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::text::clean;
use hyper_util::client::legacy;
use rustls::CertificateError;
use std::error::Error;
use std::fmt;
use std::io;

/// The fault that clients receive, with the whole cause for the log.
pub(crate) fn request_fault(hop: Hop, host: &impl fmt::Display, error: legacy::Error) -> UpstreamError {
    let fault = if let Some(refusal @ GuardError::NotPublic { address, .. }) = find(&error) {
        tracing::warn!(%hop, host = %clean(host), %address, "refused to dial an address that is not public");
        UpstreamError::new(hop, FaultKind::RedirectRefused, refusal)
    } else if let Some(error @ GuardError::ResolveForProxy { .. }) = find(&error) {
        UpstreamError::new(hop, FaultKind::Unreachable, error)
    } else if let Some(error) = find::<ProxyError>(&error) {
        let failure = &error.failure;
        let kind = if failure.is_permanent() { FaultKind::Refused } else { FaultKind::Unreachable };
        UpstreamError::new(hop, kind, format_args!("{host}: the server's proxy {failure}"))
    } else if is_for_another_name(&error) {
        let detail = format_args!("{host}: its certificate is for another name");
        UpstreamError::new(hop, FaultKind::Unreachable, detail)
    } else {
        let kind = if is_not_http(&error) { FaultKind::MalformedResponse } else { FaultKind::Unreachable };
        UpstreamError::new(hop, kind, format_args!("{host}: {}", describe_error(&error)))
    };
    fault.caused_by(error)
}

/// The error of this type in a chain.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| cause(error)).find_map(|error| error.downcast_ref())
}

/// Whether the host responded with something that is not HTTP. All other errors are connections that could
/// not be made, or broke.
fn is_not_http(error: &legacy::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    cause.is_some_and(hyper::Error::is_parse)
}

/// Whether the host's certificate is for other names. The error lists them.
fn is_for_another_name(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| cause(error)).any(|error| {
        let wrong = |name: &CertificateError| {
            matches!(
                name,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            )
        };
        matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(why)) if wrong(why))
    })
}

/// The next error of a chain. [`io::Error::source`] skips the error that it wraps, so that is unwrapped here.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
}

/// The outermost and the innermost error of a chain: what failed, and the cause that a person can act on
/// ("connection refused").
pub(crate) fn describe_error(error: &(dyn Error + 'static)) -> String {
    let outer = error.to_string();
    let inner = chain(error).last().map(ToString::to_string).filter(|inner| *inner != outer);
    inner.map_or_else(|| outer.clone(), |inner| format!("{outer}: {inner}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn a_certificate_for_another_name_is_found_in_wrapped_errors() {
        let context = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("registry.corp").unwrap(),
            presented: vec!["DnsName(\"db-7.internal\")".to_owned()],
        };
        let wrapped = |why| io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(why)));
        assert!(is_for_another_name(&wrapped(context)));
        assert!(!is_for_another_name(&wrapped(CertificateError::UnknownIssuer)));
        assert!(!is_for_another_name(&io::Error::from(io::ErrorKind::ConnectionRefused)));
    }
}
