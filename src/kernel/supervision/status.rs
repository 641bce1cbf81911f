//! `GET /subsystems`: every subsystem as it stands now.
//!
//! ```json
//! {"last_life":{"state":"ended","life":1,"reason":"warm reboot: http died …","report":"warm reboot: …\n"},
//!  "subsystems":[{"name":"http","version":"0.1.0","state":"running","up":1,"cpu":1,"incarnation":0,
//!   "dependencies":["data-plane"],"restarts":{"recovered":0,"failed":0},
//!   "stack":{"used_bytes":9312,"size_bytes":131072},
//!   "memory":{"used_bytes":65536,"peak_bytes":98304,"quota_bytes":16777216,"refusals":0},
//!   "mailboxes":[{"topic":"http","depth":0,"delivered":12,"dropped":0}],
//!   "last_fault":{"cause":"panic","seconds":12.5,"reason":"panicked at …",
//!     "registers":{"x0":"0x1", …, "sp":"0x…","pc":"0x…","spsr":"0x…"},
//!     "last_messages":[{"topic":"http.input","sender":"data-plane","number":17}],"backtrace":["0x40212340", …],
//!     "functions":["nos::net::flow::Flow::poll+0x1c", …]}}]}
//! ```
//! Addresses of the backtrace are those of `nos.debug`; a name is empty where none is known. A panic saves no registers.
//!
//! Names only get added. A subsystem that never died has no `last_fault`. There is no `last_life` if nothing is known of
//! a life before this one; its state is `damaged`, and that is all, if what it left cannot be believed.

use super::Ward;
use crate::arch::aarch64::ImageLayout;
use crate::bus::registry::{Registry, Row};
use crate::bus::{MessageId, Port, Reason};
use crate::kernel::crash::{self, LastLife};
use crate::kernel::scheduler::Fibers;
use crate::kernel::this_cpu::ThisCpu;
use crate::memory::MemoryManager;
use crate::metrics::{Json, Value};
use alloc::sync::Arc;
use core::fmt::Write;

/// Writes the page.
pub(in crate::kernel) fn write(
    wards: &[&'static Ward],
    registry: &Registry,
    fibers: Fibers,
    memory: &MemoryManager<ThisCpu>,
    json: &mut Json<'_>,
) {
    json.object(|json| {
        write_last_life(crash::last_life(), json);
        json.member("subsystems").array(|json| {
            for &ward in wards {
                if let Some(row) = registry.find(ward.profile.name) {
                    json.object(|json| write_one(ward, row, registry, fibers, memory, json));
                }
            }
        });
    });
}

fn write_last_life(last: LastLife, json: &mut Json<'_>) {
    match last {
        LastLife::None => {}
        LastLife::Damaged => json.member("last_life").object(|json| {
            json.member("state").text("damaged");
        }),
        LastLife::Ended { life, text } => json.member("last_life").object(|json| {
            json.member("state").text("ended");
            json.member("life").number(Value::Whole(life.into()));
            json.member("reason")
                .text(text.lines().next().unwrap_or_default());
            json.member("report").text(text);
        }),
    }
}

fn write_one(
    ward: &'static Ward,
    row: &Row,
    registry: &Registry,
    fibers: Fibers,
    memory: &MemoryManager<ThisCpu>,
    json: &mut Json<'_>,
) {
    let whole = |json: &mut Json<'_>, name: &str, number: u64| {
        json.member(name).number(Value::Whole(number));
    };
    let status = row.status();
    json.member("name").text(ward.profile.name);
    json.member("version").text(ward.profile.version);
    json.member("state").text(status.state().label());
    whole(json, "up", status.is_up().into());
    whole(json, "cpu", ward.fiber.cpu() as u64);
    whole(json, "incarnation", ward.port.incarnation());
    json.member("dependencies").array(|json| {
        for dependency in ward.profile.dependencies {
            json.text(dependency);
        }
    });
    json.member("restarts").object(|json| {
        let (recovered, failed) = status.restarts();
        whole(json, "recovered", recovered);
        whole(json, "failed", failed);
    });
    json.member("stack").object(|json| {
        let (used, size) = fibers.stack_use(ward.fiber);
        whole(json, "used_bytes", used as u64);
        whole(json, "size_bytes", size as u64);
    });
    json.member("memory").object(|json| {
        let usage = memory.usage(ward.owner);
        whole(json, "used_bytes", usage.used_bytes);
        whole(json, "peak_bytes", usage.peak_bytes);
        if let Some(quota) = usage.quota_bytes {
            whole(json, "quota_bytes", quota);
        }
        whole(json, "refusals", usage.refusals);
    });
    json.member("mailboxes").array(|json| {
        for queue in row.queues() {
            let tally = queue.tally();
            json.object(|json| {
                json.member("topic").text(queue.topic());
                whole(json, "depth", tally.depth);
                whole(json, "delivered", tally.delivered);
                let dropped = Reason::ALL.iter().map(|&reason| tally.dropped(reason));
                whole(json, "dropped", dropped.sum());
            });
        }
    });
    let fault = ward.last_fault.lock().clone();
    if let Some(known) = status.fault() {
        json.member("last_fault").object(|json| {
            json.member("cause").text(known.cause.label());
            json.member("seconds")
                .number(Value::Nanos(fault.at.as_nanos()));
            json.member("reason").text(&fault.reason);
            if let Some(registers) = &fault.registers {
                json.member("registers").object(|json| {
                    for (number, &value) in registers.x.iter().enumerate() {
                        hexadecimal(json.member(&name_of(number)), value);
                    }
                    hexadecimal(json.member("sp"), registers.sp);
                    hexadecimal(json.member("pc"), registers.pc);
                    hexadecimal(json.member("spsr"), registers.spsr);
                });
            }
            json.member("last_messages").array(|json| {
                for &(topic, id) in &fault.messages {
                    json.object(|json| {
                        json.member("topic").text(topic);
                        json.member("sender").text(sender_of(id, registry));
                        whole(json, "number", id.count());
                    });
                }
            });
            json.member("backtrace").array(|json| {
                let linked_at = ImageLayout::current().linked_at;
                for place in &fault.backtrace {
                    hexadecimal(json, linked_at.wrapping_add(place.offset) as u64);
                }
            });
            json.member("functions").array(|json| {
                for place in &fault.backtrace {
                    json.text(&place.function());
                }
            });
        });
    }
}

/// A number as JSON has none: 64 bits of it.
fn hexadecimal(json: &mut Json<'_>, value: u64) {
    let mut text = heapless::String::<18>::new();
    // "0x" and sixteen digits fit.
    let _ = write!(text, "{value:#x}");
    json.text(&text);
}

/// The name of a general register.
fn name_of(number: usize) -> heapless::String<4> {
    let mut name = heapless::String::new();
    // "x30" fits.
    let _ = write!(name, "x{number}");
    name
}

/// The name of whoever sent a message: a subsystem, or the supervisor, which has no row.
fn sender_of(id: MessageId, registry: &Registry) -> &'static str {
    let is_sender = |port: &Arc<Port>| port.id() == id.sender();
    let mut ports = registry.rows().iter().filter_map(Row::port);
    ports
        .find(|port| is_sender(port))
        .map_or("supervisor", |port| port.name())
}
