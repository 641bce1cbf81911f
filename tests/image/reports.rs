//! Reports of deaths: what they hold, which lines they name, and what the next life has of them. On the image as it is run,
//! with its table of lines beside it.

use nos::diagnosis::lines::Lines;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::kills::{
    LIMIT, await_message, guest, guest_with, kill, kill_until_it_starts_again, number,
};
use crate::support::guest::{Guest, image, root, scratch};
use crate::support::http::get;
use crate::support::resp::{Client, encode};
use crate::support::tools::llvm;

/// What is said of an initial RAM disk that is something else.
const FOREIGN: &str = "the initial RAM disk is not this image's table of lines: left alone";

/// The reports of this life, the last first; what follows them stays behind the last.
fn reports(guest: &Guest) -> Vec<String> {
    let page = get(guest.http_port, "/reports").body;
    let (_, rest) = page
        .split_once("{\"reports\":[")
        .unwrap_or_else(|| panic!("{page}"));
    let reports = rest.split("{\"number\":").skip(1);
    reports.map(String::from).collect()
}

/// The last report, once there are so many.
fn await_report(guest: &Guest, count: usize) -> String {
    let began = Instant::now();
    loop {
        let reports = reports(guest);
        if reports.len() >= count {
            return reports.into_iter().next().expect("one at least");
        }
        assert!(began.elapsed() < LIMIT, "{}", guest.serial());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Function, file and line.
type Frame = (String, String, u64);

/// The frames of each address of a report's backtrace, the innermost first.
fn frames(report: &str) -> Vec<Vec<Frame>> {
    let (_, rest) = report.split_once("\"frames\":[").expect("frames");
    let (rest, _) = rest.split_once("]]").unwrap_or((rest, ""));
    let text = |frame: &str, name: &str| -> String {
        let (_, rest) = frame.split_once(&format!("\"{name}\":\"")).expect(name);
        rest.split('"').next().expect("its end").into()
    };
    let frame = |frame: &str| {
        let file = text(frame, "file");
        (text(frame, "function"), file, number(frame, "line"))
    };
    let address = |part: &str| {
        part.split("},{")
            .filter(|part| part.contains("file"))
            .map(frame)
            .collect()
    };
    rest.split("],[").map(address).collect()
}

/// That line of a file of this repository.
fn source(file: &str, line: u64) -> String {
    let text = fs::read_to_string(root().join(file)).unwrap_or_else(|why| panic!("{file}: {why}"));
    let line = text.lines().nth(line as usize - 1);
    line.unwrap_or_else(|| panic!("{file} is shorter")).into()
}

pub(crate) fn a_death_is_told_with_the_lines_it_happened_at_inlined_functions_included() {
    let guest = guest(1);
    assert!(!guest.serial().contains(FOREIGN), "{}", guest.serial());
    assert_eq!(reports(&guest).len(), 0, "nothing died yet");
    await_message(&guest, "diagnosis");
    kill(&guest, "diagnosis", "wild-read");
    let report = await_report(&guest, 1);
    for part in [
        "1,\"subsystem\":\"diagnosis\",\"incarnation\":1,\"cause\":\"abort\",",
        " by a read at 0x10, esr 0x9",
        "\"exception\":{\"esr\":\"0x9",
        "\"registers\":{\"x0\":\"0x",
        "\"last_messages\":[{\"topic\":\"diagnosis\",\"sender\":\"data-plane\",\"number\":",
        "\"memory\":{\"pressure\":\"none\",\"total_bytes\":",
        "\"queues\":[{\"topic\":\"",
        "\"functions\":[\"",
    ] {
        assert!(report.contains(part), "no {part} in {report}");
    }
    // It died where a function was inlined that reads, in one of ours that says so.
    let found = frames(&report);
    let (function, file, _) = &found[0][0];
    assert!(function.contains("read_volatile"), "{found:?}");
    assert!(file.starts_with("library/core/src/ptr/"), "{file}");
    let mut ours = found[0].iter().filter(|frame| frame.1.starts_with("src/"));
    let (_, file, line) = ours.next().expect("one of ours");
    assert!(
        source(file, *line).contains("read_volatile()"),
        "{file}:{line}"
    );
    // Each of ours is a line of a file that is there.
    let ours = found.iter().flatten();
    let ours = ours.filter(|(_, file, line)| file.starts_with("src/") && *line > 0);
    let lines: Vec<_> = ours.map(|(_, file, line)| source(file, *line)).collect();
    assert!(lines.len() > 3, "{found:?}");

    // A panic says by itself where it was: the line table says the same.
    kill(&guest, "diagnosis", "panic");
    let report = await_report(&guest, 2);
    let (_, place) = report.split_once("panicked at ").expect("a reason");
    let mut place = place.split(':');
    let file = place.next().expect("a file");
    let line: u64 = place
        .next()
        .and_then(|line| line.parse().ok())
        .expect("a line");
    let is_there = |frame: &Frame| frame.1 == file && frame.2 == line;
    assert!(
        frames(&report).iter().flatten().any(is_there),
        "no {file}:{line} in {report}"
    );
    guest.await_serial(&format!(" at {file}:{line}\n"), 1);
    assert!(report.contains("\"incarnation\":2,"), "{report}");

    // The second look finds all places known.
    let page = get(guest.http_port, "/metrics").body;
    let sample = |name: &str| -> u64 {
        let line = page
            .lines()
            .find(|line| line.starts_with(name))
            .expect(name);
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse().ok())
            .expect(name)
    };
    let misses = "nos_symbol_cache_lookups_total{result=\"miss\"}";
    let (before, hits) = (
        sample(misses),
        sample("nos_symbol_cache_lookups_total{result=\"hit\"}"),
    );
    assert!(
        hits > 0 && before > 0 && sample("nos_symbol_cache_entries") > 5,
        "{page}"
    );
    reports(&guest);
    let page = get(guest.http_port, "/metrics").body;
    let same = format!("{misses} {before}\n");
    assert!(page.contains(&same), "no {same} in {page}");
}

/// The last word of a path, without what it is instantiated for.
fn last_word(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// Of what ships. Where one was made of two functions, the other's name may stand there; and the first
/// instruction of a function may be of another line of it than the one that begins it.
pub(crate) fn the_table_of_lines_tells_where_each_function_of_the_image_begins() {
    let table = fs::read(image("nos.lines")).expect("image.sh made it");
    let identity = *table[28..].first_chunk().expect("a header");
    let lines = Lines::read(&table, identity).expect("a table");
    assert!(lines.is_whole());
    let listed = llvm("nm")
        .args(["--demangle", "--defined-only", &image("nos.debug")])
        .output();
    let listed = String::from_utf8(listed.expect("it runs").stdout).expect("text");
    let symbols = || {
        listed.lines().filter_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            let (kind, name) = rest.split_once(' ')?;
            // Of text: others are constants.
            kind.eq_ignore_ascii_case("t").then_some(())?;
            Some((u64::from_str_radix(address, 16).ok()?, name))
        })
    };
    let start = symbols()
        .find(|(_, name)| *name == "__image_start")
        .expect("a symbol")
        .0;
    let (mut functions, mut named, mut begun) = (0, 0, 0);
    for (address, name) in symbols() {
        // Plain functions and methods: closures and implementations of traits have other words for names.
        let path = name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16);
        let Some((path, _)) =
            path.filter(|(path, _)| path.starts_with("nos::") && !path.contains(['<', '$']))
        else {
            continue;
        };
        let word = last_word(path);
        let mut outermost = None;
        let chain = lines.at((address - start) as u32);
        let chain = chain.unwrap_or_else(|| panic!("{path} has no lines"));
        chain.each(&mut |frame| outermost = Some(frame));
        let frame = outermost.unwrap_or_else(|| panic!("{path} has no frames"));
        functions += 1;
        if last_word(&frame.function.to_string()) == word {
            named += 1;
            let file = frame.file.to_string();
            begun += usize::from(source(&file, frame.line.into()).contains(&format!("fn {word}")));
        }
    }
    println!("  {functions} functions, {named} named, {begun} at the line where they begin");
    assert!(functions > 300);
    assert!(named * 100 > functions * 95, "{named} of {functions}");
    assert!(begun * 100 > functions * 85, "{begun} of {functions}");
}

/// LCS of two long values, asked for many times at once, takes longer than the watchdog allows here.
pub(crate) fn a_clients_command_that_hangs_is_named_without_its_data() {
    let guest = guest(1);
    let long = |seed: u32| -> String {
        (0..1_000_u32)
            .map(|i| char::from(b'a' + (i.wrapping_mul(seed) >> 7) as u8 % 26))
            .collect()
    };
    let (one, other) = (long(2_654_435_761), long(40_503));
    let mut client = Client::connect(guest.redis_port);
    client.command(&["MSET", "one", &one, "other", &other]);
    // Its connection ends with the data plane.
    client.send(&encode(&["LCS", "one", "other"]).repeat(100));
    let report = await_report(&guest, 1);
    let (_, report) = report
        .split_once("\"subsystem\":\"data-plane\",")
        .expect("it hung");
    for part in [
        "\"cause\":\"hang\"",
        "\"command\":\"lcs\"",
        "\"file\":\"src/app/cache_server/commands/lcs.rs\"",
    ] {
        assert!(report.contains(part), "no {part} in {report}");
    }
    guest.await_serial("\na client's command: lcs\n", 1);
    assert!(!guest.serial().contains(&one[..32]), "its data was told");
    guest.assert_serves();
}

pub(crate) fn the_next_life_has_the_last_report_and_knows_its_places() {
    let guest = guest_with(1, "nos.restarts=0");
    await_message(&guest, "diagnosis");
    kill_until_it_starts_again(&guest);
    let page = get(guest.http_port, "/metrics").body;
    let entries = page
        .lines()
        .find(|line| line.starts_with("nos_symbol_cache_entries "));
    let entries: u64 = entries
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .expect("a sample");
    assert!(entries > 2, "it is not warmed: {entries}");
    assert!(
        page.contains("nos_symbol_cache_lookups_total{result=\"miss\"} 0\n"),
        "{page}"
    );
    let page = get(guest.http_port, "/reports").body;
    for part in [
        "{\"reports\":[],\"last_life\":{\"state\":\"ended\",\"life\":1,\"reason\":\"warm reboot: diagnosis died too often: panicked at ",
        "\"last_death\":{\"life\":1,\"report\":\"subsystem diagnosis died (start ",
        "\\nbacktrace, innermost first:\\n  0x",
        "\\n      in ",
        "\\nmemory: pressure none, ",
        "\\nqueue diagnosis: ",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
}

pub(crate) fn what_is_no_table_of_lines_of_this_image_is_left_alone() {
    let table = fs::read(image("nos.lines")).expect("image.sh made it");
    let mut foreign = table.clone();
    // The identity of the image it is of.
    foreign[28] ^= 1;
    let mut damaged = table.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    for (name, bytes, is_foreign) in [
        ("foreign.lines", &foreign[..], true),
        ("cut.lines", &table[..table.len() - 1], true),
        ("not-at-all.lines", &[0x5a; 3000], true),
        ("damaged.lines", &damaged, false),
    ] {
        let file = scratch(name);
        fs::write(&file, bytes).expect("a file can be written");
        let guest = Guest::boot(&[
            ("IMAGE", image("nos.img")),
            ("MEM", "64M".into()),
            ("APPEND", "nos.admin-token=kill".into()),
            ("LINE_TABLE", file.display().to_string()),
        ]);
        assert_eq!(
            guest.serial().matches(FOREIGN).count(),
            usize::from(is_foreign),
            "{name}"
        );
        kill(&guest, "diagnosis", "panic");
        let report = await_report(&guest, 1);
        assert!(
            report.contains("Ward::enter+0x"),
            "functions alone: {report}"
        );
        assert!(
            frames(&report).iter().flatten().count() == 0,
            "{name} was believed: {report}"
        );
        guest.assert_serves();
    }
}
