//! The usual Redis exporter for Prometheus: it finds here every metric that it finds in a real Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::differential::RedisServer;
use crate::support::guest::{Guest, free_port};
use crate::support::resp::{Client, Reply};
use crate::support::tools::{succeed, tool};
use crate::support::watcher::Watcher;

/// Families that a Redis has and the image truly has not: none.
const NOT_HERE: [&str; 0] = [];

struct Exporter {
    process: Child,
    _watcher: Watcher,
    port: u16,
}

impl Exporter {
    fn start(redis_port: u16) -> Self {
        let port = free_port();
        let (process, _watcher) = Watcher::start(
            tool("prometheus-redis-exporter")
                .arg(format!("-redis.addr=redis://127.0.0.1:{redis_port}"))
                .arg(format!("-web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let exporter = Self {
            process,
            _watcher,
            port,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the exporter does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        exporter
    }

    /// Samples by their name and labels.
    fn scrape(&self) -> BTreeMap<String, f64> {
        // The page comes in chunks, which curl joins.
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let body = succeed(tool("curl").args(["--silent", "--fail", &url]), b"");
        let lines = body.lines().filter(|line| line.starts_with("redis_"));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_string(), value.parse().ok()?))
        });
        samples.collect()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The same use of either server: data, expiries, a hit, a miss and an error.
fn use_server(client: &mut Client) {
    assert_eq!(client.command(&["FLUSHALL"]), Reply::ok());
    assert_eq!(client.command(&["CONFIG", "RESETSTAT"]), Reply::ok());
    for key in ["a", "b", "c"] {
        assert_eq!(client.command(&["SET", key, "value"]), Reply::ok());
    }
    let lived = client.command(&["SET", "lived", "value", "EX", "1000"]);
    assert_eq!(lived, Reply::ok());
    assert_eq!(client.command(&["GET", "a"]), Reply::bulk("value"));
    assert_eq!(client.command(&["GET", "nothing"]), Reply::Nil);
    assert!(matches!(client.command(&["INCR", "a"]), Reply::Error(_)));
}

pub(crate) fn the_redis_exporter_finds_every_family_of_a_redis(guest: &Guest) {
    let redis = RedisServer::start("512mb");
    let [ours, theirs] = [guest.redis_port, redis.port].map(|port| {
        use_server(&mut Client::connect(port));
        Exporter::start(port).scrape()
    });
    let families = |samples: &BTreeMap<String, f64>| -> BTreeSet<String> {
        let names = samples.keys();
        let family = |name: &String| name.split('{').next().unwrap_or_default().to_string();
        names.map(family).collect()
    };
    let missing: Vec<String> = families(&theirs)
        .difference(&families(&ours))
        .filter(|family| !NOT_HERE.contains(&family.as_str()))
        .cloned()
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "families of a Redis");
    println!("  {} families, as of a Redis", families(&ours).len());
    for (name, value) in [
        ("redis_up", 1.0),
        ("redis_db_keys{db=\"db0\"}", 4.0),
        ("redis_db_keys_expiring{db=\"db0\"}", 1.0),
        ("redis_keyspace_hits_total", 1.0),
        ("redis_keyspace_misses_total", 1.0),
        ("redis_errors_total{err=\"ERR\"}", 1.0),
        ("redis_commands_total{cmd=\"set\"}", 4.0),
        ("redis_commands_failed_calls_total{cmd=\"incr\"}", 1.0),
    ] {
        assert_eq!(ours.get(name), Some(&value), "{name}");
        assert_eq!(theirs.get(name), Some(&value), "{name} of a Redis");
    }
    let value = |name: &str| ours.get(name).copied().unwrap_or(f64::NAN);
    let ttl = value("redis_db_avg_ttl_seconds{db=\"db0\"}");
    assert!((900.0..=1000.0).contains(&ttl), "{ttl} seconds to live");
    let (used, most) = (
        value("redis_memory_used_bytes"),
        value("redis_memory_max_bytes"),
    );
    assert!(0.0 < used && used < most, "{used} bytes of {most}");
    assert!(value("redis_connected_clients") >= 1.0);
    assert!(value("redis_net_input_bytes_total") > 200.0);
    assert!(value("redis_client_recent_max_output_buffer_bytes") > 1000.0);
    assert!(value("redis_cpu_user_seconds_total") > 0.0);
}
