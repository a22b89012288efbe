//! What the middleboxes of a network do to some packets, as plain data.
//! Must never hold state: that is in [`Middlebox`](super::Middlebox).

use crate::wan::link::{conditions::Recurrence, rate::Rate};

/// What is done to UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpRule {
    /// UDP is treated as everything else.
    Pass,
    /// A token bucket drops UDP beyond `rate`.
    Policed {
        /// The rate of the bucket.
        rate: Rate,
        /// The size of the bucket in bytes.
        burst: u64,
        /// When UDP is policed; `None` is always.
        times: Option<Recurrence>,
    },
    /// All UDP is dropped.
    Blocked,
    /// Each flow passes this many bytes of content, and then nothing more.
    Limited {
        /// The bytes of a flow that pass.
        bytes: u64,
    },
    /// All UDP is dropped, and QUIC's handshakes are answered in the server's place. For the client's direction.
    Rejected(QuicRejection),
}

/// How a QUIC handshake is answered without a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuicRejection {
    /// CONNECTION_CLOSE with the error of TLS's alert `handshake_failure`.
    CryptoError,
    /// A Retry packet for each Initial, forever.
    Retry,
    /// Version Negotiation that offers only versions that do not exist.
    Versions,
}

/// What is done to TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpRule {
    /// TCP is treated as everything else.
    Pass,
    /// All TCP is dropped.
    Blocked,
    /// Each connection passes this many bytes of content, and then nothing more.
    Frozen {
        /// The bytes of a connection that pass.
        bytes: u64,
    },
    /// Segments that begin with a TLS ServerHello are dropped.
    NoServerHello,
}

impl UdpRule {
    /// Policed with a common burst: 50 ms at `rate`, and at least two packets.
    pub const fn policed(rate: Rate) -> Self {
        const TWO_PACKETS: u64 = 3000;
        const BURSTS_PER_SECOND: u64 = 20;
        let burst = rate.bits_per_second() / 8 / BURSTS_PER_SECOND;
        Self::Policed { rate, burst: if burst > TWO_PACKETS { burst } else { TWO_PACKETS }, times: None }
    }
}

impl QuicRejection {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::CryptoError, Self::Retry, Self::Versions];

    /// The name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CryptoError => "crypto-error",
            Self::Retry => "retry",
            Self::Versions => "versions",
        }
    }
}
