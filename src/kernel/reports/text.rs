//! A report as text: for the serial line, and for the next life.

use super::Report;
use crate::kernel::crash::Tell;

impl Report {
    /// Tells it, in lines; the first says who died of what.
    pub(in crate::kernel) fn tell(&self, tell: Tell<'_>) {
        tell(format_args!(
            "subsystem {} died (start {}): {}\n",
            self.subsystem, self.incarnation, self.reason
        ));
        if let Some(registers) = &self.registers {
            for (i, value) in registers.x.iter().enumerate() {
                let end = if i % 4 == 3 { "\n" } else { "  " };
                tell(format_args!("  x{i:<2} {value:016x}{end}"));
            }
            tell(format_args!(
                "  sp  {:016x}\n  pc  {:016x}    spsr {:016x}\n",
                registers.sp, registers.pc, registers.spsr
            ));
        }
        tell(format_args!("backtrace, innermost first:\n"));
        for place in &self.backtrace {
            place.tell(tell);
        }
        self.scene.tell(tell);
    }
}
