//! The network as Linux shows it below `/proc/net`: routes and the ARP table.
//!
//! Pure parsers of text; lines that they do not understand are skipped.

use super::{Gateway, Network};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Flags of a route (`linux/route.h`).
const RTF_UP: u32 = 1;
const RTF_GATEWAY: u32 = 2;

/// A complete entry of the ARP table (`linux/if_arp.h`).
const ATF_COM: u32 = 2;

/// A route to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    interface: String,
    destination: IpAddr,
    prefix_length: u32,
    /// `None` for an on-link route.
    gateway: Option<IpAddr>,
    metric: u32,
}

pub(super) fn current() -> Option<Network> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/net/{name}"));
    let ipv4 = read("route").ok()?;
    // Missing where IPv6 is off.
    let ipv6 = read("ipv6_route").unwrap_or_default();
    Some(network(&ipv4, &ipv6, &read("arp").unwrap_or_default()))
}

/// The network of these tables.
fn network(ipv4: &str, ipv6: &str, arp: &str) -> Network {
    let ipv4: Vec<Route> = ipv4.lines().filter_map(ipv4_route).collect();
    let ipv6: Vec<Route> = ipv6.lines().filter_map(ipv6_route).collect();
    let default = default_route(&ipv4).or_else(|| default_route(&ipv6));
    let mut prefixes: Vec<String> = ipv4
        .iter()
        .chain(&ipv6)
        .filter(|route| route.gateway.is_none() && route.is_of_network())
        .filter(|route| default.is_none_or(|default| route.is_beside(default)))
        .map(|route| format!("{}/{}", route.destination, route.prefix_length))
        .collect();
    prefixes.sort();
    prefixes.dedup();
    let address = default.and_then(|route| route.gateway);
    let gateway = address.map(|address| Gateway { address, hardware: hardware(arp, address) });
    Network { gateway, prefixes }
}

fn default_route(routes: &[Route]) -> Option<&Route> {
    routes.iter().filter(|route| route.prefix_length == 0).min_by_key(|route| route.metric)
}

impl Route {
    /// Whether it shows which network this is: not a default route, and not one to an address of this machine, to
    /// link-local addresses or to groups, which are alike everywhere.
    fn is_of_network(&self) -> bool {
        let (is_alike, is_host) = match self.destination {
            IpAddr::V4(address) => (address.is_link_local(), false),
            IpAddr::V6(address) => {
                (address.is_unicast_link_local() || address.is_multicast(), self.prefix_length == 128)
            }
        };
        self.prefix_length > 0 && !is_alike && !is_host
    }

    /// Whether it belongs to the interface and the address family of this route.
    fn is_beside(&self, default: &Self) -> bool {
        self.interface == default.interface && self.destination.is_ipv4() == default.destination.is_ipv4()
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`; addresses are in hexadecimal as in memory.
fn ipv4_route(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [interface, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
    let address = |text| Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()));
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let gateway = address(gateway)?;
    (flags & RTF_UP != 0).then_some(Route {
        interface: interface.to_owned(),
        destination: address(destination)?.into(),
        prefix_length: u32::from(address(mask)?).count_ones(),
        gateway: (flags & RTF_GATEWAY != 0).then_some(gateway.into()),
        metric: metric.parse().ok()?,
    })
}

/// `destination length source length gateway metric references use flags interface`, all in hexadecimal.
fn ipv6_route(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, _, _, gateway, metric, _, _, flags, interface] = fields[..] else {
        return None;
    };
    let address = |text| Some(Ipv6Addr::from(u128::from_str_radix(text, 16).ok()?));
    let number = |text| u32::from_str_radix(text, 16).ok();
    let (flags, gateway) = (number(flags)?, address(gateway)?);
    // The kernel has a default route that is unreachable, on the loopback interface.
    (flags & RTF_UP != 0 && interface != "lo").then_some(Route {
        interface: interface.to_owned(),
        destination: address(destination)?.into(),
        prefix_length: number(length)?,
        gateway: (flags & RTF_GATEWAY != 0).then_some(gateway.into()),
        metric: number(metric)?,
    })
}

/// `address type flags hardware mask device`.
fn hardware(arp: &str, gateway: IpAddr) -> Option<String> {
    arp.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, hardware, ..] = fields[..] else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        (address.parse() == Ok(gateway) && flags & ATF_COM != 0).then(|| hardware.to_owned())
    })
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    const ON_LINK: &str = "wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0\n";
    const DOCKER: &str = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
    const DEFAULT: &str = "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n";
    const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device\n\
                       192.168.1.9      0x1         0x2         02:00:00:00:00:09     *        wlan0\n\
                       192.168.1.1      0x1         0x2         02:00:00:00:00:01     *        wlan0\n";
    const ZERO: &str = "00000000000000000000000000000000";

    #[test]
    fn a_network_is_its_gateway_and_the_prefix_of_the_interface_to_it() {
        let found = network(&[HEADER, DEFAULT, ON_LINK, DOCKER].concat(), "", ARP);
        let gateway = found.gateway.unwrap();
        assert_eq!(gateway.address.to_string(), "192.168.1.1");
        assert_eq!(gateway.hardware.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(found.prefixes, ["192.168.1.0/24"]);
        let incomplete = ARP.replace("0x2         02:00:00:00:00:01", "0x0         00:00:00:00:00:00");
        let found = network(&[HEADER, DEFAULT, ON_LINK].concat(), "", &incomplete);
        assert_eq!(found.gateway.unwrap().hardware, None);
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let other = DEFAULT.replace("wlan0", "eth0").replace("0101A8C0", "0100A8C0").replace("600", "100");
        let found = network(&[HEADER, DEFAULT, &other, ON_LINK].concat(), "", ARP);
        assert_eq!(found.gateway.unwrap().address.to_string(), "192.168.0.1");
        assert!(found.prefixes.is_empty());
    }

    #[test]
    fn a_network_without_a_gateway_is_its_prefixes() {
        let found = network(&[HEADER, ON_LINK, DOCKER].concat(), "", ARP);
        assert_eq!(
            (found.gateway, found.prefixes),
            (None, vec!["172.17.0.0/16".into(), "192.168.1.0/24".into()])
        );
        let point_to_point = "ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
                              ppp0\t0100000A\t00000000\t0001\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";
        let found = network(&[HEADER, point_to_point, DOCKER].concat(), "", "");
        assert_eq!((found.gateway, found.prefixes), (None, vec!["10.0.0.1/32".into()]));
        let nothing = network(HEADER, "", "");
        assert_eq!((nothing.gateway, nothing.prefixes.len()), (None, 0));
    }

    #[test]
    fn ipv6_counts_where_ipv4_has_no_default_route() {
        let line = |destination: &str, length: &str, gateway: &str, flags: &str, interface: &str| {
            format!(
                "{destination} {length} {ZERO} 00 {gateway} 00000400 00000001 00000000 {flags} {interface}\n"
            )
        };
        let router = "fe800000000000000000000000000001";
        let ipv6 = [
            line("20010db8000000010000000000000000", "40", ZERO, "00000001", "wlan0"),
            line("20010db8000000010000000000000005", "80", ZERO, "80200001", "wlan0"),
            line("fe800000000000000000000000000000", "40", ZERO, "00000001", "wlan0"),
            line(ZERO, "00", router, "00450003", "wlan0"),
            line(ZERO, "00", ZERO, "00200200", "lo"),
        ]
        .concat();
        let found = network(HEADER, &ipv6, ARP);
        assert_eq!(found.gateway.unwrap().address.to_string(), "fe80::1");
        assert_eq!(found.prefixes, ["2001:db8:0:1::/64"]);
        let both = network(&[HEADER, DEFAULT, ON_LINK].concat(), &ipv6, ARP);
        assert_eq!(
            (both.gateway.unwrap().address.is_ipv4(), both.prefixes),
            (true, vec!["192.168.1.0/24".into()])
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(ipv4 in "\\PC*", ipv6 in "\\PC*", arp in "\\PC*") {
            let _ = network(&ipv4, &ipv6, &arp);
        }
    }
}
