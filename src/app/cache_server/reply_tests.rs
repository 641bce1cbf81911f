//! Replies as Redis 7.0 gives them, where a client or an exporter reads them at its connection.

use super::tests::Fixture;

#[test]
fn an_error_quotes_a_word_up_to_its_first_nul() {
    let mut fixture = Fixture::new(&[]);
    for (line, reply) in [
        (
            "\"ge\\x00t\" a",
            "-ERR unknown command 'ge', with args beginning with: 'a' ",
        ),
        (
            "CLIENT \"ab\\x00cd\"",
            "-ERR unknown subcommand 'ab'. Try CLIENT HELP.",
        ),
        (
            "ACL CAT read more",
            "-ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.",
        ),
        (
            "CLIENT UNBLOCK 1 ERROR more",
            "-ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.",
        ),
        ("EXPIRE a 1 \"fo\\x00o\"", "-ERR Unsupported option fo"),
        ("EXPIRE a 1 \"\\rx\\r\\n\"", "-ERR Unsupported option  x"),
        (
            "CONFIG SET \"max\\x00memory\" 1",
            "-ERR Unknown option or number of arguments for CONFIG SET - 'max'",
        ),
        (
            "HELLO 3 \"fo\\x00o\"",
            "-ERR Syntax error in HELLO option 'fo'",
        ),
    ] {
        assert_eq!(fixture.ask(line), reply.trim_end(), "{line}");
    }
    assert!(
        fixture
            .ask("INFO errorstats")
            .contains("errorstat_ERR:count=8"),
        "each counted once"
    );
}

#[test]
fn a_small_integer_is_shared_unless_copy_made_it() {
    let mut fixture = Fixture::new(&[]);
    let shared = ":2147483647";
    fixture.ask("MSET small 5 large 10000 text x");
    for (line, count) in [
        ("OBJECT REFCOUNT small", shared),
        ("OBJECT REFCOUNT large", ":1"),
        ("COPY small copy", ":1"),
        ("OBJECT REFCOUNT copy", ":1"),
        ("OBJECT ENCODING copy", "$3 int"),
        ("RENAME copy moved", "+OK"),
        ("OBJECT REFCOUNT moved", ":1"),
        ("INCR moved", ":6"),
        ("OBJECT REFCOUNT moved", shared),
        ("CONFIG SET maxmemory 1gb", "+OK"),
        ("OBJECT REFCOUNT small", ":1"),
    ] {
        assert_eq!(fixture.ask(line), count, "{line}");
    }
}

#[test]
fn several_settings_are_changed_together_or_not_at_all() {
    let mut fixture = Fixture::new(&[]);
    let failed = "-ERR CONFIG SET failed (possibly related to argument";
    for (line, reply) in [
        (
            "CONFIG SET timeout 5 daemonize no",
            std::format!("{failed} 'daemonize') - can't set immutable config"),
        ),
        (
            "CONFIG SET timeout 5 appendonly perhaps",
            std::format!("{failed} 'appendonly') - argument must be 'yes' or 'no'"),
        ),
        (
            "CONFIG SET timeout 5 timeout 6",
            std::format!("{failed} 'timeout') - duplicate parameter"),
        ),
        ("CONFIG GET timeout", "*2 $7 timeout $1 0".into()),
        (
            "CONFIG GET tcp-keepalive",
            "*2 $13 tcp-keepalive $2 20".into(),
        ),
        ("CONFIG SET tcp-keepalive 20", "+OK".into()),
        (
            "CONFIG SET tcp-keepalive 300",
            std::format!("{failed} 'tcp-keepalive') - can't set immutable config"),
        ),
        ("CONFIG SET timeout 5 hz 10", "+OK".into()),
        (
            "CONFIG GET time* HZ timeout",
            "*4 $7 timeout $1 5 $2 HZ $2 10".into(),
        ),
    ] {
        assert_eq!(fixture.ask(line), reply, "{line}");
    }
}

#[test]
fn a_reply_beyond_the_output_limit_ends_its_client_only() {
    let mut fixture = Fixture::new(&[]);
    fixture.open(1);
    fixture.ask("CONFIG SET client-output-buffer-limit \"normal 1000 0 0\"");
    fixture.ask("SETRANGE big 1999 x");
    assert_eq!(fixture.ask("PING"), "+PONG");
    fixture.output.clear();
    let progress = fixture.receive(1, b"GET big\r\n");
    assert_eq!(progress.next, crate::net::service::Next::Abort);
    assert_eq!(fixture.ask("STRLEN big"), ":2000");
}

#[test]
fn commands_are_described_with_their_keys_arguments_and_subcommands() {
    let mut fixture = Fixture::new(&[]);
    fixture.ask("HELLO 3");
    let get = fixture.ask("COMMAND INFO get");
    assert_eq!(
        get,
        "*1 *10 $3 get :2 ~2 +readonly +fast :1 :1 :1 ~3 +@read +@string +@fast ~0 ~1 %3 $5 flags ~2 +RO \
         +access $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :1 $9 find_keys %2 $4 type $5 range \
         $4 spec %3 $7 lastkey :0 $7 keystep :1 $5 limit :0 ~0"
    );
    let getset = fixture.ask("COMMAND DOCS getset");
    assert_eq!(
        getset,
        "%1 $6 getset %8 $7 summary $54 Set the string value of a key and return its old value $5 since $5 \
         1.0.0 $5 group $6 string $10 complexity $4 O(1) $9 doc_flags ~1 +deprecated $16 deprecated_since \
         $5 6.2.0 $11 replaced_by $30 `SET` with the `!GET` argument $9 arguments *2 %3 $4 name $3 key $4 \
         type $3 key $14 key_spec_index :0 %2 $4 name $5 value $4 type $6 string"
    );
    assert!(
        fixture
            .ask("COMMAND INFO config")
            .contains("$10 config|get")
    );
    assert_eq!(
        fixture.ask("COMMAND GETKEYSANDFLAGS copy a b"),
        "*2 *2 $1 a ~2 +RO +access *2 $1 b ~2 +OW +update"
    );
}

#[test]
fn the_one_user_is_told_with_the_hash_of_its_password() {
    let mut fixture = Fixture::new(&[]);
    let open = "user default on nopass ~* &* +@all";
    assert_eq!(
        fixture.ask("ACL LIST"),
        std::format!("*1 ${} {open}", open.len())
    );
    fixture.ask("CONFIG SET requirepass abc");
    let hash = "#ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(fixture.ask("ACL LIST").contains(hash));
    fixture.open(1);
    let refused = "-NOAUTH Authentication required.";
    assert_eq!(fixture.ask_as(1, "GET k"), refused);
    assert_eq!(fixture.ask_as(1, "CLIENT ID"), refused);
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(fixture.ask_as(1, "AUTH nobody abc"), wrong);
    assert_eq!(fixture.ask_as(1, "AUTH abd"), wrong);
    assert_eq!(fixture.ask_as(1, "AUTH default abc"), "+OK");
    fixture.ask("CONFIG SET requirepass \"\"");
    assert!(
        fixture
            .ask_as(1, "AUTH abc")
            .starts_with("-ERR AUTH <password> called without any password configured")
    );
}

#[test]
fn histograms_count_every_call_once() {
    let mut fixture = Fixture::new(&[]);
    fixture.ask("GET k");
    fixture.ask("GET k");
    // The machine's clock stands still: all took no time.
    assert_eq!(
        fixture.ask("LATENCY HISTOGRAM get set nosuch"),
        "*2 $3 get *4 $5 calls :2 $14 histogram_usec *2 :1 :2"
    );
    assert!(
        fixture
            .ask("INFO latencystats")
            .contains("latency_percentiles_usec_get:p50=1.031,p99=1.031,p99.9=1.031")
    );
}

#[test]
fn rates_and_buffers_are_those_of_the_last_seconds() {
    let mut fixture = Fixture::new(&[]);
    for _ in 0..200 {
        fixture.ask("PING 0123456789");
        fixture.pass_millis(10);
    }
    let stats = fixture.ask("INFO stats");
    let rate = stats.split("instantaneous_ops_per_sec:").nth(1);
    let rate = rate.and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(
        rate.is_some_and(|rate| (90..=110).contains(&rate)),
        "{rate:?}"
    );
    let clients = fixture.ask("INFO clients");
    assert!(
        clients.contains("client_recent_max_input_buffer:17 "),
        "{clients}"
    );
}
