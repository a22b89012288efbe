//! What is said of a host that could not be asked: to clients, and to the operator.
//!
//! Clients must never learn of the server's own network from it: no address that a name leads to, and
//! no name that a certificate there holds. The operator's log has both.

use super::guard::GuardError;
use super::origin::reason;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::clean;
use hyper_util::client::legacy;
use rustls::CertificateError;
use std::error::Error;
use std::fmt;
use std::io;

/// The fault that clients are shown. What it holds back is logged.
pub(super) fn of(hop: Hop, host: &impl fmt::Display, error: &legacy::Error) -> Fault {
    if let Some((refusal, address)) = GuardError::refusal(error) {
        tracing::warn!(%hop, host = %clean(host), %address, "refused to dial an address that is not public");
        return Fault::new(hop, FaultKind::RedirectRefused, refusal);
    }
    if is_for_another_name(error) {
        tracing::warn!(%hop, host = %clean(host), error = %clean(reason(error)), "a certificate is for another name");
        let detail = format_args!("{host}: its certificate is for another name");
        return Fault::new(hop, FaultKind::Unreachable, detail);
    }
    let kind = if is_nonsense(error) { FaultKind::MalformedResponse } else { FaultKind::Unreachable };
    Fault::new(hop, kind, format_args!("{host}: {}", reason(error)))
}

/// Whether there was an answer, but none that is HTTP. Everything else is a connection that could not
/// be made, or that broke.
fn is_nonsense(error: &legacy::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    cause.is_some_and(hyper::Error::is_parse)
}

/// Whether the host has shown a certificate of other names, which the error lists.
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

/// The next error of a chain. An [`io::Error`] passes over the one that it was made of.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn a_certificate_of_another_name_is_found_behind_wrapped_errors() {
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
