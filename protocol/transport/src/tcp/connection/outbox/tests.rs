use super::*;
use crate::tcp::settings::{self, FRAME_BYTES};
use crate::tcp::signal;
use std::future::poll_fn;

/// Opens as many streams over a pipe, and queues as much on each as there is room for. Returns their numbers, and
/// what must stay open.
async fn queue_streams(outbox: &Outbox, count: usize) -> (Vec<u64>, impl Drop) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (client, server) =
        tokio::join!(settings::client().handshake::<_, Bytes>(near), settings::server().handshake(far));
    let ((requests, connection), mut server) = (client.unwrap(), server.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let mut requests = requests.ready().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..count {
        let (response, _body) = requests.send_request(signal::request(), true).unwrap();
        tasks.spawn(async move { drop(response.await) });
        let (_, respond) = server.accept().await.unwrap().unwrap();
        let (stream, _) = outbox.add(Wire::Response(Box::new(respond), http::Response::new(())));
        streams.push(stream);
        let mut bytes = Bytes::from(vec![0; STREAM_BYTES_MAX]);
        poll_fn(|cx| outbox.poll_send(stream, &mut bytes, cx)).await.unwrap();
    }
    tasks.spawn(async move { while server.accept().await.is_some() {} });
    (streams, tasks)
}

fn left(outbox: &Outbox, streams: &[u64]) -> Vec<usize> {
    let state = outbox.state.lock();
    streams.iter().map(|stream| state.entries[stream].queued).collect()
}

#[tokio::test]
async fn bodies_have_equal_turns_however_many_streams_they_have() {
    let outbox = Outbox::new();
    let (streams, _open) = queue_streams(&outbox, 4).await;
    let (large, other) = (Body::default(), Body::default());
    // The second stream of the large body has the lowest turn of it, and the other body began later.
    for (stream, body, turn) in
        [(streams[0], &large, 3), (streams[1], &large, 2), (streams[2], &other, 9), (streams[3], &other, 10)]
    {
        outbox.set_turn(stream, body.clone(), turn);
    }
    for _ in 0..6 {
        assert!(outbox.pass_batch(FRAME_BYTES));
    }
    let third = STREAM_BYTES_MAX - 3 * FRAME_BYTES;
    assert_eq!(left(&outbox, &streams), [STREAM_BYTES_MAX, third, third, STREAM_BYTES_MAX]);
    // What is urgent does not wait for them.
    outbox.set_urgency(streams[3], 0);
    assert!(outbox.pass_batch(FRAME_BYTES));
    assert_eq!(left(&outbox, &streams), [STREAM_BYTES_MAX, third, third, STREAM_BYTES_MAX - FRAME_BYTES]);
    // On another connection, bodies that moved there have equal turns, too.
    let outbox = Outbox::new();
    let (streams, _open) = queue_streams(&outbox, 2).await;
    outbox.set_turn(streams[0], large, 1);
    outbox.set_turn(streams[1], other, 1);
    for _ in 0..4 {
        assert!(outbox.pass_batch(FRAME_BYTES));
    }
    assert_eq!(left(&outbox, &streams), [STREAM_BYTES_MAX - 2 * FRAME_BYTES; 2]);
    // One in the background waits for all others.
    let outbox = Outbox::new();
    let (streams, _open) = queue_streams(&outbox, 2).await;
    outbox.set_turn(streams[0], Body::in_background(), 1);
    outbox.set_turn(streams[1], Body::default(), 9);
    for _ in 0..3 {
        assert!(outbox.pass_batch(FRAME_BYTES));
    }
    assert_eq!(left(&outbox, &streams), [STREAM_BYTES_MAX, STREAM_BYTES_MAX - 3 * FRAME_BYTES]);
}
