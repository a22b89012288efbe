//! Settings from flags, files and defaults together.

use super::*;
use crate::images::warm::WarmImages;
use crate::tunnel::Congestion;

const LINK: &str = "docxy://laptop:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8@example.org:61443\
                    ?pin=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

/// A config file of this text beside a file of links, and flags that name both.
fn load(text: &str, flags: Flags) -> Result<Settings, SettingsError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(dir.path().join("my-links"), LINK).unwrap();
    let flags = Flags { config: Some(path), ..flags };
    Settings::load(&flags)
}

#[test]
fn by_default_the_client_listens_on_localhost() {
    let settings = load("link_file = 'my-links'", Flags::default()).unwrap();
    assert_eq!(settings.listen, ["127.0.0.1:5080".parse().unwrap()]);
    assert!(settings.link_file.is_some_and(|file| file.ends_with("my-links")));
    assert_eq!(settings.tunnel.links[0].link.expose(), LINK);
    assert_eq!(settings.tunnel.congestion, Congestion::default());
    assert!(settings.hosts.is_empty());
    assert_eq!(settings.stall_timeout, DEFAULT_STALL_TIMEOUT);
    assert_eq!(settings.log.to_string(), "info");
    let limits = Some(BlobLimits::default());
    let blobs = BlobSettings { limits, keeps_private: false, public_for: DEFAULT_PUBLIC_FOR };
    assert_eq!(settings.blobs, blobs);
}

#[test]
fn a_flag_wins_over_the_file() {
    let text = "link_file = 'my-links'\nlisten = ['127.0.0.1:1']\nhosts = ['file.lan']\n\
                cache = '/file'\ncache_size = '5 GB'\npatience = 7\nlog = 'warn'\ncongestion = { down = '95 Mbps' }\nleg = 'tcp'";
    let serving = ServingFlags {
        listen: vec!["[::1]:2".parse().unwrap()],
        hosts: vec!["flag.lan".into()],
        patience: Some(8),
        ..ServingFlags::default()
    };
    let connection = ConnectionFlags {
        cache: Some("/flag".into()),
        cache_size: Some(ByteSize(0)),
        congestion: Some("cubic".parse().unwrap()),
        max_rate: None,
        leg: Some("quic".parse().unwrap()),
        proxy: None,
        link_file: None,
    };
    let flags = Flags { connection, serving, log: Some("debug".parse().unwrap()), config: None };
    for (flags, port, host, cache, size, patience, congestion, leg, log) in [
        (Flags::default(), 1, "file.lan", "/file", Some(5_000_000_000), 7, "down=95 Mbit/s", "tcp", "warn"),
        (flags, 2, "flag.lan", "/flag", None, 8, "cubic", "quic", "debug"),
    ] {
        let settings = load(text, flags).unwrap();
        assert_eq!((settings.listen[0].port(), &*settings.hosts[0]), (port, host));
        assert_eq!(settings.cache, Some(cache.into()));
        assert_eq!(settings.blobs.limits.and_then(|limits| limits.bytes_max), size);
        assert_eq!(settings.stall_timeout.as_secs(), patience);
        assert_eq!(settings.tunnel.congestion.to_string(), congestion);
        assert_eq!(settings.tunnel.leg, leg.parse().unwrap());
        assert_eq!(settings.log.to_string(), log);
    }
}

#[test]
fn listening_beyond_loopback_needs_a_setting() {
    let config = |more: &str| format!("link_file = 'my-links'\n{more}");
    let listen = "listen = ['127.0.0.1:1', '[::]:1']";
    let error = load(&config(listen), Flags::default()).unwrap_err().to_string();
    assert!(error.starts_with("[::]:1 can be reached") && error.contains("--allow-remote"), "{error}");
    let serving =
        ServingFlags { allow_remote: Some("192.168.1.0/24".parse().unwrap()), ..ServingFlags::default() };
    let allowed = Flags { serving, ..Flags::default() };
    assert_eq!(load(&config(listen), allowed).unwrap().listen.len(), 2);
    for local in ["5081", "':5081'", "'localhost:5081'", "'127.0.0.1:5090'", "['[::1]:5081', '5081']"] {
        assert!(load(&config(&format!("listen = {local}")), Flags::default()).is_ok(), "{local}");
    }
    let in_file = format!("{listen}\nallow_remote = ['192.168.1.0/24']");
    assert_eq!(load(&config(&in_file), Flags::default()).unwrap().listen.len(), 2);
}

#[test]
fn a_mistake_in_the_file_is_reported_with_file_and_line() {
    for (text, words) in [
        ("\nlisten_on = []", "client.toml, line 2: unknown field `listen_on`"),
        ("listen = ['nonsense']", "client.toml, line 1: \"nonsense\" is no address to listen on"),
        ("\nhosts = ['http://box.lan']", "client.toml, line 2: \"http://box.lan\" is not a host name"),
        ("hosts = ['box.lan:80']", "\"box.lan:80\" is not a host name"),
        ("link_file = 'no-links'", "docxy-client join"),
        ("\nproxy = 'http://p:1'", "client.toml, line 2: invalid type: string, expected a table with url"),
        ("\nwarm = true", "client.toml, line 2: invalid type: boolean, expected a table with images"),
        (
            "\nmax_rate = { down = 50 }",
            "line 2: invalid type: integer, expected a rate in quotes, as in down =",
        ),
        ("\n\nlog = 'inof'", "client.toml, line 3: a log filter is off, error, warn"),
        ("\ncache_size = 20", "line 2: \"20\" is no size: write a number and a unit, as in 20 GB"),
        ("\nleg = 'udp'", "client.toml, line 2: leg is auto, quic or tcp"),
        ("\ncongestion = 'fast'", "client.toml, line 2: congestion: write auto, cubic, or rates"),
    ] {
        let error = load(text, Flags::default()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_last_link_may_be_removed_from_a_client_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (config, links) = (dir.path().join("client.toml"), dir.path().join("links"));
    std::fs::write(&config, "link_file = 'links'").unwrap();
    let flags = Flags { config: Some(config), ..Flags::default() };
    let line = LinkLine { link: LINK.parse().unwrap(), trust: None };
    store_links(&links, vec![line]).unwrap();
    assert_eq!(Settings::load(&flags).unwrap().tunnel.links.len(), 1);
    remove_link(&links, |_| Ok::<_, LinksError>(0)).unwrap();
    assert!(Settings::reload(&flags).unwrap().tunnel.links.is_empty());
    assert!(matches!(Settings::load(&flags), Err(SettingsError::NoLink)));
    assert_eq!(ConnectionSettings::load(&flags, Level::INFO).unwrap().tunnel.links, []);
    // This is no removal.
    std::fs::write(&links, "").unwrap();
    assert!(Settings::reload(&flags).is_err());
    // A service may start before the first `join`.
    std::fs::remove_file(&links).unwrap();
    let serving = ServingFlags { wait_for_link: true, ..ServingFlags::default() };
    let waiting = Flags { serving, ..flags };
    for settings in [Settings::load(&waiting), Settings::reload(&waiting)] {
        assert!(settings.unwrap().tunnel.links.is_empty());
    }
}

#[test]
fn the_example_in_the_readme_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (_, text) = include_str!("../../README.md").split_once("```toml\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let text = text.replace("/home/me", &dir.path().display().to_string());
    std::fs::create_dir_all(dir.path().join(".config/docxy")).unwrap();
    std::fs::write(dir.path().join("links"), LINK).unwrap();
    std::fs::write(dir.path().join(".config/docxy/proxy-password"), "hunter2").unwrap();
    assert_eq!(load(&text, Flags::default()).unwrap().hosts, ["mybox.lan"]);
}

#[test]
fn a_missing_config_file_that_was_named_is_an_error() {
    let flags = Flags { config: Some("/nonexistent/client.toml".into()), ..Flags::default() };
    let error = Settings::load(&flags).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/client.toml"), "{error}");
}

#[test]
fn images_are_fetched_ahead_of_time_from_a_list_or_a_file() {
    assert!(load("link_file = 'my-links'", Flags::default()).unwrap().warm.is_none());
    let text = "link_file = 'my-links'\n[warm]\n";
    let load = |warm: &str| load(&format!("{text}{warm}"), Flags::default());
    let listed = load("images = ['alpine']\nbetween = '22:00-05:00'\nplatform = 'linux/arm64'").unwrap();
    let listed = listed.warm.unwrap();
    assert_eq!(listed.images, WarmImages::List(vec!["alpine".parse().unwrap()]));
    assert_eq!(listed.schedule.between, Some("22:00-05:00".parse().unwrap()));
    assert_eq!(listed.platform, Some("linux/arm64".parse().unwrap()));
    let of_file = load("images = 'images.txt'").unwrap().warm.unwrap().images;
    assert!(matches!(of_file, WarmImages::File(file) if file.is_absolute() && file.ends_with("images.txt")));
    for (warm, words) in [
        ("every = '1 day'", "images"),
        ("images = ['al pine']", "line 3"),
        ("images = 1", "a list of images like"),
        ("images = []\nevery = 'daily'", "is no interval"),
        ("images = []\nbetween = 'night'", "is no part of a day"),
        ("images = []\nplatform = 'x'", "line 4"),
    ] {
        let error = load(warm).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
