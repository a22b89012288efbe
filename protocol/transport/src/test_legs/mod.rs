//! Pairs of sessions over each leg, so that a test runs over all of them.
//!
//! Must never be in a program: only the feature `test-legs` compiles it.

pub(crate) mod memory;

pub use memory::Cut;

use crate::connector::Connector;
use crate::dial::{Peer, dial};
use crate::leg::Leg;
use crate::listener::Listener;
use crate::quic::ListenerKeys;
use crate::session::Session;
use crate::tcp;
use docxy_protocol::congestion::Choice;
use docxy_protocol::control::{ControlMessage, Hello, ServedRegistries, Welcome};
use docxy_protocol::frame;
use docxy_protocol::identity::Pin;
use docxy_protocol::link::ClientSecret;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::task::JoinSet;

/// A leg to test over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestLeg {
    /// QUIC on loopback.
    Quic,
    /// TCP on loopback, with a connection for bulk.
    Tcp,
    /// TCP on loopback, with its first connection alone.
    TcpAlone,
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
    _listener: JoinSet<()>,
}

impl TestLeg {
    /// All legs.
    pub const ALL: [Self; 4] = [Self::Quic, Self::Tcp, Self::TcpAlone, Self::Memory];

    /// Connects a client with a server.
    ///
    /// # Panics
    /// If that is not possible.
    pub async fn connect(self) -> Pair {
        let pair = match self {
            Self::Memory => {
                let (client, server, cut) = memory::pair();
                let (client, server) = (client.into(), server.into());
                Pair { client, server, cut: Some(cut), _listener: JoinSet::new() }
            }
            Self::Quic => connect(Leg::Quic).await.0,
            Self::Tcp | Self::TcpAlone => {
                let (mut pair, listener) = connect(Leg::Tcp).await;
                if self == Self::Tcp {
                    pair._listener.spawn(async move {
                        while let Some(incoming) = listener.accept().await {
                            let joined = incoming.accept().await.expect("a connection that joins");
                            assert!(joined.is_none(), "it begins no session");
                        }
                    });
                }
                greet(&pair).await;
                if self == Self::Tcp {
                    pair.client.joined().await;
                }
                pair
            }
        };
        pair.server.raise_limits();
        pair
    }
}

async fn connect(leg: Leg) -> (Pair, Listener) {
    let made = rcgen::generate_simple_self_signed(["server".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let pin = Pin::from_certificate(&certificate).expect("a pin");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let keys = ListenerKeys::new(&[7; ListenerKeys::OWN_LENGTH], &[7; ListenerKeys::TOKEN_LENGTH]);
    let loopback = ([127, 0, 0, 1], 0).into();
    let certificates = tcp::Certificates::new(certificate.clone(), key.clone_key()).expect("a key");
    let listener = Listener::bind(loopback, &certificate, &key, &keys, &certificates).expect("a listener");
    let address = listener.local_address().expect("an address");
    let (congestion, connector) = (Choice::Auto, Connector::direct());
    let peer = Peer { address, pin, server_name: None, congestion, connector, joins: true };
    let accept = async { listener.accept().await.expect("a connection").accept().await };
    let (client, server) = tokio::join!(dial(leg, &peer), accept);
    let (client, server) = (client.expect("a session"), server.expect("a handshake").expect("a session"));
    let mut tasks = JoinSet::new();
    let kept = listener.clone();
    tasks.spawn(async move {
        let _listener = kept;
        std::future::pending().await
    });
    (Pair { client, server, cut: None, _listener: tasks }, listener)
}

/// Exchanges the Hello and the Welcome, as the programs do.
async fn greet(pair: &Pair) {
    let (name, secret) = ("laptop".parse().expect("a name"), ClientSecret::from_random([7; 32]));
    let hello = Hello { name, secret, congestion: Choice::Auto, max_rate: None };
    let mut control = pair.client.open_control(&hello).await.expect("a control stream");
    let (mut send, _receive) = pair.server.accept().await.expect("the control stream");
    pair.server.raise_limits();
    let welcome = Welcome { version: "test".into(), registries: ServedRegistries::default(), time: 0 };
    let welcome = frame::encode(&ControlMessage::Welcome(welcome)).expect("a Welcome");
    send.send(welcome.into()).await.expect("a client");
    control.read_frame::<ControlMessage>().await.expect("the Welcome");
}
