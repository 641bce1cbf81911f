//! Either side dies, at every step.

use super::*;
use crate::net::tests::random::Random;

fn begins_with_503(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 503 ")
}

/// Runs both sides, in turn, for so many steps.
fn steps(world: &mut World, clients: &[usize], count: usize) {
    for step in 0..count {
        for &client in clients {
            world.network.deliver(client, 300);
            world.network.read(client, 20_000);
        }
        match step % 2 {
            0 => world.network.poll(world.now),
            _ => world.run_host(),
        }
    }
}

#[test]
fn http_may_die_at_every_step_and_the_next_one_serves() {
    let requests = [GET, GET_PAGE, b"", &GET[..9]];
    let answers = requests.map(|bytes| direct(bytes).0);
    for dies_at in 0..60 {
        let mut world = World::new();
        let clients = requests.map(|bytes| world.network.connect(bytes, world.now));
        steps(&mut world, &clients, dies_at);
        world.kill_http();
        world.network.poll(world.now);
        world.start_http();
        world.settle();
        for client in clients {
            world.network.read(client, usize::MAX);
            let it = &world.network.clients[client];
            let expected = &answers[client];
            let is_whole = it.received == *expected && !expected.is_empty();
            let is_cut = expected.starts_with(&it.received) && it.end.is_some();
            let is_refused = begins_with_503(&it.received) && it.is_closed();
            // What was not passed on when it died is still to come.
            let is_waiting = it.received.is_empty() && it.end.is_none();
            assert!(
                is_whole || is_cut || is_refused || is_waiting,
                "{dies_at}, {client}"
            );
        }
        let client = world.network.connect(GET, world.now);
        steps(&mut world, &[client], 10);
        assert_eq!(world.network.clients[client].received, direct(GET).0);
        for client in 0..world.network.clients.len() {
            world.network.disconnect(client);
        }
        world.sleep(NEWS_AFTER);
        assert_eq!(world.frames.out(), 0, "{dies_at}");
        assert_eq!(world.host.expect("it runs").talks.len(), 0, "{dies_at}");
    }
}

#[test]
fn the_network_may_die_at_every_step_and_the_next_one_serves() {
    let requests = [GET, GET_PAGE, b"", &GET[..9]];
    let answers = requests.map(|bytes| direct(bytes).0);
    for dies_at in 0..60 {
        let mut world = World::new();
        let clients = requests.map(|bytes| world.network.connect(bytes, world.now));
        steps(&mut world, &clients, dies_at);
        world.restart_network();
        // The same names as before.
        let clients = requests.map(|bytes| world.network.connect(bytes, world.now));
        steps(&mut world, &clients, 200);
        for client in 0..2 {
            let received = &world.network.clients[client].received;
            assert!(*received == answers[client], "{dies_at}, {client}");
        }
        world.sleep(NEWS_AFTER);
        assert_eq!(
            world.host.as_ref().expect("it runs").talks.len(),
            4,
            "{dies_at}"
        );
        assert_eq!(world.frames.out(), 0, "{dies_at}");
    }
}

#[test]
fn deaths_of_both_in_any_order_leave_nothing_behind() {
    let mut late = 0;
    for seed in 0..80 {
        let mut random = Random::new(seed);
        let mut world = World::new();
        for _ in 0..300 {
            let clients = world.network.clients.len();
            let client = random.below(clients.max(1) as u64) as usize;
            match random.below(16) {
                0 => {
                    world.network.connect(GET_PAGE, world.now);
                }
                1 | 2 => {
                    world.network.connect(GET, world.now);
                }
                3 if random.below(3) == 0 => world.kill_http(),
                4 if random.below(6) == 0 => world.restart_network(),
                5 if world.host.is_none() => world.start_http(),
                6 if clients > 0 => world.network.disconnect(client),
                7 => world.now = world.now + Duration::from_millis(random.below(2_000)),
                8 | 9 if clients > 0 => world.network.deliver(client, usize::MAX),
                10 | 11 if clients > 0 => world.network.read(client, 30_000),
                12 | 13 => world.run_host(),
                _ => world.network.poll(world.now),
            }
        }
        if world.host.is_none() {
            world.start_http();
        }
        world.settle();
        let client = world.network.connect(GET, world.now);
        steps(&mut world, &[client], 20);
        assert_eq!(
            world.network.clients[client].received,
            direct(GET).0,
            "seed {seed}"
        );
        for client in 0..world.network.clients.len() {
            world.network.disconnect(client);
        }
        world.sleep(NEWS_AFTER);
        world.sleep(NEWS_AFTER);
        assert_eq!(
            world.host.as_ref().expect("it runs").talks.len(),
            0,
            "seed {seed}"
        );
        assert_eq!(world.frames.out(), 0, "seed {seed}");
        late += world.count(RelayEvent::LateMessage);
    }
    assert!(late > 100, "{late}");
}

#[test]
fn who_waits_for_an_answer_gets_503_when_http_dies_and_who_does_not_is_closed() {
    let mut world = World::new();
    let idle = world.network.connect(GET, world.now);
    world.network.deliver(idle, usize::MAX);
    world.settle();
    world.network.read(idle, usize::MAX);
    let before = world.network.clients[idle].received.len();
    let waiting = world.network.connect(GET, world.now);
    world.network.deliver(waiting, usize::MAX);
    world.network.poll(world.now);
    let silent = world.network.connect(b"", world.now);
    world.kill_http();
    world.network.poll(world.now);
    for client in [idle, waiting, silent] {
        world.network.read(client, usize::MAX);
    }
    let clients = &world.network.clients;
    assert!(begins_with_503(&clients[waiting].received) && clients[waiting].is_closed());
    assert!(clients[idle].received.len() == before && clients[idle].is_closed());
    assert_eq!(clients[silent].end, None);
    assert_eq!(world.count(RelayEvent::PeerDied), 2);
}

#[test]
fn a_connection_that_comes_while_http_is_down_is_served_by_the_next_one() {
    let mut world = World::new();
    world.kill_http();
    let client = world.network.connect(GET, world.now);
    world.network.deliver(client, usize::MAX);
    world.settle();
    world.sleep(Duration::from_secs(5));
    assert_eq!(world.network.clients[client].end, None);
    world.start_http();
    world.settle();
    world.network.read(client, usize::MAX);
    assert_eq!(world.network.clients[client].received, direct(GET).0);
}

#[test]
fn patience_with_http_that_is_down_or_hangs_ends() {
    let mut world = World::new();
    world.kill_http();
    let client = world.network.connect(GET, world.now);
    world.network.deliver(client, usize::MAX);
    world.settle();
    world.sleep(PATIENCE);
    world.network.read(client, usize::MAX);
    let client = &world.network.clients[client];
    assert!(begins_with_503(&client.received) && client.is_closed());
    assert_eq!(world.count(RelayEvent::PeerDown), 1);
}

#[test]
fn with_http_stopped_for_good_each_connection_gets_503_at_once() {
    let mut world = World::new();
    let early = world.network.connect(GET, world.now);
    world.kill_http();
    world.wires.to_http().close(drop);
    world.network.deliver(early, usize::MAX);
    world.settle();
    let late = world.network.connect(GET, world.now);
    for client in [early, late] {
        world.network.read(client, usize::MAX);
        let client = &world.network.clients[client];
        assert!(begins_with_503(&client.received) && client.is_closed());
    }
}
