//! All points of the image: by it they are armed, and shown.
//!
//! `GET /faults`:
//! ```json
//! {"points":[{"point":"net-receive-drop","state":"armed","probability":10,"interval":1,"times":null,"space":0,"nth":0,
//!   "seed":1,"armed":1,"fired":12,"suppressed":95},
//!  {"point":"task-slow","state":"off", …, "amount":1000,"target":"http","unit":"microseconds", …}]}
//! ```
//! The state is `armed` or `off`; `times` is null where there is no end. Each of these objects is an order that arms its
//! point so, or disarms it if the state is `off` (`POST /faults`); an order without a state arms.

use super::group::Group;
use super::knobs::{Knob, Knobs};
use super::orders::Pairs;
use super::point::{Declaration, Outcome, Point};
use crate::error::{Error, Grow, Result};
use crate::metrics::{Encoder, Json, Label, Source, Value, heading};
use crate::platform::boot_arguments::bad_value;
use alloc::vec::Vec;

/// Keys of a row that are no knobs and say nothing in an order.
const SHOWN_ONLY: [&str; 4] = ["unit", "armed", "fired", "suppressed"];

/// All groups. Made by the composition root.
#[derive(Default)]
pub struct Registry {
    groups: Vec<&'static Group>,
}

impl Registry {
    /// Without points.
    pub const fn new() -> Self {
        Self { groups: Vec::new() }
    }

    /// Takes a group.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn add(&mut self, group: &'static Group) -> Result<()> {
        self.groups.try_push(group)
    }

    /// Does what an order says: arms its point with the knobs it names, all others as usual, or disarms it. Nothing
    /// happens if any of it cannot be.
    ///
    /// # Errors
    /// `BadValue`, which names the point or the key that is unknown, or the key with the bad value.
    pub fn obey(&self, order: &Pairs<'_>) -> Result<()> {
        let name = order.get("point").unwrap_or_default();
        let (group, at) = self
            .find(name)
            .ok_or(bad_value(name, "a point that /faults lists"))?;
        let declaration = group.declaration(at);
        let mut knobs = Knobs::of(declaration);
        let mut is_off = false;
        for (key, value) in order.iter() {
            match (key, value, Knob::named(key)) {
                (_, _, Some(knob)) => knobs.set(knob, value, declaration)?,
                ("state", "armed" | "off", _) => is_off = value == "off",
                ("state", ..) => return Err(bad_value(key, "armed or off")),
                ("point", ..) => {}
                _ if SHOWN_ONLY.contains(&key) => {}
                _ => return Err(bad_value(key, "a knob that /faults shows")),
            }
        }
        if is_off {
            group.disarm(at);
        } else {
            group.arm(at, &knobs);
        }
        Ok(())
    }

    /// Arms what a boot argument names, `POINT:key=value,...;...`; `refused` is told of each order that cannot be.
    pub fn obey_all(&self, text: &str, mut refused: impl FnMut(Error)) {
        for order in text.split(';').filter(|order| !order.is_empty()) {
            if let Err(error) = Pairs::of_words(order).and_then(|pairs| self.obey(&pairs)) {
                refused(error);
            }
        }
    }

    /// Writes the page.
    #[inline(never)]
    pub fn write(&self, json: &mut Json<'_>) {
        json.object(|json| {
            json.member("points").array(|json| {
                for (declaration, point) in self.rows() {
                    json.object(|json| write_row(declaration, point, json));
                }
            });
        });
    }

    fn rows(&self) -> impl Iterator<Item = (&'static Declaration, &Point)> {
        self.groups.iter().flat_map(|group| group.rows())
    }

    pub(super) fn find(&self, name: &str) -> Option<(&'static Group, usize)> {
        self.groups.iter().find_map(|&group| {
            let at = group.rows().position(|(row, _)| row.name == name)?;
            Some((group, at))
        })
    }
}

fn write_row(declaration: &Declaration, point: &Point, json: &mut Json<'_>) {
    json.member("point").text(declaration.name);
    let state = if point.is_armed() { "armed" } else { "off" };
    json.member("state").text(state);
    for knob in Knob::ALL {
        let value = point.knob(knob);
        match knob {
            Knob::Times if value == Knobs::UNLIMITED => json.member(knob.name()).null(),
            Knob::Amount if declaration.amount.is_none() => {}
            Knob::Target => {
                if let Some(target) = declaration.targets.get(value as usize) {
                    json.member(knob.name()).text(target);
                }
            }
            _ => json.member(knob.name()).number(Value::Whole(value)),
        }
    }
    if let Some((unit, _)) = declaration.amount {
        json.member("unit").text(unit);
    }
    for outcome in Outcome::ALL {
        json.member(outcome.name())
            .number(Value::Whole(point.count(outcome)));
    }
}

impl Source for Registry {
    /// Points that were never armed have no samples: a scrape of an image at peace is as short as without them.
    fn collect(&self, page: &mut Encoder<'_>) {
        let mut family = page.family(heading!(
            Counter,
            "nos_fault_injections_total",
            "Faults injected on purpose: points armed, calls that failed, calls that did not."
        ));
        for (declaration, point) in self.rows() {
            if point.count(Outcome::Armed) == 0 {
                continue;
            }
            for outcome in Outcome::ALL {
                let labels = [
                    ("point", Label::Word(declaration.name)),
                    ("outcome", Label::Word(outcome.name())),
                ];
                family.sample(&labels, Value::Whole(point.count(outcome)));
            }
        }
    }
}
