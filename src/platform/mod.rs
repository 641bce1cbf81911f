//! What the machine is, as the device tree says it: memory map, CPUs, interrupt controller, console,
//! clock, virtio. The plain types build on the host too; the drivers only on the target.

pub mod network_device;
pub mod time;
