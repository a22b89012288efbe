//! `docxy-client pull` of an image that is in an index in an index.

use docxy_tests::process::PROCESS_TIMEOUT;
use hub_stand_in::{Image, Manifest, media_type};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::testbed::Testbed;

fn index(entries: &[Value]) -> Manifest {
    Manifest::of_json(
        media_type::OCI_INDEX,
        &json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries }),
    )
}

fn entry(manifest: &Manifest) -> Value {
    let digest = manifest.digest.to_string();
    json!({ "mediaType": manifest.media_type, "digest": digest, "size": manifest.bytes.len() })
}

fn for_platform(mut entry: Value, architecture: &str) -> Value {
    entry["platform"] = json!({ "os": "linux", "architecture": architecture });
    entry
}

/// Pulls `library/nested:TAG` for this platform. Returns the digest of the image, or the error.
fn pull(testbed: &Testbed, tag: &str, platform: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("layout");
    let name = format!("nested:{tag}");
    let arguments = ["pull", &name, "--platform", platform, "--output", output.to_str().unwrap()];
    block_in_place(|| testbed.client.command(&arguments, PROCESS_TIMEOUT))
        .map_err(|error| error.to_string())?;
    let layout: Value = serde_json::from_slice(&std::fs::read(output.join("index.json")).unwrap()).unwrap();
    Ok(layout["manifests"][0]["digest"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_an_index_of_an_index_is_found() {
    let testbed = Testbed::new().await;
    let image = Image::hello().unwrap();
    testbed.hub.store().publish("library/nested", "plain", &image);
    let amd64 = image.platforms().iter().find(|p| p.architecture == "amd64").unwrap();
    let arm64 = image.platforms().iter().find(|p| p.architecture == "arm64").unwrap();
    let inner_amd64 = index(&[for_platform(entry(&amd64.manifest), "amd64")]);
    let inner_arm64 = index(&[for_platform(entry(&arm64.manifest), "arm64")]);
    let mut deep = inner_amd64.clone();
    let publish = |tag: &str, manifest: &Manifest| {
        testbed.hub.store().publish_manifest("library/nested", tag, manifest);
    };
    publish("inner-amd64", &inner_amd64);
    publish("inner-arm64", &inner_arm64);
    for n in 0..3 {
        deep = index(&[entry(&deep)]);
        publish(&format!("deep-{n}"), &deep);
    }
    let mut deeper = inner_amd64.clone();
    for n in 0..20 {
        deeper = index(&[entry(&deeper)]);
        publish(&format!("deeper-{n}"), &deeper);
    }
    for (tag, entries) in [
        ("without-platforms", vec![entry(&inner_arm64), entry(&inner_amd64)]),
        (
            "with-platforms",
            vec![for_platform(entry(&inner_arm64), "arm64"), for_platform(entry(&inner_amd64), "amd64")],
        ),
        ("direct-first", vec![entry(&inner_arm64), for_platform(entry(&amd64.manifest), "amd64")]),
    ] {
        publish(tag, &index(&entries));
        let expected = amd64.manifest.digest.to_string();
        assert_eq!(pull(&testbed, tag, "linux/amd64"), Ok(expected), "{tag}");
        let expected = arm64.manifest.digest.to_string();
        assert_eq!(pull(&testbed, tag, "linux/arm64"), Ok(expected), "{tag}");
    }
    for tag in ["deep-2", "deeper-19"] {
        assert_eq!(pull(&testbed, tag, "linux/amd64"), Ok(amd64.manifest.digest.to_string()), "{tag}");
    }
    let error = pull(&testbed, "without-platforms", "linux/s390x").unwrap_err();
    assert!(error.contains("no image for linux/s390x"), "{error}");
    assert!(error.contains("linux/amd64") && error.contains("linux/arm64"), "{error}");
}
