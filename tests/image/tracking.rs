//! Client-side caching: the same commands to the image and to a real redis-server, the same messages.

use crate::differential::RedisServer;
use crate::support::guest::Guest;
use crate::support::random::Random;
use crate::support::resp::{Client, Reply};

/// Commands of a run.
const COMMANDS: usize = 6_000;
/// The seed of a run that is told none.
const SEED: u64 = 0x7ac4;
/// What stands for the number of the other client, which differs from server to server.
const OTHER: &str = "the other";

/// One server with two clients.
struct Server {
    clients: [Client; 2],
    ids: [String; 2],
    /// It tracks all the time: with the last that does, the image forgets what was read, and Redis does not.
    keeper: Client,
}

/// What one command brought: its reply, and the messages to each client.
#[derive(Debug, PartialEq)]
struct Brought {
    /// Left out where it names a client by its number.
    reply: Option<Reply>,
    messages: [Vec<Reply>; 2],
}

impl Server {
    fn connect(port: u16) -> Self {
        let mut clients = [(); 2].map(|()| Client::connect(port));
        let ids = clients.each_mut().map(|client| {
            client.command(&["HELLO", "3"]);
            client.command(&["CLIENT", "ID"]).integer().to_string()
        });
        let mut keeper = Client::connect(port);
        keeper.command(&["FLUSHALL"]);
        let on = keeper.command(&["CLIENT", "TRACKING", "ON", "OPTIN"]);
        assert_eq!(on, Reply::ok());
        Self {
            clients,
            ids,
            keeper,
        }
    }

    fn run(&mut self, by: usize, words: &[&str]) -> Brought {
        let other = self.ids[1 - by].clone();
        let named = words.iter().map(|&word| match word {
            OTHER => other.clone(),
            word => word.to_string(),
        });
        let named: Vec<String> = named.collect();
        let mut messages = [Vec::new(), Vec::new()];
        let reply = reply_among(&mut self.clients[by], &named, &mut messages[by]);
        for (client, messages) in self.clients.iter_mut().zip(&mut messages) {
            // What was sent before its reply has come with it.
            let fence = reply_among(client, &["PING"], messages);
            assert_eq!(fence, Reply::Simple("PONG".into()));
            // Redis holds back what it sends for the client whose command it is, even where that redirects.
            messages.sort_by_key(|message| format!("{message:?}"));
        }
        let shows_id = match words[0] {
            "HELLO" => true,
            "CLIENT" => mentions(&reply, &other),
            _ => false,
        };
        let reply = (!shows_id).then_some(reply);
        Brought { reply, messages }
    }

    /// What INFO tells of tracking.
    fn figures(&mut self) -> Vec<String> {
        let info = self.keeper.command(&["INFO", "everything"]).text();
        let lines = info.lines().filter(|line| line.starts_with("tracking_"));
        lines.map(String::from).collect()
    }
}

/// True if a number in the reply is that client's.
fn mentions(reply: &Reply, id: &str) -> bool {
    match reply {
        Reply::Integer(number) => number.to_string() == id,
        Reply::Array(all) | Reply::Many(_, all) => all.iter().any(|one| mentions(one, id)),
        _ => false,
    }
}

/// The reply to a command; messages that come before it go to `messages`.
fn reply_among<A: AsRef<[u8]>>(
    client: &mut Client,
    words: &[A],
    messages: &mut Vec<Reply>,
) -> Reply {
    let mut reply = client.command(words);
    while matches!(reply, Reply::Many('>', _)) {
        messages.push(reply);
        reply = client.reply();
    }
    reply
}

const KEYS: [&str; 8] = ["a", "ab", "abc", "b", "ba", "key", "key:1", "key:2"];
/// Commands: a `k` stands for a key.
const LINES: [&str; 43] = [
    "GET k",
    "GET k",
    "GET k",
    "MGET k k k",
    "EXISTS k k",
    "GETRANGE k 0 x",
    "STRLEN k",
    "TTL k",
    "TYPE k",
    "OBJECT ENCODING k",
    "LCS k k",
    "TOUCH k",
    "SET k 1",
    "SET k 2 XX GET",
    "SET k 3 NX",
    "SETNX k 4",
    "MSET k 5 k 6",
    "MSETNX k 5 k 6",
    "INCR k",
    "APPEND k x",
    "SETRANGE k 0 1",
    "GETSET k 1",
    "GETDEL k",
    "GETEX k PERSIST",
    "GETEX k EX 1000",
    "EXPIRE k 1000",
    "EXPIRE k -1",
    "PERSIST k",
    "DEL k k",
    "UNLINK k",
    "RENAME k k",
    "RENAMENX k k",
    "COPY k k REPLACE",
    "MOVE k 1",
    "SELECT 0",
    "SELECT 1",
    "SWAPDB 0 1",
    "CLIENT CACHING YES",
    "CLIENT CACHING NO",
    "CLIENT TRACKINGINFO",
    "CLIENT GETREDIR",
    "CLIENT TRACKING OFF",
    "INCRBYFLOAT k 1.5",
];
const RARE: [&str; 4] = ["FLUSHDB", "FLUSHALL", "RESET", "HELLO 2"];
const OPTIONS: [&str; 11] = [
    "BCAST",
    "BCAST",
    "PREFIX a",
    "PREFIX key:",
    "PREFIX k",
    "OPTIN",
    "OPTOUT",
    "NOLOOP",
    "NOLOOP",
    "REDIRECT 99999999",
    "REDIRECT #",
];

/// The words of a random command.
fn command(random: &mut Random) -> Vec<&'static str> {
    if random.below(8) == 0 {
        let mut words = vec!["CLIENT", "TRACKING", "ON"];
        for _ in 0..random.below(4) {
            let option = OPTIONS[random.below(OPTIONS.len())];
            words.extend(option.split(' ').map(|word| match word {
                "#" => OTHER,
                word => word,
            }));
        }
        return words;
    }
    let line = match random.below(60) {
        0 => RARE[random.below(RARE.len())],
        1..5 => "HELLO 3",
        5..8 => "CLIENT TRACKING ON",
        _ => LINES[random.below(LINES.len())],
    };
    let words = line.split(' ').map(|word| match word {
        "k" => KEYS[random.below(KEYS.len())],
        word => word,
    });
    words.collect()
}

/// Redis answers prefixes that overlap, but not the first of them, with an error and then with OK.
fn is_answered_twice(words: &[&str]) -> bool {
    let mut prefixes = words.windows(2).filter(|pair| pair[0] == "PREFIX");
    prefixes.nth(1).is_some()
}

pub(crate) fn clients_that_track_get_the_messages_that_redis_sends(guest: &Guest) {
    let redis = RedisServer::start("4mb");
    let mut servers = [guest.redis_port, redis.port].map(Server::connect);
    let mut random = Random::seeded(SEED);
    let mut messages = 0;
    for number in 0..COMMANDS {
        let (by, words) = (random.below(2), command(&mut random));
        if is_answered_twice(&words) {
            continue;
        }
        let [ours, theirs] = servers.each_mut().map(|server| server.run(by, &words));
        let is_same = ours == theirs;
        assert!(
            is_same,
            "command {number} by client {by}: {words:?}\nnos:   {ours:?}\nredis: {theirs:?}"
        );
        messages += ours.messages.iter().map(Vec::len).sum::<usize>();
    }
    let [ours, theirs] = servers.each_mut().map(Server::figures);
    assert_eq!(ours, theirs);
    assert!(messages > COMMANDS / 20, "{messages} messages");
    println!("  {COMMANDS} commands, {messages} messages");
    servers[0].keeper.command(&["FLUSHALL"]);
}

/// A client of RESP3, and its number.
fn numbered(guest: &Guest) -> (Client, String) {
    let mut client = guest.redis();
    client.command(&["HELLO", "3"]);
    let id = client.command(&["CLIENT", "ID"]).integer().to_string();
    (client, id)
}

fn message(kind: &str, about: Reply) -> Reply {
    Reply::Many('>', vec![Reply::bulk(kind), about])
}

pub(crate) fn messages_come_to_clients_that_ask_nothing(guest: &Guest) {
    let invalid = || message("invalidate", Reply::Array(vec![Reply::bulk("k")]));
    let (mut reader, _) = numbered(guest);
    let (mut listener, id) = numbered(guest);
    let mut writer = guest.redis();
    reader.command(&["CLIENT", "TRACKING", "ON"]);
    for words in [&["SET", "k", "1"][..], &["PEXPIRE", "k", "30"]] {
        reader.command(&["GET", "k"]);
        writer.command(words);
        assert_eq!(reader.reply(), invalid(), "{words:?}");
    }
    reader.command(&["GET", "k"]);
    assert_eq!(reader.reply(), invalid(), "it expires");
    writer.command(&["FLUSHDB"]);
    let all = message("invalidate", Reply::Line("_".into()));
    assert_eq!(reader.reply(), all);

    reader.command(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]);
    reader.command(&["GET", "k"]);
    writer.command(&["SET", "k", "2"]);
    assert_eq!(listener.reply(), invalid());
    drop(listener);
    let list = |client: &mut Client| client.command(&["CLIENT", "LIST"]).text();
    while list(&mut writer).contains(&format!("id={id} ")) {}
    reader.command(&["GET", "k"]);
    writer.command(&["DEL", "k"]);
    let number = Reply::Integer(id.parse().expect("a number"));
    assert_eq!(reader.reply(), message("tracking-redir-broken", number));
}
