//! `docxy-server check`: tries the registries hop by hop, and prints the remaining quota.

use super::error::CommandError;
use crate::settings::{Flags, RegistrySettings, Settings};
use crate::upstream::store;
use crate::upstream::{HopCheck, Upstream};
use docxy_host::logging::{self, Filter};
use docxy_host::net::proxy::ProxyRules;
use docxy_host::process::terminal::print;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::Registry;
use docxy_protocol::text::clean;
use futures_util::stream::{FuturesOrdered, StreamExt as _};

/// The default image for Docker Hub: it is small, and has existed for years.
const HELLO_WORLD: &str = "hello-world";

pub(super) fn check(images: &[ImageName], flags: &Flags) -> Result<(), CommandError> {
    // The log shows what clients do not receive, such as an address, so the operator gets it too.
    let _logging = logging::start(&Filter::level(tracing::Level::WARN));
    let settings = Settings::load(flags)?;
    // The files may be another user's running server's, so they are read and never changed.
    let store = store::read_only(settings.state.join("manifests"));
    let upstream = Upstream::new(&settings, &store).map_err(crate::listener::ServeError::from)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    if let Some(proxy) = &settings.proxy {
        print(&proxy_report(&proxy.rules, &settings.registries)).map_err(CommandError::Output)?;
    }
    let mut failed = 0;
    // At the same time, since one that cannot be reached takes its time; and reported in order.
    let names = registries(&settings, images);
    let mut checks: FuturesOrdered<_> = names.iter().map(|name| findings(&upstream, name, images)).collect();
    for name in &names {
        let findings = runtime.block_on(checks.next()).unwrap_or_default();
        failed += findings.iter().filter(|finding| finding.outcome.is_err()).count();
        print(&report(name, &findings)).map_err(CommandError::Output)?;
    }
    if failed == 0 { Ok(()) } else { Err(CommandError::Check(failed)) }
}

/// The registries of the images, or else of the settings.
fn registries(settings: &Settings, images: &[ImageName]) -> Vec<Registry> {
    if images.is_empty() {
        return settings.registries.iter().map(|entry| entry.name.clone()).collect();
    }
    let mut names = Vec::new();
    for image in images {
        if !names.contains(&image.registry) {
            names.push(image.registry.clone());
        }
    }
    names
}

async fn findings(upstream: &Upstream, name: &Registry, images: &[ImageName]) -> Vec<HopCheck> {
    let mut tried: Vec<ImageName> = images.iter().filter(|image| image.registry == *name).cloned().collect();
    if tried.is_empty() && name.is_docker_hub() {
        tried.extend(HELLO_WORLD.parse::<ImageName>());
    }
    let mut findings = Vec::new();
    for image in &tried {
        findings.extend(upstream.check(name, Some(image)).await);
    }
    if tried.is_empty() {
        findings = upstream.check(name, None).await;
        let remark = format!("not tried: name an image, as in docxy-server check {name}/OWNER/IMAGE");
        if findings.iter().all(|finding| finding.outcome.is_ok()) {
            findings.push(HopCheck { what: "CDN", outcome: Ok(clean(remark)) });
        }
    }
    findings
}

/// Through which proxy the registries are reached.
fn proxy_report(rules: &ProxyRules, registries: &[RegistrySettings]) -> String {
    let is_direct =
        |entry: &&RegistrySettings| entry.api.host_str().is_some_and(|host| rules.proxy_for(host).is_none());
    let direct: Vec<String> =
        registries.iter().filter(is_direct).map(|entry| entry.name.to_string()).collect();
    let except = if direct.is_empty() { String::new() } else { format!(", except {}", direct.join(", ")) };
    format!("through the proxy {}{except}\n", rules.proxy())
}

fn report(name: &Registry, findings: &[HopCheck]) -> String {
    let mut text = format!("{name}\n");
    for HopCheck { what, outcome } in findings {
        text += &match outcome {
            Ok(remark) => format!("  {what:<14} ok      {remark}\n"),
            Err(fault) => format!("  {what:<14} FAILED  {fault}\n"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::fault::{Fault, FaultKind, Hop};

    #[test]
    fn a_report_begins_with_the_proxy() {
        let proxy = || "http://me:hunter2@proxy:1".parse().unwrap();
        let registries = [RegistrySettings::docker_hub()];
        let text = proxy_report(&ProxyRules::everything(proxy()), &registries);
        assert_eq!(text, "through the proxy http://proxy:1\n");
        let text = proxy_report(&ProxyRules::except(proxy(), "docker.io"), &registries);
        assert_eq!(text, "through the proxy http://proxy:1, except docker.io\n");
    }

    #[test]
    fn a_report_says_for_each_hop_how_it_is() {
        let fault =
            Fault::new(Hop::TokenService, FaultKind::TimedOut, "auth.docker.io did not answer within 10 s");
        let findings = [
            HopCheck { what: "registry", outcome: Ok("https://registry-1.docker.io answers".into()) },
            HopCheck { what: "token service", outcome: Err(fault) },
        ];
        assert_eq!(
            report(&Registry::docker_hub(), &findings),
            "\
docker.io
  registry       ok      https://registry-1.docker.io answers
  token service  FAILED  token service: auth.docker.io did not answer within 10 s
"
        );
    }
}
