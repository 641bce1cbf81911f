//! A real Prometheus that scrapes the image each second while it works.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::guest::{Guest, free_port, scratch};
use crate::support::http::get;
use crate::support::resp::{Reply, encode};
use crate::support::tools::tool;
use crate::support::watcher::Watcher;

/// How long it scrapes.
const MINUTE: Duration = Duration::from_secs(60);

struct Prometheus {
    process: Child,
    _watcher: Watcher,
    port: u16,
}

impl Prometheus {
    fn start(target: u16) -> Self {
        let port = free_port();
        let directory = scratch(&format!("prometheus-{port}"));
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs:\n\
             - job_name: nos\n  static_configs: [ {{ targets: ['127.0.0.1:{target}'] }} ]\n"
        );
        std::fs::write(&config, text).expect("a file can be written");
        let log = std::fs::File::create(directory.join("log")).expect("a file can be written");
        let (process, _watcher) = Watcher::start(
            tool("prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    directory.join("data").display()
                ))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(log),
        );
        Self {
            process,
            _watcher,
            port,
        }
    }

    /// The value of an expression with one series; `None` while there is none.
    fn value(&self, expression: &str) -> Option<f64> {
        let body = get(self.port, &format!("/api/v1/query?query={expression}")).body;
        // {"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[TIME,"VALUE"]}]}}
        let (_, value) = body.split_once("\"value\":[")?;
        let (_, value) = value.split_once(",\"")?;
        value.split_once('"')?.0.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(scratch(&format!("prometheus-{}", self.port)));
    }
}

pub(crate) fn prometheus_scrapes_each_second_for_a_minute_under_load(guest: &Guest) {
    let prometheus = Prometheus::start(guest.http_port);
    let is_over = AtomicBool::new(false);
    let operations = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (is_over, operations) = (&is_over, &operations);
            scope.spawn(move || {
                let mut client = guest.redis();
                let key = format!("scraped:{worker}");
                let batch = [encode(&["SET", &key, "value"]), encode(&["GET", &key])].concat();
                let batch = batch.repeat(8);
                while !is_over.load(Relaxed) {
                    client.send(&batch);
                    for _ in 0..8 {
                        assert_eq!(client.reply(), Reply::ok());
                        assert_eq!(client.reply(), Reply::bulk("value"));
                    }
                    operations.fetch_add(16, Relaxed);
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < MINUTE {
            std::thread::sleep(Duration::from_millis(200));
        }
        is_over.store(true, Relaxed);
    });
    let scrapes = prometheus.value("count_over_time(up[2m])");
    let up = prometheus.value("sum_over_time(up[2m])");
    let longest = prometheus.value("max_over_time(scrape_duration_seconds[2m])");
    println!(
        "  {} operations; {scrapes:?} scrapes, {up:?} up, the longest {longest:?} s",
        operations.load(Relaxed)
    );
    assert_eq!(up, scrapes, "down at times");
    assert!(scrapes >= Some(50.0), "it scrapes each second");
    // What it keeps is what was counted.
    let counted = prometheus.value("sum(nos_kv_commands_total)");
    let sent = operations.load(Relaxed) as f64;
    assert!(
        counted > Some(sent / 2.0),
        "{counted:?} counted, {sent} sent"
    );
    let samples = prometheus.value("scrape_samples_scraped");
    assert!(samples > Some(100.0), "{samples:?} samples a scrape");
}
