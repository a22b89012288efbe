//! The wire format: golden bytes for each message, and properties of all messages.
//!
//! If golden bytes change, clients and servers of different versions no longer understand each other:
//! `WIRE_VERSION` must be raised. The first six bytes of a Hello must never change their meaning.

#![expect(clippy::unwrap_used, reason = "in test helpers, unwrap is an assertion")]

mod properties;

use docxy_protocol::authorization::{Authorization, Login};
use docxy_protocol::congestion::{Choice, Rate};
use docxy_protocol::control::{
    CloseCode, ControlMessage, ExchangeId, Hello, RequestHeader, SegmentHeader, ServedRegistries,
    StreamHeader, Welcome,
};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame::{self, FrameError};
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::{
    FRAME_BYTES_MAX, MANIFEST_BYTES_MAX, PREFETCH_BLOB_BYTES_MAX, SERVED_REGISTRIES_MAX,
};
use docxy_protocol::link::ClientSecret;
use docxy_protocol::name::{Digest, Registry};
use docxy_protocol::patience::Patience;
use docxy_protocol::prefetch::{ContentKind, LayerSegment, PrefetchHint, PrefetchItem};
use docxy_protocol::reply::{BodyFraming, Reply, Response};
use docxy_protocol::request::{Method, Operation, Request, TraceId};
use docxy_protocol::secret::Secret;
use docxy_protocol::segment::SegmentLayout;
use docxy_protocol::token::{Parsed, TokenRequest};
use docxy_protocol::version::{WIRE_VERSION, alpn, parse_preamble, preamble};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    Headers::filter_response(&map)
}

/// Printable bytes as they are, all others in hexadecimal, so that golden bytes are readable.
fn show(frame: &[u8]) -> String {
    frame
        .iter()
        .map(|b| {
            if b.is_ascii_graphic() && *b != b'<' { char::from(*b).to_string() } else { format!("<{b:02x}>") }
        })
        .collect()
}

fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, expected: &str) {
    let frame = frame::encode(value).unwrap();
    assert_eq!(show(&frame), expected);
    assert_eq!(frame::decode::<T>(&frame[4..]).unwrap(), *value);
}

#[test]
fn stream_headers_have_these_bytes() {
    for (congestion, bytes) in [
        (Choice::Auto, GOLDEN_AUTO),
        (Choice::Fixed("95 Mbit/s".parse().unwrap()), GOLDEN_FIXED),
        (Choice::Cubic, GOLDEN_CUBIC),
    ] {
        let hello = hello(congestion);
        let encoded = hello.encode().unwrap();
        assert_eq!(show(&encoded), bytes);
        assert_eq!(frame::decode::<Hello>(&encoded[10..]).unwrap(), hello);
    }
    let operation = Operation::Manifest {
        repository: "library/alpine".parse().unwrap(),
        reference: "latest".parse().unwrap(),
        method: Method::Head,
    };
    let mut request = Request::new("docker.io".parse().unwrap(), operation)
        .with_authorization(Authorization::Public)
        .with_headers(headers(&[("accept", "a/b"), ("accept", "*/*")]));
    request.patience = Patience::new(Duration::from_secs(24));
    golden(&request_header(7, request.clone()), GOLDEN_REQUEST);
    let platform = "linux/arm/v7".parse().unwrap();
    let known = Some(digest());
    request.prefetch = Some(PrefetchHint { platform, small_blobs: true, known, layer_segments: 5 });
    request.trace = TraceId(0x0123_4567_89ab_cdef);
    golden(&request_header(251, request), GOLDEN_PREFETCH_HINT);
    let ghcr: Registry = "ghcr.io".parse().unwrap();
    let login = Login { registry: ghcr.clone(), user: "me".into(), password: Secret::new("pw") };
    let ping = Request::new(ghcr, Operation::Ping).with_authorization(Authorization::Login(login));
    golden(&request_header(7, ping), GOLDEN_LOGIN);
    golden(&StreamHeader::Segment(SegmentHeader { exchange: ExchangeId(1000), n: 7 }), GOLDEN_SEGMENT);
    golden(&StreamHeader::Echo, "<00><00><00><01><02>");
}

#[test]
fn a_hello_begins_with_the_version_for_ever() {
    assert_eq!(show(&preamble(2)), "dcxy<00><02>");
    assert_eq!((WIRE_VERSION, alpn(WIRE_VERSION), alpn(1)), (7, b"docxy/7".to_vec(), b"docxy/1".to_vec()));
    for (version, code) in [
        (0, Some(CloseCode::ClientOutdated)),
        (WIRE_VERSION - 1, Some(CloseCode::ClientOutdated)),
        (WIRE_VERSION, None),
        (WIRE_VERSION + 1, Some(CloseCode::ServerOutdated)),
        (u16::MAX, Some(CloseCode::ServerOutdated)),
    ] {
        assert_eq!(parse_preamble(preamble(version)), Some(version));
        assert_eq!(CloseCode::for_version(version), code);
    }
    // What the first version sent: the length of a frame.
    assert_eq!(parse_preamble([0, 0, 0, 41, 0, 6]), None);
}

fn request_header(exchange: u64, request: Request) -> StreamHeader {
    StreamHeader::Request(Box::new(RequestHeader { exchange: ExchangeId(exchange), request }))
}

fn digest() -> Digest {
    format!("sha256:{}", "ab".repeat(32)).parse().unwrap()
}

fn hello(congestion: Choice) -> Hello {
    let secret = ClientSecret::from_random([b'k'; 32]);
    Hello { name: "laptop".parse().unwrap(), secret, congestion, max_rate: None }
}

#[test]
fn a_hello_with_a_rate_out_of_bounds_is_rejected() {
    let with = |congestion: Choice| frame::encode(&hello(congestion)).unwrap();
    let (auto, mut fixed) = (with(Choice::Auto), with(Choice::Fixed(Rate::MAX)));
    // After the choice: bincode's marker for eight bytes, the rate, and the maximum rate, which is the last byte of both.
    let rate = auto.len();
    assert_eq!(fixed.len(), rate + 9);
    for (bits, good) in
        [(24_000, true), (23_999, false), (0, false), (100_000_000_001, false), (u64::MAX, false)]
    {
        fixed[rate..rate + 8].copy_from_slice(&u64::to_le_bytes(bits));
        assert_eq!(frame::decode::<Hello>(&fixed[4..]).is_ok(), good, "{bits} bit/s");
    }
}

fn token(parsed: Parsed) -> Option<Operation> {
    match parsed {
        Parsed::Request(request) => Some(Operation::Token(request)),
        Parsed::NamesOtherRegistry => None,
    }
}

#[test]
fn token_requests_have_these_bytes() {
    let query =
        "account=me&scope=repository:a/b:pull&scope=registry:catalog:*&offline_token=true&client_id=docker";
    let hub = Registry::docker_hub();
    golden(&token(TokenRequest::from_query(query, &hub)).unwrap(), GOLDEN_TOKEN);
    let form = "grant_type=refresh_token&refresh_token=r";
    golden(&token(TokenRequest::from_form(form, &hub).unwrap()).unwrap(), GOLDEN_REFRESH);
}

#[test]
fn replies_have_these_bytes() {
    let response = Response {
        status: StatusCode::OK,
        headers: headers(&[("content-length", "3000000")]),
        body: BodyFraming::Segmented(SegmentLayout::new(3_000_000, 524_288).unwrap()),
    };
    golden(&Reply::Response(response), GOLDEN_SEGMENTED);
    let response = Response {
        status: StatusCode::NOT_FOUND,
        headers: Headers::default(),
        body: BodyFraming::Chunked { length: None },
    };
    golden(&Reply::Response(response), GOLDEN_CHUNKED);
    golden(&Reply::Fault(Fault::new(Hop::Cdn, FaultKind::TimedOut, "slow")), GOLDEN_FAULT);
}

#[test]
fn control_messages_have_these_bytes() {
    let registries = ["ghcr.io", "docker.io"].map(|name| name.parse().unwrap()).into_iter().collect();
    let welcome = Welcome { version: "1.2.3".into(), registries, time: 1_800_000_000 };
    golden(&ControlMessage::Welcome(welcome), GOLDEN_WELCOME);
    golden(&ControlMessage::Draining, GOLDEN_DRAINING);
    golden(&ControlMessage::Sent { packets: 1000, lost: 7 }, GOLDEN_SENT);
}

#[test]
fn a_welcome_with_the_most_and_longest_registries_fits_into_a_frame() {
    let longest = |n: usize| {
        format!("{n:04}{}:60000", format!(".{}", "a".repeat(62)).repeat(3) + &".b".repeat(30)).parse()
    };
    let registries: ServedRegistries = (0..2 * SERVED_REGISTRIES_MAX).map(|n| longest(n).unwrap()).collect();
    assert_eq!((registries.len(), registries[0].as_str().len() > 250), (SERVED_REGISTRIES_MAX, true));
    let welcome = ControlMessage::Welcome(Welcome { version: "1.2.3".into(), registries, time: u64::MAX });
    assert_eq!(frame::decode::<ControlMessage>(&frame::encode(&welcome).unwrap()[4..]).unwrap(), welcome);
}

#[test]
fn prefetch_items_have_these_bytes() {
    let content = ContentKind::Manifest { content_type: "a/b".into() };
    golden(&PrefetchItem::new(digest(), content, 258).unwrap(), GOLDEN_MANIFEST);
    golden(&PrefetchItem::new(digest(), ContentKind::Blob, 7).unwrap(), GOLDEN_BLOB);
    golden(&LayerSegment { digest: digest(), n: 7 }, GOLDEN_LAYER_SEGMENT);
}

#[test]
fn an_item_that_is_too_long_is_rejected_on_both_sides() {
    let manifest = |name: &str| ContentKind::Manifest { content_type: name.to_owned() };
    for (content, length, good) in [
        (manifest("a/b"), MANIFEST_BYTES_MAX, true),
        (manifest("a/b"), MANIFEST_BYTES_MAX + 1, false),
        (manifest(""), 1, false),
        (manifest("a\r\nb"), 1, false),
        (manifest(&"a".repeat(256)), 1, false),
        (ContentKind::Blob, PREFETCH_BLOB_BYTES_MAX, true),
        (ContentKind::Blob, PREFETCH_BLOB_BYTES_MAX + 1, false),
    ] {
        let frame = frame::encode(&(digest(), content.clone(), length as u32)).unwrap();
        assert_eq!(frame::decode::<PrefetchItem>(&frame[4..]).is_ok(), good, "{content:?} {length}");
        assert_eq!(PrefetchItem::new(digest(), content, length).is_ok(), good);
    }
}

const GOLDEN_AUTO: &str = "dcxy<00><07><00><00><00>)<06>laptopkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk<00><00>";
const GOLDEN_FIXED: &str =
    "dcxy<00><07><00><00><00>.<06>laptopkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk<01><fc><c0><95><a9><05><00>";
const GOLDEN_CUBIC: &str = "dcxy<00><07><00><00><00>)<06>laptopkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk<02><00>";
const GOLDEN_REQUEST: &str = "<00><00><00>B<00><07><09>docker.io<02><0e>library/alpine<00><06>latest<01><01><02><06>accept<03>a/b<06>accept<03>*/*<00><fb><c0>]<00>";
const GOLDEN_PREFETCH_HINT: &str = "<00><00><00><a4><00><fb><fb><00><09>docker.io<02><0e>library/alpine<00><06>latest<01><01><02><06>accept<03>a/b<06>accept<03>*/*<01><0c>linux/arm/v7<01><01>Gsha256:abababababababababababababababababababababababababababababababab<05><fb><c0>]<fd><ef><cd><ab><89>gE#<01>";
const GOLDEN_LOGIN: &str =
    "<00><00><00><20><00><07><07>ghcr.io<00><04><07>ghcr.io<02>me<02>pw<00><00><fb>0u<00>";
const GOLDEN_MANIFEST: &str = "<00><00><00>PGsha256:abababababababababababababababababababababababababababababababab<00><03>a/b<fb><02><01>";
const GOLDEN_BLOB: &str =
    "<00><00><00>JGsha256:abababababababababababababababababababababababababababababababab<01><07>";
const GOLDEN_LAYER_SEGMENT: &str =
    "<00><00><00>IGsha256:abababababababababababababababababababababababababababababababab<07>";
const GOLDEN_SEGMENT: &str = "<00><00><00><05><01><fb><e8><03><07>";
const GOLDEN_TOKEN: &str =
    "<00><00><00>.<01><02><00><03>a/b<04>pull<01><12>registry:catalog:*<01><06>docker<01><00><01><02>me";
const GOLDEN_REFRESH: &str = "<00><00><00><07><01><00><00><00><02><01>r";
const GOLDEN_SEGMENTED: &str =
    "<00><00><00>%<00><c8><01><0e>content-length<07>3000000<02><fc><c0><c6>-<00><fc><00><00><08><00>";
const GOLDEN_CHUNKED: &str = "<00><00><00><07><00><fb><94><01><00><01><00>";
const GOLDEN_FAULT: &str = "<00><00><00><08><01><05><0c><04>slow";
const GOLDEN_WELCOME: &str = "<00><00><00><1f><00><05>1.2.3<02><09>docker.io<07>ghcr.io<fc><00><d2>Ik";
const GOLDEN_DRAINING: &str = "<00><00><00><01><01>";
const GOLDEN_SENT: &str = "<00><00><00><05><02><fb><e8><03><07>";

/// Reads a frame as from a stream.
fn read<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, FrameError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(frame::read(&mut bytes))
}

#[test]
fn a_frame_that_is_cut_off_or_too_long_is_an_error() {
    let frame = frame::encode(&ControlMessage::Draining).unwrap();
    assert_eq!(read::<ControlMessage>(&frame).unwrap(), ControlMessage::Draining);
    for cut in 0..frame.len() {
        assert!(matches!(read::<ControlMessage>(&frame[..cut]), Err(FrameError::Ended)), "cut at {cut}");
    }
    let announced = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
    assert!(matches!(read::<ControlMessage>(&announced), Err(FrameError::TooLong(_))));
    assert!(matches!(read::<ControlMessage>(&u32::MAX.to_be_bytes()), Err(FrameError::TooLong(_))));
    let mut trailing = frame::encode(&ControlMessage::Draining).unwrap();
    trailing[3] += 1;
    trailing.push(0);
    assert!(matches!(read::<ControlMessage>(&trailing), Err(FrameError::Trailing(1))));
}

#[test]
fn a_value_too_long_for_a_frame_is_not_encoded() {
    assert!(matches!(frame::encode(&"x".repeat(FRAME_BYTES_MAX)), Err(FrameError::TooLong(_))));
}

#[test]
fn at_most_a_hundred_field_lines_are_accepted() {
    let encode = |count: usize| {
        let lines: Vec<(String, Vec<u8>)> = (0..count).map(|n| (format!("x-{n}"), b"v".to_vec())).collect();
        frame::encode(&lines).unwrap()
    };
    assert_eq!(frame::decode::<Headers>(&encode(100)[4..]).unwrap().len(), 100);
    assert!(matches!(frame::decode::<Headers>(&encode(101)[4..]), Err(FrameError::Decode(_))));
    let split = vec![("x".to_owned(), b"a\r\nset-cookie: b".to_vec())];
    assert!(frame::decode::<Headers>(&frame::encode(&split).unwrap()[4..]).is_err());
}
