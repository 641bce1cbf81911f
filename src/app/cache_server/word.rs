//! The words of a request: names of options and subcommands, in either case.

/// What may be such a word.
pub(super) trait Word {
    /// True if it is `word`, in either case.
    fn is_word(&self, word: &[u8]) -> bool;
}

impl Word for [u8] {
    // Out of line: the comparison is larger than a call, and commands look for some sixty words.
    #[inline(never)]
    fn is_word(&self, word: &[u8]) -> bool {
        self.eq_ignore_ascii_case(word)
    }
}
