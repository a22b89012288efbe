//! The ranges of one blob, by made-up readers.

use super::*;
use docxy_protocol::fault::FaultKind;

const M: u64 = 1024 * 1024;
const SIZE: u64 = 64 * M;

fn arrive(flights: &mut Flights, id: u64, until: u64) {
    while let Demand::Until(_) = flights.demand(id)
        && flights.flight(id).unwrap().position < until
    {
        flights.arrived(id, Bytes::from_static(&[7; 64 * 1024]));
    }
}

fn claim(flights: &mut Flights, reader: u64, missing: Range<u64>) -> u64 {
    let bytes = flights.unclaimed(missing, reader).unwrap();
    flights.claim(reader, bytes)
}

#[test]
fn the_furthest_reader_drives_a_flight_and_the_others_follow() {
    let mut flights = Flights::default();
    let (fast, slow) = (flights.add_reader(0..SIZE, false), flights.add_reader(0..SIZE, false));
    let flight = claim(&mut flights, slow, 0..SIZE);
    assert_eq!(flights.unclaimed(0..SIZE, 0), None);
    arrive(&mut flights, flight, SIZE);
    assert_eq!(flights.demand(flight), Demand::Wait, "no reader reads");
    assert!(matches!(flights.step(slow, 0), Step::Bytes { is_owner: true, .. }));
    let mut at = 0;
    while let Step::Bytes { bytes, is_owner: false } = flights.step(fast, at) {
        at += bytes.len() as u64;
        flights.step(fast, at);
        arrive(&mut flights, flight, SIZE.min(at + LEAD_BYTES));
        if at == 8 * M {
            break;
        }
    }
    assert_eq!(at, 8 * M);
    assert!(matches!(flights.step(slow, 0), Step::Look), "the disk has them");
    flights.remove_reader(fast);
    assert_eq!(flights.demand(flight), Demand::Wait);
    flights.remove_reader(slow);
    assert_eq!(flights.demand(flight), Demand::End);
}

#[test]
fn a_reader_far_ahead_claims_its_own_range() {
    let mut flights = Flights::default();
    let readers: Vec<_> = (0..4).map(|n| flights.add_reader(n * 16 * M..SIZE, false)).collect();
    let ids: Vec<_> = (0..4).map(|n| claim(&mut flights, readers[n as usize], n * 16 * M..SIZE)).collect();
    for (n, id) in (0..).zip(&ids) {
        assert_eq!(flights.demand(*id), Demand::Until((n + 1) * 16 * M));
    }
    assert!(matches!(flights.step(readers[0], 17 * M), Step::Wait(_)), "soon there");
    assert!(matches!(flights.step(readers[0], 20 * M), Step::Look), "too far");
    assert_eq!(flights.unclaimed(20 * M..SIZE, 0), Some(20 * M..32 * M));
    flights.ended(ids[2]);
    assert_eq!(flights.unclaimed(31 * M..SIZE, 0), Some(31 * M..32 * M));
    assert_eq!(flights.unclaimed(32 * M..SIZE, 0), Some(32 * M..48 * M));
}

#[test]
fn what_a_flight_has_passed_and_the_disk_has_lost_is_claimed_again() {
    let mut flights = Flights::default();
    let (first, second) = (flights.add_reader(0..SIZE, false), flights.add_reader(0..SIZE, false));
    let flight = claim(&mut flights, first, 0..SIZE);
    flights.step(first, 32 * M);
    arrive(&mut flights, flight, 32 * M);
    assert!(matches!(flights.step(second, M), Step::Look));
    assert_eq!(flights.unclaimed(M..SIZE, 0), Some(M..SIZE));
}

#[test]
fn a_failure_of_a_request_is_its_readers_alone() {
    for (hop, is_everybodys) in [(Hop::Registry, false), (Hop::Cdn, true)] {
        let mut flights = Flights::default();
        let (owner, other) = (flights.add_reader(0..SIZE, false), flights.add_reader(0..SIZE, false));
        let flight = claim(&mut flights, owner, 0..SIZE);
        flights.arrived(flight, Bytes::from_static(&[7; 64 * 1024]));
        flights.failed(flight, &Fault::new(hop, FaultKind::TimedOut, "slow"));
        for (reader, fails) in [(owner, true), (other, is_everybodys)] {
            assert!(matches!(flights.step(reader, 0), Step::Bytes { .. }), "it has come before");
            assert_eq!(matches!(flights.step(reader, 64 * 1024), Step::Failed(_)), fails);
        }
        assert_eq!(flights.unclaimed(64 * 1024..SIZE, 0), Some(64 * 1024..SIZE));
    }
}

#[test]
fn what_comes_ahead_is_requested_by_no_reader() {
    let mut flights = Flights::default();
    let ahead: Vec<_> = (0..4).rev().map(|n| flights.claim_ahead(n * M..(n + 1) * M).unwrap()).collect();
    assert!(flights.are_ahead() && !flights.was_read());
    assert_eq!(flights.claim_ahead(0..M), None, "it comes already");
    assert_eq!(flights.demand(ahead[3]), Demand::Until(M), "it waits for no reader");
    let reader = flights.add_reader(0..SIZE, false);
    assert_eq!(flights.unclaimed(0..SIZE, 0), Some(4 * M..SIZE));
    let rest = claim(&mut flights, reader, 0..SIZE);
    assert!(matches!(flights.step(reader, 0), Step::Wait(_)));
    flights.arrived(ahead[3], Bytes::from_static(&[7; 1000]));
    assert!(matches!(flights.step(reader, 0), Step::Bytes { is_owner: false, .. }));
    // They do not come after all.
    for id in ahead {
        flights.ended(id);
    }
    assert!(flights.was_read() && !flights.are_ahead());
    assert!(matches!(flights.step(reader, 1000), Step::Look));
    assert_eq!(flights.unclaimed(1000..SIZE, 0), Some(1000..4 * M));
    assert_eq!(flights.demand(rest), Demand::Until(SIZE));
}

#[test]
fn a_reader_of_an_engine_does_not_wait_for_the_background() {
    let mut flights = Flights::default();
    let (background_reader, engine) = (flights.add_reader(0..SIZE, true), flights.add_reader(0..SIZE, false));
    let background = claim(&mut flights, background_reader, 0..SIZE);
    flights.arrived(background, Bytes::from_static(&[7; 1000]));
    assert!(matches!(flights.step(engine, 0), Step::Bytes { .. }), "it is here");
    assert!(matches!(flights.step(engine, 1000), Step::Look));
    let own = claim(&mut flights, engine, 1000..SIZE);
    assert_eq!(flights.demand(background), Demand::End);
    assert_eq!(flights.demand(own), Demand::Until(SIZE));
    assert!(matches!(flights.step(background_reader, 1000), Step::Wait(_)), "the engine's brings it");
    assert_eq!(flights.unclaimed(1000..SIZE, background_reader), None);
}

#[test]
fn unchecked_bytes_go_to_their_holder_only() {
    let mut flights = Flights::default();
    assert!(flights.hold() && !flights.hold());
    assert_eq!(flights.claim_ahead(0..M), None);
    let holder = flights.add_reader(M..SIZE, false);
    flights.set_holder(holder);
    assert!(!flights.has_other_readers());
    let reader = flights.add_reader(0..SIZE, false);
    assert!(flights.has_other_readers() && flights.is_held_from(reader) && !flights.is_held_from(holder));
    let flight = claim(&mut flights, holder, M..SIZE);
    flights.arrived(flight, Bytes::from_static(&[7; 1000]));
    assert!(matches!(flights.step(holder, M), Step::Bytes { .. }));
    assert!(matches!(flights.step(reader, M), Step::Held));
    flights.release(M);
    assert!(matches!(flights.step(reader, M), Step::Bytes { .. }));
    assert!(matches!(flights.step(reader, 0), Step::Look) && !flights.hold());
}
