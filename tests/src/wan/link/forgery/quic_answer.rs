//! Answers to the first packet of a QUIC handshake in the server's place. Anyone who sees that packet can write them:
//! the keys of Initial packets come from its connection id (RFC 9001, section 5.2).
//! Must never depend on the product's QUIC: an answer that only it accepts would prove nothing.

use ring::aead;
use rustls::{Side, crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256, quic::Version};

use super::envelope::{Envelope, Transport};
use crate::wan::link::middlebox::rules::QuicRejection;

const UDP: Transport = Transport { protocol: 17, checksum_at: 6 };

/// QUIC version 1.
const VERSION: [u8; 4] = [0, 0, 0, 1];

/// The connection id that the answers choose for the server.
const SERVER_ID: [u8; 8] = *b"filtered";

/// What an answer needs of an Initial packet.
struct Initial<'a> {
    destination_id: &'a [u8],
    source_id: &'a [u8],
}

/// The answer to a datagram; `None` if it does not begin a handshake.
pub(super) fn answer(how: QuicRejection, datagram: &Envelope<'_>) -> Option<Vec<u8>> {
    const HEADER_BYTES: usize = 8;
    let header = datagram.transport.get(..HEADER_BYTES)?;
    let initial = Initial::read(&datagram.transport[HEADER_BYTES..])?;
    let content = match how {
        QuicRejection::CryptoError => initial.connection_close()?,
        QuicRejection::Retry => initial.retry()?,
        QuicRejection::Versions => initial.version_negotiation(),
    };
    let length = (HEADER_BYTES + content.len()) as u16;
    let reply = [&header[2..4], &header[..2], &length.to_be_bytes(), &[0, 0], &content].concat();
    Some(datagram.reply(UDP, reply))
}

impl<'a> Initial<'a> {
    /// RFC 9000, section 17.2.2.
    fn read(content: &'a [u8]) -> Option<Self> {
        let (first, rest) = content.split_first()?;
        let rest = rest.strip_prefix(&VERSION)?;
        let (destination_id, rest) = connection_id(rest)?;
        let (source_id, _) = connection_id(rest)?;
        (first & 0xf0 == 0xc0).then_some(Self { destination_id, source_id })
    }

    /// An Initial packet with CONNECTION_CLOSE: a server whose TLS has failed.
    fn connection_close(&self) -> Option<Vec<u8>> {
        /// CONNECTION_CLOSE, CRYPTO_ERROR with the alert 40 (`handshake_failure`), in a CRYPTO frame, no reason.
        const FRAME: [u8; 5] = [0x1c, 0x41, 0x28, 0x06, 0x00];
        const PACKET_NUMBER: u8 = 0;
        const TAG_BYTES: usize = 16;
        let suite = TLS13_AES_128_GCM_SHA256.tls13()?.quic_suite()?;
        let keys = suite.keys(self.destination_id, Side::Server, Version::V1).local;
        // The length counts the packet number. A packet number of one byte has the bits 00.
        let length = (1 + FRAME.len() + TAG_BYTES) as u8;
        let mut header = self.long_header(0xc0);
        header.extend_from_slice(&[0, length, PACKET_NUMBER]);
        let mut payload = FRAME;
        let tag = keys.packet.encrypt_in_place(PACKET_NUMBER.into(), &header, &mut payload).ok()?;
        let protected = [&payload, tag.as_ref()].concat();
        // The sample begins as if the packet number had four bytes (RFC 9001, section 5.4.2).
        let (number, before) = header.split_last_mut()?;
        let sample = protected.get(3..)?.get(..keys.header.sample_len())?;
        keys.header.encrypt_in_place(sample, &mut before[0], std::slice::from_mut(number)).ok()?;
        Some([header, protected].concat())
    }

    /// RFC 9000, section 17.2.5.
    fn retry(&self) -> Option<Vec<u8>> {
        const TOKEN: &[u8] = b"again";
        let retry = [&self.long_header(0xf0), TOKEN].concat();
        let tag = retry_tag(self.destination_id, &retry)?;
        Some([retry, tag].concat())
    }

    /// RFC 9000, section 17.2.1. The versions are of the pattern that is reserved for none (section 15).
    fn version_negotiation(&self) -> Vec<u8> {
        const RESERVED: [[u8; 4]; 2] = [[0x0a; 4], [0x1a; 4]];
        let ids = [self.source_id, self.destination_id].map(with_length).concat();
        [&[0xc0, 0, 0, 0, 0], ids.as_slice(), &RESERVED.concat()].concat()
    }

    /// The start of a long header from the server to the client.
    fn long_header(&self, first: u8) -> Vec<u8> {
        [&[first], VERSION.as_slice(), &with_length(self.source_id), &with_length(&SERVER_ID)].concat()
    }
}

/// RFC 9001, section 5.8, has the key and the nonce, which all servers use.
fn retry_tag(destination_id: &[u8], retry: &[u8]) -> Option<Vec<u8>> {
    const KEY: [u8; 16] = 0xbe0c_690b_9f66_575a_1d76_6b54_e368_c84e_u128.to_be_bytes();
    const NONCE: [u8; 12] = [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb];
    let authenticated = [&with_length(destination_id), retry].concat();
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &KEY).ok()?);
    let nonce = aead::Nonce::assume_unique_for_key(NONCE);
    let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(&authenticated), &mut []).ok()?;
    Some(tag.as_ref().to_vec())
}

/// A connection id with its length, and what follows.
fn connection_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked((*length).into())
}

fn with_length(id: &[u8]) -> Vec<u8> {
    [&[id.len() as u8], id].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9001, appendix A: the client's connection id is empty, and it has chosen this one for the server.
    const DESTINATION_ID: [u8; 8] = 0x8394_c8f0_3e51_5708_u64.to_be_bytes();

    #[test]
    fn only_an_initial_is_answered() {
        let read = |first: u8, version: u8| {
            let packet = [&[first, 0, 0, 0, version, 8][..], &DESTINATION_ID, &[0, 0]].concat();
            Initial::read(&packet).map(|initial| initial.destination_id.to_vec())
        };
        assert_eq!(read(0xc3, 1), Some(DESTINATION_ID.to_vec()));
        assert_eq!(read(0xe3, 1), None, "a Handshake packet");
        assert_eq!(read(0x43, 1), None, "a short header");
        assert_eq!(read(0xc3, 2), None, "another version");
        assert!(Initial::read(&[0xc3, 0, 0, 0, 1, 8, 1]).is_none());
    }

    #[test]
    fn the_tag_of_a_retry_is_that_of_rfc_9001() {
        // Appendix A.4.
        let retry = b"\xff\0\0\0\x01\0\x08\xf0\x67\xa5\x50\x2a\x42\x62\xb5token";
        let tag = 0x04a2_65ba_2eff_4d82_9058_fb3f_0f24_96ba_u128.to_be_bytes();
        assert_eq!(retry_tag(&DESTINATION_ID, retry), Some(tag.to_vec()));
    }

    #[test]
    fn a_retry_names_the_ids_and_the_token() {
        let retry = Initial { destination_id: &DESTINATION_ID, source_id: &[7] }.retry().unwrap();
        let start = [&[0xf0, 0, 0, 0, 1, 1, 7, 8], SERVER_ID.as_slice(), b"again"].concat();
        assert_eq!(retry[..start.len()], start);
        assert_eq!(retry.len(), start.len() + 16);
    }

    #[test]
    fn version_negotiation_returns_both_ids() {
        let packet = Initial { destination_id: &DESTINATION_ID, source_id: &[7] }.version_negotiation();
        let start = [&[0xc0, 0, 0, 0, 0, 1, 7, 8], DESTINATION_ID.as_slice()].concat();
        assert_eq!(packet, [start, vec![0x0a; 4], vec![0x1a; 4]].concat());
    }
}
