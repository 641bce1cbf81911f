//! `GET /reports`: the deaths of this life, the last first, and what the life before left.
//!
//! ```json
//! {"reports":[{"number":3,"subsystem":"http","incarnation":2,"cause":"abort","seconds":12.5,
//!   "reason":"data abort, translation fault at level 1 by a read at 0x10, esr 0x96000005",
//!   "exception":{"esr":"0x96000005","far":"0x10"},
//!   "registers":{"x0":"0x1", …, "sp":"0x…","pc":"0x…","spsr":"0x…"},
//!   "last_messages":[{"topic":"http.input","sender":"data-plane","number":17}],"command":"set",
//!   "memory":{"pressure":"none","total_bytes":530841600,"used_bytes":6029312,"own_bytes":65536},
//!   "queues":[{"topic":"http","depth":0,"delivered":12,"dropped":0}],
//!   "backtrace":["0x40212340", …],"functions":["nos::net::flow::Flow::poll+0x1c", …],
//!   "frames":[[{"function":"push","file":"src/net/flow.rs","line":88}, …], …]}],
//!  "last_life":{"state":"ended","life":1,"reason":"warm reboot: http died …","report":"warm reboot: …\n"},
//!  "last_death":{"life":1,"report":"subsystem http died …\n"},
//!  "boot":3,"earlier":[{"boot":2,"number":1,"subsystem":"http","incarnation":0,"cause":"panic","seconds":12.5,"reason":"…"}]}
//! ```
//! Addresses of the backtrace are those of `nos.debug`, the innermost first; `functions` and `frames` have an element for
//! each. `frames` tells which functions were at work there, the innermost first: the last is the one that the linker
//! knows, the others are inlined. A name is empty, and frames there are none, where none is known. A panic saves no
//! registers. `command` is there if a client's was being run.
//!
//! Names only get added. `last_life` is as `GET /subsystems` has it. `last_death` is the last report that the life before
//! made, whether it ended of that death or not. `boot` and `earlier` are there where a disk remembers earlier lives
//! ([`crate::kernel::chronicle`]).

use super::scene::dropped;
use super::{Report, SharedReports, copy};
use crate::arch::aarch64::ImageLayout;
use crate::kernel::crash::{self, LastLife};
use crate::kernel::resolver::Resolver;
use crate::metrics::{Json, Value};
use crate::platform::time::Instant;
use core::fmt::Write;

/// Writes the page; `earlier` what earlier lives left.
pub(in crate::kernel) fn write(
    reports: SharedReports,
    resolver: &mut Resolver,
    now: Instant,
    earlier: &dyn Fn(&mut Json<'_>),
    json: &mut Json<'_>,
) {
    json.object(|json| {
        json.member("reports").array(|json| {
            let kept = reports.lock().kept().len();
            for at in (0..kept).rev() {
                // One that was added meanwhile is shown the next time.
                if let Some(report) = copy(reports, &|reports| reports.kept().get(at)) {
                    json.object(|json| {
                        whole(json, "number", report.number);
                        text(json, "subsystem", report.subsystem);
                        whole(json, "incarnation", report.incarnation.into());
                        write_fault(&report, resolver, now, json);
                    });
                }
            }
        });
        write_last_life(json);
        if let Some((life, text)) = crash::last_death() {
            json.member("last_death").object(|json| {
                whole(json, "life", life.into());
                json.member("report").text(text);
            });
        }
        earlier(json);
    });
}

/// Writes how the last life ended, if anything is known of it, as a member.
pub(in crate::kernel) fn write_last_life(json: &mut Json<'_>) {
    match crash::last_life() {
        LastLife::None => {}
        LastLife::Damaged => json.member("last_life").object(|json| {
            json.member("state").text("damaged");
        }),
        LastLife::Ended { life, text } => json.member("last_life").object(|json| {
            json.member("state").text("ended");
            whole(json, "life", life.into());
            let reason = text.lines().next().unwrap_or_default();
            json.member("reason").text(reason);
            json.member("report").text(text);
        }),
    }
}

/// Writes what is known of a death, as members.
pub(in crate::kernel) fn write_fault(
    report: &Report,
    resolver: &mut Resolver,
    now: Instant,
    json: &mut Json<'_>,
) {
    text(json, "cause", report.cause.label());
    json.member("seconds")
        .number(Value::Nanos(report.at.as_nanos()));
    text(json, "reason", &report.reason);
    if let Some(syndrome) = report.syndrome {
        json.member("exception").object(|json| {
            hexadecimal(json, "esr", syndrome.esr);
            hexadecimal(json, "far", syndrome.far);
        });
    }
    if let Some(registers) = &report.registers {
        json.member("registers").object(|json| {
            for (number, &value) in registers.x.iter().enumerate() {
                hexadecimal(json, &name_of(number), value);
            }
            hexadecimal(json, "sp", registers.sp);
            hexadecimal(json, "pc", registers.pc);
            hexadecimal(json, "spsr", registers.spsr);
        });
    }
    let scene = &report.scene;
    json.member("last_messages").array(|json| {
        for received in &scene.messages {
            json.object(|json| {
                text(json, "topic", received.topic);
                text(json, "sender", received.sender);
                whole(json, "number", received.number);
            });
        }
    });
    if let Some(command) = scene.command {
        text(json, "command", command);
    }
    json.member("memory").object(|json| {
        text(json, "pressure", scene.pressure.name());
        whole(json, "total_bytes", scene.total_bytes);
        whole(json, "used_bytes", scene.used_bytes);
        whole(json, "own_bytes", scene.usage.used_bytes);
    });
    json.member("queues").array(|json| {
        for (topic, tally) in &scene.queues {
            json.object(|json| {
                text(json, "topic", topic);
                whole(json, "depth", tally.depth);
                whole(json, "delivered", tally.delivered);
                whole(json, "dropped", dropped(tally));
            });
        }
    });
    json.member("backtrace").array(|json| {
        let linked_at = ImageLayout::current().linked_at;
        for place in &report.backtrace {
            json.text(&in_digits(linked_at.wrapping_add(place.offset) as u64));
        }
    });
    json.member("functions").array(|json| {
        for &place in &report.backtrace {
            resolver.write_function(place, now, json);
        }
    });
    json.member("frames").array(|json| {
        for &place in &report.backtrace {
            resolver.write_frames(place, now, json);
        }
    });
}

#[inline(never)]
fn whole(json: &mut Json<'_>, name: &str, number: u64) {
    json.member(name).number(Value::Whole(number));
}

#[inline(never)]
fn text(json: &mut Json<'_>, name: &str, value: &str) {
    json.member(name).text(value);
}

/// Writes a number as JSON has none: 64 bits of it.
#[inline(never)]
fn hexadecimal(json: &mut Json<'_>, name: &str, value: u64) {
    json.member(name).text(&in_digits(value));
}

fn in_digits(value: u64) -> heapless::String<18> {
    let mut digits = heapless::String::new();
    // "0x" and sixteen digits fit.
    let _ = write!(digits, "{value:#x}");
    digits
}

/// The name of a general register.
fn name_of(number: usize) -> heapless::String<4> {
    let mut name = heapless::String::new();
    // "x30" fits.
    let _ = write!(name, "x{number}");
    name
}
