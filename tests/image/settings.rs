//! Boot arguments, as the README lists them.

use crate::support::guest::{Guest, root};
use crate::support::resp::Reply;

/// The first cells of the README's table: `nos.KEY=VALUE`.
fn readme_arguments() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README can be read");
    let argument = |line: &str| {
        let (word, _) = line.strip_prefix("| `nos.")?.split_once('`')?;
        let (key, value) = word.split_once('=')?;
        Some((key.to_string(), value.to_string()))
    };
    readme.lines().filter_map(argument).collect()
}

/// `100mb` and such, as CONFIG GET shows them.
fn shown(value: &str) -> String {
    match value.strip_suffix("mb").map(str::parse::<u64>) {
        Some(Ok(megabytes)) => (megabytes << 20).to_string(),
        // Pairs, which are shown with blanks.
        _ => value.replace([':', ','], " "),
    }
}

pub(crate) fn every_boot_argument_of_the_readme_is_taken_and_holds() {
    let arguments = readme_arguments();
    assert!(arguments.len() > 10, "the README lists {arguments:?}");
    let words: Vec<String> = arguments
        .iter()
        .map(|(key, value)| format!("nos.{key}={value}"))
        .collect();
    let guest = Guest::boot(&[("MEM", "256M".into()), ("APPEND", words.join(" "))]);
    let serial = guest.serial();
    assert!(!serial.contains("ERROR"), "{serial}");
    assert!(
        !serial.contains("secret"),
        "the password is in the log:\n{serial}"
    );
    assert!(!serial.contains("DHCP"), "it has an address:\n{serial}");

    let mut client = guest.redis();
    let refused = client.command(&["PING"]).text();
    assert!(refused.starts_with("NOAUTH"), "{refused}");
    assert_eq!(client.command(&["AUTH", "secret"]), Reply::ok());
    let of_cache = arguments
        .iter()
        .skip_while(|(key, _)| key != "port")
        .collect::<Vec<_>>();
    assert!(of_cache.len() > 5, "nos.port begins the cache's arguments");
    for (key, value) in of_cache {
        let held = Reply::Array(vec![Reply::bulk(key), Reply::bulk(&shown(value))]);
        assert_eq!(client.command(&["CONFIG", "GET", key]), held);
    }
    let Reply::Array(time) = client.command(&["TIME"]) else {
        panic!("TIME is an array")
    };
    let booted = arguments
        .iter()
        .find(|(key, _)| key == "time")
        .and_then(|(_, value)| value.parse::<u64>().ok())
        .expect("the README lists nos.time");
    let seconds: u64 = time[0].text().parse().expect("seconds are a number");
    assert!(
        (booted..booted + 60).contains(&seconds),
        "{seconds}, booted at {booted}"
    );
}
