//! Large pages for large tables: an answer from a zone of a million names touches a handful of places
//! in a hundred megabytes, and with pages of 4 KiB the processor has forgotten where each of them is.

use std::ops::Range;

/// The size of a large page where they are two, in octets.
const LARGE_PAGE: usize = 2 << 20;
/// Less than this is not worth the call, in octets.
const WORTH: usize = 2 * LARGE_PAGE;

/// Asks the system to put the memory at these addresses into large pages, now. It may say no, and
/// does where it knows no such thing.
pub fn prefer_large(memory: Range<usize>) {
    // Whole large pages within.
    let (start, end) = (memory.start.next_multiple_of(LARGE_PAGE), memory.end & !(LARGE_PAGE - 1));
    if memory.len() >= WORTH && start < end {
        advise(start, end - start);
    }
}

#[cfg(target_os = "linux")]
fn advise(start: usize, len: usize) {
    /// Linux 6.1 and later; libc has it under some names of systems only.
    const MADV_COLLAPSE: libc::c_int = 25;
    for advice in [libc::MADV_HUGEPAGE, MADV_COLLAPSE] {
        // SAFETY: neither advice changes what the memory holds or may be used for, and addresses
        // where nothing is mapped are an error, not a harm.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(start), len, advice) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: usize, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_memory_holds_stays() {
        let numbers: Vec<u64> = (0..3 << 20).collect();
        let Range { start, end } = numbers.as_ptr_range();
        prefer_large(start.addr()..end.addr());
        prefer_large(0..0);
        assert!(numbers.iter().zip(0..).all(|(number, expected)| *number == expected));
    }
}
