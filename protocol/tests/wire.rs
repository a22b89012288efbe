//! The wire format: golden bytes for each message, and properties of all messages.
//!
//! If golden bytes change, clients and servers of different versions no longer understand each other:
//! `WIRE_VERSION` must be raised. The first six bytes of a Hello must never change their meaning.

#![expect(clippy::unwrap_used, reason = "in test helpers, unwrap is an assertion")]

use docxy_protocol::authorization::{Authorization, Login, basic};
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
use docxy_protocol::listing_query::ListingQuery;
use docxy_protocol::name::{Digest, Reference, Registry};
use docxy_protocol::patience::Patience;
use docxy_protocol::prefetch::{ContentKind, LayerSegment, PrefetchHint, PrefetchItem};
use docxy_protocol::reply::{BodyFraming, Reply, Response};
use docxy_protocol::request::{Method, Operation, Request, TraceId};
use docxy_protocol::secret::Secret;
use docxy_protocol::segment::SegmentLayout;
use docxy_protocol::token::{Parsed, TokenRequest};
use docxy_protocol::version::{PREAMBLE_BYTES, WIRE_VERSION, alpn, parse_preamble, preamble};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
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

fn any_digest() -> impl Strategy<Value = Digest> {
    "sha256:[0-9a-f]{64}".prop_map(|text| text.parse().unwrap())
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let repository = || "[a-z0-9]{1,9}(/[a-z0-9]{1,9}){0,2}".prop_map(|text| text.parse().unwrap());
    let method = || prop_oneof![Just(Method::Get), Just(Method::Head)];
    let reference = prop_oneof![
        "[A-Za-z0-9_][A-Za-z0-9._-]{0,30}".prop_map(|text| text.parse().unwrap()),
        any_digest().prop_map(Reference::Digest),
    ];
    let page = || "[a-z=&%0-9]{0,30}".prop_map(|text| ListingQuery::from_query(Some(&text)).unwrap());
    let any_token = ("(\\(plugin\\))?:[a-z0-9:/,* ]{0,20}", "[ -~]{0,20}").prop_filter_map(
        "no scope",
        |(scope, password)| {
            let scope = format!("repository{}:pull", scope.replace(' ', ""));
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "password").append_pair("username", "u");
            form.append_pair("password", &password).append_pair("scope", &scope);
            TokenRequest::from_form(&form.finish(), &Registry::docker_hub()).ok().and_then(token)
        },
    );
    prop_oneof![
        Just(Operation::Ping),
        any_token,
        (repository(), reference, method()).prop_map(|(repository, reference, method)| Operation::Manifest {
            repository,
            reference,
            method
        }),
        (repository(), any_digest(), method()).prop_map(|(repository, digest, method)| Operation::Blob {
            repository,
            digest,
            method
        }),
        (repository(), page()).prop_map(|(repository, page)| Operation::Tags { repository, page }),
        (repository(), any_digest(), page()).prop_map(|(repository, subject, page)| Operation::Referrers {
            repository,
            subject,
            page
        }),
    ]
}

fn any_headers() -> impl Strategy<Value = Headers> {
    proptest::collection::vec(("x-[a-z]{1,10}", proptest::collection::vec(0x20_u8..0x7f, 0..40)), 0..20)
        .prop_map(|lines| {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_bytes(&value).unwrap(),
                );
            }
            Headers::filter_response(&map)
        })
}

fn any_stream_header() -> impl Strategy<Value = StreamHeader> {
    let authorization = prop_oneof![
        Just(Authorization::None),
        Just(Authorization::Public),
        "[!-~]{1,40}".prop_map(|token| Authorization::Bearer(Secret::new(token))),
        ("[a-z]{1,9}", "[ -~]{0,20}").prop_map(|(user, password)| basic(&user, &password)),
        ("[a-z]{1,9}", "[ -~]{0,20}").prop_map(|(user, password)| {
            let (registry, password) = ("ghcr.io".parse().unwrap(), Secret::new(password));
            Authorization::Login(Login { registry, user, password })
        }),
    ];
    let hint = proptest::option::of(any_prefetch_hint());
    let request = (any::<[u64; 2]>(), any_operation(), authorization, any_headers(), hint).prop_map(
        |([exchange, trace], operation, authorization, headers, prefetch)| {
            let mut request = Request::new("ghcr.io".parse().unwrap(), operation)
                .with_authorization(authorization)
                .with_headers(headers)
                .with_trace(TraceId(trace));
            request.prefetch = prefetch;
            request_header(exchange, request)
        },
    );
    let segment = (any::<u64>(), any::<u32>())
        .prop_map(|(exchange, n)| StreamHeader::Segment(SegmentHeader { exchange: ExchangeId(exchange), n }));
    prop_oneof![request, segment, Just(StreamHeader::Echo)]
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let rate = || (24_000_u64..=100_000_000_000).prop_map(|bits| Rate::from_bits_per_second(bits).unwrap());
    let congestion = prop_oneof![Just(Choice::Auto), Just(Choice::Cubic), rate().prop_map(Choice::Fixed)];
    let max_rate = proptest::option::of(rate());
    ("[A-Za-z0-9._-]{1,64}", any::<[u8; 32]>(), congestion, max_rate).prop_map(
        |(name, secret, congestion, max_rate)| {
            let (name, secret) = (name.parse().unwrap(), ClientSecret::from_random(secret));
            Hello { name, secret, congestion, max_rate }
        },
    )
}

fn any_prefetch_hint() -> impl Strategy<Value = PrefetchHint> {
    ("linux/(amd64|arm/v[5-8])", any::<bool>(), proptest::option::of(any_digest()), any::<u32>()).prop_map(
        |(platform, small_blobs, known, layer_segments)| PrefetchHint {
            platform: platform.parse().unwrap(),
            small_blobs,
            known,
            layer_segments,
        },
    )
}

fn any_item() -> impl Strategy<Value = PrefetchItem> {
    let content = prop_oneof![
        "[a-z/+.]{1,80}".prop_map(|content_type| ContentKind::Manifest { content_type }),
        Just(ContentKind::Blob),
    ];
    (any_digest(), content, 0..=PREFETCH_BLOB_BYTES_MAX)
        .prop_map(|(digest, content, length)| PrefetchItem::new(digest, content, length).unwrap())
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let body = prop_oneof![
        Just(BodyFraming::None),
        any::<Option<u64>>().prop_map(|length| BodyFraming::Chunked { length }),
        (1_u32..500_000, 1_u64..1 << 40)
            .prop_filter_map("no layout", |(size, length)| SegmentLayout::new(length, size).ok())
            .prop_map(BodyFraming::Segmented),
    ];
    let response = (200_u16..600, any_headers(), body).prop_map(|(status, headers, body)| {
        Reply::Response(Response { status: StatusCode::from_u16(status).unwrap(), headers, body })
    });
    let fault = "\\PC{0,60}"
        .prop_map(|detail| Reply::Fault(Fault::new(Hop::TokenService, FaultKind::MalformedResponse, detail)));
    prop_oneof![response, fault]
}

/// Texts with many control characters, some of them too long.
fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        proptest::sample::select(vec![
            '\r', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}'
        ]),
        proptest::char::range(' ', '~'),
    ];
    proptest::collection::vec(character, 0..1500).prop_map(|text| text.into_iter().collect())
}

fn is_clean(text: &str, max: usize) -> bool {
    let has_effect = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().count() <= max && !text.chars().any(has_effect)
}

/// If a damaged frame can be decoded, the value is one that could have been sent.
fn damaged<T: Serialize + DeserializeOwned + PartialEq + Debug>(mut frame: Vec<u8>, at: usize, bits: u8) {
    let at = 4 + at % (frame.len() - 4).max(1);
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= bits;
    }
    if let Ok(value) = frame::decode::<T>(&frame[4..]) {
        let again = frame::encode(&value).unwrap();
        assert_eq!(frame::decode::<T>(&again[4..]).unwrap(), value);
    }
}

proptest! {
    #[test]
    fn every_message_arrives_as_sent(hello in any_hello(), stream_header in any_stream_header(), reply in any_reply(), item in any_item()) {
        let bytes = [frame::encode(&item).unwrap(), vec![7; 3]].concat();
        prop_assert_eq!(frame::decode_prefix::<PrefetchItem>(&bytes).unwrap(), (item.clone(), bytes.len() - 3));
        prop_assert!(frame::decode_prefix::<PrefetchItem>(&bytes[..bytes.len() - 4]).is_err());
        prop_assert_eq!(read::<PrefetchItem>(&bytes).unwrap(), item);
        prop_assert_eq!(read::<Hello>(&hello.encode().unwrap()[PREAMBLE_BYTES..]).unwrap(), hello);
        prop_assert_eq!(read::<StreamHeader>(&frame::encode(&stream_header).unwrap()).unwrap(), stream_header);
        prop_assert_eq!(read::<Reply>(&frame::encode(&reply).unwrap()).unwrap(), reply);
    }

    #[test]
    fn a_damaged_frame_never_panics(
        hello in any_hello(), stream_header in any_stream_header(), reply in any_reply(), item in any_item(), at in any::<usize>(), bits in 1_u8..
    ) {
        damaged::<PrefetchItem>(frame::encode(&item).unwrap(), at, bits);
        damaged::<Hello>(frame::encode(&hello).unwrap(), at, bits);
        damaged::<StreamHeader>(frame::encode(&stream_header).unwrap(), at, bits);
        damaged::<Reply>(frame::encode(&reply).unwrap(), at, bits);
    }

    /// Decoding cleans the texts of a peer.
    #[test]
    fn texts_of_a_peer_are_clean(detail in any_text(), version in any_text()) {
        let frame = frame::encode(&(1_u32, Hop::TokenService, FaultKind::MalformedResponse, &detail)).unwrap();
        let Reply::Fault(fault) = frame::decode::<Reply>(&frame[4..]).unwrap() else { panic!() };
        prop_assert!(is_clean(&fault.to_string(), 1000 + "token service: ".len()), "{fault:?}");
        prop_assert_eq!(&fault, &Fault::new(Hop::TokenService, FaultKind::MalformedResponse, &detail));
        let frame = frame::encode(&(0_u32, &version, Vec::<&str>::new(), 0_u64)).unwrap();
        let ControlMessage::Welcome(Welcome { version, .. }) = frame::decode::<ControlMessage>(&frame[4..]).unwrap() else { panic!() };
        prop_assert!(is_clean(version.as_str(), 64), "{version:?}");
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = frame::decode::<Hello>(&bytes);
        let _ = frame::decode::<StreamHeader>(&bytes);
        let _ = frame::decode::<Reply>(&bytes);
        let _ = frame::decode::<ControlMessage>(&bytes);
        let _ = frame::decode::<PrefetchItem>(&bytes);
        let _ = frame::decode::<LayerSegment>(&bytes);
        let _ = read::<StreamHeader>(&bytes);
    }
}
