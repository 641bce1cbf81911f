//! What the whole-image tests share: a guest under QEMU, and small clients that can also misbehave.

pub(crate) mod debugger;
pub(crate) mod frames;
pub(crate) mod guest;
pub(crate) mod http;
pub(crate) mod random;
pub(crate) mod resp;
pub(crate) mod tools;
pub(crate) mod watcher;
pub(crate) mod wire;
