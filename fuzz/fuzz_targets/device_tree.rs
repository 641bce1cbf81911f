//! Any bytes as a device tree: what the validation lets pass is read without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nos::platform::device_tree::{Machine, nops, validate};

fuzz_target!(|tree: &[u8]| {
    if validate::validate(tree).is_err() {
        return;
    }
    let mut tree = tree.to_vec();
    nops::remove(&mut tree).expect("it passed");
    if let Ok(machine) = Machine::read(&tree) {
        for device in 0..32 {
            for pin in 0..=5 {
                machine.pci_interrupt(device, pin);
            }
        }
    }
});
