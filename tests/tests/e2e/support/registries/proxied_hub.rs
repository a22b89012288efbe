//! A registry at addresses that only a proxy reaches.
//! Must never be reached by its own addresses, which are loopback's and go through no proxy.

use docxy_tests::{
    docxy::{ProxyConfig, ServerConfig},
    proxy::{Protocol, Proxy},
};
use hub_stand_in::{Hub, HubConfig, Image, Names, Site, Store};

use crate::support::testbed::{Testbed, add, hub};

/// The registry's name, which no resolver knows (RFC 6761, section 6.4).
pub(crate) const NAME: &str = "registry.docxy.invalid";

/// Its public image, through the client.
pub(crate) const MANIFEST: &str = "/v2/registry.docxy.invalid/owner/image/manifests/latest";

/// The registry, the proxy, and a server's config with both.
pub(crate) struct ProxiedHub {
    pub(crate) hub: Hub,
    pub(crate) proxy: Proxy,
    pub(crate) config: ServerConfig,
}

impl ProxiedHub {
    /// A registry whose hosts the config pins to addresses of the documentation's networks (RFC 5737).
    pub(crate) async fn by_address(protocol: Protocol) -> Self {
        let mut proxied = Self::by_name(protocol).await;
        let upstream = proxied.config.registries.get_mut(NAME).unwrap();
        for (n, site) in Site::ALL.into_iter().enumerate() {
            let address = format!("198.51.100.{n}:443");
            proxied.proxy.route(&address, proxied.hub.address(site));
            upstream.resolve.insert(proxied.hub.names().host(site).to_owned(), address.parse().unwrap());
        }
        proxied
    }

    /// A registry whose hosts no resolver knows, but the proxy does.
    pub(crate) async fn by_name(protocol: Protocol) -> Self {
        let store = Store::default();
        store.publish("owner/image", "latest", &image());
        let registry = HubConfig { store, names: Names::of(NAME), ..HubConfig::default() };
        let registry = Hub::start(registry).await.unwrap();
        let proxy = Proxy::start(protocol).await.unwrap();
        let mut config = ServerConfig::default();
        add(&mut config, NAME, &registry);
        config.registries.get_mut(NAME).unwrap().resolve.clear();
        for site in Site::ALL {
            proxy.route(format!("{}:443", registry.names().host(site)), registry.address(site));
        }
        config.proxy = Some(ProxyConfig { url: proxy.url(""), ..ProxyConfig::default() });
        Self { hub: registry, proxy, config }
    }

    /// Lists hosts that the server may leave to the proxy.
    pub(crate) fn allow(&mut self, hosts: &[&str]) {
        let proxy = self.config.proxy.as_mut().unwrap();
        proxy.allow_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    }

    /// A testbed with this registry. Its Docker Hub is on loopback.
    pub(crate) async fn testbed(&self) -> Testbed {
        let hub = hub().await;
        let mut config = self.config.clone();
        add(&mut config, "docker.io", &hub);
        Testbed::with(hub, &config, &[])
    }
}

/// The registry's image.
pub(crate) fn image() -> Image {
    Image::hello_from("behind a proxy").unwrap()
}

/// The paths of its manifest and of one layer, through the client.
pub(crate) fn paths() -> [String; 2] {
    let layer = image().platforms()[0].layers[0].blob.digest().to_string();
    [MANIFEST.to_owned(), format!("/v2/{NAME}/owner/image/blobs/{layer}")]
}
