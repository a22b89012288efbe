//! Transfers of a command beside a running client, which the test plays.

use super::*;
use crate::local_api::{self, Call, Message, RunningClient};
use crate::settings::GivenSettings;
use bytes::BytesMut;
use docxy_host::net::private_socket::PrivateSocket;
use docxy_protocol::frame;
use futures_util::TryStreamExt as _;
use std::pin::pin;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// What the running client does with one call for the blob. After the last one it has ended.
enum LocalPlay {
    /// It sends so many bytes, and then ends within a message.
    EndAfter(u64),
    /// It sends so many bytes, and then this message.
    Then(u64, Message),
    /// It sends all bytes, this one of which is another.
    Corrupt(usize),
    /// It waits for this reason until the command leaves.
    Wait(&'static str),
}

/// A command beside a running client.
struct Beside {
    /// Its tunnel.
    scene: Scene,
    /// Where each call for the blob began.
    asked: watch::Receiver<Vec<u64>>,
    _running: AbortOnDropHandle<()>,
    _directory: TempDir,
}

impl Beside {
    async fn begin(length: u64, plays: Vec<LocalPlay>) -> Self {
        let mut scene = Scene::begin(TestLeg::Memory, length, vec![]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private/client.sock");
        let socket = PrivateSocket::bind(&path).unwrap();
        let (sender, asked) = watch::channel(Vec::new());
        let running = tokio::spawn(run(socket, scene.content.clone(), plays, sender));
        let running = AbortOnDropHandle::new(running);
        let client = RunningClient::find(vec![path], GivenSettings::default(), true).await;
        assert!(client.is_some());
        scene.gateway = scene.gateway.beside(client);
        Self { scene, asked, _running: running, _directory: directory }
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.borrow().clone()
    }
}

/// Plays the running client until its last play.
async fn run(socket: PrivateSocket, content: Bytes, plays: Vec<LocalPlay>, asked: watch::Sender<Vec<u64>>) {
    let mut plays = plays.into_iter();
    while plays.len() > 0 {
        let mut stream = socket.accept().await.unwrap();
        let call = read_call(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
        let local_api::Operation::Blob(_, bytes) = call.operation else { continue };
        asked.send_modify(|asked| asked.push(bytes.start));
        let mut rest = content[bytes.start as usize..bytes.end as usize].to_vec();
        let (count, last) = match plays.next().unwrap() {
            LocalPlay::EndAfter(count) => (count as usize, Message::Bytes(1000)),
            LocalPlay::Then(count, message) => (count as usize, message),
            LocalPlay::Corrupt(position) => {
                rest[position] ^= 1;
                (rest.len(), Message::End)
            }
            LocalPlay::Wait(reason) => (0, Message::Waits(Some(reason.into()))),
        };
        for piece in rest[..count].chunks(30_000) {
            let message = Message::Bytes(piece.len() as u32);
            stream.write_all(&frame::encode(&message).unwrap()).await.unwrap();
            stream.write_all(piece).await.unwrap();
        }
        stream.write_all(&frame::encode(&last).unwrap()).await.unwrap();
        match last {
            // Not all of them.
            Message::Bytes(_) => stream.write_all(&[0; 500]).await.unwrap(),
            // Until the command leaves.
            Message::Waits(_) => drop(stream.read_u8().await),
            _ => {}
        }
    }
}

async fn read_call(stream: &mut UnixStream) -> Call {
    let mut request = BytesMut::new();
    loop {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        let head = request.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(Ok((call, _))) = head.map(|end| frame::decode_prefix(&request[end + 4..])) {
            return call;
        }
    }
}

#[tokio::test]
async fn the_tunnel_is_asked_only_for_what_a_lost_running_client_left() {
    for length in LENGTHS {
        for offset in [0, 1, 50_000, length - 1, length] {
            let beside = Beside::begin(length, vec![LocalPlay::EndAfter(offset)]).await;
            assert!(beside.scene.ranges().is_empty());
            beside.scene.assert_whole(Reader::Pull, &format!("{length} at {offset}")).await;
            let rest = match offset {
                0 => vec![String::new()],
                _ if offset == length => vec![],
                _ => vec![format!("bytes={offset}-")],
            };
            assert_eq!((beside.asked(), beside.scene.ranges()), (vec![0], rest));
        }
    }
}

#[tokio::test]
async fn the_running_client_that_replaced_it_is_asked_for_the_rest() {
    let length = LENGTHS[0];
    let last = LocalPlay::Then(length - 50_000, Message::End);
    let plays = vec![LocalPlay::EndAfter(20_000), LocalPlay::EndAfter(30_000), last];
    let beside = Beside::begin(length, plays).await;
    beside.scene.assert_whole(Reader::Pull, "replaced").await;
    assert_eq!((beside.asked(), beside.scene.ranges()), (vec![0, 20_000, 50_000], vec![]));
    // One that ends again and again is left alone.
    let plays = [20_000, 0, 0, 0].map(LocalPlay::EndAfter).into();
    let beside = Beside::begin(length, plays).await;
    beside.scene.assert_whole(Reader::Pull, "again and again").await;
    let rest = vec!["bytes=20000-".to_owned()];
    assert_eq!((beside.asked(), beside.scene.ranges()), (vec![0, 20_000], rest));
}

#[tokio::test]
async fn what_a_running_client_sends_is_never_taken_for_another_blob() {
    for length in LENGTHS {
        let fault = Fault::new(Hop::Tunnel, FaultKind::TimedOut, "no byte in time");
        for (play, hop, kind) in [
            (LocalPlay::Corrupt(0), Hop::Cdn, FaultKind::Mismatch),
            (LocalPlay::Corrupt(length as usize - 1), Hop::Cdn, FaultKind::Mismatch),
            (LocalPlay::Then(length - 1, Message::End), Hop::Server, FaultKind::Mismatch),
            // It was transient while the running client had hope.
            (LocalPlay::Then(40_000, Message::Fault(fault.clone())), fault.hop, fault.kind),
        ] {
            let beside = Beside::begin(length, vec![play, LocalPlay::EndAfter(0)]).await;
            let (end, received) = beside.scene.read(Reader::Pull).await;
            let found = end.unwrap_err();
            assert_eq!((found.hop, found.kind), (hop, kind), "{found}");
            assert!(received.len() as u64 <= length - 64 * 1024, "{} bytes of {length}", received.len());
            assert_eq!((beside.asked(), beside.scene.ranges()), (vec![0], vec![]));
        }
    }
}

#[tokio::test]
async fn a_command_knows_why_its_running_client_waits() {
    let plays = vec![LocalPlay::Wait("the cable is out"), LocalPlay::EndAfter(0)];
    let beside = Beside::begin(LENGTHS[0], plays).await;
    let body = in_time(beside.scene.transfer(Reader::Pull)).await.unwrap();
    let mut events = pin!(body.events());
    match in_time(events.try_next()).await.unwrap() {
        Some(TransferEvent::Waits(Some(reason))) => assert_eq!(reason, "the cable is out"),
        other => panic!("{other:?}"),
    }
}
