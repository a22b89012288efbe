//! Layers that other clients in this network bring, of which some lie, stop, or never answer.

use super::*;
use crate::metadata::cache::{CacheScope, entry_tests};
use crate::transfer::neighbours::{self, Neighbours, Timeouts};
use docxy_protocol::secret::Secret;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LENGTH: u64 = LENGTHS[1];

/// For neighbours that answer, also on a busy machine.
const PATIENT: Timeouts = Timeouts { answer: Duration::from_secs(30), silence: Duration::from_secs(30) };

/// What a neighbour does with a request for the layer. It answers each `HEAD` that it answers at all.
#[derive(Debug, Clone, Copy)]
enum Plays {
    Serve,
    /// It has the layer from the second request on.
    ServeLater,
    /// Another byte at this position.
    Corrupt(usize),
    /// The connection is lost after so many bytes.
    DieAfter(usize),
    /// Nothing follows these bytes.
    StallAfter(usize),
    /// A few bytes at a time, so that the whole would take minutes.
    Trickle,
    /// It accepts connections, and never answers.
    NeverAnswer,
    /// A head without an end.
    EndlessHead,
    /// It answers after a redirect only.
    Redirect,
}

/// A neighbour that plays.
struct Player {
    address: SocketAddr,
    /// The method of each request, and the range of the layer.
    asked: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Player {
    /// One with an address of its own.
    async fn begin(n: u8, content: &Bytes, plays: Plays) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, n), 0)).await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (content, seen) = (content.clone(), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (content, seen) = (content.clone(), Arc::clone(&seen));
                open.push(AbortOnDropHandle::new(tokio::spawn(async move {
                    let _ = answer(stream, &content, plays, &seen).await;
                })));
            }
        });
        Self { address, asked, _task: AbortOnDropHandle::new(task) }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    mut stream: TcpStream,
    content: &Bytes,
    plays: Plays,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let range = head.split_once("range: ").map(|(_, rest)| rest.lines().next().unwrap().to_owned());
    let start = range.as_deref().map_or(0, |range| range[6..range.len() - 1].parse::<usize>().unwrap());
    let is_head = head.starts_with("head");
    let is_first = {
        let mut seen = seen.lock().unwrap();
        seen.push(if is_head { "HEAD".to_owned() } else { range.unwrap_or_default() });
        seen.len() == 1
    };
    let mut body = content[start..].to_vec();
    let (length, total) = (body.len(), content.len());
    let status = match start {
        0 => "200 OK\r\n".to_owned(),
        _ => format!("206 Partial Content\r\ncontent-range: bytes {start}-{}/{total}\r\n", total - 1),
    };
    let mut response = format!("HTTP/1.1 {status}content-length: {length}\r\n\r\n").into_bytes();
    match plays {
        Plays::NeverAnswer => std::future::pending().await,
        Plays::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(b"x: y\r\n").await?;
            }
        }
        Plays::Redirect => {
            response = b"HTTP/1.1 307 There\r\nlocation: /blobs\r\ncontent-length: 0\r\n\r\n".to_vec()
        }
        Plays::ServeLater if is_first => response = b"HTTP/1.1 404 No\r\n\r\n".to_vec(),
        Plays::Corrupt(at) => body[at - start] ^= 1,
        Plays::DieAfter(count) | Plays::StallAfter(count) if !is_head => body.truncate(count - start),
        _ => {}
    }
    stream.write_all(&response).await?;
    if let Plays::Trickle = plays
        && !is_head
    {
        for bytes in body.chunks(100) {
            stream.write_all(bytes).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    } else if !is_head {
        stream.write_all(&body).await?;
        if let Plays::StallAfter(_) = plays {
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

/// Who may read the manifest that names the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manifest {
    Everybody,
    OneAccount,
    NotSeen,
}

/// A client that keeps layers, with these neighbours.
struct Office {
    scene: Scene,
    neighbours: Neighbours,
}

impl Office {
    fn begin(manifest: Manifest, plays: Vec<Play>, neighbours: &[SocketAddr]) -> Self {
        Self::with(manifest, plays, neighbours, PATIENT)
    }

    fn with(manifest: Manifest, plays: Vec<Play>, neighbours: &[SocketAddr], timeouts: Timeouts) -> Self {
        let mut scene = Scene::begin(TestLeg::Memory, LENGTH, plays);
        let neighbours = Neighbours::of_test(neighbours.to_vec(), timeouts);
        scene.gateway = scene.gateway.with_neighbours(neighbours.clone());
        let config = format!("sha256:{:064}", 7);
        let text = serde_json::json!({
            "schemaVersion": 2,
            "config": { "mediaType": "c", "digest": config, "size": 7 },
            "layers": [{ "mediaType": "l", "digest": Digester::sha256().digest(&scene.content), "size": LENGTH }],
        });
        let entry =
            entry_tests::manifest("application/vnd.oci.image.manifest.v1+json", text.to_string().as_bytes());
        let mut key = entry_tests::key("docker.io", "library/hello", &entry);
        if manifest == Manifest::OneAccount {
            let public = CacheScope::public(&key.scope.registry, &key.scope.repository);
            key.scope = public.with_token(&Secret::new("token"));
        }
        if manifest != Manifest::NotSeen {
            scene.metadata.cache.put(&key, &entry);
        }
        Self { scene, neighbours }
    }

    async fn assert_whole(&self, what: &str) {
        self.scene.assert_whole(Reader::Keeping, what).await;
    }

    fn bytes(&self, source: &str) -> u64 {
        let all = self.scene.keeping().transfers().bytes_by_source();
        all.into_iter().find(|(name, _)| *name == source).unwrap().1
    }

    /// Whether it would serve the layer to others, when all that it has received is written.
    async fn shares_layer(&self) -> bool {
        let kept = self.scene.kept();
        kept.store().flush().await;
        kept.to_share(&Digester::sha256().digest(&self.scene.content)).await.is_some()
    }

    fn ignored(&self) -> u64 {
        self.neighbours.to_json()["ignored"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn a_layer_of_a_client_in_this_network_does_not_cross_the_tunnel() {
    let first = Office::begin(Manifest::Everybody, vec![], &[]);
    first.assert_whole("the first machine").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert!(first.shares_layer().await);
    let blobs = first.scene.kept();
    let _sharing =
        AbortOnDropHandle::new(tokio::spawn(neighbours::serve(listener, Neighbours::default(), blobs)));
    for reader in [Reader::Keeping, Reader::Pull] {
        let mut second = Office::begin(Manifest::Everybody, vec![], &[address]);
        second.scene.gateway = second.scene.keeping().clone();
        let reads = join_all((0..3).map(|_| second.scene.read(reader))).await;
        assert!(reads.iter().all(|(end, bytes)| end.is_ok() && *bytes == second.scene.content), "{reader:?}");
        let seen = second.scene.ranges();
        assert!(!seen.is_empty() && seen.iter().all(|range| range == "HEAD"), "{reader:?}: {seen:?}");
        assert_eq!(second.bytes("tunnel"), 0);
        assert!(second.bytes("neighbour") >= LENGTH && second.ignored() == 0, "{reader:?}");
        // It can share it, too.
        assert!(second.shares_layer().await, "{reader:?}");
    }
}

#[tokio::test]
async fn a_neighbour_that_lies_or_stops_breaks_no_pull() {
    let content = Scene::begin(TestLeg::Memory, LENGTH, vec![]).content;
    let (early, late) = (LENGTH as usize / 10, LENGTH as usize * 6 / 10);
    let rest = format!("bytes={late}-");
    let plays = [
        // The bytes that it has sent are not used, and all cross the tunnel.
        (Plays::Corrupt(0), vec![""]),
        (Plays::Corrupt(LENGTH as usize - 1), vec![""]),
        (Plays::DieAfter(early), vec![""]),
        // The rest crosses.
        (Plays::DieAfter(late), vec![rest.as_str()]),
        (Plays::StallAfter(late), vec![rest.as_str()]),
        (Plays::Trickle, vec![""]),
        // It is not used at all.
        (Plays::NeverAnswer, vec![""]),
        (Plays::EndlessHead, vec![""]),
        (Plays::Redirect, vec![""]),
    ];
    let mut number = 1;
    join_all(plays.into_iter().map(|(plays, expected)| {
        number += 1;
        let (number, content) = (number, content.clone());
        async move {
            let player = Player::begin(number, &content, plays).await;
            let usual = Timeouts::default();
            let timeouts = match plays {
                Plays::NeverAnswer => Timeouts { answer: usual.answer, ..PATIENT },
                Plays::StallAfter(_) => Timeouts { silence: usual.silence, ..PATIENT },
                _ => PATIENT,
            };
            let office = Office::with(Manifest::Everybody, vec![], &[player.address], timeouts);
            office.assert_whole(&format!("{plays:?}")).await;
            let mut seen = office.scene.ranges();
            seen.retain(|range| range != "HEAD");
            assert_eq!(seen, expected, "{plays:?}");
            // One that is late is soon asked again.
            if !matches!(plays, Plays::NeverAnswer) {
                let is_refusal = matches!(plays, Plays::Redirect);
                assert_eq!(office.ignored(), u64::from(!is_refusal), "{plays:?}");
            }
            // What is kept is right.
            assert!(office.shares_layer().await, "{plays:?}");
        }
    }))
    .await;
}

#[tokio::test]
async fn another_neighbour_brings_the_rest() {
    let content = Scene::begin(TestLeg::Memory, LENGTH, vec![]).content;
    let dying = Player::begin(20, &content, Plays::DieAfter(100_000)).await;
    let good = Player::begin(21, &content, Plays::ServeLater).await;
    let office = Office::begin(Manifest::Everybody, vec![], &[dying.address, good.address]);
    office.assert_whole("two neighbours").await;
    assert_eq!(office.scene.ranges(), ["HEAD"]);
    assert_eq!(
        (dying.asked(), good.asked()),
        (strings(&["HEAD", ""]), strings(&["HEAD", "HEAD", "bytes=100000-"]))
    );
    assert_eq!(office.ignored(), 1);
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn no_neighbour_learns_of_a_digest_that_not_everybody_may_see() {
    let content = Scene::begin(TestLeg::Memory, LENGTH, vec![]).content;
    for (n, manifest) in [Manifest::OneAccount, Manifest::NotSeen].into_iter().enumerate() {
        let player = Player::begin(30 + n as u8, &content, Plays::Serve).await;
        let office = Office::begin(manifest, vec![], &[player.address]);
        office.assert_whole(&format!("{manifest:?}")).await;
        assert_eq!(player.asked(), [] as [String; 0], "{manifest:?}");
        assert_eq!(office.scene.ranges(), [""], "{manifest:?}");
    }
    // The registry shows the layer to no anonymous request, although a manifest names it.
    let player = Player::begin(32, &content, Plays::Serve).await;
    let refusals = vec![Play::Respond(404), Play::Respond(404)];
    let office = Office::begin(Manifest::Everybody, refusals, &[player.address]);
    let (_, bytes) = office.scene.read(Reader::Keeping).await;
    assert_eq!((bytes.len(), office.scene.ranges()), (0, vec!["HEAD".to_owned(), String::new()]));
}
