//! What of an answer's head must be ours instead of the registry's: where tokens come from, and
//! where a listing goes on. Everything else stays as it is.

use super::host::LocalHost;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::name::Registry;
use http::{HeaderMap, HeaderValue, header};

/// Points every bearer challenge at our own realm, and returns the services that they name.
pub(super) fn challenges(headers: &mut HeaderMap, host: &LocalHost) -> Vec<String> {
    let mut services = Vec::new();
    for line in take(headers, &header::WWW_AUTHENTICATE) {
        let challenges = line.to_str().ok().and_then(|text| Challenge::parse_all(text).ok());
        for challenge in challenges.unwrap_or_default() {
            let challenge = if challenge.is_bearer() {
                services.extend(challenge.parameter("service").map(str::to_owned));
                challenge.with_realm(&host.realm())
            } else {
                challenge
            };
            // What was read from a header can be written to one.
            if let Ok(value) = HeaderValue::from_str(&challenge.to_string()) {
                headers.append(header::WWW_AUTHENTICATE, value);
            }
        }
    }
    services
}

/// Makes the `Link` of a listing (distribution spec, "Listing Tags") lead through us again. One
/// that cannot is dropped: it would lead to the blocked origin.
pub(super) fn links(headers: &mut HeaderMap, registry: &Registry) {
    for line in take(headers, &header::LINK) {
        if let Some(value) = line.to_str().ok().and_then(|text| local_link(text, registry)) {
            headers.append(header::LINK, value);
        }
    }
}

fn local_link(text: &str, registry: &Registry) -> Option<HeaderValue> {
    let (target, parameters) = text.trim().strip_prefix('<')?.split_once('>')?;
    let path = match target.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => target,
    };
    let rest = path.strip_prefix("/v2/")?;
    let prefix = if registry.is_docker_hub() { String::new() } else { format!("{registry}/") };
    HeaderValue::from_str(&format!("</v2/{prefix}{rest}>{parameters}")).ok()
}

fn take(headers: &mut HeaderMap, name: &header::HeaderName) -> Vec<HeaderValue> {
    match headers.entry(name) {
        header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
        header::Entry::Vacant(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_keeps_everything_but_its_realm() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "127.0.0.1:5080".parse().unwrap());
        let host = LocalHost::of(&headers, &[]).unwrap();
        let theirs = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull",error="invalid_token""#;
        headers.insert(header::WWW_AUTHENTICATE, theirs.parse().unwrap());
        headers.append(header::WWW_AUTHENTICATE, r#"Basic realm="x""#.parse().unwrap());
        assert_eq!(challenges(&mut headers, &host), ["registry.docker.io"]);
        let lines: Vec<_> = headers.get_all(header::WWW_AUTHENTICATE).iter().collect();
        let ours = theirs.replace("https://auth.docker.io/token", "http://127.0.0.1:5080/auth/token");
        assert_eq!(lines, [ours.as_str(), r#"Basic realm="x""#]);
    }

    #[test]
    fn a_listing_goes_on_through_us() {
        for (theirs, registry, ours) in [
            (
                "</v2/a/tags/list?last=x&n=2>; rel=\"next\"",
                "docker.io",
                Some("</v2/a/tags/list?last=x&n=2>; rel=\"next\""),
            ),
            (
                "<https://ghcr.io/v2/a/b/tags/list?n=2>; rel=\"next\"",
                "ghcr.io",
                Some("</v2/ghcr.io/a/b/tags/list?n=2>; rel=\"next\""),
            ),
            ("<https://elsewhere.example/list>; rel=\"next\"", "docker.io", None),
            ("<https://elsewhere.example>; rel=\"next\"", "docker.io", None),
            ("nonsense", "docker.io", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, theirs.parse().unwrap());
            links(&mut headers, &registry.parse().unwrap());
            assert_eq!(headers.get(header::LINK).map(|v| v.to_str().unwrap()), ours);
        }
    }
}
