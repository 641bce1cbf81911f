//! The image: the kernel and the default application.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![warn(clippy::disallowed_methods, clippy::disallowed_macros)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
nos::application!(alloc::boxed::Box::new(
    nos::app::cache_server::CacheApplication::default()
));

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("nos is a guest image; build it with `make image` and boot it with `make run`");
    std::process::exit(2);
}
