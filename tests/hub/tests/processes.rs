//! The stand-in as a program, and with a real registry process behind it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    time::Duration,
};

use http::StatusCode;
use hub_stand_in::{Backend, Fault, HubConfig, Image, RemoteHub, Rule, Site, media_type};

use crate::support::{
    https_client::{ACCEPT_ANY, REGISTRY},
    test_hub::{hello, start, start_with_config, test_store},
};

#[tokio::test]
async fn another_process_can_read_the_request_log_and_script_faults() {
    let (mut hub, client) = start().await;
    let folder = tempfile::tempdir().unwrap();
    hub.serve_control(&folder.path().join("control")).unwrap();
    let remote = RemoteHub::at(folder.path().join("control"));

    let fault = Fault::Status { site: Site::Registry, status: 500, retry_after: None };
    remote.arm(&Rule::once(fault).on("/v2/")).await.unwrap();
    assert_eq!(remote.armed().await.unwrap(), hub.faults().armed());
    let response = client.get(&format!("{REGISTRY}/v2/"), &[]).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    let entry = remote.wait_for(|entry| entry.status == Some(500), Duration::from_secs(10)).await.unwrap();
    assert_eq!(entry.line(), "GET /v2/");
    assert!(remote.transfers().await.unwrap().is_empty());
    remote.clear_request_log().await.unwrap();
    assert!(remote.request_log().await.unwrap().is_empty());
}

#[test]
fn the_program_reports_when_it_is_ready_and_ends_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut program = Command::new(env!("CARGO_BIN_EXE_hub"))
        .args(["--image", "library/hello", "--image", "library/five:1MiB", "--account", "alice:secret"])
        .args([
            "--private",
            "alice/private",
            "--blob",
            "alice/blob:1MiB",
            "--large-image",
            "library/large:1MiB",
        ])
        .arg("--control")
        .arg(path("control"))
        .arg("--ca-out")
        .arg(path("ca.pem"))
        .arg("--ready-file")
        .arg(path("ready"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(std::fs::read_to_string(path("ready")).unwrap(), line.trim_end());
    assert!(std::fs::read_to_string(path("ca.pem")).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let published = Image::hello_from("library/hello").unwrap();
    assert_eq!(ready["published"]["library/hello"], published.digest().as_str());
    assert_eq!(ready["resolve"]["auth.docker.io"], ready["auth"]);

    // The shell's own `kill`: a minimal Debian has no other.
    let killed = Command::new("sh").args(["-c", &format!("kill {}", program.id())]).status().unwrap();
    assert!(killed.success());
    assert!(program.wait().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.is_empty() && !path("control").exists());
}

#[tokio::test]
async fn a_real_registry_accepts_the_images_and_the_tokens() {
    let config = HubConfig { store: test_store(), backend: Backend::Distribution, ..HubConfig::default() };
    let (hub, client) = start_with_config(config).await;
    let ping = client.get(&format!("{REGISTRY}/v2/"), &[]).await;
    let challenge = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"";
    assert_eq!((ping.status, ping.header("www-authenticate")), (StatusCode::UNAUTHORIZED, challenge));

    let image = hello();
    let bearer = client.bearer(&["library/hello", "alice/private"]).await;
    let url = format!("{REGISTRY}/v2/library/hello/manifests/latest");
    let accept = ("accept", media_type::OCI_INDEX);
    let manifest = client.get(&url, &[("authorization", &bearer), accept]).await;
    assert_eq!(manifest.header("docker-content-digest"), image.digest().as_str());
    assert_eq!(manifest.body, image.index().bytes);
    let layer = &image.platform("arm64").unwrap().layers[0].blob;
    let url = format!("{REGISTRY}/v2/library/hello/blobs/{}", layer.digest());
    let blob = client.get(&url, &[("authorization", &bearer), ("range", "bytes=4-")]).await;
    assert_eq!(blob.status, StatusCode::PARTIAL_CONTENT);
    assert!(blob.body == layer.chunks().flatten().skip(4).collect::<Vec<u8>>());

    let private = format!("{REGISTRY}/v2/alice/private/manifests/latest");
    let refused = client.get(&private, &[("authorization", &bearer), ACCEPT_ANY]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(hub.request_log().of(Site::Registry).iter().all(|entry| entry.status.is_some()));
}
