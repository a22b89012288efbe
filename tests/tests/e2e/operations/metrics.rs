//! `/metrics` of both programs: what Prometheus takes, and what the dashboard and the rules of `scripts/deploy` name.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use docxy_tests::process::{PROCESS_TIMEOUT, Process, run};
use http::StatusCode;
use hub_stand_in::{Fault, Rule, Site};
use serde_json::Value;
use tokio::{
    task::{JoinSet, block_in_place},
    time::timeout,
};

use crate::support::{
    http_client::{ANY, HttpClient},
    observed::{free_address, observed},
};

/// The length of the layer that is pulled.
const LAYER: u64 = 3 << 20;

/// The time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/deploy/monitoring").join(file)
}

/// The metrics as text.
async fn metrics(of: HttpClient) -> String {
    let response = of.get("/metrics", &[]).await;
    assert_eq!(
        (response.status, response.header("content-type").starts_with("text/plain")),
        (StatusCode::OK, true)
    );
    String::from_utf8(response.body).unwrap()
}

/// The names in a text that are metrics of ours, or of processes.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| {
            ["docxy_client_", "docxy_server_", "process_"].iter().any(|start| word.starts_with(start))
        })
        .collect()
}

/// The sum of the samples whose line begins so.
fn value(text: &str, start: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn run_tool(does: [&str; 2], file: Option<&Path>, input: Option<&Path>) {
    let mut command = Command::new("promtool");
    command.args(does).args(file);
    if let Some(input) = input {
        command.stdin(File::open(input).unwrap());
    }
    let finished = block_in_place(|| run(command, PROCESS_TIMEOUT)).unwrap();
    let output = format!("{finished:?}");
    finished.succeeded().unwrap_or_else(|error| panic!("promtool {does:?}: {error:#}: {output}"));
}

/// Starts Prometheus, which scrapes these addresses each second. Its alerts fire after a second, not after minutes.
fn prometheus(dir: &Path, targets: [SocketAddr; 2]) -> (Process, HttpClient) {
    let (address, config, rules) = (free_address(), dir.join("prometheus.yaml"), dir.join("rules.yaml"));
    let deployed_rules = fs::read_to_string(deployed("rules.yaml")).unwrap();
    let soon = |line: &str| match line.trim_start().strip_prefix("for: ") {
        Some(after) => line.replace(after, "1s"),
        None => line.to_owned(),
    };
    fs::write(&rules, deployed_rules.lines().map(soon).collect::<Vec<_>>().join("\n")).unwrap();
    let [client, server] = targets.map(|target| format!("{{static_configs: [{{targets: ['{target}']}}]"));
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n- {client}, job_name: docxy-client}}\n- {server}, job_name: docxy-server}}\n",
        rules.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    command.arg(format!("--web.listen-address={address}"));
    let mut process = Process::spawn("prometheus", command, dir).unwrap();
    let listens = |process: &Process| Ok(process.listening()?.contains(&address).then_some(()));
    block_in_place(|| process.wait_for("listen", PROCESS_TIMEOUT, listens)).unwrap();
    (process, HttpClient::at(address))
}

/// The queries of the dashboard's panels, as Grafana sends them.
fn panel_queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(deployed("grafana-dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries.map(|query| query.replace("$instance", ".+").replace("$__rate_interval", "1m")).collect()
}

/// The rules that are not well, or were not evaluated yet.
async fn unwell_rules(prometheus: HttpClient) -> Vec<Value> {
    let mut groups = prometheus.get("/api/v1/rules", &[]).await.json();
    let Value::Array(groups) = groups["data"]["groups"].take() else { panic!("no rules") };
    let rules = groups.into_iter().flat_map(|mut group| match group["rules"].take() {
        Value::Array(rules) => rules,
        _ => panic!("no rules"),
    });
    rules.filter(|rule| rule["health"] != "ok" || rule["state"] != "inactive").collect()
}

/// The alerts that fire.
async fn firing(prometheus: HttpClient) -> BTreeSet<String> {
    let alerts = prometheus.get("/api/v1/alerts", &[]).await.json();
    let alerts = alerts["data"]["alerts"].as_array().unwrap().iter();
    let firing = alerts.filter(|alert| alert["state"] == "firing");
    firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
}

/// The values of a query, each with its job.
async fn query(prometheus: HttpClient, query: &str) -> Vec<(String, String)> {
    let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let result = prometheus.get(&format!("/api/v1/query?query={query}"), &[]).await;
    let Value::Array(samples) = result.json()["data"]["result"].take() else { return Vec::new() };
    let sample = |sample: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&sample["metric"]["job"]), text(&sample["value"][1]))
    };
    let mut samples: Vec<_> = samples.iter().map(sample).collect();
    samples.sort();
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_takes_the_metrics_that_the_dashboard_and_the_rules_name() {
    let (mut testbed, admin) = observed(&[]).await;
    let (_, path) = testbed.with_blob(7, LAYER);
    let bearer = ("authorization", &*testbed.engine.anonymous("library/hello").await);
    assert_eq!(testbed.engine.get("/v2/library/hello/manifests/latest", &[ANY, bearer]).await.status, 200);
    assert_eq!(testbed.engine.get(&path, &[bearer]).await.body.len() as u64, LAYER);

    let client = metrics(testbed.engine).await;
    // The server counts once a second.
    let sent = |text: &str| value(text, "docxy_server_sent_bytes_total{");
    let server = timeout(PROCESS_TIMEOUT, async {
        loop {
            let server = metrics(admin).await;
            if sent(&server) >= LAYER as f64 {
                return server;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    let server = server.await.expect("the server counts what it has sent");
    assert_eq!(value(&client, "docxy_client_tunnel_up "), 1.0);
    assert!(value(&client, "docxy_client_body_bytes_total{source=\"tunnel\"}") >= LAYER as f64, "{client}");
    assert!(value(&client, "docxy_client_received_bytes_total{") >= LAYER as f64, "{client}");
    assert!(value(&client, "docxy_client_first_byte_seconds_count{operation=\"blob\"}") >= 1.0, "{client}");
    assert_eq!(value(&server, "docxy_server_clients_connected "), 1.0);
    assert!(
        value(&server, "docxy_server_exchanges_total{operation=\"blob\",outcome=\"answered\"}") >= 1.0,
        "{server}"
    );
    assert!(server.contains("registry=\"docker.io\""), "{server}");
    for text in [&client, &server] {
        for private in ["library", "hello", "laptop", "127.0.0.1"] {
            assert!(!text.contains(private), "{private} in {text}");
        }
    }

    let described: BTreeSet<&str> = client
        .lines()
        .chain(server.lines())
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for file in ["grafana-dashboard.json", "rules.yaml"] {
        let text = fs::read_to_string(deployed(file)).unwrap();
        let named = names(&text);
        assert!(named.len() > 5, "{file}");
        for name in named {
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_there = described.contains(name) || histogram.is_some_and(|name| described.contains(name));
            assert!(is_there, "{file} names {name}, which neither program has");
        }
    }
    if block_in_place(|| run(version("prometheus"), PROCESS_TIMEOUT)).is_err() {
        // scripts/test installs it.
        return println!("prometheus is not here: not tried with it");
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("client", &client), ("server", &server)] {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        run_tool(["check", "metrics"], None, Some(&file));
    }
    let (rules, config) = (deployed("rules.yaml"), deployed("prometheus.yaml"));
    run_tool(["check", "rules"], Some(&rules), None);
    run_tool(["check", "config"], Some(&config), None);
    // Each rule fires where it must, and only there.
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/monitoring/rules-test.yaml");
    run_tool(["test", "rules"], Some(&cases), None);
    let (rules, cases) = (fs::read_to_string(rules).unwrap(), fs::read_to_string(cases).unwrap());
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(
            cases.contains(&format!("alertname: {alert}\n        exp_alerts:")),
            "{alert} is never fired"
        );
    }
    let targets = [testbed.client.address(), admin.address()];
    let (_process, prometheus) = block_in_place(|| prometheus(dir.path(), targets));
    let expected = ["docxy-client", "docxy-server"].map(|job| (job.to_owned(), "1".to_owned()));
    let scraped = async {
        while query(prometheus, "up").await != expected {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    timeout(PROCESS_TIMEOUT, scraped).await.expect("Prometheus scrapes both");
    let mut without_series = panel_queries();
    assert!(without_series.len() > 40);
    let mut unwell = Vec::new();
    let seen = async {
        loop {
            let mut left = Vec::new();
            for panel in without_series.drain(..) {
                if query(prometheus, &panel).await.is_empty() {
                    left.push(panel);
                }
            }
            without_series = left;
            unwell = unwell_rules(prometheus).await;
            if without_series.is_empty() && unwell.is_empty() {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let seen = timeout(PROCESS_TIMEOUT, seen).await;
    assert!(seen.is_ok(), "these panels have no series: {without_series:#?}; rules: {unwell:#?}");
    let up = query(prometheus, "docxy_client_tunnel_up").await;
    assert_eq!(up, [("docxy-client".to_owned(), "1".to_owned())]);
    let connected = query(prometheus, "docxy_server_clients_connected").await;
    assert_eq!(connected, [("docxy-server".to_owned(), "1".to_owned())]);

    assert_eq!(firing(prometheus).await, BTreeSet::new());
    let fails = Fault::Status { site: Site::Registry, status: 503, retry_after: None };
    testbed.hub.faults().arm(Rule::always(fails));
    let engine = testbed.engine;
    // Tags that nothing has kept.
    let mut requests = JoinSet::new();
    wait_for_alerts(prometheus, &["DocxyRegistryFails"], |n| {
        let path = format!("/v2/library/other/manifests/tag{n}");
        requests.spawn(async move { engine.get(&path, &[ANY]).await.status });
    })
    .await;
    testbed.hub.faults().clear();
    requests.abort_all();
    block_in_place(|| testbed.server.stop()).unwrap();
    wait_for_alerts(prometheus, &["DocxyServerGone", "DocxyTunnelDown"], |_| ()).await;
}

/// Waits until these alerts fire. Does something before each look, whose number it gets.
async fn wait_for_alerts(prometheus: HttpClient, expected: &[&str], mut act: impl FnMut(u64)) {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    let fire = async {
        let mut look = 0;
        while !firing(prometheus).await.is_superset(&expected) {
            act(look);
            look += 1;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    timeout(PROCESS_TIMEOUT, fire).await.unwrap_or_else(|_| panic!("{expected:?} do not fire"));
}

fn version(program: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("--version");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_the_admin_page_are_not_for_foreign_pages() {
    let (testbed, admin) = observed(&[]).await;
    for program in [testbed.engine, admin] {
        for path in ["/metrics", "/"] {
            for (field, status) in [
                (("host", "evil.example"), 421),
                (("origin", "https://evil.example"), 403),
                (("sec-fetch-site", "cross-site"), 403),
            ] {
                let response = program.get(path, &[field]).await;
                assert_eq!(response.status, status, "{path} {field:?}");
            }
        }
    }
}
