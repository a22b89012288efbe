//! Each editor: merge, undo, undo after an edit, idempotence, and files that are not valid.

use super::*;
use serde_json::json;

fn path(keys: &str) -> Vec<String> {
    keys.split('|').map(str::to_owned).collect()
}

fn set(keys: &str, value: Value) -> Change {
    Change::Set(path(keys), value)
}

fn first(keys: &str, text: &str) -> Change {
    Change::First(path(keys), text.into())
}

fn registry(location: &str) -> Change {
    let table = json!({ "prefix": "docker.io", "location": location, "mirror": [{ "location": "m", "insecure": true }] });
    Change::Table(path("registry"), "prefix", table.as_object().unwrap().clone())
}

/// Format, text before, changes, text after, an edit of the user in the text after, and what an undo then leaves.
type Case = (Format, &'static str, Vec<Change>, &'static str, (&'static str, &'static str), &'static str);

fn cases() -> Vec<Case> {
    let hosts = || {
        vec![
            Change::Default(path("server"), json!("https://o")),
            set("capabilities", json!(["push"])),
            set("host|http://m", json!({ "capabilities": ["pull"] })),
        ]
    };
    vec![
        (
            Format::Json,
            "{\n    \"dns\": [\"1.1.1.1\"],\n\n    \"registry-mirrors\": [\"http://other\"]\n}\n",
            vec![first("registry-mirrors", "http://m")],
            "{\n    \"dns\": [\"1.1.1.1\"],\n\n    \"registry-mirrors\": [\"http://m\", \"http://other\"]\n}\n",
            ("\"1.1.1.1\"", "\"9.9.9.9\""),
            "{\n    \"dns\": [\"9.9.9.9\"],\n\n    \"registry-mirrors\": [\"http://other\"]\n}\n",
        ),
        (
            Format::Json,
            "{\"debug\":true}",
            vec![first("registry-mirrors", "http://m")],
            "{\n  \"debug\":true,\n  \"registry-mirrors\": [\"http://m\"]\n}",
            ("true", "false"),
            "{\n  \"debug\":false\n}",
        ),
        (
            Format::Toml,
            "# mine\nserver = \"https://x\" # why\n\n[host.\"https://corp\"]\n  capabilities = [\"pull\"]\n",
            hosts(),
            "# mine\nserver = \"https://x\" # why\ncapabilities = [\"push\"]\n\n[host.\"http://m\"]\ncapabilities = [\"pull\"]\n\n\
             [host.\"https://corp\"]\n  capabilities = [\"pull\"]\n",
            ("[host.\"https://corp\"]\n", "[host.\"https://corp\"]\n  skip_verify = true\n"),
            "# mine\nserver = \"https://x\" # why\n\n[host.\"https://corp\"]\n  skip_verify = true\n  capabilities = [\"pull\"]\n",
        ),
        (
            Format::Toml,
            "version = 2\n\n[plugins]\n  [plugins.\"a.cri\"]\n    sandbox = \"x\" # keep\n  [plugins.\"opt\"]\n    path = \"p\"\n",
            vec![set("plugins|a.cri|registry|config_path", json!("/c"))],
            "version = 2\n\n[plugins]\n  [plugins.\"a.cri\"]\n    sandbox = \"x\" # keep\n\n\
             [plugins.\"a.cri\".registry]\nconfig_path = \"/c\"\n  [plugins.\"opt\"]\n    path = \"p\"\n",
            ("\"x\"", "\"y\""),
            "version = 2\n\n[plugins]\n  [plugins.\"a.cri\"]\n    sandbox = \"y\" # keep\n  [plugins.\"opt\"]\n    path = \"p\"\n",
        ),
        (
            Format::Toml,
            "[[registry]]\nlocation = \"quay.io\"\n",
            vec![registry("here")],
            "[[registry]]\nlocation = \"quay.io\"\n\n[[registry]]\nlocation = \"here\"\nprefix = \"docker.io\"\n\n\
             [[registry.mirror]]\ninsecure = true\nlocation = \"m\"\n",
            ("\"quay.io\"", "\"gcr.io\""),
            "[[registry]]\nlocation = \"gcr.io\"\n",
        ),
        (
            Format::Toml,
            "a = 1\r\n",
            vec![Change::Default(path("b"), json!(2))],
            "a = 1\r\nb = 2\r\n",
            ("1", "3"),
            "a = 3\r\n",
        ),
        (
            Format::Toml,
            "debug = true\n[registry.\"docker.io\"]\nmirrors = [\"corp\"]\n",
            vec![first("registry|docker.io|mirrors", "m:1"), set("registry|m:1|http", json!(true))],
            "debug = true\n[registry.\"docker.io\"]\nmirrors = [\"m:1\", \"corp\"]\n\n[registry.\"m:1\"]\nhttp = true\n",
            ("debug = true", "debug = false"),
            "debug = false\n[registry.\"docker.io\"]\nmirrors = [\"corp\"]\n",
        ),
    ]
}

#[test]
fn files_are_merged_and_changed_back() {
    for (format, before, changes, after, (old, new), left) in cases() {
        let changed = format.apply(before, &changes).unwrap();
        assert_eq!(changed, after);
        assert_eq!(format.apply(&changed, &changes).unwrap(), changed, "a second time");
        assert_eq!(format.undo(&changed, Some(before), &changed).unwrap().as_deref(), Some(before));
        let edited = changed.replacen(old, new, 1);
        assert_ne!(edited, changed);
        assert_eq!(format.undo(&edited, Some(before), &changed).unwrap().as_deref(), Some(left));
    }
}

#[test]
fn a_new_file_disappears_unless_the_user_adds_to_it() {
    for (format, changes, addition) in [
        (Format::Json, vec![first("registry-mirrors", "http://m")], ("{", "{\"debug\": true,")),
        (Format::Toml, vec![registry("here")], ("[[registry]]", "debug = true\n[[registry]]")),
        (
            Format::Toml,
            vec![set("host|http://m", json!({ "capabilities": ["pull"] }))],
            ("[host", "debug = true\n[host"),
        ),
    ] {
        let new = format.apply("", &changes).unwrap();
        assert_eq!(format.undo(&new, None, &new).unwrap(), None);
        let spaced = new.clone() + "\n";
        assert_eq!(format.undo(&spaced, None, &new).unwrap(), None, "{spaced}");
        let edited = new.replacen(addition.0, addition.1, 1);
        let left = format.undo(&edited, None, &new).unwrap().unwrap();
        assert_eq!(format.value(&left).unwrap(), json!({ "debug": true }), "{left}");
    }
}

#[test]
fn what_the_user_changed_or_removed_of_ours_stays_so() {
    let changes = [set("server", json!("https://o")), set("a|b", json!(1))];
    let after = Format::Toml.apply("", &changes).unwrap();
    for (now, left) in [
        ("server = \"mine\"\n[a]\nb = 1\n", Some("server = \"mine\"\n")),
        ("[a]\nb = 2\n", Some("[a]\nb = 2\n")),
        ("", None),
    ] {
        assert_eq!(Format::Toml.undo(now, None, &after).unwrap().as_deref(), left);
    }
}

#[test]
fn a_file_that_is_not_valid_is_refused_with_its_line() {
    for (format, text, line) in [
        (Format::Json, "{\n  \"debug\": true,\n}\n", 3),
        (Format::Json, "{\n  // a comment\n}\n", 2),
        (Format::Json, "{\n  \"password\": \"hunter2\"", 2),
        (Format::Toml, "a = 1\n\n[b\n", 3),
        (Format::Toml, "password = hunter2\n", 1),
    ] {
        let error = format.apply(text, &[first("x", "y")]).unwrap_err();
        let FormatError::Invalid { line: found, message } = &error else { panic!("{error:?}") };
        assert_eq!(*found, line, "{text}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    for (format, text) in [
        (Format::Json, "[]"),
        (Format::Json, "{\"x\": 1}"),
        (Format::Toml, "x = 1"),
        (Format::Toml, "x.y = 1"),
    ] {
        let error = format.apply(text, &[first("x", "y"), first("x|y", "z")]).unwrap_err();
        assert!(matches!(error, FormatError::Type(_)), "{error:?}");
    }
}

/// k3s's changes for two registries.
fn endpoints() -> [Change; 2] {
    [first("mirrors|docker.io|endpoint", "http://m"), first("mirrors|*|endpoint", "http://m")]
}

#[test]
fn a_new_yaml_file_is_ours() {
    let new = Format::Yaml.apply("", &endpoints()).unwrap();
    let body = "mirrors:\n  docker.io:\n    endpoint:\n      - \"http://m\"\n  \"*\":\n    endpoint:\n      - \"http://m\"\n";
    assert_eq!(new.strip_prefix(HEADER).unwrap(), body);
    assert_eq!(Format::Yaml.apply(&new, &endpoints()).unwrap(), new);
    assert_eq!(Format::Yaml.undo(&new, None, &new).unwrap(), None);
    let edited = new.clone() + "configs: {}\n";
    assert_eq!(Format::Yaml.apply(&edited, &endpoints()).unwrap(), edited);
    let left = Format::Yaml.undo(&edited, None, &new).unwrap();
    assert_eq!(left, Some(format!("{HEADER}configs: {{}}\n")));
    let setting = [set("disable-default-registry-endpoint", json!(true))];
    let new = Format::Yaml.apply("", &setting).unwrap();
    assert!(new.ends_with("\ndisable-default-registry-endpoint: true\n"), "{new}");
    assert_eq!(Format::Yaml.apply(&new, &setting).unwrap(), new);
}

#[test]
fn yaml_of_the_user_is_merged_and_changed_back() {
    for (before, after, (old, edit), left) in [
        (
            "# mine\nmirrors:\n  docker.io: # why\n    endpoint:\n    - https://corp:5000 # keep\n\n# last\nconfigs:\n  \"corp\": {auth: {username: u}}\n",
            "# mine\nmirrors:\n  docker.io: # why\n    endpoint:\n    - \"http://m\"\n    - https://corp:5000 # keep\n  \"*\":\n    \
             endpoint:\n      - \"http://m\"\n\n# last\nconfigs:\n  \"corp\": {auth: {username: u}}\n",
            ("u}", "v}"),
            "# mine\nmirrors:\n  docker.io: # why\n    endpoint:\n    - https://corp:5000 # keep\n\n# last\nconfigs:\n  \"corp\": {auth: {username: v}}\n",
        ),
        (
            "---\nconfigs:\n  corp:\n    tls:\n      ca_file: |\n        mirrors:\n",
            "---\nconfigs:\n  corp:\n    tls:\n      ca_file: |\n        mirrors:\nmirrors:\n  docker.io:\n    endpoint:\n      \
             - \"http://m\"\n  \"*\":\n    endpoint:\n      - \"http://m\"\n",
            ("corp", "other"),
            "---\nconfigs:\n  other:\n    tls:\n      ca_file: |\n        mirrors:\n",
        ),
        (
            "mirrors:\r\n    '*':\r\n",
            "mirrors:\r\n    '*':\r\n      endpoint:\r\n        - \"http://m\"\r\n    docker.io:\r\n      endpoint:\r\n        - \"http://m\"\r\n",
            ("mirrors:\r\n", "mirrors: # x\r\n"),
            "mirrors: # x\r\n    '*':\r\n",
        ),
    ] {
        let mut changes = endpoints();
        if before.contains("'*'") {
            changes.reverse();
        }
        let changed = Format::Yaml.apply(before, &changes).unwrap();
        assert_eq!(changed, after);
        assert_eq!(Format::Yaml.apply(&changed, &changes).unwrap(), changed, "a second time");
        assert_eq!(Format::Yaml.undo(&changed, Some(before), &changed).unwrap().as_deref(), Some(before));
        let edited = changed.replacen(old, edit, 1);
        assert_eq!(Format::Yaml.undo(&edited, Some(before), &changed).unwrap().as_deref(), Some(left));
    }
}

#[test]
fn yaml_that_is_more_than_plain_lines_is_refused_with_the_lines_to_add() {
    for text in [
        "mirrors: {docker.io: {endpoint: [x]}}\n",
        "mirrors: &m\n  docker.io:\n",
        "mirrors:\n  <<: *m\n",
        "mirrors:\n  docker.io:\n    endpoint: [\"x\"]\n",
        "mirrors:\n  docker.io:\n    endpoint:\n      - x: y\n",
        "mirrors:\n\tdocker.io:\n",
        "mirrors:\n  docker.io:\n  docker.io:\n",
        "mirrors:\nmirrors:\n",
        "{mirrors: {}}\n",
        "- mirrors\n",
        "mirrors:\n...\n---\nmirrors:\n",
    ] {
        match Format::Yaml.apply(text, &endpoints()) {
            Err(FormatError::ByHand { lines, .. }) => assert!(lines.contains("docker.io:\n"), "{lines}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused_with_its_line() {
    for (text, line) in [
        ("{\n\"registry-mirrors\": [],\n\"registry-mirrors\": []\n}", 3),
        ("{\"log-opts\": {\n\"a\": 1,\n\n\"\\u0061\": 2}}", 4),
    ] {
        let error = Format::Json.apply(text, &[first("x", "y")]).unwrap_err();
        let FormatError::Invalid { line: found, message } = &error else { panic!("{error:?}") };
        assert!(*found == line && message.contains("second time"), "{found}: {message}");
    }
}

#[test]
fn a_byte_order_mark_is_kept_in_json_and_refused_in_toml() {
    let changes = [first("x", "y")];
    let before = "\u{feff}{\"debug\": true}";
    let after = Format::Json.apply(before, &changes).unwrap();
    assert_eq!(after, "\u{feff}{\n  \"debug\": true,\n  \"x\": [\"y\"]\n}");
    let edited = after.replace("true", "false");
    let left = Format::Json.undo(&edited, Some(before), &after).unwrap().unwrap();
    assert!(
        left.starts_with('\u{feff}') && Format::Json.value(&left) == Ok(json!({ "debug": false })),
        "{left}"
    );
    assert_eq!(Format::Toml.apply("\u{feff}x = []\n", &changes), Err(FormatError::ByteOrderMark));
    let before = "\u{feff}a: b\n";
    let after = Format::Yaml.apply(before, &changes).unwrap();
    assert_eq!(after, "\u{feff}a: b\nx:\n  - \"y\"\n");
    let left = Format::Yaml.undo(&after.replace(": b", ": c"), Some(before), &after).unwrap();
    assert_eq!(left.as_deref(), Some("\u{feff}a: c\n"));
}
