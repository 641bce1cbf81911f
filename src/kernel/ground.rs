//! From the first Rust instruction to solid ground: console, device tree, final page tables, frames, heap,
//! clock. The image and every test binary inside QEMU start here.
//!
//! Order: emergency console, heap on the boot arena, tree validated and read, its console, page tables,
//! then the frames under the heap. What cannot be is told in one line, and the machine is turned off.
#![allow(
    unsafe_code,
    reason = "raw memory and device addresses become owned parts here, once"
)]

use super::crash::{self, power_off};
use super::crash_area;
use super::scheduler::stacks::FiberStacks;
use super::secondary_cpus::StackSlots;
use super::this_cpu::ThisCpu;
use crate::arch::aarch64::mmu::{ADDRESS_END, AddressSpace};
use crate::arch::aarch64::psci::Conduit;
use crate::arch::aarch64::{BootInfo, EMERGENCY_CONSOLE, ImageLayout, cpu};
use crate::error::{Error, Result, try_box};
use crate::memory::frames::PAGE_SIZE;
use crate::memory::heap::KernelHeap;
use crate::memory::{MemoryManager, PageCachePolicy};
use crate::platform::clock::{CounterClock, read_rtc};
use crate::platform::console::{self, Console, print_dying};
use crate::platform::device_tree::{Gic, Machine, PsciMethod, nops, validate};
use crate::platform::memory_map::{Ranges, inwards, merge, outwards, subtract};
use crate::platform::virtio;
use alloc::boxed::Box;
use core::ops::Range;

/// Memory for what is allocated before the frames are there: page tables and the machine's description.
const BOOT_ARENA_BYTES: usize = 128 * 1024;

#[repr(C, align(4096))]
struct BootArena([u8; BOOT_ARENA_BYTES]);

#[unsafe(link_section = ".uninit.boot_arena")]
static mut BOOT_ARENA: BootArena = BootArena([0; BOOT_ARENA_BYTES]);

// The language's allocator has to be global.
#[global_allocator]
static HEAP: KernelHeap<ThisCpu> = KernelHeap::new(ThisCpu);

/// What everything else is built on.
pub struct Ground {
    /// The machine, as its device tree describes it.
    pub machine: &'static Machine<'static>,
    /// Frames, behind the page caches.
    pub memory: &'static MemoryManager<ThisCpu>,
    /// The heap over them.
    pub heap: &'static KernelHeap<ThisCpu>,
    /// Monotonic time and time of day.
    pub clock: &'static CounterClock,
    /// How to turn the machine off and start its CPUs.
    pub conduit: Option<Conduit>,
    /// Stacks for the secondary CPUs, where there are any.
    pub slots: Option<StackSlots>,
    /// Stacks for fibers.
    pub stacks: FiberStacks,
    /// What TTBR0_EL1 holds.
    pub translation_root: u64,
    /// What the loader put beside the image: the initial RAM disk, which nobody writes.
    pub initrd: Option<&'static [u8]>,
}

/// Prepares the ground, with stacks of `stack_bytes` for fibers, or tells in one line why it cannot be and turns
/// the machine off.
///
/// # Safety
/// Called once, by the entry code's first call into Rust, with what that code handed over.
pub unsafe fn bring_up(boot: &BootInfo, stack_bytes: &[usize]) -> Ground {
    // SAFETY: the entry code mapped the emergency console; nothing else uses it yet.
    console::install(unsafe { Console::new(EMERGENCY_CONSOLE) });
    crash::install();
    cpu::unmask_system_errors();
    // SAFETY: the arena is a static that nothing else names, and this runs once; the image lies before it.
    unsafe { HEAP.init_boot((&raw mut BOOT_ARENA) as usize, BOOT_ARENA_BYTES) };
    // SAFETY: the entry code's word on where the tree is; it mapped 2 MiB from there, and nobody else is there yet.
    let tree = unsafe { map_tree(boot.device_tree) };
    let tree = tree.unwrap_or_else(|error| stop(error, None));
    let mut machine = Machine::read(tree).unwrap_or_else(|error| stop(error, None));
    if cfg!(not(feature = "smp")) {
        // The others stay off: nothing is made for them.
        machine.cpus.retain(|&other| other == cpu::affinity());
    }
    let machine: &'static Machine<'static> =
        Box::leak(try_box(machine).unwrap_or_else(|error| stop(error, None)));
    let conduit = machine.psci.map(|method| match method {
        PsciMethod::Hvc => Conduit::Hvc,
        PsciMethod::Smc => Conduit::Smc,
    });
    let tree = boot.device_tree..boot.device_tree + tree.len();
    // SAFETY: the machine was read from that tree.
    unsafe { settle(tree, machine, conduit, stack_bytes) }
        .unwrap_or_else(|error| stop(error, conduit))
}

/// Tells why the image cannot start, and ends it.
pub fn stop(error: Error, conduit: Option<Conduit>) -> ! {
    print_dying(format_args!("nos: cannot start: {error}\n"));
    power_off(conduit)
}

/// # Safety
/// 2 MiB from `address` are mapped, can be written, and are nobody else's as long as the image runs.
unsafe fn map_tree(address: usize) -> Result<&'static [u8]> {
    const HEADER_BYTES: usize = 40;
    // SAFETY: our caller promises that much memory.
    let header = unsafe { core::slice::from_raw_parts(address as *const u8, HEADER_BYTES) };
    let bytes = validate::total_size(header)?;
    // SAFETY: `total_size` answers at most the 2 MiB our caller promises; the header is not looked at again.
    let tree = unsafe { core::slice::from_raw_parts_mut(address as *mut u8, bytes) };
    validate::validate(tree)?;
    nops::remove(tree)?;
    Ok(tree)
}

/// # Safety
/// As [`bring_up`]; `machine` was read from the tree at `tree`.
unsafe fn settle(
    tree: Range<usize>,
    machine: &'static Machine<'static>,
    conduit: Option<Conduit>,
    stack_bytes: &[usize],
) -> Result<Ground> {
    let layout = ImageLayout::current();
    let tree = outwards(tree, PAGE_SIZE);
    let ram = merge(machine.ram.iter().map(|bank| {
        let limit = |address: u64| (address as usize).min(ADDRESS_END);
        inwards(limit(bank.start)..limit(bank.end), PAGE_SIZE)
    }));
    let reserved = reserved(machine, [layout.start..layout.end, tree.clone()]);
    // First, and so at a place that depends on nothing of ours.
    let crash_area = crash_area::place(&ram, &reserved);
    let reserved = merge(reserved.into_iter().chain(crash_area.clone()));
    let slots = StackSlots::place(machine.cpus.len().saturating_sub(1), &ram, &reserved);
    let slots_range = slots.as_ref().map(StackSlots::range);
    let reserved = merge(reserved.into_iter().chain(slots_range.clone()));
    let stacks = FiberStacks::place(stack_bytes, &ram, &reserved)?;

    let mut space = AddressSpace::for_image(&layout)?;
    space.map_constants(tree.clone())?;
    for stack in slots.iter().flat_map(StackSlots::stacks).flatten() {
        space.map_memory(stack)?;
    }
    for stack in stacks.free() {
        space.map_memory(stack)?;
    }
    let ours = [layout.start..layout.end, tree, stacks.range()];
    let mapped_otherwise = merge(ours.into_iter().chain(slots_range));
    let initrd = machine.initrd.as_ref();
    let initrd = initrd.map(|range| range.start as usize..range.end as usize);
    let initrd = initrd.filter(|range| {
        let pages = outwards(range.clone(), PAGE_SIZE);
        let mut banks = ram.iter();
        let is_ram = banks.any(|bank| bank.start <= pages.start && pages.end <= bank.end);
        is_ram && subtract(pages.clone(), &mapped_otherwise).eq([pages])
    });
    let disk = initrd.clone().map(|range| outwards(range, PAGE_SIZE));
    if let Some(disk) = disk.clone() {
        space.map_constants(disk)?;
    }
    let mapped_otherwise = merge(mapped_otherwise.into_iter().chain(disk));
    for bank in &ram {
        for part in subtract(bank.clone(), &mapped_otherwise) {
            space.map_memory(part)?;
        }
    }
    for registers in &device_ranges(machine) {
        space.map_device(registers.clone())?;
    }
    // SAFETY: image, stacks, tree, RAM and every device of the machine are mapped.
    unsafe { space.activate() };
    let translation_root = space.root();
    // The tables are in use for good.
    core::mem::forget(space);

    if let Some(address) = machine
        .console
        .filter(|&address| address != EMERGENCY_CONSOLE as u64)
    {
        // SAFETY: the tree says that a PL011 is there; it is mapped; the emergency console is dropped.
        console::install(unsafe { Console::new(address as usize) });
    }
    let clock: &'static CounterClock = Box::leak(try_box(CounterClock::new())?);
    if let Some(address) = machine.rtc {
        // SAFETY: the tree says that a PL031 is there, and it is mapped.
        clock.set_wall(unsafe { read_rtc(address as usize) });
    }
    let reserved = merge(reserved.into_iter().chain([stacks.range()]));
    // SAFETY: the banks are the machine's RAM, mapped; the image, the tree, the initrd, what the tree
    // reserves, the crash area and all stacks are left out; the boot arena lies inside the image.
    let memory = unsafe {
        MemoryManager::new(
            &ram,
            &reserved,
            machine.cpus.len().max(1),
            PageCachePolicy::DEFAULT,
            ThisCpu,
        )
    }?;
    let memory: &'static MemoryManager<ThisCpu> = Box::leak(try_box(memory)?);
    HEAP.install(memory);
    // SAFETY: it was placed above, mapped with the RAM around it, and kept from the allocator.
    if let Some(keeper) = unsafe { crash_area::open(crash_area) }? {
        crash::set_keeper(keeper);
    }
    Ok(Ground {
        machine,
        memory,
        heap: &HEAP,
        clock,
        conduit,
        slots,
        stacks,
        translation_root,
        // SAFETY: it is RAM, mapped above as what nobody writes; the allocator was not given it, and nothing of ours lies
        // there.
        initrd: initrd.map(|range| unsafe {
            core::slice::from_raw_parts(range.start as *const u8, range.len())
        }),
    })
}

/// What of RAM is not to be handed out, in whole pages: `ours`, the initrd, what the tree reserves.
fn reserved(machine: &Machine<'_>, ours: [Range<usize>; 2]) -> Ranges {
    let told = machine.reserved.iter().chain(&machine.initrd);
    merge(
        told.map(|range| range.start as usize..range.end as usize)
            .chain(ours)
            .map(|range| outwards(range, PAGE_SIZE)),
    )
}

/// Registers of all devices of the machine, in whole pages, none twice.
fn device_ranges(machine: &Machine<'_>) -> Ranges {
    let page = |address: u64| address as usize..address as usize + 1;
    let bytes = |range: &Range<u64>| range.start as usize..range.end as usize;
    let gic = match &machine.gic {
        None => [0..0, 0..0],
        Some(Gic::V2 {
            distributor,
            cpu_interface,
        }) => [bytes(distributor), bytes(cpu_interface)],
        Some(Gic::V3 {
            distributor,
            redistributors,
        }) => [bytes(distributor), bytes(redistributors)],
    };
    // virt's slots lie side by side: joined as they come, they are one range, not dozens.
    let mut slots = Ranges::new();
    for slot in &machine.virtio_mmio {
        let range = outwards(bytes(&slot.registers), PAGE_SIZE);
        slots = merge(slots.into_iter().chain([range]));
    }
    let consoles = [page(EMERGENCY_CONSOLE as u64)]
        .into_iter()
        .chain(machine.console.map(page));
    merge(
        gic.into_iter()
            .chain(slots)
            .chain(consoles)
            .chain(machine.rtc.map(page))
            .chain(virtio::mapped(machine).map(|range| bytes(&range)))
            .filter(|range| !range.is_empty())
            .map(|range| outwards(range, PAGE_SIZE)),
    )
}
