//! What the machine is, as the device tree says it: memory map, CPUs, interrupt controller, console,
//! clock, PCI, virtio. The plain types build on the host too; the drivers only on the target.

pub mod block_device;
pub mod boot_arguments;
pub mod checksum;
#[cfg(target_os = "none")]
pub mod clock;
#[cfg(target_os = "none")]
pub mod console;
pub mod crc32c;
pub mod device_tree;
pub mod entropy;
#[cfg(target_os = "none")]
mod gic;
#[cfg(target_os = "none")]
pub mod interrupts;
pub mod memory_map;
pub mod network_device;
#[cfg(target_os = "none")]
pub mod panic_device;
#[cfg(all(target_os = "none", feature = "virtio-pci"))]
pub mod pci;
pub mod split_ring;
pub mod time;
#[cfg(target_os = "none")]
pub mod virtio;

/// Goes round once more in a loop that waits for another CPU. Where all CPUs share one of the host's threads (QEMU with
/// `-icount`) the other gets its turn: up to version 7.2 it may else never run, as a loop uses up all time there is
/// until the next timer.
#[inline]
pub fn spin_once() {
    #[cfg(target_os = "none")]
    crate::arch::aarch64::cpu::give_way();
    #[cfg(not(target_os = "none"))]
    core::hint::spin_loop();
}
