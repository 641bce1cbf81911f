//! Any text as boot arguments, handed to the parts that take them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nos::app::Application;
use nos::app::cache_server::CacheApplication;
use nos::net::config::StackConfig;
use nos::platform::boot_arguments::parse;

fuzz_target!(|arguments: &str| {
    let mut application = CacheApplication::default();
    let mut network = StackConfig::default();
    for (key, value) in parse(arguments) {
        let told = network
            .set(key, value)
            .or_else(|| application.configure(key, value));
        if let Some(Err(error)) = told {
            assert!(!error.to_string().is_empty());
        }
    }
});
