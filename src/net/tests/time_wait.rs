//! Connections that are over: how the last segments are answered, and what is kept of them.

use super::client::{OUR_ADDRESS, PORT, World, config};
use super::echo::Behaviour;
use super::frames::{Answer, Tcp, segment};
use crate::net::frame::control;
use crate::platform::network_device::Checksums;
use crate::platform::time::Duration;
use smoltcp::socket::tcp::State;
use smoltcp::wire::TcpPacket;
use std::vec::Vec;

const FIN_ACK: u8 = control::FIN | control::ACK;
/// Of no meaning to us and smoltcp, but no bit of the usual last segment.
const URG: u8 = 0x20;

fn world(checksums: Checksums) -> World {
    let mut world = World::with_checksums(config(), Behaviour::Greet, checksums);
    world.introduce_peer();
    world
}

/// Opens a connection of the greeting service; returns the peer's next segment, an acknowledgement of all that came.
fn greeted(world: &mut World, port: u16) -> Tcp<'static> {
    world.give(Tcp::syn(port).frame());
    let mut next = Tcp {
        sequence: 1_001,
        control: control::ACK,
        ..Tcp::syn(port)
    };
    next.acknowledged = only(world).sequence + 1;
    world.give(next.frame());
    let greeting = only(world);
    assert_ne!(greeting.control & control::FIN, 0);
    next.acknowledged = greeting.sequence + greeting.payload.len() as u32 + 1;
    next
}

/// The one segment that we sent.
fn only(world: &mut World) -> Answer {
    let mut segments = world.take_segments();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.remove(0)
}

fn ended(world: &mut World, port: u16) -> Tcp<'static> {
    let fin = Tcp {
        control: FIN_ACK,
        ..greeted(world, port)
    };
    world.give(fin.frame());
    fin
}

#[test]
fn the_usual_last_segment_is_answered_as_smoltcp_answers_it() {
    for transmit_filled in [false, true] {
        let checksums = Checksums {
            transmit_filled,
            ..Checksums::default()
        };
        let answer_to = |last: u8| -> Vec<u8> {
            let mut world = world(checksums);
            let fin = Tcp {
                control: last,
                ..greeted(&mut world, 5_000)
            };
            let kicks = world.cable.borrow().kicks;
            world.give(fin.frame());
            assert_eq!(world.cable.borrow().kicks, kicks + 1);
            assert_eq!(world.counters.connections(State::TimeWait), 1);
            assert_eq!(world.counters.connections(State::FinWait1), 0);
            assert_eq!(world.stack.connections(), 1);
            let mut frames = world.take_frames();
            assert_eq!(frames.len(), 1);
            frames.remove(0)
        };
        let asked = answer_to(FIN_ACK | URG);
        for last in [FIN_ACK, FIN_ACK | control::PSH] {
            assert_eq!(answer_to(last), asked, "{last:#x}");
        }
        let answer = segment(&asked).expect("it is a segment");
        assert_eq!((answer.control, answer.acknowledged), (control::ACK, 1_002));
        let peer = super::client::PEER_ADDRESS.into();
        let tcp = TcpPacket::new_checked(&asked[34..]).expect("it is whole");
        let is_right = tcp.verify_checksum(&OUR_ADDRESS.into(), &peer);
        assert_eq!(is_right, !transmit_filled, "or left to the device");
    }
}

#[test]
fn a_fin_with_data_or_without_our_last_acknowledgement_goes_the_long_way() {
    let mut world = world(Checksums::default());
    let next = greeted(&mut world, 5_000);
    // It has not seen our FIN yet: both sides close at once.
    let crossing = Tcp {
        control: FIN_ACK,
        acknowledged: next.acknowledged - 1,
        ..next
    };
    world.give(crossing.frame());
    assert_eq!(only(&mut world).acknowledged, 1_002);
    assert_eq!(world.counters.connections(State::Closing), 1);
    let last = Tcp {
        sequence: 1_002,
        ..next
    };
    world.give(last.frame());
    assert_eq!(world.counters.connections(State::TimeWait), 1);
    world.take_frames();
    world.give(crossing.frame());
    let again = only(&mut world);
    assert_eq!(
        (again.sequence, again.acknowledged),
        (next.acknowledged, 1_002)
    );
    // Data that nobody wants any more is acknowledged with the FIN behind it.
    let with_data = Tcp {
        control: FIN_ACK,
        payload: b"thanks",
        ..greeted(&mut world, 5_001)
    };
    world.give(with_data.frame());
    assert_eq!(world.take_segments(), [], "smoltcp has it wait");
    world.sleep(Duration::from_millis(11));
    assert_eq!(only(&mut world).acknowledged, 1_008);
    assert_eq!(world.counters.connections(State::TimeWait), 2);
    world.give(with_data.frame());
    assert_eq!(only(&mut world).acknowledged, 1_008);
    // One that comes twice in a burst is acknowledged at once, and not again in the flow's turn.
    let twice = Tcp {
        control: FIN_ACK | URG,
        ..greeted(&mut world, 5_002)
    };
    world.cable.borrow_mut().to_us.push_back(twice.frame());
    world.give(twice.frame());
    assert_eq!(only(&mut world).acknowledged, 1_002);
    assert_eq!(world.counters.connections(State::TimeWait), 3);
    world.give(twice.frame());
    assert_eq!(only(&mut world).acknowledged, 1_002);
}

#[test]
fn a_connection_that_is_over_says_its_acknowledgement_again_and_no_reset_moves_it() {
    let mut world = world(Checksums::default());
    let fin = ended(&mut world, 5_000);
    let first = only(&mut world);
    assert_eq!(first.ports, (PORT, 5_000));
    let answered = |world: &mut World, control: u8, payload: &'static [u8]| {
        let stray = Tcp {
            control,
            payload,
            ..fin
        };
        world.give(stray.frame());
        world.take_segments()
    };
    assert_eq!(answered(&mut world, FIN_ACK, b""), [first.clone()]);
    assert_eq!(answered(&mut world, control::RST, b""), []);
    assert_eq!(answered(&mut world, control::RST | control::ACK, b""), []);
    assert_eq!(answered(&mut world, control::ACK, b""), []);
    assert_eq!(answered(&mut world, control::ACK, b"late"), [first.clone()]);
    // A SYN that is no newer than the connection.
    assert_eq!(answered(&mut world, control::SYN, b""), [first.clone()]);
    assert_eq!(world.counters.connections(State::TimeWait), 1);
    world.sleep(Duration::from_millis(9_999));
    assert_eq!(answered(&mut world, FIN_ACK, b""), [first]);
    world.sleep(Duration::from_millis(2));
    assert_eq!(world.counters.connections(State::TimeWait), 0);
    let unknown = answered(&mut world, FIN_ACK, b"");
    assert_eq!(unknown[0].control & control::RST, control::RST);
}

#[test]
fn a_device_without_room_has_the_last_segment_wait() {
    let mut world = world(Checksums::default());
    let next = greeted(&mut world, 5_000);
    world.cable.borrow_mut().room = Some(0);
    let fin = Tcp {
        control: FIN_ACK,
        ..next
    };
    world.give(fin.frame());
    assert_eq!(world.counters.connections(State::TimeWait), 0);
    world.cable.borrow_mut().room = Some(1);
    world.poll();
    assert_eq!(only(&mut world).acknowledged, 1_002);
    assert_eq!(world.counters.connections(State::TimeWait), 1);
}

#[test]
fn connections_in_time_wait_take_no_place_of_others() {
    let settings = crate::net::config::StackConfig {
        connection_limit: 1,
        ..config()
    };
    let mut world = World::new(settings, Behaviour::Greet);
    world.introduce_peer();
    for port in 5_000..5_100 {
        ended(&mut world, port);
        assert_eq!(only(&mut world).acknowledged, 1_002);
    }
    assert_eq!(world.counters.connections(State::TimeWait), 100);
    assert_eq!(world.seen.borrow().closed.len(), 100);
    world.sleep(Duration::from_millis(10_001));
    assert_eq!(world.stack.connections(), 0);
    assert_eq!(world.counters.connections(State::TimeWait), 0);
    assert_eq!(world.stack.deadline(), None, "nothing is left to wake for");
}
