//! Pairs of sessions over each leg, so that a test runs over all of them.

pub use crate::memory::Cut;

use crate::memory;
use crate::quic::{self, Listener, ListenerKeys};
use crate::session::Session;
use docxy_protocol::congestion::Choice;
use docxy_protocol::identity::Pin;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A leg to test over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestLeg {
    /// QUIC on loopback.
    Quic,
    /// In memory.
    Memory,
}

/// A client's session and its server's, whose client counts as authenticated.
#[derive(Debug)]
pub struct Pair {
    /// The client's session.
    pub client: Session,
    /// The server's session.
    pub server: Session,
    /// Cuts the leg in memory.
    pub cut: Option<Cut>,
    _listener: Option<Listener>,
}

impl TestLeg {
    /// All legs.
    pub const ALL: [Self; 2] = [Self::Quic, Self::Memory];

    /// Connects a client with a server.
    ///
    /// # Panics
    /// If that is not possible.
    pub async fn connect(self) -> Pair {
        let pair = match self {
            Self::Memory => {
                let (client, server, cut) = memory::pair();
                Pair { client: client.into(), server: server.into(), cut: Some(cut), _listener: None }
            }
            Self::Quic => {
                let made = rcgen::generate_simple_self_signed(["server".to_owned()]).expect("a certificate");
                let certificate = made.cert.der().clone();
                let pin = Pin::from_certificate(&certificate).expect("a pin");
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
                let keys =
                    ListenerKeys::new(&[7; ListenerKeys::OWN_LENGTH], &[7; ListenerKeys::TOKEN_LENGTH]);
                let loopback = ([127, 0, 0, 1], 0).into();
                let listener = Listener::bind(loopback, certificate, key, &keys).expect("a listener");
                let address = listener.local_address().expect("an address");
                let accept = async { listener.accept().await.expect("a connection").accept().await };
                let (client, server) = tokio::join!(quic::dial(address, pin, None, Choice::Auto), accept);
                let (client, server) = (client.expect("a session").into(), server.expect("a session").into());
                Pair { client, server, cut: None, _listener: Some(listener) }
            }
        };
        pair.server.raise_limits();
        pair
    }
}
