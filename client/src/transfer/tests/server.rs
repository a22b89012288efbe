//! A server with one blob, which plays a part for each request, and loses its sessions on demand.

use crate::tunnel::{Congestion, LineCause, LineReason, Server, ServerState, Session, Trust, TunnelStatus};
use bytes::Bytes;
use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::control::{CloseCode, ExchangeId, SegmentHeader, StreamHeader};
use docxy_protocol::fault::Fault;
use docxy_protocol::frame;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::SEGMENT_BYTES;
use docxy_protocol::reply::{self, BodyFraming, Reply};
use docxy_protocol::request::{Method, Request};
use docxy_protocol::segment::SegmentLayout;
use docxy_transport::test_legs::{Pair, TestLeg};
use docxy_transport::{SendError, SendStream};
use http::{HeaderMap, StatusCode, header};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::sync::watch;

/// What the server does with one request. Then it plays the next part; after the last it serves.
#[derive(Debug, Clone)]
pub(super) enum Play {
    /// It sends what was requested.
    Serve,
    /// It sends the whole blob, whatever was requested.
    IgnoreRange,
    /// It sends the blob with another byte at this position.
    Corrupt(usize),
    /// The session is lost after so many bytes.
    LoseAfter(u64),
    /// The session is lost after 1000 bytes of the first segment and the whole second one.
    LoseWithGap,
    /// A fault in place of a response.
    Refuse(Fault),
    /// A fault after so many bytes.
    AbortAfter(u64, Fault),
    /// The stream of the response is reset with this fault.
    Reset(Fault),
    /// An empty response with this status.
    Respond(u16),
    /// The body ends after so many bytes, although more were announced.
    EndAfter(u64),
    /// The body goes on after its end.
    GoOn,
    /// Nothing follows these bytes.
    StallAfter(u64),
}

/// What the test sees of the server.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The `Range` of each request; empty without one. `HEAD` for a `HEAD`.
    pub(super) ranges: Arc<Mutex<Vec<String>>>,
    /// Whether the client has read a byte of the blob. The first session is not lost before.
    pub(super) begun: Arc<watch::Sender<bool>>,
    /// The number of responses that the client has stopped.
    pub(super) stopped: Arc<watch::Sender<usize>>,
}

/// Why a session is not served any more.
struct Lost;

impl From<SendError> for Lost {
    fn from(_: SendError) -> Self {
        Self
    }
}

/// Serves `content` over this leg, on one session after the other.
pub(super) async fn run(
    leg: TestLeg,
    content: Bytes,
    plays: Vec<Play>,
    servers: watch::Sender<Vec<ServerState>>,
    seen: Seen,
) {
    let mut plays = VecDeque::from(plays);
    let server = Server::of_test(Trust::Trusted);
    let publish = |status| servers.send_replace(vec![ServerState::of_test(Arc::clone(&server), status)]);
    // An endpoint that is dropped sends no close frame any more.
    let mut lost = Vec::new();
    loop {
        let pair = leg.connect().await;
        let session = Session::new(pair.client.clone(), Congestion::default(), Arc::clone(&server));
        publish(TunnelStatus::Up { session: Box::new(session), since: SystemTime::now() });
        let mut played = PlayedServer {
            pair,
            content: content.clone(),
            seen: seen.clone(),
            requests: VecDeque::new(),
            segments: HashMap::new(),
        };
        while played.play(&mut plays).await.is_ok() {}
        lost.push(played.pair);
        publish(TunnelStatus::Down {
            since: SystemTime::now(),
            reason: LineReason::new(LineCause::Lost, "lost"),
        });
    }
}

struct PlayedServer {
    pair: Pair,
    content: Bytes,
    seen: Seen,
    requests: VecDeque<(ExchangeId, Request, SendStream)>,
    segments: HashMap<(ExchangeId, u32), SendStream>,
}

impl PlayedServer {
    /// Plays one part.
    async fn play(&mut self, plays: &mut VecDeque<Play>) -> Result<(), Lost> {
        while self.requests.is_empty() {
            self.accept().await?;
        }
        let (exchange, request, mut stream) = self.requests.pop_front().ok_or(Lost)?;
        let is_head = request.operation.method() == Method::Head;
        let range = request.headers.get_str(&header::RANGE).unwrap_or_default();
        let range = if is_head { "HEAD" } else { range }.to_owned();
        self.seen.ranges.lock().unwrap().push(range.clone());
        let total = self.content.len() as u64;
        let play = plays.pop_front().unwrap_or(Play::Serve);
        let wanted = parse(&range, total).filter(|_| !matches!(play, Play::IgnoreRange));
        let bytes = wanted.clone().unwrap_or(0..total);
        let mut body = self.content.slice(bytes.start as usize..bytes.end as usize).to_vec();
        match &play {
            Play::Refuse(fault) => {
                stream.send(frame::encode(&Reply::Fault(fault.clone())).unwrap().into()).await?;
                stream.finish()?;
                return Ok(());
            }
            Play::Reset(fault) => {
                stream.reset(fault);
                return Ok(());
            }
            Play::Respond(status) => {
                respond(&mut stream, *status, Headers::default(), BodyFraming::None).await?;
                return Ok(stream.finish()?);
            }
            _ if is_head => {
                respond(&mut stream, 200, Headers::default(), BodyFraming::None).await?;
                return Ok(stream.finish()?);
            }
            Play::Corrupt(position) => body[*position] ^= 1,
            _ => {}
        }
        let layout = SegmentLayout::new(body.len() as u64, SEGMENT_BYTES).ok().filter(|l| l.count() > 1);
        let framing = match layout {
            Some(layout) => BodyFraming::Segmented(layout),
            None => BodyFraming::Chunked { length: Some(body.len() as u64) },
        };
        let mut headers = HeaderMap::new();
        if wanted.is_some() {
            let text = format!("bytes {}-{}/{total}", bytes.start, bytes.end - 1);
            headers.insert(header::CONTENT_RANGE, text.parse().unwrap());
        }
        let status = if wanted.is_some() { 206 } else { 200 };
        respond(&mut stream, status, Headers::filter_response(&headers), framing).await?;
        let sent = match play {
            Play::LoseAfter(n) | Play::AbortAfter(n, _) | Play::EndAfter(n) | Play::StallAfter(n) => {
                body.len().min(n as usize)
            }
            _ => body.len(),
        };
        if matches!(play, Play::LoseWithGap) {
            for (n, length) in [(0, 1000), (1, SEGMENT_BYTES as usize)] {
                let start = n as usize * SEGMENT_BYTES as usize;
                let mut segment = self.segment(exchange, n).await?;
                segment.send(Bytes::copy_from_slice(&body[start..start + length])).await?;
                // Not finished, and not reset either.
                self.segments.insert((exchange, n), segment);
            }
            return self.lose().await;
        }
        self.send_body(exchange, layout, &mut stream, &body[..sent]).await?;
        match play {
            Play::LoseAfter(_) => return self.lose().await,
            Play::AbortAfter(_, fault) => {
                stream.send(Bytes::copy_from_slice(&ChunkHeader::Aborted.to_bytes())).await?;
                stream.send(frame::encode(&fault).unwrap().into()).await?;
            }
            Play::StallAfter(_) => {
                stream.stopped().await;
                self.seen.stopped.send_modify(|stopped| *stopped += 1);
                return Ok(());
            }
            Play::GoOn => chunk(&mut stream, b"!").await?,
            _ => stream.send(Bytes::copy_from_slice(&ChunkHeader::End.to_bytes())).await?,
        }
        Ok(stream.finish()?)
    }

    async fn send_body(
        &mut self,
        exchange: ExchangeId,
        layout: Option<SegmentLayout>,
        stream: &mut SendStream,
        body: &[u8],
    ) -> Result<(), Lost> {
        let Some(layout) = layout else {
            for piece in body.chunks(30_000) {
                chunk(stream, piece).await?;
            }
            return Ok(());
        };
        for n in 0..layout.count() {
            let range = layout.range(n);
            let end = body.len().min(range.end as usize);
            let mut segment = self.segment(exchange, n).await?;
            if let Some(bytes) = body.get(range.start as usize..end).filter(|bytes| !bytes.is_empty()) {
                segment.send(Bytes::copy_from_slice(bytes)).await?;
            }
            if end < range.end as usize {
                // The stream of the response says why it is short.
                segment.finish()?;
                return Ok(());
            }
            segment.finish()?;
        }
        Ok(())
    }

    /// The client's stream for a segment.
    async fn segment(&mut self, exchange: ExchangeId, n: u32) -> Result<SendStream, Lost> {
        loop {
            if let Some(segment) = self.segments.remove(&(exchange, n)) {
                return Ok(segment);
            }
            self.accept().await?;
        }
    }

    async fn accept(&mut self) -> Result<(), Lost> {
        let (stream, mut receive) = self.pair.server.accept().await.map_err(|_| Lost)?;
        match receive.read_frame().await.map_err(|_| Lost)? {
            StreamHeader::Request(header) => {
                self.requests.push_back((header.exchange, header.request, stream));
            }
            StreamHeader::Segment(SegmentHeader { exchange, n }) => {
                self.segments.insert((exchange, n), stream);
            }
            StreamHeader::Echo => {}
        }
        Ok(())
    }

    async fn lose(&self) -> Result<(), Lost> {
        let _ = self.seen.begun.subscribe().wait_for(|begun| *begun).await;
        match &self.pair.cut {
            Some(cut) => cut.now(),
            None => self.pair.server.close(CloseCode::Done),
        }
        Err(Lost)
    }
}

pub(super) async fn respond(
    stream: &mut SendStream,
    status: u16,
    headers: Headers,
    body: BodyFraming,
) -> Result<(), SendError> {
    let head = reply::Response { status: StatusCode::from_u16(status).unwrap(), headers, body };
    stream.send(frame::encode(&Reply::Response(head)).unwrap().into()).await
}

pub(super) async fn chunk(stream: &mut SendStream, bytes: &[u8]) -> Result<(), SendError> {
    stream.send(Bytes::copy_from_slice(&ChunkHeader::Data(bytes.len() as u32).to_bytes())).await?;
    stream.send(Bytes::copy_from_slice(bytes)).await
}

fn parse(range: &str, total: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = if last.is_empty() { total } else { last.parse::<u64>().ok()? + 1 };
    Some(first.parse().ok()?..end)
}
