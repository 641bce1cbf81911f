//! virtio devices: finding them on virtio-mmio and on PCI, and the memory they share with the image.
//!
//! The transports are those of `virtio-drivers`, the queues our own ([`ring`]); addresses are physical and
//! the map is the identity, so sharing a buffer takes nothing. Without the feature `virtio-pci` all devices are
//! on virtio-mmio.
#![allow(
    unsafe_code,
    reason = "device registers and memory shared with devices"
)]

/// Declares a module `features` with the feature bits of a device and its transport that its driver knows.
macro_rules! features {
    ($($name:ident = $bit:literal),+) => {
        mod features {
            #![expect(
                clippy::disallowed_methods,
                reason = "what the macro makes extends a word: no memory"
            )]

            bitflags::bitflags! {
                /// Features that this driver knows, by their bits (virtio 1.2, 5.1.3 and 6).
                #[derive(Clone, Copy, Debug)]
                pub(super) struct Features: u64 {
                    $(const $name = 1 << $bit;)+
                }
            }
        }
        use features::Features;
    };
}

#[cfg(feature = "block-device")]
pub mod block;
pub mod entropy;
pub mod network;
#[cfg_attr(not(feature = "virtio-pci"), path = "without_pci.rs")]
mod pci;
mod ring;

pub use pci::{Transport, bus, mapped};

use super::device_tree::{Interrupt, Machine, VirtioSlot};
use super::panic_device::PanicDevice;
use crate::error::Result;
use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::{ReadPure, WriteOnly};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Offset of the register that tells a device's type; 0 in an empty slot.
const DEVICE_ID: usize = 0x08;
/// Offset of the interrupt status register of virtio-mmio (virtio 1.2, 4.2.2).
const INTERRUPT_STATUS: usize = 0x60;
/// Offset of the interrupt acknowledge register.
const INTERRUPT_ACK: usize = 0x64;

/// Memory for devices: pages of the global allocator, on the identity map.
pub struct DeviceMemory;

fn pages_layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("queues are small")
}

// SAFETY: `dma_alloc` gives zeroed, page-aligned memory of its own from the global allocator until
// `dma_dealloc`; with the identity map its address is what a device uses; caches are coherent with
// devices on the machines nos runs on (`dma-coherent` in the tree).
unsafe impl Hal for DeviceMemory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout is not empty: queues have at least one page.
        let memory = unsafe { alloc_zeroed(pages_layout(pages)) };
        match NonNull::new(memory) {
            Some(memory) => (memory.as_ptr() as PhysAddr, memory),
            // The crate's word for "out of memory".
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: our caller promises that this is what `dma_alloc` gave out for `pages`.
        unsafe { dealloc(memory.as_ptr(), pages_layout(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).expect("a device is not at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// A bus that devices are found on, beside virtio-mmio.
pub trait DeviceBus: Send {
    /// Finds the first virtio device of a type, and makes it ready for its driver.
    ///
    /// # Errors
    /// `Device` if its registers or its interrupt cannot be made out; `LimitReached` if there is no room for them.
    fn find_virtio(&mut self, machine: &Machine<'_>, wanted: DeviceType) -> Result<Option<Found>>;

    /// Finds what tells the machine's owner of a crash, and makes it ready.
    ///
    /// # Errors
    /// As [`DeviceBus::find_virtio`].
    fn find_panic_device(&mut self) -> Result<Option<&'static dyn PanicDevice>>;
}

/// A device that was found: its transport, its interrupt and what quiets it.
pub struct Found {
    /// How the driver talks to it.
    pub transport: Transport,
    /// Its interrupt.
    pub interrupt: Interrupt,
    /// Quiets it.
    pub quiet: Quiet,
}

/// Acknowledges the interrupts of one device.
#[derive(Clone, Copy, Debug)]
pub enum Quiet {
    /// By writing back what its status register says.
    Mmio {
        /// Where its registers begin.
        registers: usize,
    },
    /// As a device on the bus beside virtio-mmio is quieted.
    Pci(pci::Status),
}

/// Finds the first device of a type on virtio-mmio.
///
/// # Safety
/// `slots` must be virtio-mmio register blocks, mapped as device memory; a device found is used by
/// nothing else.
pub unsafe fn find_on_mmio(slots: &[VirtioSlot], wanted: DeviceType) -> Option<Found> {
    // QEMU fills its slots from the last one down: the first device of the command line is there.
    slots.iter().rev().find_map(|slot| {
        let registers = slot.registers.start as usize;
        let id = NonNull::new((registers + DEVICE_ID) as *mut ReadPure<u32>)?;
        // SAFETY: our caller promises a register block of virtio-mmio there. Read before there is a transport:
        // one that is dropped resets its device, which may be in use.
        if unsafe { UniqueMmioPointer::new(id) }.read() != wanted as u32 {
            return None;
        }
        let header = NonNull::new(registers as *mut VirtIOHeader)?;
        let bytes = (slot.registers.end - slot.registers.start) as usize;
        // SAFETY: our caller promises a register block of virtio-mmio there.
        let transport = unsafe { MmioTransport::new(header, bytes) }.ok()?;
        Some(Found {
            transport: pci::on_mmio(transport),
            interrupt: slot.interrupt,
            quiet: Quiet::Mmio { registers },
        })
    })
}

impl Quiet {
    /// Reads why the device interrupted and acknowledges all of it.
    pub fn acknowledge(self) {
        match self {
            Self::Mmio { registers } => {
                let status = NonNull::new((registers + INTERRUPT_STATUS) as *mut ReadPure<u32>);
                let acknowledge = NonNull::new((registers + INTERRUPT_ACK) as *mut WriteOnly<u32>);
                let (status, acknowledge) = status
                    .zip(acknowledge)
                    .expect("a device is not at address 0");
                // SAFETY: `find_on_mmio` was promised this register block; the two interrupt registers are
                // used here alone, the transport leaves them to us.
                let (status, mut acknowledge) = unsafe {
                    (
                        UniqueMmioPointer::new(status),
                        UniqueMmioPointer::new(acknowledge),
                    )
                };
                acknowledge.write(status.read());
            }
            Self::Pci(status) => status.read(),
        }
    }
}
