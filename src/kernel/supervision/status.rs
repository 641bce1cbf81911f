//! `GET /subsystems`: every subsystem as it stands now.
//!
//! ```json
//! {"last_life":{"state":"ended","life":1,"reason":"warm reboot: http died …","report":"warm reboot: …\n"},
//!  "subsystems":[{"name":"http","version":"0.1.0","state":"running","up":1,"cpu":1,"incarnation":0,
//!   "dependencies":["data-plane"],"restarts":{"recovered":0,"failed":0},
//!   "stack":{"used_bytes":9312,"size_bytes":131072},
//!   "memory":{"used_bytes":65536,"peak_bytes":98304,"quota_bytes":16777216,"refusals":0},
//!   "mailboxes":[{"topic":"http","depth":0,"delivered":12,"dropped":0}],
//!   "last_fault":{"cause":"panic","seconds":12.5,"reason":"panicked at …", …}}],
//!  "boot":3,"earlier":[{"boot":2,"name":"http","restarts":{"recovered":1,"failed":0},"last_fault":"panic"}]}
//! ```
//! `last_fault` is the last report of its death, with the members that [`page`] tells of. `boot` and `earlier` are there where
//! a disk remembers earlier lives ([`crate::kernel::chronicle`]).
//!
//! Names only get added. A subsystem that never died has no `last_fault`. There is no `last_life` if nothing is known of
//! a life before this one; its state is `damaged`, and that is all, if what it left cannot be believed.

use super::Ward;
use crate::bus::registry::{Registry, Row};
use crate::kernel::reports::scene::dropped;
use crate::kernel::reports::{SharedReports, copy, page};
use crate::kernel::resolver::Resolver;
use crate::kernel::scheduler::Fibers;
use crate::kernel::this_cpu::ThisCpu;
use crate::memory::MemoryManager;
use crate::metrics::{Json, Value};
use crate::platform::time::Instant;

/// Writes the page; `earlier` what earlier lives left.
pub(in crate::kernel) fn write(
    wards: &[&'static Ward],
    (registry, fibers, memory): (&Registry, Fibers, &MemoryManager<ThisCpu>),
    faults: &mut Faults<'_>,
    earlier: &dyn Fn(&mut Json<'_>),
    json: &mut Json<'_>,
) {
    json.object(|json| {
        page::write_last_life(json);
        json.member("subsystems").array(|json| {
            for &ward in wards {
                if let Some(row) = registry.find(ward.profile.name) {
                    json.object(|json| {
                        write_one(ward, row, fibers, memory, json);
                        faults.write(ward.profile.name, json);
                    });
                }
            }
        });
        earlier(json);
    });
}

/// What shows how subsystems died last.
pub(in crate::kernel) struct Faults<'a> {
    pub(in crate::kernel) reports: SharedReports,
    pub(in crate::kernel) resolver: &'a mut Resolver,
    pub(in crate::kernel) now: Instant,
}

impl Faults<'_> {
    fn write(&mut self, subsystem: &str, json: &mut Json<'_>) {
        if let Some(report) = copy(self.reports, &|reports| reports.last_of(subsystem)) {
            json.member("last_fault").object(|json| {
                page::write_fault(&report, self.resolver, self.now, json);
            });
        }
    }
}

fn write_one(
    ward: &'static Ward,
    row: &Row,
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
                whole(json, "dropped", dropped(&tally));
            });
        }
    });
}
