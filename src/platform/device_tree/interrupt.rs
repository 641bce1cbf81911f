//! Interrupts as the GIC's device tree binding names them.

/// An interrupt: its number and what raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    intid: u32,
    trigger: Trigger,
}

/// What raises an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A change of its line.
    Edge,
    /// Its line, as long as it is active.
    Level,
}

/// Cells of one interrupt: type, number, flags.
pub(super) const CELLS: usize = 3;
/// First of the interrupts private to each CPU, and of the shared ones behind them.
const PRIVATE_FIRST: u32 = 16;
const SHARED_FIRST: u32 = 32;
/// One past the highest shared interrupt.
const SHARED_END: u32 = 1020;
/// Flags: rising or falling edge.
const EDGES: u32 = 0b11;

impl Interrupt {
    /// Reads the cells of one interrupt; none if they name none.
    pub fn from_cells(cells: [u32; CELLS]) -> Option<Self> {
        let [kind, number, flags] = cells;
        let intid = match kind {
            0 if number < SHARED_END - SHARED_FIRST => SHARED_FIRST + number,
            1 if number < SHARED_FIRST - PRIVATE_FIRST => PRIVATE_FIRST + number,
            _ => return None,
        };
        let trigger = if flags & EDGES == 0 {
            Trigger::Level
        } else {
            Trigger::Edge
        };
        Some(Self { intid, trigger })
    }

    /// The GIC's number of it: 16 to 31 are private to each CPU, 32 to 1019 are shared.
    pub const fn intid(self) -> u32 {
        self.intid
    }

    /// What raises it.
    pub const fn trigger(self) -> Trigger {
        self.trigger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_name_no_interrupt_are_refused() {
        for cells in [[0, 988, 4], [1, 16, 4], [2, 0, 4]] {
            assert_eq!(Interrupt::from_cells(cells), None, "{cells:?}");
        }
        let last = Interrupt::from_cells([0, 987, 1]).expect("the last shared one");
        assert_eq!((last.intid(), last.trigger()), (1019, Trigger::Edge));
    }
}
