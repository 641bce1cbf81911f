//! The panic device: tells the machine's owner that the image died.

/// Tells that the image died. It was found and enabled while all was well; telling is for code that can trust
/// nothing else any more.
pub trait PanicDevice: Sync {
    /// Tells that the image died.
    fn report(&self);
}
