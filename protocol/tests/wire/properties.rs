//! Properties of all messages: they arrive as sent, and damage is found or harmless.

use super::{read, request_header, token};
use docxy_protocol::authorization::{Authorization, Login, basic};
use docxy_protocol::congestion::{Choice, Rate};
use docxy_protocol::control::{ControlMessage, ExchangeId, Hello, SegmentHeader, StreamHeader, Welcome};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::PREFETCH_BLOB_BYTES_MAX;
use docxy_protocol::link::ClientSecret;
use docxy_protocol::listing_query::ListingQuery;
use docxy_protocol::name::{Digest, Reference, Registry};
use docxy_protocol::prefetch::{ContentKind, LayerSegment, PrefetchHint, PrefetchItem};
use docxy_protocol::reply::{BodyFraming, Reply, Response};
use docxy_protocol::request::{Method, Operation, Request, TraceId};
use docxy_protocol::secret::Secret;
use docxy_protocol::segment::SegmentLayout;
use docxy_protocol::token::TokenRequest;
use docxy_protocol::version::PREAMBLE_BYTES;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

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
